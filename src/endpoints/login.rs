//! `/login`, `/register`, `/quick-register`: the upstream judges, and what it grants becomes a session.

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, EXPIRES, HeaderName, LAST_MODIFIED,
    PRAGMA, USER_AGENT,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, header};
use serde_json::{Map, Value};

use super::json_object::JsonObject;
use super::options::EndpointOptions;
use super::refusal::{Dialect, Refusal};
use super::{Inner, cookies, credentials, origin, shared, tokens};
use crate::config::{self, Pointer};
use crate::domain::ids::Subject;
use crate::domain::route::Endpoint;
use crate::domain::session::{Client, Grant};
use crate::domain::stats::Counter;
use crate::proxy::control::{LoginRequest, UpstreamAnswer};
use crate::proxy::reply::Reply;
use crate::sessions::claims_hook::PresentClaims;
use crate::sessions::{self, LoginKind};

/// Fields that speak of the bytes of a body that was changed.
const OF_THE_OLD_BODY: [HeaderName; 9] = [
    CONTENT_LENGTH,
    CONTENT_ENCODING,
    ETAG,
    LAST_MODIFIED,
    ACCEPT_RANGES,
    EXPIRES,
    PRAGMA,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// How many scopes one answer may grant.
const SCOPES_MAX: usize = 256;

impl Inner {
    #[expect(clippy::result_large_err, reason = "the answer to give instead: made once, and passed on at once")]
    pub(super) fn admit_login(&self, request: &LoginRequest) -> Result<(), Reply> {
        let options = self.options.load();
        if let Some(answer) = origin::preflight(&request.head, options.cors.as_ref()) {
            return Err(shared(answer, &request.head, &options));
        }
        self.judge_login(request, &options).map_err(|refusal| {
            let answer = refusal.into_reply(Dialect::Json, &self.counters);
            shared(answer, &request.head, &options)
        })
    }

    fn judge_login(&self, request: &LoginRequest, options: &EndpointOptions) -> Result<(), Refusal> {
        if request.head.method != Method::POST {
            return Err(Refusal::MethodNotAllowed("POST"));
        }
        believe_origin(&request.head, options)?;
        let account = account(&request.body, &options.limits.login.account);
        self.limits.load().admit_login(request.address, account.as_deref()).map_err(Refusal::RateLimited)
    }

    pub(super) async fn complete_login(&self, request: LoginRequest, answer: UpstreamAnswer) -> Reply {
        let options = self.options.load_full();
        let reply = match grant_of(&answer, &options.login) {
            Some((subject, grant, object)) if options.login.issue_share.includes(subject.as_str().as_bytes()) => {
                let result = self.start_session(&request, subject, grant, answer.head, object, &options).await;
                result.unwrap_or_else(|refusal| refusal.into_reply(Dialect::Json, &self.counters))
            }
            not_ours => {
                let counter = if not_ours.is_some() { Counter::LoginsNotIssued } else { Counter::LoginsRefused };
                self.counters.add(counter, 1);
                Response::from_parts(answer.head, answer.body)
            }
        };
        shared(reply, &request.head, &options)
    }

    async fn start_session(
        &self,
        request: &LoginRequest,
        subject: Subject,
        grant: Grant,
        mut head: http::response::Parts,
        mut object: JsonObject,
        options: &EndpointOptions,
    ) -> Result<Reply, Refusal> {
        let login = sessions::Login {
            kind: kind_of(request.endpoint),
            subject,
            grant,
            client: client_of(&request.head, request.address),
            old_refresh_token: credentials::old_token(&request.head, &request.body, options),
        };
        let pair = self.sessions.issue(login).await?;
        cookies::set(&mut head.headers, options, &pair)?;
        let tokens_in_body = options.cookies.as_ref().is_none_or(|cookies| cookies.tokens_in_body);
        tokens::merge(&mut object, &pair, &options.login.members, tokens_in_body);
        for name in OF_THE_OLD_BODY {
            head.headers.remove(name);
        }
        head.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let body = serde_json::to_vec(&object).expect("what was read as JSON is written as JSON");
        Ok(Response::from_parts(head, body.into()))
    }
}

/// Another site must not log a browser in as someone else. Without an origin it is no browser.
pub(super) fn believe_origin(head: &Parts, options: &EndpointOptions) -> Result<(), Refusal> {
    match &options.cookies {
        Some(cookies) if head.headers.contains_key(header::ORIGIN) => origin::believe_cookie(head, &cookies.origins),
        Some(_) | None => Ok(()),
    }
}

/// What the answer grants; `None` when it is to pass as it is.
pub(super) fn grant_of(answer: &UpstreamAnswer, login: &config::Login) -> Option<(Subject, Grant, JsonObject)> {
    if !answer.head.status.is_success() {
        return None;
    }
    let unusable = |cause: &'static str| {
        let tried: Vec<&str> = login.subject.iter().map(Pointer::as_str).collect();
        tracing::warn!(cause, status = answer.head.status.as_u16(), ?tried, "an upstream's login answer made no session");
    };
    if !is_plain_json(&answer.head.headers) {
        unusable("not JSON without a content encoding");
        return None;
    }
    let (Some(object), Ok(value)) = (JsonObject::parse(&answer.body), serde_json::from_slice::<Value>(&answer.body)) else {
        unusable("not one JSON object");
        return None;
    };
    let Some(subject) = login.subject.iter().find_map(|pointer| subject(value.pointer(pointer.as_str())?)) else {
        unusable("no subject at any of the pointers");
        return None;
    };
    Some((subject, grant(&value, login), object))
}

fn kind_of(endpoint: Endpoint) -> LoginKind {
    match endpoint {
        Endpoint::Register => LoginKind::Register,
        Endpoint::QuickRegister => LoginKind::QuickRegister,
        Endpoint::Login
        | Endpoint::Refresh
        | Endpoint::Logout
        | Endpoint::Sessions
        | Endpoint::Session(_)
        | Endpoint::Revoke
        | Endpoint::Introspect
        | Endpoint::Jwks
        | Endpoint::Metadata
        | Endpoint::Health
        | Endpoint::Ready => LoginKind::Login,
    }
}

pub(super) fn client_of(head: &Parts, address: std::net::IpAddr) -> Client {
    let user_agent = head.headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
    Client::new(Some(address.to_canonical()), user_agent.as_deref())
}

/// Who tries to log in, for the limit alone.
fn account(body: &[u8], pointers: &[Pointer]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let text = |pointer: &Pointer| value.pointer(pointer.as_str())?.as_str().map(str::to_owned);
    pointers.iter().find_map(text)
}

fn is_plain_json(headers: &HeaderMap) -> bool {
    let encodings = headers.get_all(CONTENT_ENCODING);
    let is_plain = encodings.iter().all(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"));
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json"));
    is_plain && is_json
}

/// A string as it is, or an integer in digits.
fn subject(value: &Value) -> Option<Subject> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    Subject::new(&text).ok()
}

/// Reads what an upstream says of a subject at a later time, from the places where its login answers say it.
#[must_use]
pub fn present_claims(answer: &Value, login: &config::Login) -> PresentClaims {
    let Grant { scopes, claims } = grant(answer, login);
    let speaks_of_scopes = login.scopes.iter().any(|pointer| answer.pointer(pointer.as_str()).is_some());
    PresentClaims { scopes: speaks_of_scopes.then_some(scopes), claims }
}

fn grant(value: &Value, login: &config::Login) -> Grant {
    let mut scopes: Vec<String> = Vec::new();
    for named in login.scopes.iter().filter_map(|pointer| value.pointer(pointer.as_str())) {
        let texts: Vec<&str> = match named {
            Value::String(text) => text.split(' ').collect(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
        };
        for scope in texts.into_iter().filter(|text| is_scope_token(text)) {
            if scopes.len() < SCOPES_MAX && !scopes.iter().any(|known| known == scope) {
                scopes.push(scope.to_owned());
            }
        }
    }
    let claims = login.claims.iter();
    let claims: Map<String, Value> =
        claims.filter_map(|(name, pointer)| Some((name.clone(), value.pointer(pointer.as_str())?.clone()))).collect();
    Grant { scopes, claims }
}

/// `scope-token` of RFC 6749, section 3.3.
fn is_scope_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~'))
}
