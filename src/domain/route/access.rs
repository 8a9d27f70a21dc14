//! Who may use a route, and how often.

use crate::domain::demands::TokenDemands;
use crate::domain::rate::Rate;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// Anyone; a token, if one is sent, is neither read nor passed on as an identity.
    Public,
    /// Anyone; a token, if one is sent, must be valid, and tells the upstream who calls.
    Optional,
    /// A valid token that meets these.
    Token(TokenDemands),
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

/// How often each caller may use a route. Each node counts by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteLimit {
    pub rate: Rate,
    pub by: LimitBy,
}

/// What counts as one caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitBy {
    /// The subject of the token; the address where there is none.
    Subject,
    Address,
}
