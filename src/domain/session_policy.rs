//! What the operator decides about sessions.

use std::time::Duration;

use super::revocation::Retention;
use super::subject_token::SubjectTokenLives;
use super::subjects::{ReservedPrefixes, SubjectPrefix};
use super::time::Timestamp;

/// The rules for all sessions of a deployment. A reload replaces them as a whole.
#[derive(Clone, Debug)]
pub struct SessionPolicy {
    pub access_lifetime: Duration,
    /// The largest access token, in bytes, that clients can send and can keep where they are to keep it.
    pub access_token_bytes_max: usize,
    /// How long a revocation of one of our tokens is kept.
    pub retention: Retention,
    pub idle_lifetime: Duration,
    pub absolute_lifetime: Duration,
    /// Live sessions of one subject; more end the oldest. `None`: unlimited.
    pub sessions_max: Option<u32>,
    /// How long after a rotation the previous token still gets the same response.
    pub rotation_leeway: Duration,
    /// `false`: a refresh returns an access token alone, and the refresh token stays as it is.
    pub rotation: bool,
    pub reuse: ReusePolicy,
    /// Age of the last confirmation of the revocations from which on no subject token is exchanged: it may be revoked.
    pub max_staleness: Duration,
    /// How long subject tokens live on, and so the revocations that cover their sessions.
    pub subject_tokens: SubjectTokenLives,
    pub old_session: OldSession,
    /// Until when refresh tokens of someone else, imported, are looked up. `None`: never.
    pub imported_until: Option<Timestamp>,
    /// What no subject of ours begins with.
    pub reserved: ReservedPrefixes,
    /// What stands before the ids of machines where subjects are named.
    pub machine_prefix: SubjectPrefix,
}

/// What happens to a session when one of its spent refresh tokens is presented.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReusePolicy {
    /// The session ends: the token was stolen.
    Revoke,
    /// The token alone is refused.
    Refuse,
}

/// What happens to the session of a refresh token that a login of the same subject carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OldSession {
    End,
    Keep,
}

/// What happens to a refresh while the claims hook does not respond. The session lives on in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WithoutClaims {
    /// The previous claims hold.
    Keep,
    /// No tokens for now: 503.
    Refuse,
}
