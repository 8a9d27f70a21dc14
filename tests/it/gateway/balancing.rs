//! Upstreams of several servers.

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::drain::eventually;
use crate::support::gateway::Gateway;
use crate::support::http::Message;
use crate::support::upstream::{Turn, Upstream};

/// A route `/public` to an upstream with these keys, beside the usual one.
pub(super) fn tables(keys: &str) -> String {
    format!(
        "[login]\nupstream = \"api\"\n[upstreams.many]\n{keys}\n[[routes]]\nname = \"public\"\nprefix = \"/public\"\naccess = \"public\"\nupstream = \"many\"\n"
    )
}

/// Where nobody listens.
pub(super) fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn requests_are_spread_by_weight() {
    let (login, one, three) = (Upstream::start(), Upstream::start(), Upstream::start());
    let targets = [(&one, 1), (&three, 3)]
        .map(|(upstream, weight)| format!("[[upstreams.many.targets]]\nurl = \"{}\"\nweight = {weight}", upstream.url()));
    let gateway = Gateway::of(&login, &tables(&targets.join("\n")), &[]);
    let mut client = gateway.client();
    for _ in 0..400 {
        client.get("/public/x", None).expect(200);
    }
    assert_eq!(one.requests() + three.requests(), 400);
    // Each goes its way by chance: with 400, the share of one is 100 give or take 9.
    assert!((50..150).contains(&one.requests()), "{} of 400", one.requests());
}

#[test]
fn a_server_that_cannot_be_connected_to_costs_no_request_whatever_its_method() {
    let (login, there) = (Upstream::start(), Upstream::start());
    let urls = format!("urls = [\"http://{}\", \"{}\", \"http://{}\"]", closed(), there.url(), closed());
    let gateway = Gateway::of(&login, &tables(&urls), &[]);
    let mut client = gateway.client();
    for _ in 0..50 {
        client.post("/public/x", &json!({"some": "body"})).expect(200);
    }
    assert_eq!(there.requests(), 50, "no request comes twice");
}

#[test]
fn where_no_server_can_be_connected_to_the_client_is_told() {
    let login = Upstream::start();
    let urls = format!("urls = [\"http://{}\", \"http://{}\"]", closed(), closed());
    let gateway = Gateway::of(&login, &tables(&urls), &[]);
    let refused = gateway.client().post("/public/x", &json!({}));
    assert_eq!(refused.expect(502).json()["code"], "upstream_unreachable");
}

#[test]
fn a_reload_adds_a_server_and_keeps_the_connections_to_the_one_that_stays() {
    let (login, old, new) = (Upstream::start(), Upstream::start(), Upstream::start());
    let gateway = Gateway::of(&login, &tables(&format!("urls = [\"{}\"]", old.url())), &[("listen.workers", "1")]);
    let mut client = gateway.client();
    client.get("/public/x", None).expect(200);
    let connections = old.connections();
    gateway.reload(|settings| {
        settings.replace(&format!("urls = [\"{}\"]", old.url()), &format!("urls = [\"{}\", \"{}\"]", new.url(), old.url()))
    });
    eventually("both are asked", || {
        let (before, there) = (old.requests(), new.requests());
        for _ in 0..20 {
            client.get("/public/x", None).expect(200);
        }
        old.requests() > before && new.requests() > there
    });
    assert_eq!(old.connections(), connections, "one request after the other needs one connection");
}

fn respond(status: u16) -> Turn {
    Turn::Response(format!("HTTP/1.1 {status} Told\r\ncontent-length: 2\r\n\r\nok").into_bytes())
}

/// Two servers of which one does as it is told; the other is well. One worker, so that nobody learns of it by himself.
fn pair(ill: &Upstream, well: &Upstream, login: &Upstream, keys: &str) -> Gateway {
    let keys = format!("urls = [\"{}\", \"{}\"]\n{keys}", ill.url(), well.url());
    Gateway::of(login, &tables(&keys), &[("listen.workers", "1")])
}

#[test]
fn a_server_that_fails_gets_no_more_requests_and_comes_back_when_it_is_well() {
    for failure in [502, 503, 504, 0] {
        let is_well = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_well);
        let ill = Upstream::taking_turns(move |_, _| match failure {
            _ if told.load(Ordering::SeqCst) => respond(200),
            0 => Turn::HangUp,
            status => respond(status),
        });
        let (login, well) = (Upstream::start(), Upstream::start());
        let gateway = pair(&ill, &well, &login, "eject_after = 3\neject_for = '2s'\nslow_start = '1s'");
        let mut client = gateway.client();
        let failed = (0..60).filter(|_| client.get("/public/x", None).status() != 200).count();
        // What is lost with the server is repeated; what it answers is a response.
        assert_eq!(failed, if failure == 0 { 0 } else { 3 }, "{failure}");
        assert_eq!(ill.requests(), 3, "{failure}");
        gateway.await_log("that it is ejected", |log| log.contains("fails time and again"));
        is_well.store(true, Ordering::SeqCst);
        let mut served = 0;
        eventually("it gets requests again", || {
            client.get("/public/x", None).expect(200);
            served = ill.requests() - 3;
            served > 20
        });
    }
}

#[test]
fn a_server_that_hangs_is_left_alone_after_a_few_requests() {
    let ill = TcpListener::bind("127.0.0.1:0").unwrap();
    let (login, well) = (Upstream::start(), Upstream::start());
    let keys = format!(
        "urls = [\"http://{}\", \"{}\"]\neject_after = 2\nresponse_timeout = '200ms'",
        ill.local_addr().unwrap(),
        well.url()
    );
    let gateway = Gateway::of(&login, &tables(&keys), &[("listen.workers", "1")]);
    let mut client = gateway.client();
    let late = (0..60).filter(|_| client.get("/public/x", None).status() == 504).count();
    assert_eq!((late, well.requests()), (2, 58));
}

#[test]
fn no_request_that_may_do_harm_twice_is_seen_twice() {
    let ill = Upstream::taking_turns(|_, _| Turn::HangUp);
    let (login, well) = (Upstream::start(), Upstream::start());
    let gateway = pair(&ill, &well, &login, "eject_after = 0");
    let mut client = gateway.client();
    let answers: Vec<u16> = (0..60).map(|number| client.post("/public/x", &json!({"number": number})).status()).collect();
    let lost = answers.iter().filter(|status| **status == 502).count() as u64;
    assert!(lost > 0 && answers.iter().all(|status| [200, 502].contains(status)), "{answers:?}");
    assert_eq!((ill.requests(), well.requests()), (lost, 60 - lost));
}

#[test]
fn all_workers_together_have_no_more_connections_than_allowed_and_nobody_is_refused() {
    for workers in ["1", "2"] {
        let (login, upstream) = (Upstream::start(), Upstream::start());
        let keys = format!("url = \"{}\"\nconnections_max = 2\nconnections_wait = '10s'", upstream.url());
        let gateway = Gateway::of(&login, &tables(&keys), &[("listen.workers", workers)]);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut client = gateway.client();
                    for _ in 0..50 {
                        client.post("/public/x", &json!({"some": "body"})).expect(200);
                        // Where one is given up for another, the server may hear of the new one first.
                        eventually("there are two at most", || upstream.connections() <= 2);
                    }
                });
            }
        });
        assert_eq!(upstream.requests(), 400);
        eventually("no more than two are left", || upstream.connections() <= 2);
    }
}

#[test]
fn a_server_can_be_a_socket_of_the_machine_and_others_stand_in_while_it_is_not_there() {
    let (login, other, folder) = (Upstream::start(), Upstream::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("api.sock");
    let keys = format!("urls = [\"unix:{}\", \"{}\"]\nhost = 'replace'\neject_after = 0", path.display(), other.url());
    let gateway = Gateway::of(&login, &tables(&keys), &[]);
    let mut client = gateway.client();
    for _ in 0..20 {
        client.post("/public/x", &json!({"some": "body"})).expect(200);
    }
    assert_eq!(other.requests(), 20);
    let listener = UnixListener::bind(&path).unwrap();
    let served = Arc::new(AtomicU64::new(0));
    let serving = Arc::clone(&served);
    let accepting = move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serving = Arc::clone(&serving);
            let answering = move || {
                let mut reader = BufReader::new(stream);
                while let Ok(Some(request)) = Message::read(&mut reader, |_| false) {
                    assert!(request.headers.iter().any(|(name, value)| name == "host" && value == "localhost"));
                    serving.fetch_add(1, Ordering::SeqCst);
                    if reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
                        break;
                    }
                }
            };
            thread::Builder::new().spawn(answering).unwrap();
        }
    };
    thread::Builder::new().spawn(accepting).unwrap();
    eventually("the socket is asked", || {
        client.post("/public/x", &json!({"some": "body"})).expect(200);
        served.load(Ordering::SeqCst) > 20
    });
}

/// Three servers, and for each user which of them served all of that user's requests.
fn homes(gateway: &Gateway, servers: &[Upstream; 3], users: &[String], path: &str) -> Vec<usize> {
    let home = |user: &String| {
        let mut client = gateway.client();
        let token = client.log_in(user).access;
        let before = servers.each_ref().map(Upstream::requests);
        for _ in 0..5 {
            // By a connection of its own, which either worker may have.
            gateway.client().get(path, Some(&token)).expect(200);
        }
        let served = [0, 1, 2].map(|index| servers[index].requests() - before[index]);
        let home = served.iter().position(|count| *count == 5);
        home.unwrap_or_else(|| panic!("{user}: {served:?}"))
    };
    users.iter().map(home).collect()
}

#[test]
fn the_requests_of_one_caller_go_to_one_server_on_every_worker_and_node_and_after_a_reload() {
    let (login, servers) = (Upstream::start(), [(); 3].map(|()| Upstream::start()));
    let urls = |order: [usize; 3]| format!("urls = [{}]", order.map(|index| format!("\"{}\"", servers[index].url())).join(", "));
    let keys = |order: [usize; 3]| {
        let api = "[[routes]]\nname = \"api\"\nprefix = \"/api\"\nupstream = \"many\"\n";
        format!("{}{api}", tables(&format!("{}\nbalance = 'hash'", urls(order))))
    };
    let (one, other) = (Gateway::of(&login, &keys([0, 1, 2]), &[]), Gateway::of(&login, &keys([2, 0, 1]), &[]));
    let users: Vec<String> = (0..24).map(|number| format!("user-{number}@example.com")).collect();
    let found = homes(&one, &servers, &users, "/api/x");
    assert!((0..3).all(|server| found.contains(&server)), "all get users: {found:?}");
    assert_eq!(homes(&other, &servers, &users, "/api/x"), found, "on another node, which knows them in another order");
    one.reload(|settings| settings.replace(&urls([0, 1, 2]), &urls([1, 2, 0])));
    assert_eq!(homes(&one, &servers, &users, "/api/x"), found, "after a reload");
    // Of those whom nobody knows, each goes anywhere.
    let before = servers.each_ref().map(Upstream::requests);
    for _ in 0..60 {
        one.client().get("/public/x", None).expect(200);
    }
    assert!((0..3).all(|server| servers[server].requests() > before[server]));
}

#[test]
fn each_session_of_a_user_has_a_server_where_that_is_asked_for() {
    let (login, servers) = (Upstream::start(), [(); 3].map(|()| Upstream::start()));
    let urls = servers.each_ref().map(|server| format!("\"{}\"", server.url())).join(", ");
    let api = "[[routes]]\nname = \"api\"\nprefix = \"/api\"\nupstream = \"many\"\n";
    let tables = format!("{}{api}", tables(&format!("urls = [{urls}]\nbalance = 'hash'\nhash_by = 'session'")));
    let gateway = Gateway::of(&login, &tables, &[]);
    // One user, who logs in time and again.
    let sessions = vec!["ann@example.com".to_owned(); 24];
    let homes = homes(&gateway, &servers, &sessions, "/api/x");
    assert!((0..3).all(|server| homes.contains(&server)), "{homes:?}");
}

#[test]
fn a_server_that_is_far_slower_than_the_others_is_left_out_where_that_is_asked_for() {
    let (login, fast, other) = (Upstream::start(), Upstream::start(), Upstream::start());
    let slow = Upstream::taking_turns(|_, _| {
        thread::sleep(Duration::from_millis(300));
        respond(200)
    });
    let urls = [&slow, &fast, &other].map(|server| format!("\"{}\"", server.url())).join(", ");
    let keys = |factor| tables(&format!("urls = [{urls}]\neject_slow_factor = {factor}\neject_for = '1h'"));
    let gateway = Gateway::of(&login, &keys(5), &[("listen.workers", "1")]);
    let is_told = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = gateway.client();
                while !is_told.load(Ordering::Relaxed) {
                    client.get("/public/x", None).expect(200);
                    // Less than the machine can do: what is measured is the server, and not the machine.
                    thread::sleep(Duration::from_millis(5));
                }
            });
        }
        gateway.await_log("that it is slow", |log| {
            let is_there = log.contains("responds far slower than the others");
            is_told.store(is_there, Ordering::Relaxed);
            is_there
        });
    });
    let log = gateway.log();
    assert_eq!(log.matches("responds far slower").count(), 1, "{log}");
    assert!(log.contains(&slow.address().to_string()), "{log}");
    let mut client = gateway.client();
    eventually("the worker follows", || {
        let before = slow.requests();
        for _ in 0..20 {
            client.get("/public/x", None).expect(200);
        }
        slow.requests() == before
    });
}
