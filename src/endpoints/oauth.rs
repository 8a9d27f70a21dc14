//! The endpoints of OAuth beside those that give tokens: revocation (RFC 7009), introspection (RFC 7662), metadata (RFC 8414).

use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::Inner;
use super::clients::Caller;
use super::options::{EndpointOptions, Metadata};
use super::refusal::Refusal;
use super::{form, tokens};
use crate::domain::claims::{CLIENT_CLAIM, Principal};
use crate::domain::ids::TokenId;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::proxy::control::OwnRequest;
use crate::proxy::reply::{self, Reply};
use crate::sessions::{Introspected, RevokeError};

/// How long the metadata may be kept: no longer than the key set.
const METADATA_CACHE_CONTROL: &str = super::JWKS_CACHE_CONTROL;

impl Inner {
    /// Whoever holds a token may end it, as at `/logout`. Credentials are not needed; those that come must be right.
    pub(super) async fn revoke(&self, request: &OwnRequest, options: &EndpointOptions) -> Result<Reply, Refusal> {
        let form = form::of_request(&request.head, &request.body)?;
        options.clients.authenticate(&request.head.headers, &form)?;
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
        tokens::forbid_caching(&mut reply);
        Ok(reply)
    }

    pub(super) async fn introspect(&self, request: &OwnRequest, options: &EndpointOptions) -> Result<Reply, Refusal> {
        let form = form::of_request(&request.head, &request.body)?;
        match options.clients.authenticate(&request.head.headers, &form)? {
            Caller::Confidential(client) if client.introspects => {}
            Caller::Confidential(_) => return Err(Refusal::ClientUnauthorized),
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
        tokens::forbid_caching(&mut reply);
        Ok(reply)
    }
}

/// The members of RFC 7662, section 2.2; `sid` beside them.
#[derive(Serialize)]
struct Introspection<'a> {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
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
        scope: tokens::said(&principal.scopes),
        client_id: principal.claims.get(CLIENT_CLAIM).and_then(Value::as_str),
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
        scope: tokens::said(&session.grant.scopes),
        client_id: None,
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

/// The document of RFC 8414, section 2. `response_types_supported` must be there, and there is none: clients that demand it are
/// better served by an empty list than by a document that they refuse.
pub(super) fn metadata(metadata: &Metadata) -> Reply {
    let mut document = json!({
        "issuer": metadata.issuer,
        "response_types_supported": [],
        "grant_types_supported": metadata.grant_types,
    });
    let mut add = |name: &str, value: Value| {
        document[name] = value;
    };
    if let Some(url) = &metadata.token_endpoint {
        add("token_endpoint", json!(url));
        add("token_endpoint_auth_methods_supported", json!(metadata.token_auth_methods));
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
