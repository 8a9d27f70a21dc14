//! Why a request is not let through, and why what was admitted is over.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::claim_policy::ClaimPath;

/// Why a request is not let through. The client sees a public code; the cause goes to the log and the counters.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denial {
    #[error("no token")]
    NoToken,
    /// Two Authorization fields, or tokens in two places: 400 `invalid_request`.
    #[error("ambiguous credentials: {0}")]
    Ambiguous(&'static str),
    /// Two cookies of one name of ours. Which is whose cannot be told: 400, and the browser is made to forget both.
    #[error("ambiguous credentials: a cookie of ours twice")]
    CookieRepeated,
    /// A ticket, sent in a way in which none can be used: 400. The text is for the client's developer.
    #[error("a ticket that cannot be used so: {0}")]
    TicketMisused(&'static str),
    /// 401: the ticket is not known here, spent, too old, or of another path.
    #[error("the ticket is unknown here, spent, too old, or of another path")]
    TicketInvalid,
    /// 401 `invalid_token`. The text names the cause and holds nothing of the token.
    #[error("invalid token: {0}")]
    Invalid(&'static str),
    /// The issuer that the token names publishes no such key, as far as is known: 401 `token_invalid`, unless it is to be waited for.
    #[error("no key of that kid is known of the issuer that is named")]
    KeyUnknown,
    /// The issuer's key of that name did not make the signature, as far as is known: 401 `token_invalid`, unless a fetch that is due
    /// brings another key of the same name.
    #[error("the issuer's key of that kid did not make the signature")]
    KeyDisputed,
    /// 503: that issuer's keys cannot be had for now; they may in so long.
    #[error("the issuer's keys are not at hand")]
    IssuerKeysUnavailable(Duration),
    #[error("expired token")]
    Expired,
    #[error("revoked by {0}")]
    Revoked(RevokedBy),
    /// The browser's refresh token is worth nothing any more: 401, the user must log in.
    #[error("the session in the cookies is over")]
    SessionOver,
    /// 429: more refreshes than are allowed, of this session or from this address; in so long there may be another.
    #[error("more refreshes than allowed")]
    RefreshLimited(Duration),
    /// 403 `insufficient_scope`, naming what the route demands.
    #[error("insufficient scope, needs {}", .0.join(" "))]
    InsufficientScope(Arc<[String]>),
    /// 403 `insufficient_scope`: a claim that the route demands is missing, or has none of the values that would do.
    #[error("insufficient claims: {} is missing or has none of the values that would do", .0.as_str())]
    InsufficientClaims(ClaimPath),
    /// 401 `insufficient_user_authentication` (RFC 9470): the login is older than this, or the token does not say how old it is.
    #[error("the login is older than {0:?}, or of unknown age")]
    LoginTooOld(Duration),
    /// 403: the token came in a cookie, with a call that another site may have made the browser send.
    #[error("cookie from an origin that is not believed")]
    OriginRefused,
    /// 503: the replica of the revocations is too old to vouch for anyone.
    #[error("revocations not confirmed lately")]
    RevocationsStale,
    /// 503: the route asks the store on every request, and the store does not answer.
    #[error("store unavailable for a strict check")]
    StoreUnavailable,
    /// The node itself did not find out: nothing is known against the caller.
    #[error("not found out: {0}")]
    Undecided(Undecided),
}

/// Why a node does not find out whether a caller is let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Undecided {
    #[error("too many calls are in progress")]
    Overloaded,
    #[error("the call took too long")]
    TimedOut,
    #[error("the node is about to stop")]
    ShuttingDown,
    #[error("the call panicked")]
    Panicked,
    /// Of a refresh in flight.
    #[error("others kept changing the session")]
    Contended,
    /// Of a refresh in flight.
    #[error("the claims hook gave no response")]
    ClaimsUnknown,
    /// Of a refresh in flight: there is no key to sign with.
    #[error("the next token cannot be signed")]
    Unsigned,
    /// Of a refresh in flight: what the session is granted does not fit into a token, or a browser's cookie.
    #[error("the next token is too large")]
    TooLarge,
    /// Of a refresh in flight: what the session is granted makes no token that could be used.
    #[error("the next token cannot be used")]
    Unusable,
}

impl Denial {
    /// The token's time has not come.
    pub const EARLY: Self = Self::Invalid("nbf lies ahead");

    /// Whether a login would help: nobody is logged in, or nobody any more.
    #[must_use]
    pub const fn is_for_want_of_a_session(&self) -> bool {
        match self {
            Self::NoToken
            | Self::Invalid(_)
            | Self::KeyUnknown
            | Self::KeyDisputed
            | Self::Expired
            | Self::Revoked(_)
            | Self::SessionOver => true,
            // The application knows what it asks for, and its users are logged in.
            Self::LoginTooOld(_)
            | Self::RefreshLimited(_)
            | Self::Ambiguous(_)
            | Self::CookieRepeated
            | Self::IssuerKeysUnavailable(_)
            | Self::InsufficientScope(_)
            | Self::InsufficientClaims(_)
            | Self::OriginRefused
            | Self::RevocationsStale
            | Self::StoreUnavailable
            | Self::TicketMisused(_)
            | Self::TicketInvalid
            | Self::Undecided(_) => false,
        }
    }

    /// Whether the token may be good by keys that its issuer has published since they were fetched.
    #[must_use]
    pub const fn may_pass_with_other_keys(&self) -> bool {
        match self {
            Self::KeyUnknown | Self::KeyDisputed => true,
            Self::NoToken
            | Self::Ambiguous(_)
            | Self::CookieRepeated
            | Self::Invalid(_)
            | Self::IssuerKeysUnavailable(_)
            | Self::Expired
            | Self::Revoked(_)
            | Self::SessionOver
            | Self::RefreshLimited(_)
            | Self::InsufficientScope(_)
            | Self::InsufficientClaims(_)
            | Self::LoginTooOld(_)
            | Self::OriginRefused
            | Self::RevocationsStale
            | Self::StoreUnavailable
            | Self::TicketMisused(_)
            | Self::TicketInvalid
            | Self::Undecided(_) => false,
        }
    }
}

/// What kind of revocation covers a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RevokedBy {
    Session,
    Subject,
    Token,
    /// By a revocation of all tokens issued before a moment.
    Everyone,
}

/// Why what a caller was admitted to is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    Expired,
    Revoked(RevokedBy),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired => f.write_str("token expired"),
            Self::Revoked(by) => write!(f, "revoked by {by}"),
        }
    }
}

impl From<Ending> for Denial {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Expired => Self::Expired,
            Ending::Revoked(by) => Self::Revoked(by),
        }
    }
}

impl fmt::Display for RevokedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Session => "session",
            Self::Subject => "subject",
            Self::Token => "token id",
            Self::Everyone => "a revocation of everyone",
        })
    }
}
