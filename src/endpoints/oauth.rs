//! The endpoints of OAuth beside `/refresh`: revocation (RFC 7009), introspection (RFC 7662), metadata (RFC 8414).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, PRAGMA};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::Inner;
use super::form::Form;
use super::options::{EndpointOptions, Metadata};
use super::refusal::Refusal;
use crate::crypto::client_secret::ClientSecret;
use crate::domain::claims::Principal;
use crate::domain::ids::TokenId;
use crate::domain::media_type;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::proxy::control::OwnRequest;
use crate::proxy::reply::{self, Reply};
use crate::sessions::{Introspected, RevokeError};

/// How long the metadata may be kept: no longer than the key set.
const METADATA_CACHE_CONTROL: &str = super::JWKS_CACHE_CONTROL;

/// Who calls, by the credentials of RFC 6749, section 2.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Caller {
    /// Its secret was right.
    Confidential,
    /// It brought no secret.
    Public,
}

impl Inner {
    /// Whoever holds a token may end it, as at `/logout`. Credentials are not needed; those that come must be right.
    pub(super) async fn revoke(&self, request: &OwnRequest, options: &EndpointOptions) -> Result<Reply, Refusal> {
        let form = form(&request.head, &request.body)?;
        authenticate(&request.head.headers, &form, &options.clients)?;
        // `token_type_hint` only says where to look first (section 2.1): every place is looked at.
        let token = form.text("token").ok_or(Refusal::Malformed("The parameter token is missing."))?;
        if self.sessions.read(token).needs_look_up() {
            self.limits.admit_lookup_from(request.address).map_err(Refusal::RateLimited)?;
        }
        match self.sessions.revoke_token(token).await {
            Ok(()) => {}
            Err(RevokeError::NoTokenId) => return Err(Refusal::TokenTypeUnsupported),
            // 503: the client must assume that the token lives (RFC 7009, section 2.2.1).
            Err(RevokeError::Undecided(cause)) => return Err(cause.into()),
        }
        let mut reply = Response::new(Bytes::new());
        forbid_caching(&mut reply);
        Ok(reply)
    }

    pub(super) async fn introspect(&self, request: &OwnRequest, options: &EndpointOptions) -> Result<Reply, Refusal> {
        let form = form(&request.head, &request.body)?;
        match authenticate(&request.head.headers, &form, &options.clients)? {
            Caller::Confidential => {}
            Caller::Public => return Err(Refusal::ClientInvalid),
        }
        let token = form.text("token").ok_or(Refusal::Malformed("The parameter token is missing."))?;
        let response = match self.sessions.introspect(token).await? {
            // Nothing more is said of a token that is worth nothing (section 2.2).
            Introspected::Inactive => json!({"active": false}),
            Introspected::Access(principal) => of_access_token(&principal),
            Introspected::Refresh(session) => of_refresh_token(&session, &self.sessions.issuer()),
        };
        let mut reply = reply::json(StatusCode::OK, &response);
        forbid_caching(&mut reply);
        Ok(reply)
    }
}

fn forbid_caching(reply: &mut Reply) {
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
}

fn form<'a>(head: &Parts, body: &'a Bytes) -> Result<Form<'a>, Refusal> {
    if !media_type::is(&head.headers, "application/x-www-form-urlencoded") {
        return Err(Refusal::FormExpected);
    }
    Form::parse(body)
}

/// Reads and judges the credentials: HTTP Basic, or parameters of the body; never both (RFC 6749, section 2.3).
fn authenticate(headers: &HeaderMap, form: &Form<'_>, clients: &[(String, ClientSecret)]) -> Result<Caller, Refusal> {
    let in_body = form.text("client_id").map(str::to_owned).zip(form.text("client_secret").map(str::to_owned));
    let (id, secret) = match (basic(headers)?, in_body) {
        (Some(_), Some(_)) => return Err(Refusal::Malformed("Client credentials were sent in two places.")),
        (Some(credentials), None) | (None, Some(credentials)) => credentials,
        // A client that has a secret must show it; any other is a public one.
        (None, None) if form.text("client_secret").is_some() => return Err(Refusal::ClientInvalid),
        (None, None) => {
            let named = form.text("client_id");
            let is_confidential = clients.iter().any(|(id, _)| named == Some(id.as_str()));
            return if is_confidential { Err(Refusal::ClientInvalid) } else { Ok(Caller::Public) };
        }
    };
    // Every client's secret is compared, so that the time tells nothing of which id is known.
    let matches = |(own, own_secret): &(String, ClientSecret)| own_secret.is(&secret) && *own == id;
    let is_known = clients.iter().fold(false, |known, client| known | matches(client));
    if is_known { Ok(Caller::Confidential) } else { Err(Refusal::ClientInvalid) }
}

/// The id and secret of HTTP Basic, each form-encoded before (RFC 6749, section 2.3.1).
pub(super) fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, Refusal> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(Refusal::Malformed("The field Authorization was sent twice."));
    }
    let decoded = || {
        let (scheme, encoded) = field.to_str().ok()?.split_once(' ')?;
        let bytes = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("Basic"))?;
        let text = String::from_utf8(bytes).ok()?;
        let (id, secret) = text.split_once(':')?;
        Some((form_decoded(id), form_decoded(secret)))
    };
    decoded().map(Some).ok_or(Refusal::ClientInvalid)
}

fn form_decoded(text: &str) -> String {
    let with_spaces = text.replace('+', " ");
    percent_encoding::percent_decode_str(&with_spaces).decode_utf8_lossy().into_owned()
}

/// The members of RFC 7662, section 2.2; `sid` beside them.
#[derive(Serialize)]
struct Introspection<'a> {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'a str>,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    /// RFC 9470, section 6.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    sub: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    aud: &'a [String],
    iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
}

fn of_access_token(principal: &Principal) -> Value {
    json!(Introspection {
        active: true,
        scope: scope(&principal.scopes),
        token_type: Some("Bearer"),
        exp: principal.expires_at.secs(),
        iat: principal.issued_at.map(Timestamp::secs),
        nbf: principal.not_before.map(Timestamp::secs),
        auth_time: principal.logged_in_at.map(Timestamp::secs),
        sub: principal.subject.as_str(),
        aud: &principal.audiences,
        iss: &principal.issuer,
        jti: principal.token.as_ref().map(TokenId::as_str),
        sid: principal.session.map(|session| session.to_string()),
    })
}

fn of_refresh_token(session: &Session, issuer: &str) -> Value {
    json!(Introspection {
        active: true,
        scope: scope(&session.grant.scopes),
        token_type: None,
        exp: session.lifetime.ends_at().secs(),
        iat: Some(session.id.created_at().secs()),
        nbf: None,
        auth_time: session.grant.logged_in_at.map(Timestamp::secs),
        sub: session.subject.as_str(),
        aud: &[],
        iss: issuer,
        jti: None,
        sid: Some(session.id.to_string()),
    })
}

fn scope(scopes: &[String]) -> Option<String> {
    Some(scopes.join(" ")).filter(|scope| !scope.is_empty())
}

/// The document of RFC 8414, section 2. `response_types_supported` must be there, and there is none: clients that demand it are
/// better served by an empty list than by a document that they refuse.
pub(super) fn metadata(metadata: &Metadata) -> Reply {
    let mut document = json!({
        "issuer": metadata.issuer,
        "response_types_supported": [],
        "grant_types_supported": ["refresh_token"],
    });
    let mut add = |name: &str, value: Value| {
        document[name] = value;
    };
    if let Some(url) = &metadata.token_endpoint {
        add("token_endpoint", json!(url));
        add("token_endpoint_auth_methods_supported", json!(["none"]));
    }
    if let Some(url) = &metadata.jwks_uri {
        add("jwks_uri", json!(url));
    }
    if let Some(url) = &metadata.revocation_endpoint {
        add("revocation_endpoint", json!(url));
        add("revocation_endpoint_auth_methods_supported", json!(["none", "client_secret_basic", "client_secret_post"]));
    }
    if let Some(url) = &metadata.introspection_endpoint {
        add("introspection_endpoint", json!(url));
        add("introspection_endpoint_auth_methods_supported", json!(["client_secret_basic", "client_secret_post"]));
    }
    let mut reply = reply::json(StatusCode::OK, &document);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(METADATA_CACHE_CONTROL));
    reply
}
