//! How far the import is: a bar on a terminal, a line now and then elsewhere.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::source::Position;
use crate::domain::time::Clock;

const BAR_WIDTH: usize = 30;
const BAR_INTERVAL: Duration = Duration::from_millis(200);
const LINE_INTERVAL: Duration = Duration::from_secs(10);

pub(super) struct Progress {
    position: Position,
    clock: Arc<dyn Clock>,
    began_at: Duration,
    told_at: Duration,
    is_terminal: bool,
}

impl Progress {
    pub(super) fn new(position: Position, clock: Arc<dyn Clock>) -> Self {
        let now = clock.monotonic();
        Self { position, clock, began_at: now, told_at: now, is_terminal: io::stderr().is_terminal() }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.began_at)
    }

    /// Says how far it is, if it is time to.
    pub(super) fn tell(&mut self, rows: u64) {
        let now = self.clock.monotonic();
        let interval = if self.is_terminal { BAR_INTERVAL } else { LINE_INTERVAL };
        if now.saturating_sub(self.told_at) < interval {
            return;
        }
        self.told_at = now;
        let bytes = self.position.bytes.load(Ordering::Relaxed);
        let line = line(rows, bytes, self.position.length, self.elapsed(), self.is_terminal);
        let mut out = io::stderr().lock();
        // Whoever does not see it misses nothing: the summary comes in any case.
        let _ = if self.is_terminal { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") };
        let _ = out.flush();
    }

    /// Clears the bar, so that what is said next has a line of its own.
    pub(super) fn clear(&self) {
        if self.is_terminal {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn line(rows: u64, bytes: u64, length: Option<u64>, elapsed: Duration, with_bar: bool) -> String {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    let pace = format!("{rows} rows, {} rows/s", rows.saturating_mul(1000) / millis);
    let Some(length) = length.filter(|length| *length > 0) else { return pace };
    let bytes = bytes.min(length);
    let percent = bytes.saturating_mul(100) / length;
    let left = u128::from(millis) * u128::from(length - bytes) / u128::from(bytes.max(1)) / 1000;
    let filled = BAR_WIDTH * usize::try_from(percent).unwrap_or(100) / 100;
    let bar = if with_bar { format!("[{:<BAR_WIDTH$}] ", "=".repeat(filled)) } else { String::new() };
    format!("{bar}{percent}%, {pace}, {left} s left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_and_how_long() {
        let elapsed = Duration::from_secs(10);
        assert_eq!(line(5000, 250, Some(1000), elapsed, false), "25%, 5000 rows, 500 rows/s, 30 s left");
        assert_eq!(
            line(5000, 1000, Some(1000), elapsed, true),
            format!("[{}] 100%, 5000 rows, 500 rows/s, 0 s left", "=".repeat(30))
        );
        assert_eq!(line(5000, 250, None, elapsed, true), "5000 rows, 500 rows/s", "a pipe has no length");
        assert_eq!(line(0, 0, Some(0), Duration::ZERO, true), "0 rows, 0 rows/s");
    }
}
