//! The embedded gateway is killed at any moment: what it acknowledged holds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::gateway::{Gateway, Tokens};
use crate::support::http::Client;
use crate::support::upstream::{PASSWORD, Upstream};

const CLIENTS: usize = 8;
/// Each ends by a kill.
const LOADS: u64 = 4;
const LOAD_TIME: Duration = Duration::from_millis(600);
/// Every so many calls a client logs out and in again.
const CALLS_PER_LOGIN: usize = 7;

/// What one client was told, and may therefore rely on.
#[derive(Default)]
struct Told {
    /// The newest pair, while it is logged in.
    holds: Option<Tokens>,
    ended: Vec<Tokens>,
    refreshes: u64,
}

#[test]
fn killed_under_load_it_forgets_neither_sessions_nor_logouts() {
    let (folder, upstream) = (tempfile::tempdir().unwrap(), Upstream::start());
    // Without a leeway each refresh is a rotation, and so a write.
    let settings = [("store.kind", "embedded"), ("refresh.leeway", "0s")];
    let mut clients: Vec<Told> = (0..CLIENTS).map(|_| Told::default()).collect();
    for load in 0..LOADS {
        let gateway = Gateway::start_in(folder.path(), &upstream, &settings);
        verify(&gateway, &mut clients);
        let killed = AtomicBool::new(false);
        thread::scope(|scope| {
            for (number, told) in clients.iter_mut().enumerate() {
                let (mut client, killed) = (gateway.client(), &killed);
                scope.spawn(move || {
                    work(&mut client, number, told);
                    assert!(killed.load(Ordering::SeqCst), "a call failed before the kill");
                });
            }
            // Not always at the same point of the work.
            thread::sleep(LOAD_TIME + Duration::from_millis(load * 37));
            killed.store(true, Ordering::SeqCst);
            gateway.kill();
        });
    }
    verify(&Gateway::start_in(folder.path(), &upstream, &settings), &mut clients);
    let (refreshes, logouts) = clients.iter().fold((0, 0), |(r, l), told| (r + told.refreshes, l + told.ended.len()));
    assert!(refreshes > 100 && logouts > 10, "too little load to show anything: {refreshes} refreshes, {logouts} logouts");
}

/// Until the connection breaks. What was asked and not answered may have happened or not.
fn work(client: &mut Client, number: usize, told: &mut Told) {
    for call in 1.. {
        match &told.holds {
            None => {
                let body = json!({"email": format!("user-{number}"), "password": PASSWORD});
                let Ok(response) = client.try_call("POST", "/login", None, Some(&body)) else { return };
                told.holds = Some(Tokens::of(&response.expect(200)));
            }
            Some(held) if call % CALLS_PER_LOGIN == 0 => {
                let held = held.clone();
                told.holds = None;
                let Ok(response) = client.try_call("POST", "/logout", Some(&held.access), None) else { return };
                response.expect(200);
                told.ended.push(held);
            }
            Some(held) => {
                let body = json!({"refreshToken": held.refresh});
                let Ok(response) = client.try_call("POST", "/refresh", None, Some(&body)) else { return };
                told.holds = Some(Tokens::of(&response.expect(200)));
                told.refreshes += 1;
            }
        }
    }
}

fn verify(gateway: &Gateway, clients: &mut [Told]) {
    let mut client = gateway.client();
    for told in clients {
        for ended in &told.ended {
            client.get("/api/me", Some(&ended.access)).expect(401);
            client.refresh(&ended.refresh).expect(401);
        }
        if let Some(held) = &mut told.holds {
            client.get("/api/me", Some(&held.access)).expect(200);
            let next = Tokens::of(&client.refresh(&held.refresh).expect(200));
            // The same again would mean that the store had lost the rotation and took it from the token.
            assert_ne!(next.refresh, held.refresh);
            *held = next;
        }
    }
}
