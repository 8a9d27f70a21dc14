//! The failure contract, line by line: real gateways, real servers, and what the network does to them. See docs/reliability.md.

mod clocks;
mod cluster_down;
mod failovers;
mod history;
mod in_flight;
mod load;
mod lost_exchanges;
mod lost_replies;
mod outages;
mod refusals;
mod rig;

use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::support::gateway::Tokens;
use crate::support::http::Client;

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

/// Whether the node refuses the access token because its session is over. What was let in and not answered by then is cut off
/// without a response.
fn is_ended(client: &mut Client, tokens: &Tokens) -> bool {
    match client.try_call("GET", "/api/me", Some(&tokens.access), None) {
        Ok(response) => response.status() == 401,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
            false
        }
    }
}

/// A figure for docs/reliability.md: run with `--no-capture`.
#[expect(clippy::print_stdout, reason = "the figures are read by people")]
fn report(figure: &str) {
    println!("{figure}");
}

/// Whether the node's readiness names an alarm about the store.
fn has_alarm(client: &mut Client, name: &str) -> bool {
    let dependencies = client.get("/readyz", None).json()["dependencies"].clone();
    let alarms = dependencies.as_array().unwrap().iter().filter_map(|dependency| dependency["alarms"].as_array());
    alarms.flatten().any(|alarm| alarm == name)
}
