//! New settings while requests are under way.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde_json::json;

use super::drain::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::{PASSWORD, Upstream};

const CLIENTS: usize = 4;

/// Requests without pause, on kept-alive connections, until `work` is done. Every one of them has to succeed.
fn under_load(gateway: &Gateway, work: impl FnOnce(&AtomicU64)) {
    let (is_over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = gateway.client();
                while !is_over.load(Ordering::Relaxed) {
                    client.post("/public/x", &json!({"some": "body"})).expect(200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        work(&served);
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn an_upstream_moves_to_another_server_under_load_and_no_request_fails() {
    let (old, new, folder) = (Upstream::start(), Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &old, &[]);
    let mut held = gateway.client();
    let token = held.log_in("ann").access;
    thread::scope(|scope| {
        let waiting = scope.spawn(|| held.get("/api/held", Some(&token)));
        old.await_held(1);
        under_load(&gateway, |served| {
            for (from, to) in [(&old, &new), (&new, &old), (&old, &new)] {
                let (before, there) = (served.load(Ordering::Relaxed), to.requests());
                eventually("requests go through", || served.load(Ordering::Relaxed) > before + 100);
                gateway.reload(|settings| settings.replace(&from.url(), &to.url()));
                eventually("they go to the other server", || to.requests() > there + 100);
            }
        });
        let asked = old.requests();
        gateway.client().get("/public/y", None).expect(200);
        assert_eq!(old.requests(), asked, "nobody asks the old server any more");
        assert!(!waiting.is_finished());
        old.release();
        waiting.join().unwrap().expect(200);
    });
}

#[test]
fn connections_to_an_upstream_that_stays_outlive_reloads() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &upstream, &[("listen.workers", "1")]);
    let mut client = gateway.client();
    client.get("/public", None).expect(200);
    let open = upstream.connections();
    for timeout in ["3s", "4s"] {
        gateway.reload(|settings| settings.replacen("[[routes]]", &format!("connect_timeout = \"{timeout}\"\n[[routes]]"), 1));
        client.get("/public", None).expect(200);
        assert_eq!(upstream.connections(), open, "the connection is used again");
        gateway.reload(|settings| settings.replace(&format!("connect_timeout = \"{timeout}\"\n"), ""));
    }
}

#[test]
fn routes_upstreams_and_logins_change_together_and_go_together() {
    let (first, second, folder) = (Upstream::start(), Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &first, &[]);
    let further = format!(
        "[upstreams.second]\nurl = \"{}\"\n[login]\nupstream = \"second\"\n[[routes]]\nname = \"second\"\nprefix = \"/public/2\"\n\
         upstream = \"second\"\naccess = \"public\"\n",
        second.url()
    );
    let api = "[[routes]]\nname = \"api\"\nprefix = \"/\"\nupstream = \"api\"\n";
    gateway.reload(|settings| {
        settings
            .replace("access = \"public\"", "access = \"public\"\nupstream = \"api\"")
            .replace("[[routes]]\nname = \"api\"\nprefix = \"/\"", api)
            + &further
    });
    let (of_first, of_second) = (first.requests(), second.requests());
    gateway.client().get("/public/2", None).expect(200);
    gateway.client().get("/public/1", None).expect(200);
    gateway.client().post("/login", &json!({"email": "ann", "password": PASSWORD})).expect(200);
    assert_eq!((first.requests() - of_first, second.requests() - of_second), (1, 2));
    gateway.reload(|settings| settings.replace(&further, ""));
    gateway.client().post("/login", &json!({"email": "ann", "password": PASSWORD})).expect(200);
    gateway.client().get("/public/2", None).expect(200);
    assert_eq!((first.requests() - of_first, second.requests() - of_second), (3, 2));
}

#[test]
fn limits_of_clients_hold_from_the_next_connection_on() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &upstream, &[]);
    let long = format!("GET /public HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(6000));
    let ask = |connection: &mut TcpStream, request: &str| {
        connection.write_all(request.as_bytes()).unwrap();
        let mut start = [0; 12];
        connection.read_exact(&mut start).unwrap();
        String::from_utf8(start.to_vec()).unwrap()
    };
    let mut before = TcpStream::connect(gateway.address()).unwrap();
    assert_eq!(ask(&mut before, &long), "HTTP/1.1 200");
    gateway.reload(|settings| settings.replacen("workers = 2\n", "workers = 2\nheader_bytes_max = \"4KiB\"\n", 1));
    let mut after = TcpStream::connect(gateway.address()).unwrap();
    assert_eq!(ask(&mut after, &long), "HTTP/1.1 431");
}

/// So many, unless `TOKENGATE_RELOADS` says otherwise: before a release, 1000.
const RELOADS: u32 = 60;

#[expect(clippy::disallowed_methods, reason = "an argument for one test: the runner has no other way to pass it")]
fn reloads() -> u32 {
    std::env::var("TOKENGATE_RELOADS").map_or(RELOADS, |count| count.parse().expect("TOKENGATE_RELOADS is a number"))
}

#[test]
fn no_request_is_lost_to_reloads_on_kept_connections_or_new_ones() {
    let reloads = reloads();
    let (first, second, folder) = (Upstream::start(), Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &first, &[]);
    let file = folder.path().join("tokengate.toml");
    let settings = [std::fs::read_to_string(&file).unwrap(), {
        let changed = std::fs::read_to_string(&file).unwrap().replace(&first.url(), &second.url());
        changed.replacen("workers = 2\n", "workers = 2\nidle_timeout = \"60s\"\n", 1) + "[tokens]\nleeway = \"5s\"\n"
    }];
    let token = gateway.client().log_in("ann").access;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let on_new_connections: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut served = 0_u64;
                    while !is_over.load(Ordering::Relaxed) {
                        gateway.client().get("/api/me", Some(&token)).expect(200);
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        under_load(&gateway, |served| {
            for round in 0..reloads {
                let before = served.load(Ordering::Relaxed);
                std::fs::write(&file, &settings[round as usize % 2]).unwrap();
                let said = gateway.admin().call("POST", "/reload", None, None).expect(200).json();
                assert_eq!(said, json!({"status": "reloaded", "needsRestart": []}));
                eventually("requests go through", || served.load(Ordering::Relaxed) > before);
            }
        });
        is_over.store(true, Ordering::Relaxed);
        let served: u64 = on_new_connections.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(served > u64::from(reloads), "{served}");
    });
    assert!(first.requests() > u64::from(reloads) && second.requests() > u64::from(reloads));
}
