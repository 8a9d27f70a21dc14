//! What one client may take up of a listener.

use std::time::Duration;

/// How long a client may take for each step of an exchange, and how much it may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientLimits {
    /// From the beginning of a connection to the end of what comes before the first request: a PROXY header, a TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request to the end of its head.
    pub header_timeout: Duration,
    /// Between two requests.
    pub idle_timeout: Duration,
    /// The longest pause within a request's body.
    pub body_idle_timeout: Duration,
    /// The longest that a client may accept no bytes of a response.
    pub write_timeout: Duration,
    pub header_bytes_max: usize,
    pub header_count_max: usize,
    /// After the last response.
    pub linger: LingerLimits,
}

impl ClientLimits {
    /// The longest target of a request, in bytes.
    #[must_use]
    pub const fn target_bytes_max(&self) -> usize {
        self.header_bytes_max / 2
    }
}

/// How much of an unwanted body is read and discarded, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LingerLimits {
    pub bytes_max: u64,
    pub timeout: Duration,
}
