//! How exchanges fail, and by whose fault.

use std::io;

use super::body::BodyFault;
use crate::domain::claims::Denial;
use crate::domain::meters::Outcome;
use crate::domain::stats::Counter;
use crate::proxy::bond::CallerEnd;

/// Why an exchange ended before its response was whole, by whose fault that was. Counters, log lines and refusals go by this.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeEnd {
    #[error("{0}")]
    Upstream(#[from] UpstreamFault),
    /// The client's request could not be read whole.
    #[error("{0}")]
    Client(#[from] BodyFault),
    /// The caller turned out not to be let in, before anything was sent.
    #[error("{0}")]
    Refused(Denial),
    /// The session, or the token, that the exchange speaks for has ended.
    #[error("{0}")]
    Session(CallerEnd),
}

/// What an upstream did wrong.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamFault {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no connection within the limit")]
    ConnectTimedOut,
    /// It has as many connections as it may have, and all are in use.
    #[error("no connection became free within the limit")]
    Busy,
    #[error("took nothing of the request within the limit")]
    WriteTimedOut,
    #[error("no response within the limit")]
    ResponseTimedOut,
    #[error("connection lost before a response: {0}")]
    Lost(io::Error),
    /// It says that it has done nothing of what was asked.
    #[error("refused to take the request: {0}")]
    Refused(String),
    /// It has given up on this request.
    #[error("reset the request: {0}")]
    Reset(h2::Reason),
    #[error("malformed response: {0}")]
    Malformed(&'static str),
    #[error("breaks the rules of HTTP/2: {0}")]
    Violation(h2::Error),
    /// It has not said that it does (RFC 8441, section 3).
    #[error("takes no WebSockets by HTTP/2: its SETTINGS do not enable extended CONNECT")]
    NoWebSockets,
    #[error("connection lost within the response: {0}")]
    Truncated(io::Error),
    #[error("paused too long within the response")]
    Paused,
}

impl UpstreamFault {
    /// Whether there was no connection to send anything on.
    pub(super) const fn is_of_the_connecting(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::ConnectTimedOut | Self::Busy)
    }

    /// Whether it says that the backend is ill. One that is busy is not.
    pub(super) const fn counts_against(&self) -> bool {
        !matches!(self, Self::Busy | Self::NoWebSockets)
    }

    /// As what a request is counted that ends by it.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Busy | Self::Refused(_) => Outcome::UpstreamBusy,
            Self::ConnectTimedOut | Self::WriteTimedOut | Self::ResponseTimedOut | Self::Paused => Outcome::UpstreamTimeout,
            Self::Connect(_)
            | Self::Lost(_)
            | Self::Reset(_)
            | Self::Malformed(_)
            | Self::Violation(_)
            | Self::NoWebSockets
            | Self::Truncated(_) => Outcome::UpstreamError,
        }
    }

    pub const fn counter(&self) -> Counter {
        match self {
            Self::ConnectTimedOut | Self::Busy | Self::WriteTimedOut | Self::ResponseTimedOut | Self::Paused => {
                Counter::UpstreamTimeouts
            }
            Self::Connect(_)
            | Self::Lost(_)
            | Self::Refused(_)
            | Self::Reset(_)
            | Self::Malformed(_)
            | Self::Violation(_)
            | Self::NoWebSockets
            | Self::Truncated(_) => Counter::UpstreamErrors,
        }
    }
}

/// An attempt without a response.
pub(super) struct Failed {
    pub(super) end: ExchangeEnd,
    pub(super) again: Again,
}

/// Whether a request may be sent again. Its body is then as it was.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Nothing of it was sent, or the upstream says that it has done nothing of it.
    Unsent,
    /// Some of it was sent, and nothing came back. It has no body, and does no harm when it is done twice (RFC 9110, section 9.2.2).
    Harmless,
    Never,
}

impl Failed {
    /// The upstream cannot be reached: the request is as it was.
    pub(super) const fn unsent(end: ExchangeEnd) -> Self {
        Self { end, again: Again::Unsent }
    }
}
