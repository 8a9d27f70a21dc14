//! Bodies that come slowly.

use std::thread;
use std::time::Duration;

use tokengate::domain::pace::ByteRate;
use tokengate::domain::route::Route;
use tokio::time::Instant;

use super::client::Response;
use super::rig::{Rig, forward};
use super::upstream::Upstream;

/// Longer than what a client may take for as little as it likes.
const LONG: Duration = Duration::from_millis(11_500);

const PIECE_PAUSE: Duration = Duration::from_millis(500);

/// Sends a piece every half second, until there is a response or `LONG` is over; then the rest at once.
fn trickle(rig: &Rig, path: &str, piece: usize) -> (Response, Duration) {
    const LENGTH: usize = 9_000;
    let mut client = rig.client();
    let began_at = Instant::now();
    client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n"));
    let mut left = LENGTH;
    while began_at.elapsed() < LONG && client.is_silent(PIECE_PAUSE) {
        client.try_send(vec![b'x'; piece]);
        left -= piece;
    }
    let took = began_at.elapsed();
    client.try_send(vec![b'x'; left]);
    (client.response(), took)
}

#[test]
fn a_body_that_trickles_is_given_up_on_every_path_and_one_that_keeps_the_rate_is_not() {
    let upstream = Upstream::start(|conversation| {
        while let Some(request) = conversation.request() {
            if request.starts_with("POST /public/early") {
                continue;
            }
            conversation.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let rig = Rig::start_with(upstream.address, |settings| {
        let add = |routes: &mut Vec<Route>| {
            let mut unhurried = Route { name: "unhurried".into(), prefix: "/public/unhurried".to_owned(), ..routes[0].clone() };
            forward(&mut unhurried).body_rate_min = ByteRate::new(0);
            routes.push(unhurried);
        };
        settings.routes.change(add).unwrap();
    });
    thread::scope(|scope| {
        let start = |path: &'static str, piece| {
            scope.spawn({
                let rig = &rig;
                move || trickle(rig, path, piece)
            })
        };
        let slow = [start("/public", 1), start("/login", 1), start("/refresh", 1)];
        let (kept, unhurried) = (start("/public", 150), start("/public/unhurried", 1));
        for one in slow {
            let (response, took) = one.join().unwrap();
            assert_eq!((response.status, response.code().as_str()), (408, "body_timeout"), "{response:?}");
            assert!(took > Duration::from_secs(9) && took < LONG, "{took:?}");
        }
        assert_eq!(kept.join().unwrap().0.status, 200);
        assert_eq!(unhurried.join().unwrap().0.status, 200);
    });
}
