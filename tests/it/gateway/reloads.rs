//! New settings while requests are under way.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::drain::eventually;
use super::listeners::{ask, listening, plain};
use crate::support::gateway::{Gateway, lasting_address};
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
    let (stays, changes, comes_and_goes) = ("address = '127.0.0.1:0'".to_owned(), lasting_address(), lasting_address());
    let settings = std::fs::read_to_string(&file).unwrap();
    let changed = settings.replace(&first.url(), &second.url());
    let changed = changed.replacen("[limits.refresh]", "[tokens]\nleeway = \"5s\"\n[limits.refresh]", 1);
    let redirects = format!("{}\nredirect = 'https'", plain(changes));
    let settings = [
        listening(&settings, "", &[stays.clone(), plain(changes)]),
        listening(&changed, "idle_timeout = \"60s\"", &[redirects, plain(comes_and_goes), stays]),
    ];
    std::fs::write(&file, &settings[1]).unwrap();
    gateway.admin().call("POST", "/reload", None, None).expect(200);
    let token = gateway.client().log_in("ann").access;
    let is_over = AtomicBool::new(false);
    let until_over = |ask: &dyn Fn() -> bool| {
        let mut served = 0_u64;
        while !is_over.load(Ordering::Relaxed) {
            served += u64::from(ask());
        }
        served
    };
    thread::scope(|scope| {
        let on_new_connections: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    until_over(&|| {
                        gateway.client().get("/api/me", Some(&token)).expect(200);
                        true
                    })
                })
            })
            .collect();
        let where_it_changes = scope.spawn(|| {
            until_over(&|| {
                let response = ask(changes).unwrap_or_else(|error| panic!("the address stays: {error}"));
                assert!(response.starts_with("HTTP/1.1 200") || response.starts_with("HTTP/1.1 308"), "{response}");
                true
            })
        });
        let where_it_goes = scope.spawn(|| {
            until_over(&|| match ask(comes_and_goes) {
                Ok(response) => {
                    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with('}'), "{response}");
                    true
                }
                // While it is gone. Whoever was connected has been served.
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
                    false
                }
            })
        });
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
        let (changing, going) = (where_it_changes.join().unwrap(), where_it_goes.join().unwrap());
        assert!(served > u64::from(reloads) && changing > u64::from(reloads), "{served} {changing}");
        // A connection that begins while it closes asks again after a second, so few come to the next one.
        assert!(going > u64::from(reloads) / 10, "{going}");
        #[expect(clippy::print_stdout, reason = "figures for the documentation")]
        {
            println!(
                "{reloads} reloads, {} + {} requests, {changing} where it changes, {going} where it goes",
                first.requests(),
                second.requests()
            );
        }
    });
    assert!(first.requests() > u64::from(reloads) && second.requests() > u64::from(reloads));
}

#[test]
fn the_settings_file_is_read_again_when_it_changes_if_it_is_to_be_watched() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &upstream, &[]);
    let file = folder.path().join("tokengate.toml");
    let replace = |text: &str| {
        std::fs::write(folder.path().join("draft"), text).unwrap();
        std::fs::rename(folder.path().join("draft"), &file).unwrap();
    };
    let count = |what: &str| gateway.log().matches(what).count();
    let asked = || gateway.client().get("/public", None).status();
    let open = std::fs::read_to_string(&file).unwrap();
    let closed = open.replace("access = \"public\"\n", "");
    assert_ne!(open, closed);

    let watching = |settings: &str| format!("{settings}\n[reload]\nwatch = true\n");
    gateway.reload(|settings| watching(&settings));
    assert_eq!((asked(), count("settings reloaded")), (200, 1));
    replace(&watching(&closed));
    eventually("the change is in force", || asked() == 401);
    gateway.await_log("it is told", |log| log.matches("settings reloaded").count() == 2);

    // Half a file is an error, once, and the other half is in force when it comes.
    std::fs::write(&file, "[listen").unwrap();
    gateway.await_log("it is told", |log| log.contains("settings not reloaded"));
    thread::sleep(QUIET);
    assert_eq!((asked(), count("settings not reloaded")), (401, 1));
    std::fs::write(&file, watching(&open)).unwrap();
    eventually("the change is in force", || asked() == 200);

    // The last change that is followed is the one that ends it.
    replace(&open);
    gateway.await_log("it is told", |log| log.matches("settings reloaded").count() == 4);
    replace(&closed);
    thread::sleep(QUIET);
    assert_eq!((asked(), count("settings reloaded")), (200, 4));
}

/// Longer than a change takes to be in force.
const QUIET: Duration = Duration::from_millis(1_500);

#[test]
fn settings_are_watched_in_a_folder_that_is_replaced_and_not_read_while_they_are_written() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join(name);
    for name in ["present", "next"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    let file = at("present/tokengate.toml");
    let gateway = Gateway::start_in(&at("present"), &upstream, &[("reload.watch", "true")]);
    let asked = || gateway.client().get("/public", None).status();
    let open = std::fs::read_to_string(&file).unwrap();
    let closed = open.replace("access = \"public\"\n", "");
    std::fs::write(at("next/tokengate.toml"), &closed).unwrap();
    std::fs::rename(at("present"), at("former")).unwrap();
    std::fs::rename(at("next"), at("present")).unwrap();
    eventually("what the other folder holds is in force", || asked() == 401);

    // Whatever is written so far is valid.
    let mut writer = std::fs::File::create(&file).unwrap();
    writer.write_all(open.as_bytes()).unwrap();
    thread::sleep(QUIET);
    assert_eq!(asked(), 401, "nobody knows whether that is all");
    writer.write_all(b"\n[tokens]\nleeway = \"5s\"\n").unwrap();
    drop(writer);
    eventually("it is in force", || asked() == 200);
    gateway.await_log("each change was taken over once", |log| log.matches("settings reloaded").count() == 2);
}

#[test]
fn a_pipe_in_the_place_of_the_settings_holds_up_neither_a_reload_nor_the_end() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let mut gateway = Gateway::start_in(folder.path(), &upstream, &[("reload.watch", "true")]);
    let file = folder.path().join("tokengate.toml");
    std::fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let refused = gateway.admin().call("POST", "/reload", None, None).expect(422).json();
    assert!(refused["detail"].as_str().unwrap().contains("no regular file"), "{refused}");
    gateway.client().get("/public", None).expect(200);
    gateway.signal("HUP");
    gateway.await_log("it is told again", |log| log.matches("settings not reloaded").count() >= 2);
    gateway.terminate();
    assert!(gateway.wait(Duration::from_secs(10)).is_some_and(|status| status.success()));
}
