//! What the outside world gives: time and randomness.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::crypto::entropy::{Entropy, SystemEntropy};
use crate::domain::time::{Clock, Timestamp};

/// Passed in by whoever starts the gateway.
#[derive(Clone)]
pub struct Ambient {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl Ambient {
    #[must_use]
    pub fn of_system() -> Self {
        Self { clock: Arc::new(SystemClock::new()), entropy: Arc::new(SystemEntropy::new()) }
    }
}

/// What a node is called that was given no name: where it runs, and where it listens.
pub(super) fn node_name(port: u16) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(|c| !c.is_control()).take(HOST_NAME_CHARS_MAX).collect();
    if host.is_empty() { format!("node:{port}") } else { format!("{host}:{port}") }
}

/// How much of a machine's name is kept.
const HOST_NAME_CHARS_MAX: usize = 64;

/// The operating system's clocks.
#[derive(Debug)]
pub(super) struct SystemClock {
    began_at: Instant,
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that is passed in everywhere else")]
impl SystemClock {
    fn new() -> Self {
        Self { began_at: Instant::now() }
    }

    fn since_epoch() -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    fn since_start(&self) -> Duration {
        Instant::now().saturating_duration_since(self.began_at)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0).saturating_add(Self::since_epoch())
    }

    fn monotonic(&self) -> Duration {
        self.since_start()
    }
}
