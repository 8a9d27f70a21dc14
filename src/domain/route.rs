//! Routes: which upstream a request goes to, and what it demands of the caller.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::ids::SessionId;

/// A gateway's own endpoint. `Login`, `Register` and `QuickRegister` are answered by the upstream first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endpoint {
    Login,
    Register,
    QuickRegister,
    Refresh,
    Logout,
    Sessions,
    Session(SessionId),
    Jwks,
    Health,
    Ready,
}

/// Position of an upstream in the settings' list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UpstreamIndex(pub usize);

/// Host + path prefix + methods → upstream + what it demands of the caller.
#[derive(Clone, Debug)]
pub struct Route {
    pub name: Arc<str>,
    /// Lower-case host without port; `None` matches every host.
    pub host: Option<String>,
    /// Canonical path; matches itself and everything below it by whole segments. `/` matches all.
    pub prefix: String,
    /// Match `prefix` alone and nothing below it.
    pub exact: bool,
    /// Empty: every method.
    pub methods: Vec<Method>,
    pub upstream: UpstreamIndex,
    pub access: Access,
    /// What protected requests meet when the revocations are stale.
    pub when_stale: WhenStale,
    pub revocation: RevocationCheck,
    pub body_bytes_max: u64,
    /// From the request's head to the end of the answer's head.
    pub response_timeout: Duration,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// Anyone; a token, if one is sent, is neither read nor passed on as an identity.
    Public,
    /// A valid token, with one of `audiences` (any, when empty) and all of `scopes`.
    Token { audiences: Arc<[String]>, scopes: Arc<[String]> },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenStale {
    Reject,
    Serve,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RevocationCheck {
    /// The replica in memory: no store call.
    Replica,
    /// The replica, and one store read per request.
    Strict,
}
