//! What is measured of one upstream, whichever worker it happens to.

use super::cells::{Count, Counts};
use super::labels::Http2Reset;

/// One upstream's set, which goes on when settings change. What is counted here is rare: any thread may.
#[derive(Debug, Default)]
pub struct UpstreamSet {
    /// Requests that had to wait for a connection.
    pub waited: Count,
    /// Requests for which none became free in time.
    pub refused: Count,
    /// Streams of HTTP/2 that its servers reset.
    pub resets: Counts<Http2Reset>,
}
