//! Listeners that come, change and go while the process runs.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::drain::eventually;
use crate::support::gateway::{Gateway, lasting_address};
use crate::support::http::Client;
use crate::support::upstream::Upstream;

/// Whoever says nothing for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// The settings with these listeners instead of those that they have, and these keys of `[listen]`.
pub(super) fn listening(settings: &str, keys: &str, listeners: &[String]) -> String {
    let rest = settings.split("[limits.login]").nth(1).unwrap().split("[[listeners]]").next().unwrap();
    let listeners: Vec<String> = listeners.iter().map(|listener| format!("[[listeners]]\n{listener}\n")).collect();
    format!("[listen]\nworkers = 2\n{keys}\n[limits.login]{rest}\n{}", listeners.concat())
}

pub(super) fn plain(address: SocketAddr) -> String {
    format!("address = '{address}'")
}

/// Over a connection of its own.
pub(super) fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(SILENCE_MAX))?;
    say_and_hear(&mut connection)
}

fn say_and_hear(connection: &mut TcpStream) -> std::io::Result<String> {
    connection.write_all(b"GET /public HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    hear(connection)
}

fn hear(connection: &mut TcpStream) -> std::io::Result<String> {
    let mut response = String::new();
    connection.read_to_string(&mut response)?;
    Ok(response)
}

fn is_served(address: SocketAddr) -> bool {
    ask(address).is_ok_and(|response| response.starts_with("HTTP/1.1 200"))
}

/// Requests on new connections and on a kept one, until `work` is done. Every one of them has to succeed.
fn under_load(address: SocketAddr, work: impl FnOnce(&dyn Fn())) {
    let (is_over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let response = ask(address).unwrap_or_else(|error| panic!("a new connection: {error}"));
                    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
            scope.spawn(|| {
                let mut client = Client::new(address);
                while !is_over.load(Ordering::Relaxed) {
                    client.get("/public", None).expect(200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        work(&|| {
            let before = served.load(Ordering::Relaxed);
            eventually("requests go through", || served.load(Ordering::Relaxed) > before + 50);
        });
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_listener_that_goes_finishes_what_is_under_way_and_one_that_stays_notices_nothing() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &upstream, &[]);
    let (stays, goes) = (gateway.address(), lasting_address());
    let token = gateway.client().log_in("ann").access;
    under_load(stays, |requests_go_through| {
        requests_go_through();
        gateway.reload(|settings| listening(&settings, "", &[plain(stays), plain(goes)]));
        eventually("the new one is served", || is_served(goes));
        requests_go_through();

        let (mut idle, mut busy, mut elsewhere) = (Client::new(goes), Client::new(goes), gateway.client());
        idle.get("/public", None).expect(200);
        thread::scope(|scope| {
            let held = scope.spawn(|| busy.get("/api/held", Some(&token)));
            let held_elsewhere = scope.spawn(|| elsewhere.get("/api/held", Some(&token)));
            upstream.await_held(2);
            gateway.reload(|settings| listening(&settings, "", &[plain(stays)]));
            eventually("new connections are refused", || TcpStream::connect(goes).is_err());
            let last = idle.get("/public", None).expect(200);
            assert_eq!(last.header("connection"), Some("close"), "what was idle has a last request");
            assert!(idle.try_call("GET", "/public", None, None).is_err(), "and no other");
            assert!(!held.is_finished());
            upstream.release();
            let response = held.join().unwrap().expect(200);
            assert_eq!(response.header("connection"), Some("close"));
            assert_eq!(held_elsewhere.join().unwrap().expect(200).header("connection"), None);
        });
        requests_go_through();
    });
}

#[test]
fn what_does_not_finish_on_a_listener_that_goes_is_dropped_at_the_end_of_the_drain() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &upstream, &[("shutdown.drain_deadline", "300ms")]);
    let (stays, goes) = (gateway.address(), lasting_address());
    gateway.reload(|settings| listening(&settings, "", &[plain(stays), plain(goes)]));
    let token = gateway.client().log_in("ann").access;
    let (mut busy, mut elsewhere) = (Client::new(goes), gateway.client());
    thread::scope(|scope| {
        let held = scope.spawn(|| busy.try_call("GET", "/api/held", Some(&token), None));
        let held_elsewhere = scope.spawn(|| elsewhere.get("/api/held", Some(&token)));
        upstream.await_held(2);
        gateway.reload(|settings| listening(&settings, "", &[plain(stays)]));
        assert!(held.join().unwrap().is_err(), "it is given up");
        assert!(!held_elsewhere.is_finished());
        upstream.release();
        held_elsewhere.join().unwrap().expect(200);
    });
}

#[test]
fn what_waits_in_the_queue_of_a_listener_that_goes_is_served() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &upstream, &[]);
    let (stays, goes) = (gateway.address(), lasting_address());
    let token = gateway.client().log_in("ann").access;
    gateway.reload(|settings| listening(&settings, "connections_max = 1", &[plain(stays), plain(goes)]));
    thread::scope(|scope| {
        let mut busy = Client::new(goes);
        let held = scope.spawn(move || busy.get("/api/held", Some(&token)));
        upstream.await_held(1);
        // Nobody takes these: the only seat is taken.
        let mut waiting: Vec<_> = (0..8).map(|_| TcpStream::connect(goes).unwrap()).collect();
        for connection in &mut waiting {
            connection.set_read_timeout(Some(SILENCE_MAX)).unwrap();
            connection.write_all(b"GET /public HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        }
        gateway.reload(|settings| listening(&settings, "connections_max = 1", &[plain(stays)]));
        for mut connection in waiting {
            let response = hear(&mut connection).unwrap();
            assert!(response.starts_with("HTTP/1.1 200") && response.contains("connection: close"), "{response}");
        }
        upstream.release();
        held.join().unwrap().expect(200);
    });
}

#[test]
fn a_listener_that_cannot_be_bound_refuses_the_reload_whole() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &upstream, &[]);
    let (stays, free) = (gateway.address(), lasting_address());
    let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = somebody.local_addr().unwrap();
    let file = folder.path().join("tokengate.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let reload = |settings: String| {
        std::fs::write(&file, settings).unwrap();
        gateway.admin().call("POST", "/reload", None, None)
    };
    let closed = settings.replace("access = \"public\"\n", "");
    assert_ne!(closed, settings);
    let refused = reload(listening(&closed, "", &[plain(free), plain(taken)])).expect(422).json();
    let said = refused["detail"].as_str().unwrap();
    assert!(said.contains(&format!("cannot listen at {taken} (listeners[1].address)")), "{said}");
    assert!(is_served(stays), "routes and listeners are as they were");
    assert_eq!(TcpStream::connect(free).unwrap_err().kind(), ErrorKind::ConnectionRefused);

    // Those of one set of settings must not overlap, even if the system would let them.
    for other in ["0.0.0.0", "[::]", "[::ffff:127.0.0.1]"] {
        let other: SocketAddr = format!("{other}:{}", free.port()).parse().unwrap();
        let refused = reload(listening(&settings, "", &[plain(free), plain(other)])).expect(422).json();
        let said = refused["detail"].as_str().unwrap();
        assert!(said.contains("listeners[1].address") && said.contains("overlap"), "{said}");
    }
    drop(somebody);
    reload(listening(&settings, "", &[plain(free), plain(taken)])).expect(200);
    assert!(is_served(free) && is_served(taken));
    eventually("the former one is gone", || TcpStream::connect(stays).is_err());
}

#[test]
fn a_listener_moves_from_one_address_to_all_and_back_without_a_refused_connection() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &upstream, &[]);
    let address = lasting_address();
    gateway.reload(|settings| listening(&settings, "", &[plain(address)]));
    eventually("it is served", || is_served(address));
    let served = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let response = ask(address).unwrap_or_else(|error| panic!("somebody listens: {error}"));
                assert!(response.starts_with("HTTP/1.1 200"), "{response}");
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
        for ip in ["0.0.0.0", "[::]", "127.0.0.1", "[::]", "0.0.0.0", "127.0.0.1"] {
            let before = served.load(Ordering::Relaxed);
            let next: SocketAddr = format!("{ip}:{}", address.port()).parse().unwrap();
            gateway.reload(|settings| listening(&settings, "", &[plain(next)]));
            eventually("requests go through", || served.load(Ordering::Relaxed) > before + 20);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(TcpListener::bind(("127.0.0.1", address.port())).is_err(), "it is ours alone");
    assert!(gateway.log().matches("no longer listening").count() >= 6);
}

#[test]
fn the_same_address_in_another_spelling_and_another_order_keeps_its_queue() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &upstream, &[]);
    let (one, other) = (gateway.address(), lasting_address());
    let spelled = format!("address = 'localhost:{}'", one.port());
    under_load(one, |requests_go_through| {
        let redirects = format!("address = '{other}'\nredirect = 'https'");
        for listeners in [
            vec![plain(one), plain(other)],
            vec![plain(other), plain(one)],
            vec![spelled.clone(), redirects.clone()],
            vec![redirects, spelled.clone()],
            vec![spelled],
        ] {
            gateway.reload(|settings| listening(&settings, "", &listeners));
            requests_go_through();
        }
    });
    assert_eq!(gateway.log().matches("no longer listening").count(), 1, "the other one, at the end");
}

#[test]
fn what_is_spoken_at_two_addresses_is_exchanged() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &upstream, &[]);
    let (one, other) = (lasting_address(), lasting_address());
    let redirects = |address: SocketAddr| format!("address = '{address}'\nredirect = 'https'");
    gateway.reload(|settings| listening(&settings, "", &[plain(one), redirects(other)]));
    let (mut at_one, mut at_other) = (Client::new(one), Client::new(other));
    at_one.get("/public", None).expect(200);
    at_other.get("/public", None).expect(308);
    gateway.reload(|settings| listening(&settings, "", &[plain(other), redirects(one)]));
    eventually("new connections are served so", || {
        Client::new(one).get("/public", None).status() == 308 && Client::new(other).get("/public", None).status() == 200
    });
    at_one.get("/public", None).expect(200);
    at_other.get("/public", None).expect(308);
}

#[test]
fn others_may_listen_at_the_address_from_the_reload_on_that_says_so() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &upstream, &[]);
    let address = gateway.address();
    let another = || {
        let address = address.to_string();
        Gateway::try_launch(&upstream, &[("listen.address", &address), ("listen.share_port", "true")])
    };
    assert!(another().is_err());
    under_load(address, |requests_go_through| {
        gateway.reload(|settings| settings.replace("workers = 2\n", "workers = 2\nshare_port = true\n"));
        requests_go_through();
    });
    // One that ends resets what has come to it and was not accepted, so nobody comes meanwhile.
    drop(another().unwrap_or_else(|log| panic!("{log}")));
    gateway.reload(|settings| settings.replace("share_port = true\n", ""));
    gateway.await_log("Linux takes it back only when nobody listens", |log| {
        log.lines().any(|line| line.contains("need a restart") && line.contains("listen.share_port"))
    });
    let alone = Gateway::try_launch(&upstream, &[("listen.address", &address.to_string())]);
    assert!(alone.is_err() && is_served(address));
}
