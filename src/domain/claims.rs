//! Claims of an access token: strict types, and the check against a policy.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::ids::{Generation, SessionId, Subject, TokenId};
use super::time::Timestamp;

/// The claims of our own tokens that the gateway itself writes; neither an upstream nor the operator's mapping can.
pub const RESERVED_CLAIMS: [&str; 10] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "gen", "scope"];

/// Who a request speaks for, after its token was verified. Immutable and shared: one per distinct token.
#[derive(Clone, PartialEq, Debug)]
pub struct Principal {
    pub subject: Subject,
    /// The `iss` of the token.
    pub issuer: Arc<str>,
    /// Present in our own tokens alone.
    pub session: Option<SessionId>,
    /// Present in our own tokens alone.
    pub generation: Option<Generation>,
    pub token: Option<TokenId>,
    pub audiences: Vec<String>,
    pub scopes: Vec<String>,
    pub issued_at: Option<Timestamp>,
    pub not_before: Option<Timestamp>,
    pub expires_at: Timestamp,
    /// Every further claim, for those that the operator chose to pass on.
    pub claims: Map<String, Value>,
}

/// Why a request is not let through. The client sees a public code; the cause goes to the log and the counters.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denial {
    #[error("no token")]
    NoToken,
    /// Two Authorization fields, or tokens in two places: 400 `invalid_request`.
    #[error("ambiguous credentials: {0}")]
    Ambiguous(&'static str),
    /// 401 `invalid_token`. The text names the cause and holds nothing of the token.
    #[error("invalid token: {0}")]
    Invalid(&'static str),
    #[error("expired token")]
    Expired,
    #[error("revoked by {0}")]
    Revoked(RevokedBy),
    /// 403 `insufficient_scope`, naming what the route demands.
    #[error("insufficient scope, needs {}", .0.join(" "))]
    InsufficientScope(Arc<[String]>),
    /// 503: the replica of the revocations is too old to vouch for anyone.
    #[error("revocations not confirmed lately")]
    RevocationsStale,
    /// 503: the route asks the store on every request, and the store does not answer.
    #[error("store unavailable for a strict check")]
    StoreUnavailable,
}

/// What kind of revocation covers a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RevokedBy {
    Session,
    Subject,
    Token,
}

impl std::fmt::Display for RevokedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Session => "session",
            Self::Subject => "subject",
            Self::Token => "token id",
        })
    }
}
