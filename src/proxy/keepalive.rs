//! Peers that are gone without a word: the kernel finds them.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::domain::network::{KEEPALIVE_INTERVAL, KEEPALIVE_RETRIES, KEEPALIVE_TIME, KEEPALIVE_TIMEOUT};

/// Ends a connection, or any that a listener accepts, whose peer is silent and does not answer the kernel's questions, or does not
/// acknowledge what was sent. A peer may refuse to take more for `write_timeout` at the least.
pub fn watch_for_death(socket: &SockRef<'_>, write_timeout: Duration) -> io::Result<()> {
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    // The kernel asks nothing while something is on its way, and would send that again for a quarter of an hour.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(KEEPALIVE_TIMEOUT.max(write_timeout)))?;
    Ok(())
}
