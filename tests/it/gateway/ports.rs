//! One port, and the processes that want it.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::drain::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

const REQUEST: &[u8] = b"GET /public HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn start(upstream: &Upstream, address: SocketAddr, share: bool) -> Result<Gateway, String> {
    let (address, share) = (address.to_string(), share.to_string());
    Gateway::try_launch(upstream, &[("listen.address", &address), ("listen.share_port", &share)])
}

/// Over a connection of its own.
fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    connection.write_all(REQUEST)?;
    let mut response = String::new();
    connection.read_to_string(&mut response)?;
    Ok(response)
}

#[test]
fn two_processes_have_one_port_only_if_both_say_so_wherever_their_addresses_overlap() {
    let upstream = Upstream::start();
    for (one, other) in [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "::"), ("127.0.0.1", "::")] {
        let (one, other): (IpAddr, IpAddr) = (one.parse().unwrap(), other.parse().unwrap());
        for first_shares in [false, true] {
            let first = start(&upstream, (one, 0).into(), first_shares).unwrap();
            let address = SocketAddr::from((other, first.address().port()));
            for second_shares in [false, true] {
                let second = start(&upstream, address, second_shares);
                let what = format!("{one} ({first_shares}), then {other} ({second_shares})");
                match second {
                    Ok(_) => assert!(first_shares && second_shares, "both listen: {what}"),
                    Err(log) => {
                        assert!(!(first_shares && second_shares), "{what}: {log}");
                        assert!(log.contains(&address.to_string()) && log.contains("listen.share_port"), "{what}: {log}");
                    }
                }
            }
            assert!(ask(first.address()).unwrap().starts_with("HTTP/1.1 200"), "the first one goes on");
        }
    }
}

#[test]
fn one_process_hands_a_shared_port_over_to_the_next_and_no_connection_is_lost() {
    let upstream = Upstream::start();
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let mut old = start(&upstream, anywhere, true).unwrap();
    let address = old.address();
    let new = start(&upstream, address, true).unwrap();
    new.await_ready();
    let served = AtomicUsize::new(0);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            while !old.log().contains("\"stopped\"") {
                let response = ask(address).unwrap_or_else(|error| panic!("somebody serves: {error}"));
                assert!(response.starts_with("HTTP/1.1 200"), "{response}");
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
        eventually("both are in use", || served.load(Ordering::Relaxed) > 50);
        old.terminate();
        client.join().unwrap();
        for _ in 0..50 {
            assert!(ask(address).unwrap().starts_with("HTTP/1.1 200"), "only the new one is left");
        }
    });
    assert!(old.wait(Duration::from_secs(10)).is_some());
}
