//! The admin listener as OpenAPI.

use std::sync::LazyLock;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::response::{BoxedResponse, text};
use crate::openapi::{Body, Operation, Response, document, list, object, optional, reference, text as word};

const ABOUT: &str = "What operators and their probes ask. Without admin.token, local programs may ask, and no web page.";

const JSON: &str = "application/json";

/// Whatever is called: codes by their status.
const ANYWHERE: &[(u16, &[&str])] = &[
    (400, &["body_unreadable"]),
    (405, &["method_not_allowed"]),
    (408, &["body_timeout"]),
    (413, &["body_too_large"]),
    (500, &["internal"]),
    (503, &["overloaded", "shutting_down", "timed_out"]),
];

const GUARDED: &[(u16, &[&str])] = &[(401, &["admin_token_needed"]), (403, &["admin_local_only"])];

const OF_STORE: &[(u16, &[&str])] = &[(503, &["store_full", "store_unavailable"])];

/// What is at a path.
struct Row {
    path: &'static str,
    method: Method,
    id: &'static str,
    summary: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    request: Option<Value>,
    /// Status, media type and schema.
    successes: Vec<(u16, &'static str, Value)>,
    refusals: Vec<&'static [(u16, &'static [&'static str])]>,
    is_open: bool,
}

/// OpenAPI 3.1 of the admin listener.
#[must_use]
pub fn description() -> Value {
    document("Tokengate, for operators", ABOUT, rows().into_iter().map(operation).collect(), &components())
}

pub(super) fn respond() -> BoxedResponse {
    static DESCRIPTION: LazyLock<Bytes> = LazyLock::new(|| description().to_string().into());
    text(http::StatusCode::OK, JSON, DESCRIPTION.clone())
}

fn operation(row: Row) -> Operation {
    let Row { path, method, id, summary, parameters, request, successes, refusals, is_open } = row;
    let in_path = path.contains("{id}").then(|| json!({ "name": "id", "in": "path", "required": true, "schema": word() }));
    let in_query =
        parameters.iter().map(|(name, says)| json!({ "name": name, "in": "query", "description": says, "schema": word() }));
    let guard: &[_] = if is_open { &[] } else { &[GUARDED] };
    let mut codes: Vec<(u16, Vec<&str>)> = Vec::new();
    for (status, more) in refusals.iter().chain(guard).chain([&ANYWHERE]).flat_map(|table| table.iter()) {
        match codes.iter_mut().find(|(known, _)| known == status) {
            Some((_, known)) => known.extend_from_slice(more),
            None => codes.push((*status, more.to_vec())),
        }
    }
    let successes = successes.into_iter().map(|(status, media_type, schema)| Response {
        status,
        text: "As asked.".to_owned(),
        fields: &[],
        bodies: vec![Body { media_type, schema }],
    });
    Operation {
        path: path.to_owned(),
        method,
        id: id.to_owned(),
        summary,
        security: if is_open { &[] } else { &["adminToken"] },
        parameters: in_path.into_iter().chain(in_query).collect(),
        request: request.into_iter().map(|schema| Body { media_type: JSON, schema }).collect(),
        responses: successes.chain(codes.into_iter().map(|(status, codes)| refusal(status, &codes))).collect(),
        fields: &[("cache-control", "`no-store`.")],
        passes_others: false,
    }
}

fn refusal(status: u16, codes: &[&str]) -> Response {
    let schema = json!({ "allOf": [reference("Problem")], "properties": { "code": { "enum": codes } } });
    let named: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
    Response {
        status,
        text: named.join(", "),
        fields: match status {
            401 => &[("www-authenticate", "`Bearer`.")],
            405 => &[("allow", "The methods that there are.")],
            503 => &[("retry-after", "In seconds.")],
            _ => &[],
        },
        bodies: vec![Body { media_type: "application/problem+json", schema }],
    }
}

const WAITING: &[(&str, &str)] = &[
    ("wait", "`all`: until every node has applied it."),
    ("timeout", "How long to wait for them, such as `5s`; at most a minute."),
];

#[expect(clippy::too_many_lines, reason = "a table")]
fn rows() -> Vec<Row> {
    let get = |path, id, summary, schema: Value, refusals| Row {
        path,
        method: Method::GET,
        id,
        summary,
        parameters: &[],
        request: None,
        successes: vec![(200, JSON, schema)],
        refusals,
        is_open: false,
    };
    let open = |path, id, summary, media_type, schema: Value| Row {
        successes: vec![(200, media_type, schema)],
        is_open: true,
        ..get(path, id, summary, Value::Null, Vec::new())
    };
    let post =
        |path, id, summary, schema: Value, refusals| Row { method: Method::POST, ..get(path, id, summary, schema, refusals) };
    let readiness = || reference("Readiness");
    let any = || json!({ "type": "object" });
    vec![
        open("/", "dashboard", "A page that shows /stats.", "text/html; charset=utf-8", word()),
        open("/dashboard.css", "dashboardStyle", "Its style.", "text/css; charset=utf-8", word()),
        open("/dashboard.js", "dashboardScript", "Its script.", "text/javascript; charset=utf-8", word()),
        open("/healthz", "health", "Whether the process lives.", JSON, object(&[("status", json!({ "enum": ["alive"] }))])),
        Row {
            successes: vec![(200, JSON, readiness()), (503, JSON, readiness())],
            ..open("/readyz", "ready", "Whether the node should get requests, and what is wrong.", JSON, Value::Null)
        },
        Row {
            parameters: &[
                ("subject", "Whose sessions. Required."),
                ("limit", "The most of one response."),
                ("after", "`next` of the response before."),
            ],
            ..get(
                "/sessions",
                "sessions",
                "Sessions of a subject, the newest first.",
                reference("Sessions"),
                vec![&[(400, &["query_malformed"])], OF_STORE],
            )
        },
        Row {
            method: Method::DELETE,
            parameters: WAITING,
            successes: vec![(200, JSON, reference("Ended")), (202, JSON, reference("Ended"))],
            ..get("/sessions/{id}", "endSession", "Ends a session.", Value::Null, vec![&[(400, &["query_malformed"])], OF_STORE])
        },
        get(
            "/revocations",
            "revocations",
            "What this node knows of revocations, and how well.",
            reference("Revocations"),
            Vec::new(),
        ),
        Row {
            parameters: WAITING,
            request: Some(reference("Order")),
            successes: vec![(200, JSON, reference("Ended")), (202, JSON, reference("Ended"))],
            ..post(
                "/revocations",
                "revoke",
                "Ends a session, a subject's, a token, or everybody's.",
                Value::Null,
                vec![&[(400, &["moment_ahead", "query_malformed", "revocation_malformed"])], OF_STORE],
            )
        },
        get("/nodes", "nodes", "The nodes that share the store.", reference("Nodes"), vec![OF_STORE]),
        Row {
            parameters: &[("days", "How many days back.")],
            ..get(
                "/stats",
                "stats",
                "What was counted and measured, by day.",
                reference("Stats"),
                vec![&[(400, &["invalid_request"])], OF_STORE],
            )
        },
        Row {
            successes: vec![(200, "text/plain; version=0.0.4; charset=utf-8", word())],
            ..get("/metrics", "metrics", "For Prometheus.", Value::Null, Vec::new())
        },
        get(
            "/upstreams",
            "upstreams",
            "The servers behind the gateway, as this node sees them.",
            reference("Upstreams"),
            Vec::new(),
        ),
        post(
            "/sweep",
            "sweep",
            "Removes what has expired from the store.",
            reference("Swept"),
            vec![&[(409, &["sweep_overtaken", "sweep_under_way"])], OF_STORE],
        ),
        post(
            "/reload",
            "reload",
            "Reads the settings again.",
            object(&[("status", json!({ "enum": ["reloaded"] })), ("needsRestart", list(&word()))]),
            vec![&[(422, &["settings_refused"]), (503, &["reload_unavailable"])]],
        ),
        get("/openapi.json", "ownEndpoints", "The own endpoints, as the settings in force have them.", any(), Vec::new()),
        get("/openapi-admin.json", "adminListener", "This document.", any(), Vec::new()),
    ]
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn moment() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn nullable(schema: &Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn counts() -> Value {
    json!({ "type": "object", "additionalProperties": count() })
}

fn components() -> Value {
    let problem = object(&[
        ("type", word()),
        ("title", word()),
        ("status", json!({ "type": "integer" })),
        ("code", word()),
        ("detail", word()),
    ]);
    let lag = object(&[("samples", count()), ("p50Micros", count()), ("p99Micros", count()), ("maxMicros", count())]);
    let unfit = object(&[("target", word()), ("addresses", count()), ("fit", count())]);
    let dependency = object(&[
        ("name", word()),
        ("ready", json!({ "type": "boolean" })),
        ("detail", optional(word())),
        ("alarms", optional(list(&word()))),
        ("unfit", optional(list(&unfit))),
    ]);
    let session = object(&[
        ("id", word()),
        ("createdAt", moment()),
        ("lastUsedAt", moment()),
        ("expiresAt", moment()),
        ("address", optional(word())),
        ("userAgent", optional(word())),
    ]);
    let named = list(&object(&[("id", word()), ("name", word())]));
    let node = object(&[("id", word()), ("name", word()), ("startedAt", moment()), ("lag", lag.clone())]);
    let measured =
        json!({ "type": "object", "properties": { "at": moment() }, "required": ["at"], "additionalProperties": count() });
    let day = object(&[("day", word()), ("counts", counts()), ("expired", count()), ("measured", nullable(&measured))]);
    let probe = object(&[("at", moment()), ("passed", json!({ "type": "boolean" })), ("cause", optional(word()))]);
    let address = object(&[
        ("address", nullable(&word())),
        ("state", word()),
        ("ejectedUntil", optional(moment())),
        ("takesRequests", json!({ "type": "boolean" })),
        ("lastProbe", nullable(&probe)),
        ("requests", count()),
        ("connections", count()),
    ]);
    let target = object(&[("key", word()), ("place", word()), ("weight", count()), ("addresses", list(&address))]);
    let order = json!({
        "type": "object",
        "description": "One of {session}, {subject}, {subject, issuedBefore}, {jti}, {jti, issuer}, {issuedBefore, everyone: true}.",
        "properties": {
            "session": word(), "subject": word(), "jti": word(), "issuer": word(),
            "issuedBefore": { "type": ["string", "integer"] }, "everyone": { "type": "boolean" },
        },
        "additionalProperties": false,
    });
    let schemas = json!({
        "Problem": problem,
        "Readiness": object(&[("status", json!({ "enum": ["ready", "unready"] })), ("dependencies", list(&dependency))]),
        "Sessions": object(&[("subject", word()), ("sessions", list(&session)), ("next", optional(word()))]),
        "Order": order,
        "Ended": object(&[
            ("ended", count()),
            ("nodes", optional(object(&[("applied", named.clone()), ("pending", named)]))),
            ("detail", optional(word())),
        ]),
        "Revocations": object(&[
            ("node", word()),
            ("counts", object(&[("sessions", count()), ("subjects", count()), ("tokens", count()), ("everyone", count())])),
            ("confirmedMillisAgo", nullable(&count())),
            ("lag", lag),
        ]),
        "Nodes": object(&[("asked", word()), ("nodes", list(&node))]),
        "Swept": swept(),
        "Stats": object(&[
            ("today", word()),
            ("days", list(&day)),
            ("lastMeasurement", nullable(&measured)),
            ("lastSweep", nullable(&swept())),
            ("node", object(&[("counts", counts()), ("measured", counts())])),
        ]),
        "Upstreams": object(&[("upstreams", list(&object(&[("name", word()), ("targets", list(&target))])))]),
    });
    json!({ "schemas": schemas, "securitySchemes": { "adminToken": { "type": "http", "scheme": "bearer" } } })
}

fn swept() -> Value {
    object(&[
        ("beganAt", moment()),
        ("tookMillis", count()),
        ("sessions", count()),
        ("orphans", count()),
        ("revocations", count()),
    ])
}
