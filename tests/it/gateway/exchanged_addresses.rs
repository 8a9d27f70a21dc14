//! The admin listener and a listener for clients that exchange their addresses in one reload.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;

use serde_json::json;

use super::drain::eventually;
use super::listeners::{ask, listening, plain};
use crate::support::gateway::{Gateway, lasting_address};
use crate::support::http::Client;
use crate::support::upstream::Upstream;

/// What is at an address.
#[derive(PartialEq, Eq, Debug)]
enum Speaks {
    ToClients,
    ToOperators,
    No,
}

fn speaks(address: SocketAddr) -> Speaks {
    let Ok(response) = ask(address) else { return Speaks::No };
    let metrics = Client::new(address).get("/metrics", None);
    match (response.starts_with("HTTP/1.1 200"), metrics.status()) {
        (true, _) => Speaks::ToClients,
        (false, 200) => Speaks::ToOperators,
        (false, _) => Speaks::No,
    }
}

/// A gateway whose settings file names where it listens, and what the file says.
fn start(folder: &Path, upstream: &Upstream) -> (Gateway, String) {
    let gateway = Gateway::start_in(folder, upstream, &[]);
    let settings = std::fs::read_to_string(folder.join("tokengate.toml")).unwrap();
    (gateway, settings)
}

fn settings(base: &str, keys: &str, listeners: &[String], admin: SocketAddr) -> String {
    let moved = base.replace("[admin]\naddress = \"127.0.0.1:0\"", &format!("[admin]\naddress = \"{admin}\""));
    assert_ne!(moved, base);
    listening(&moved, keys, listeners)
}

fn is_reloaded(folder: &Path, asked: SocketAddr, settings: String) {
    std::fs::write(folder.join("tokengate.toml"), settings).unwrap();
    let reloaded = Client::new(asked).call("POST", "/reload", None, None).expect(200);
    assert_eq!(reloaded.json(), json!({"status": "reloaded", "needsRestart": []}));
}

#[test]
fn the_admin_listener_and_one_for_clients_exchange_their_addresses_in_one_reload() {
    for keys in ["", "share_port = true"] {
        let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
        let (gateway, base) = start(folder.path(), &upstream);
        let (one, other, further) = (lasting_address(), lasting_address(), lasting_address());
        let at = |clients, admin| settings(&base, keys, &[plain(clients), plain(further)], admin);
        is_reloaded(folder.path(), gateway.admin_address(), at(one, other));
        let (mut clients, mut admin) = (one, other);
        for _ in 0..4 {
            eventually("each is in its place", || speaks(clients) == Speaks::ToClients && speaks(admin) == Speaks::ToOperators);
            is_reloaded(folder.path(), admin, at(admin, clients));
            (clients, admin) = (admin, clients);
            // Whoever comes is served by the one or the other, and waits for nobody who has left.
            thread::scope(|scope| {
                for address in [clients, admin, further] {
                    scope.spawn(move || {
                        for _ in 0..40 {
                            assert!(ask(address).unwrap().starts_with("HTTP/1.1 "), "{address}");
                        }
                    });
                }
            });
        }
        assert_eq!(speaks(further), Speaks::ToClients);
    }
}

#[test]
fn the_admin_listener_takes_the_address_of_one_that_decides_for_other_proxies() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let (gateway, base) = start(folder.path(), &upstream);
    let (stays, one, other) = (lasting_address(), lasting_address(), lasting_address());
    let at = |decides: SocketAddr, admin| {
        format!("{}\n[decision]\naddress = '{decides}'\n", settings(&base, "", &[plain(stays)], admin))
    };
    is_reloaded(folder.path(), gateway.admin_address(), at(one, other));
    eventually("operators are served", || speaks(other) == Speaks::ToOperators);
    is_reloaded(folder.path(), other, at(other, one));
    eventually("operators are served there", || speaks(one) == Speaks::ToOperators);
    eventually("and no longer here", || Client::new(other).get("/metrics", None).status() != 200);
    assert_eq!(speaks(stays), Speaks::ToClients);
}

#[test]
fn the_admin_listener_shares_no_port_with_clients() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let (gateway, base) = start(folder.path(), &upstream);
    let (address, admin) = (lasting_address(), gateway.admin_address());
    let everywhere = plain(SocketAddr::from(([0, 0, 0, 0], address.port())));
    let share = "share_port = true";
    let both = listening(&base, share, &[everywhere.clone(), plain(address)]);
    is_reloaded(folder.path(), admin, both);
    eventually("clients are served", || speaks(address) == Speaks::ToClients);

    // The system would let it listen there, because one leaves and the other shares.
    std::fs::write(folder.path().join("tokengate.toml"), settings(&base, share, &[everywhere], address)).unwrap();
    let refused = Client::new(admin).call("POST", "/reload", None, None).expect(422).text();
    assert!(refused.contains("admin.address") && refused.contains("own listener for clients"), "{refused}");
    assert_eq!((speaks(address), speaks(admin)), (Speaks::ToClients, Speaks::ToOperators));
    assert!(TcpStream::connect(address).is_ok());
}
