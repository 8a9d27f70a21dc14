//! How exchanges fail, and by whose fault.

use std::io;

use super::body::BodyFault;
use crate::domain::claims::Ending;
use crate::domain::stats::Counter;

/// Why an exchange ended before its response was whole, by whose fault that was. Counters, log lines and refusals go by this.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeEnd {
    #[error("{0}")]
    Upstream(#[from] UpstreamFault),
    /// The client's request could not be read whole.
    #[error("{0}")]
    Client(#[from] BodyFault),
    /// The session, or the token, that the exchange speaks for has ended.
    #[error("{0}")]
    Session(Ending),
}

/// What an upstream did wrong.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamFault {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no connection within the limit")]
    ConnectTimedOut,
    #[error("took nothing of the request within the limit")]
    WriteTimedOut,
    #[error("no response within the limit")]
    ResponseTimedOut,
    #[error("connection lost before a response: {0}")]
    Lost(io::Error),
    #[error("malformed response: {0}")]
    Malformed(&'static str),
    #[error("connection lost within the response: {0}")]
    Truncated(io::Error),
    #[error("paused too long within the response")]
    Paused,
}

impl UpstreamFault {
    pub const fn counter(&self) -> Counter {
        match self {
            Self::ConnectTimedOut | Self::WriteTimedOut | Self::ResponseTimedOut | Self::Paused => Counter::UpstreamTimeouts,
            Self::Connect(_) | Self::Lost(_) | Self::Malformed(_) | Self::Truncated(_) => Counter::UpstreamErrors,
        }
    }
}
