//! How long connections may take for what, and how many there are.

use std::time::Duration;

use crate::proxy::upstream::options::{Http2Options, UpstreamOptions};

/// What holds for the connections of one pool.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy::upstream) struct PoolLimits {
    pub(super) connect_timeout: Duration,
    pub(super) write_timeout: Duration,
    /// How long a connection is kept without use.
    pub(super) idle_timeout: Duration,
    /// How many are kept.
    pub(super) idle_max: usize,
    pub(super) http2: Http2Options,
}

impl From<&UpstreamOptions> for PoolLimits {
    fn from(options: &UpstreamOptions) -> Self {
        Self {
            connect_timeout: options.connect_timeout,
            write_timeout: options.write_timeout,
            idle_timeout: options.idle_timeout,
            idle_max: options.idle_max,
            http2: options.http2,
        }
    }
}
