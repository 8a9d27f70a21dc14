//! The failure contract, line by line: real gateways, real servers, and what the network does to them. See docs/reliability.md.

mod clocks;
mod history;
mod load;
mod lost_exchanges;
mod lost_replies;
mod outages;
mod refusals;
mod rig;

use std::thread;
use std::time::Duration;

use tokio::time::Instant;

/// The longest that anything may take which is expected to happen by itself.
const PATIENCE: Duration = Duration::from_secs(15);

/// Waits until something holds that comes about by itself.
#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A figure for docs/reliability.md: run with `--no-capture`.
#[expect(clippy::print_stdout, reason = "the figures are read by people")]
fn report(figure: &str) {
    println!("{figure}");
}
