//! The own endpoints, at the paths that the settings say.

use std::collections::{BTreeMap, BTreeSet};

use http::{Method, StatusCode};
use serde_json::{Value, json};

mod codes;
mod schemas;

use codes::{ANYWHERE, OF_CALLERS, OF_CLIENTS, OF_LOGINS, OF_QUESTIONS, OF_REFRESHES};
use schemas::{components, count, word};

use super::parts::{Body, Operation, Response, document, list, object, reference, text};
use crate::config::Settings;
use crate::domain::ids::SessionId;
use crate::domain::login_kind::LoginKind;
use crate::domain::problem_code::{ProblemCode, ProblemCode as Code};
use crate::domain::route::{Endpoint, EndpointPaths, OwnEndpoint};

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const FORM: &str = "application/x-www-form-urlencoded";

const ABOUT: &str = "What the gateway answers itself. Everything else goes to its routes. docs/errors.md says of each `code` what it \
                     means and what a client does.";

/// Header fields of every response.
const FIELDS: &[(&str, &str)] = &[
    ("cache-control", "Whether the response may be kept."),
    ("x-request-id", "By which the log tells of the request."),
    ("access-control-allow-origin", "With [cors], whose pages may read the response."),
    ("vary", "With [cors], `origin`."),
];

const COOKIES: &[(&str, &str)] = &[("set-cookie", "With [cookies], the tokens, or their end.")];

/// OpenAPI 3.1 of the own endpoints that the settings switch on.
pub fn own_endpoints(settings: &Settings) -> Value {
    let mut operations: Vec<Operation> = Vec::new();
    for (endpoint, path) in placed(settings.endpoints.paths.clone()) {
        for method in endpoint.methods().iter().filter(|method| *method != Method::HEAD) {
            let mut operation = operation(endpoint, path.clone(), method.clone());
            let alike =
                operations.iter().filter(|other| other.id.trim_end_matches(|c: char| c.is_ascii_digit()) == operation.id).count();
            if alike > 0 {
                operation.id = format!("{}{}", operation.id, alike + 1);
            }
            operations.push(operation);
        }
    }
    if settings.cors.is_some() {
        let preflights: Vec<Operation> = operations.iter().map(preflight).collect();
        operations.extend(preflights);
    }
    document("Tokengate", ABOUT, operations, &components(settings))
}

/// Each endpoint that is on, where it is.
fn placed(paths: EndpointPaths) -> impl Iterator<Item = (Endpoint, String)> {
    paths.each().flat_map(|(endpoint, path)| {
        let of_one = (endpoint == Endpoint::Own(OwnEndpoint::Sessions)).then(|| {
            let session = OwnEndpoint::Session(SessionId::from_bytes([0; 16]));
            (Endpoint::Own(session), format!("{path}/{{id}}"))
        });
        [(endpoint, path)].into_iter().chain(of_one)
    })
}

/// What an endpoint takes and answers.
struct Row {
    id: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    request: Vec<Body>,
    successes: Vec<Response>,
    problems: Vec<&'static [ProblemCode]>,
}

fn operation(endpoint: Endpoint, path: String, method: Method) -> Operation {
    let row = row(endpoint);
    let security: &[&str] = match endpoint {
        Endpoint::Own(endpoint) if endpoint.is_of_the_caller() => &["accessToken", "accessCookie"],
        Endpoint::Own(OwnEndpoint::Introspect) => &["client"],
        Endpoint::Own(_) | Endpoint::Login(_) => &[],
    };
    let mut refusals: BTreeMap<StatusCode, BTreeSet<ProblemCode>> = BTreeMap::new();
    for code in row.problems.into_iter().chain([ANYWHERE]).flatten() {
        for status in code.statuses() {
            refusals.entry(*status).or_default().insert(*code);
        }
    }
    let passes_others = matches!(endpoint, Endpoint::Login(_));
    let refusals = refusals.into_iter().map(|(status, codes)| refusal(status, &codes, passes_others));
    let too_large = success(431, "The head of the request is larger than `listen.header_bytes_max`.", &[], Vec::new());
    let responses = row.successes.into_iter().chain(refusals).chain([too_large]).collect();
    Operation {
        path,
        method,
        id: row.id.to_owned(),
        summary: row.summary,
        security,
        parameters: row.parameters,
        request: row.request,
        responses,
        fields: FIELDS,
        passes_others,
    }
}

#[expect(clippy::too_many_lines, reason = "one arm for each endpoint")]
fn row(endpoint: Endpoint) -> Row {
    let plain = |id, summary, schema: Value, problems| Row {
        id,
        summary,
        parameters: Vec::new(),
        request: Vec::new(),
        successes: vec![success(200, "As asked.", &[], vec![Body { media_type: JSON, schema }])],
        problems,
    };
    let endpoint = match endpoint {
        Endpoint::Login(kind) => return login(kind),
        Endpoint::Own(endpoint) => endpoint,
    };
    match endpoint {
        OwnEndpoint::Refresh => Row {
            request: vec![json_body(&reference("RefreshRequest")), form_body(&reference("TokenForm"))],
            successes: vec![success(
                200,
                "The next tokens.",
                COOKIES,
                vec![json_body(&reference("Pair")), json_body(&reference("OAuthPair"))],
            )],
            ..plain("refresh", "Trades a refresh token for the next pair.", Value::Null, vec![OF_REFRESHES])
        },
        OwnEndpoint::Logout => Row {
            request: vec![json_body(&reference("LogoutRequest")), form_body(&reference("LogoutForm"))],
            successes: vec![
                success(200, "How many sessions ended.", LEAVING, vec![json_body(&object(&[("ended", count())]))]),
                success(303, "To `cookies.signed_out`, where a browser shows a page.", LEAVING, Vec::new()),
            ],
            ..plain(
                "logout",
                "Ends the session of the caller, the others, or all.",
                Value::Null,
                vec![OF_CALLERS, &[Code::MediaTypeUnsupported, Code::TokenWithoutId]],
            )
        },
        OwnEndpoint::Sessions => Row {
            parameters: vec![
                query("limit", "The most sessions of one response."),
                query("after", "`next` of the response before."),
            ],
            ..plain("sessions", "Sessions of the caller's subject, the newest first.", reference("Devices"), vec![OF_CALLERS])
        },
        OwnEndpoint::Session(_) => Row {
            parameters: vec![json!({ "name": "id", "in": "path", "required": true, "schema": text() })],
            successes: vec![success(204, "It is ended.", COOKIES, Vec::new())],
            ..plain(
                "endSession",
                "Ends a session of the caller's subject.",
                Value::Null,
                vec![OF_CALLERS, &[Code::SessionNotFound]],
            )
        },
        OwnEndpoint::CurrentSession => plain(
            "session",
            "Who is logged in, for pages whose token is in a cookie.",
            reference("CurrentSession"),
            vec![OF_CALLERS],
        ),
        OwnEndpoint::Ticket => Row {
            request: vec![json_body(&object(&[("path", text())]))],
            ..plain(
                "ticket",
                "A ticket that opens one WebSocket or event stream at a path.",
                reference("Ticket"),
                vec![OF_CALLERS],
            )
        },
        OwnEndpoint::Token => Row {
            request: vec![form_body(&reference("TokenForm"))],
            successes: vec![success(
                200,
                "Tokens (RFC 6749, section 5.1).",
                &[("pragma", "`no-cache`."), ("set-cookie", "With [cookies].")],
                vec![json_body(&reference("OAuthPair")), json_body(&reference("Pair"))],
            )],
            ..plain(
                "token",
                "Token endpoint (RFC 6749, section 3.2).",
                Value::Null,
                vec![OF_REFRESHES, OF_CLIENTS, &[Code::AudienceNotGranted, Code::SubjectTokenInvalid]],
            )
        },
        OwnEndpoint::Revoke => Row {
            request: vec![form_body(&reference("TokenQuestion"))],
            successes: vec![success(200, "It is worth nothing any more.", &[("pragma", "`no-cache`.")], Vec::new())],
            ..plain("revoke", "Ends a token (RFC 7009).", Value::Null, vec![OF_CLIENTS, OF_QUESTIONS, &[Code::TokenWithoutId]])
        },
        OwnEndpoint::Introspect => Row {
            request: vec![form_body(&reference("TokenQuestion"))],
            successes: vec![success(
                200,
                "What the token is worth.",
                &[("pragma", "`no-cache`.")],
                vec![json_body(&reference("Introspection"))],
            )],
            ..plain("introspect", "Says what a token is worth (RFC 7662).", Value::Null, vec![OF_CLIENTS, OF_QUESTIONS])
        },
        OwnEndpoint::Jwks => Row {
            successes: vec![success(
                200,
                "Public keys.",
                &[],
                vec![Body {
                    media_type: "application/jwk-set+json",
                    schema: object(&[("keys", list(&json!({ "type": "object" })))]),
                }],
            )],
            ..plain("jwks", "The key set (RFC 7517) of the access tokens.", Value::Null, Vec::new())
        },
        OwnEndpoint::Metadata => plain("metadata", "Metadata (RFC 8414).", reference("Metadata"), vec![&[Code::MetadataMissing]]),
        OwnEndpoint::Health => plain("health", "Whether the process lives.", object(&[("status", word(&["ok"]))]), Vec::new()),
        OwnEndpoint::Ready => Row {
            successes: vec![
                success(200, "It takes requests.", &[], vec![json_body(&reference("Readiness"))]),
                success(503, "It should get none.", &[], vec![json_body(&reference("Readiness"))]),
            ],
            ..plain("ready", "Whether the node should get requests.", Value::Null, Vec::new())
        },
    }
}

const LEAVING: &[(&str, &str)] = &[
    ("set-cookie", "With [cookies], their end."),
    ("clear-site-data", "With `cookies.clear_site_data`."),
    ("location", "With 303."),
];

fn login(kind: LoginKind) -> Row {
    let (id, summary) = match kind {
        LoginKind::Login => ("login", "The upstream judges the credentials; what it grants becomes a session."),
        LoginKind::Register => ("register", "The upstream makes an account; what it grants becomes a session."),
        LoginKind::QuickRegister => {
            ("quickRegister", "The upstream makes an account without credentials; what it grants becomes a session.")
        }
    };
    Row {
        id,
        summary,
        parameters: Vec::new(),
        request: vec![Body { media_type: "*/*", schema: json!({}) }],
        successes: vec![success(
            200,
            "The upstream's response, with the tokens at `login.members`.",
            COOKIES,
            vec![Body { media_type: "*/*", schema: json!({}) }],
        )],
        problems: vec![OF_LOGINS],
    }
}

fn success(status: u16, text: &str, fields: &'static [(&'static str, &'static str)], bodies: Vec<Body>) -> Response {
    Response { status, text: text.to_owned(), fields, bodies }
}

/// The form follows the request: JSON, or that of RFC 6749, section 5.2. With the same status the upstream of a login may say anything.
fn refusal(status: StatusCode, codes: &BTreeSet<ProblemCode>, passes_others: bool) -> Response {
    const CHALLENGED: &[(&str, &str)] = &[
        ("www-authenticate", "What is asked for (RFC 6750, section 3)."),
        ("set-cookie", "Where the session is over, the end of the cookies."),
    ];
    const LATER: &[(&str, &str)] = &[("retry-after", "In seconds.")];
    let fields: &[(&str, &str)] = match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY => LATER,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => CHALLENGED,
        _ => &[],
    };
    let names: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    let schema = json!({ "allOf": [reference("Problem")], "properties": { "code": { "enum": names } } });
    let other = if passes_others { ("*/*", json!({})) } else { (JSON, schema.clone()) };
    let bodies = [(PROBLEM, schema), other].map(|(media_type, schema)| Body { media_type, schema });
    Response {
        status: status.as_u16(),
        text: codes.iter().map(|code| format!("`{code}`: {}", code.when())).collect::<Vec<_>>().join("\n"),
        fields,
        bodies: bodies.into(),
    }
}

fn preflight(of: &Operation) -> Operation {
    Operation {
        fields: &[],
        path: of.path.clone(),
        method: Method::OPTIONS,
        id: format!("{}Preflight", of.id),
        summary: "Whether a page of another origin may call it.",
        security: &[],
        parameters: of.parameters.iter().filter(|parameter| parameter["in"] == "path").cloned().collect(),
        request: Vec::new(),
        responses: vec![success(
            204,
            "It may.",
            &[
                ("access-control-allow-origin", "The origin."),
                ("access-control-allow-methods", "`cors.allowed_methods`."),
                ("access-control-allow-headers", "`cors.allowed_headers`."),
                ("access-control-allow-credentials", "`cors.allow_credentials`."),
                ("access-control-max-age", "`cors.max_age`, in seconds."),
            ],
            Vec::new(),
        )],
        passes_others: true,
    }
}

fn json_body(schema: &Value) -> Body {
    Body { media_type: JSON, schema: schema.clone() }
}

fn form_body(schema: &Value) -> Body {
    Body { media_type: FORM, schema: schema.clone() }
}

fn query(name: &str, says: &str) -> Value {
    json!({ "name": name, "in": "query", "description": says, "schema": text() })
}
