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
    /// Of a connection on which HTTP/2 is spoken. `None`: it is spoken on none.
    pub http2: Option<Http2Limits>,
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

/// What one connection may take up on which HTTP/2 is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Http2Limits {
    /// Requests at once.
    pub streams_max: u32,
    /// How many bytes of one request's body may wait for the upstream.
    pub stream_window_bytes: usize,
    /// The same of all of a connection's.
    pub connection_window_bytes: usize,
    /// Requests that a client takes back before their responses are complete, within [`FLOOD_SPAN`].
    pub resets_max: u32,
    /// Frames that carry nothing of a message, within [`FLOOD_SPAN`], beside those that answer what was sent.
    pub control_frames_max: u32,
    /// How long a connection may be silent before the client is asked whether it is there. `None`: it is not asked.
    pub ping_interval: Option<Duration>,
    /// How long it may take to say so.
    pub ping_timeout: Duration,
}

/// The span in which frames are counted of which many are an attack.
pub const FLOOD_SPAN: Duration = Duration::from_secs(10);
