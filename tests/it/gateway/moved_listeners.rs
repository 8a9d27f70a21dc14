//! Clients that keep connections to a listener while a reload moves it: whoever is sending loses nothing.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::drain::eventually;
use super::listeners::{listening, plain};
use crate::support::gateway::{Gateway, lasting_address};
use crate::support::http::Message;
use crate::support::upstream::Upstream;

const SILENCE_MAX: Duration = Duration::from_secs(20);

const POST: &[u8] = b"POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";

/// A connection on which requests are written as they are, and nothing is repeated.
struct Kept {
    reader: BufReader<TcpStream>,
}

impl Kept {
    fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(SILENCE_MAX)).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    fn read(&mut self) -> Message {
        let response = Message::read(&mut self.reader, |_| false).unwrap_or_else(|error| panic!("a response: {error}"));
        response.expect("a response before the end")
    }

    fn post(&mut self) -> Message {
        self.write(POST);
        self.read()
    }

    /// That it ends in order, and not by a reset.
    fn ends(mut self) {
        let mut rest = Vec::new();
        let ended = self.reader.read_to_end(&mut rest);
        assert!(matches!(ended, Ok(0)), "{ended:?} {}", String::from_utf8_lossy(&rest));
    }
}

fn is_last(response: &Message) -> bool {
    response.header("connection") == Some("close")
}

/// A gateway with one listener that is to go, beside the one that stays.
fn with_one_to_go(folder: &std::path::Path, upstream: &Upstream, set: &[(&str, &str)]) -> (Gateway, SocketAddr) {
    let gateway = Gateway::start_in(folder, upstream, set);
    let goes = lasting_address();
    let stays = gateway.address();
    gateway.reload(|settings| listening(&settings, "", &[plain(stays), plain(goes)]));
    (gateway, goes)
}

fn take_away(gateway: &Gateway, goes: SocketAddr) {
    let stays = gateway.address();
    gateway.reload(|settings| listening(&settings, "", &[plain(stays)]));
    eventually("new connections are refused", || TcpStream::connect(goes).is_err());
}

#[test]
fn what_is_idle_where_nobody_listens_any_more_has_one_more_request() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let (gateway, goes) = with_one_to_go(folder.path(), &upstream, &[]);
    let mut idle = Kept::to(goes);
    assert!(!is_last(&idle.post()));
    let mut within_a_head = Kept::to(goes);
    assert!(!is_last(&within_a_head.post()));
    within_a_head.write(&POST[..20]);
    let mut unused = Kept::to(goes);
    take_away(&gateway, goes);
    for connection in [&mut idle, &mut unused] {
        let last = connection.post();
        assert!(last.status() == 200 && is_last(&last), "{last:?}");
    }
    within_a_head.write(&POST[20..]);
    let last = within_a_head.read();
    assert!(last.status() == 200 && is_last(&last), "{last:?}");
    for connection in [idle, within_a_head, unused] {
        connection.ends();
    }
}

#[test]
fn a_response_that_the_gateway_makes_at_once_says_that_it_is_the_last() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &upstream, &[]);
    let (stays, goes) = (gateway.address(), lasting_address());
    let redirects = format!("address = '{goes}'\nredirect = 'https'");
    gateway.reload(|settings| listening(&settings, "", &[plain(stays), redirects]));
    let mut idle = Kept::to(goes);
    assert!(!is_last(&idle.post()));
    take_away(&gateway, goes);
    // The second does not reach anybody: its client was told.
    idle.write(&[POST, POST].concat());
    let last = idle.read();
    assert!(last.status() == 308 && is_last(&last), "{last:?}");
    let mut rest = Vec::new();
    let _ = idle.reader.read_to_end(&mut rest);
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn what_stays_idle_is_closed_in_order_within_the_drain() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let (gateway, goes) = with_one_to_go(folder.path(), &upstream, &[("shutdown.drain_deadline", "3s")]);
    let mut idle = Kept::to(goes);
    idle.post();
    take_away(&gateway, goes);
    let since = Instant::now();
    idle.ends();
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
}

#[test]
fn requests_that_may_not_be_repeated_are_not_lost_while_their_listener_moves() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &upstream, &[]);
    let address = Mutex::new(gateway.address());
    let (served, moved, is_over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for client in 0..6 {
            let (address, served, moved, is_over) = (&address, &served, &moved, &is_over);
            scope.spawn(move || {
                let mut connection = Kept::to(*address.lock().unwrap());
                while !is_over.load(Ordering::Relaxed) {
                    let response = connection.post();
                    assert_eq!(response.status(), 200);
                    served.fetch_add(1, Ordering::Relaxed);
                    if is_last(&response) {
                        connection.ends();
                        connection = Kept::to(*address.lock().unwrap());
                        moved.fetch_add(1, Ordering::Relaxed);
                    }
                    thread::sleep(Duration::from_millis(client));
                }
            });
        }
        for _ in 0..5 {
            let next = lasting_address();
            let (before, moved_before) = (served.load(Ordering::Relaxed), moved.load(Ordering::Relaxed));
            eventually("requests go through", || served.load(Ordering::Relaxed) > before + 30);
            // The new one listens before anybody is told to leave the former one.
            let mut told = address.lock().unwrap();
            gateway.reload(|settings| listening(&settings, "", &[plain(next)]));
            *told = next;
            drop(told);
            eventually("all move", || moved.load(Ordering::Relaxed) >= moved_before + 6);
        }
        is_over.store(true, Ordering::Relaxed);
    });
}
