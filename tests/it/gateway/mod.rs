//! The whole gateway: real processes, real sockets.

mod administration;
mod audit;
mod balancing;
mod claims_hook;
mod crash;
mod cross_origin;
mod drain;
mod exchanged_addresses;
mod key_removal;
mod listeners;
mod logins;
mod logout_propagation;
mod machines;
mod memory;
mod metrics;
mod migration;
mod moved_listeners;
mod oauth;
mod open_streams;
mod ports;
mod probes;
mod refresh_storm;
mod reloads;
mod service_manager;
mod settings_in_force;
mod store_calls;
mod tickets;
mod token_exchange;
mod two_nodes;

use std::io::ErrorKind;
use std::time::Duration;

use tokio::time::Instant;

use crate::support::http::Client;

/// Within this another node refuses what one node ended. Generous: what it takes is measured, not asserted.
const BOUND: Duration = Duration::from_secs(2);

/// Asks with the token until it is refused, and returns how long that took: the last response included.
///
/// What was let in and not answered when the session ended is cut off without a response; from then on it is refused.
#[track_caller]
fn until_refused(client: &mut Client, token: &str) -> Duration {
    let began = Instant::now();
    let mut cut = false;
    loop {
        match client.try_call("GET", "/api/me", Some(token), None) {
            Ok(response) if response.status() == 200 => {
                let took = began.elapsed();
                assert!(!cut && took < BOUND, "still accepted after {took:?}");
            }
            Ok(response) => {
                response.expect(401);
                return began.elapsed();
            }
            Err(error) => {
                assert!(!cut && error.kind() == ErrorKind::UnexpectedEof, "{error}");
                cut = true;
            }
        }
    }
}
