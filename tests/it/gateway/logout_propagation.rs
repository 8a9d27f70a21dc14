//! How long a logout takes to be known everywhere.

use std::thread;
use std::time::Duration;

use super::until_refused;
use crate::support::gateway::{Gateway, Pair};
use crate::support::http::Client;

const CLIENTS: usize = 8;
const LOGOUTS_PER_CLIENT: usize = 125;
/// So that both workers of a node are asked.
const CONNECTIONS_PER_NODE: usize = 3;

/// Prints the distribution: run it with `--no-capture`.
#[test]
fn of_a_thousand_logouts_each_is_known_to_its_node_at_once_and_to_the_other_soon() {
    let pair = Pair::start(&[]);
    let mut delays: Vec<Duration> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn({
                    let pair = &pair;
                    move || log_out_alternating(pair, client)
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    delays.sort_unstable();
    assert_eq!(delays.len(), CLIENTS * LOGOUTS_PER_CLIENT);
    let at = |share: usize| delays[(delays.len() * share / 100).min(delays.len() - 1)];
    #[expect(clippy::print_stdout, reason = "the figures are what the test is for")]
    {
        println!(
            "{} logouts, {CLIENTS} at a time: the other node refused after p50 {:?}, p99 {:?}, max {:?}",
            delays.len(),
            at(50),
            at(99),
            at(100)
        );
    }
}

/// From each response until the other node's first refusal has arrived: a round trip is the least.
fn log_out_alternating(pair: &Pair, client: usize) -> Vec<Duration> {
    let mut nodes = pair.nodes().map(connections);
    let mut delays = Vec::with_capacity(LOGOUTS_PER_CLIENT);
    for round in 0..LOGOUTS_PER_CLIENT {
        let tokens = nodes[round % 2][0].log_in(&format!("user-{client}-{round}"));
        for connection in nodes.iter_mut().flatten() {
            connection.get("/api/me", Some(&tokens.access)).expect(200);
        }
        let [here, there] = &mut nodes;
        let (here, there) = if round % 4 < 2 { (here, there) } else { (there, here) };
        here[0].log_out(&tokens.access, "session").expect(200);
        delays.push(until_refused(&mut there[0], &tokens.access));
        for connection in here {
            connection.get("/api/me", Some(&tokens.access)).expect(401);
        }
        for connection in there {
            connection.get("/api/me", Some(&tokens.access)).expect(401);
            connection.refresh(&tokens.refresh).expect(401);
        }
    }
    delays
}

fn connections(node: &Gateway) -> [Client; CONNECTIONS_PER_NODE] {
    [(); CONNECTIONS_PER_NODE].map(|()| node.client())
}
