//! Many refreshes of one token at the same instant, over both nodes.

use std::collections::BTreeSet;
use std::sync::{Barrier, Mutex};
use std::thread;

use crate::support::gateway::{Pair, Tokens};

const CLIENTS: usize = 64;
const ROUNDS: usize = 200;

#[test]
fn sixty_four_refreshes_of_one_token_give_one_successor() {
    // A busy machine is no failed store.
    let pair = Pair::start(&[("store.redis.deadline", "10s")]);
    let (barrier, token, successors) = (Barrier::new(CLIENTS), Mutex::new(String::new()), Mutex::new(BTreeSet::new()));
    let storm = |client: usize| {
        let mut connection = pair.nodes()[client % 2].client();
        for round in 0..ROUNDS {
            if client == 0 {
                *token.lock().unwrap() = connection.log_in(&format!("user-{round}")).refresh;
            }
            barrier.wait();
            let presented = token.lock().unwrap().clone();
            let response = connection.refresh(&presented);
            let status = response.status();
            successors.lock().unwrap().insert(if status == 200 { Tokens::of(&response).refresh } else { response.text() });
            barrier.wait();
            if client == 0 {
                let found = std::mem::take(&mut *successors.lock().unwrap());
                assert!(found.len() == 1 && !found.contains(&presented), "round {round}: {found:?}");
                let successor = found.into_iter().next().unwrap();
                assert!(successor.starts_with("tgr_"), "round {round}: {successor}");
            }
        }
    };
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let storm = &storm;
            scope.spawn(move || storm(client));
        }
    });
}
