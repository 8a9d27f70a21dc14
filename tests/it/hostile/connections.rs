//! Who gets a place when there are fewer than are wanted.

use std::time::Duration;

use tokengate::config::Settings;
use tokengate::domain::stats::Counter;

use super::client::Client;
use super::rig::{Rig, eventually};
use super::upstream::Upstream;

const REQUEST: &str = "GET /public HTTP/1.1\r\nHost: a\r\n\r\n";

const A_WHILE: Duration = Duration::from_millis(300);

fn assert_served(client: &mut Client) {
    client.send(REQUEST);
    assert_eq!(client.response().status, 200);
}

fn rig(change: impl FnOnce(&mut Settings)) -> Rig {
    Rig::start_with(Upstream::echo().address, change)
}

#[test]
fn idle_connections_of_one_address_hold_no_place_against_another() {
    for workers in [1, 2, 5] {
        let rig = rig(|settings| {
            settings.listen.connections_max = 50;
            settings.listen.workers = workers;
        });
        let mut many: Vec<Client> = (0..50).map(|_| rig.client_from(1)).collect();
        many[45..].iter_mut().for_each(assert_served);
        std::thread::sleep(A_WHILE);
        many[..45].iter_mut().for_each(assert_served);
        let mut others: Vec<Client> = (2..7).map(|last| rig.client_from(last)).collect();
        others.iter_mut().for_each(assert_served);
        eventually("those who made room are counted", || rig.counted(Counter::ConnectionsGivenUp) == 5);
        many[45..].iter_mut().for_each(Client::assert_closed);
        // And nobody else had to go.
        many[..45].iter_mut().chain(&mut others).for_each(assert_served);
    }
}

#[test]
fn connections_that_never_sent_a_byte_make_room_too() {
    let rig = rig(|settings| settings.listen.connections_max = 3);
    let mut many = [0; 3].map(|_| rig.client_from(1));
    assert_served(&mut rig.client_from(2));
    many[0].assert_closed();
    many[1..].iter_mut().for_each(assert_served);
}

#[test]
fn where_none_is_idle_the_slowest_of_the_address_with_most_goes() {
    let upstream = Upstream::start(|conversation| {
        conversation.head();
        conversation.wait_for_end();
    });
    let rig = Rig::start_with(upstream.address, |settings| settings.listen.connections_max = 4);
    let mut clients = [1, 2, 2, 2].map(|last| rig.client_from(last));
    let [ann, waiting, head, later_head] = &mut clients;
    ann.send("GET /public HTTP/1.1\r\nHo");
    waiting.send(REQUEST);
    head.send("GET /public HTTP/1.1\r\nHo");
    assert!(head.is_silent(A_WHILE));
    later_head.send("GET /public HTTP/1.1\r\nHo");
    assert!(later_head.is_silent(A_WHILE));
    let mut newcomer = rig.client_from(3);
    head.rest();
    newcomer.send("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(newcomer.response().status, 404);
    for client in [ann, waiting, later_head] {
        assert!(client.is_silent(A_WHILE));
    }
}

#[test]
fn nobody_loses_a_request_to_one_who_would_then_hold_as_many() {
    let rig = rig(|settings| settings.listen.connections_max = 2);
    let mut clients = [1, 2].map(|last| rig.client_from(last));
    for client in &mut clients {
        client.send("GET /public HTTP/1.1\r\nHo");
        assert!(client.is_silent(A_WHILE));
    }
    let mut newcomer = rig.client_from(3);
    newcomer.send(REQUEST);
    assert!(newcomer.is_silent(A_WHILE), "there is no place");
    let [first, second] = &mut clients;
    first.send("st: a\r\n\r\n");
    assert_eq!(first.response().status, 200);
    assert_eq!(newcomer.response().status, 200, "the first is idle now");
    second.send("st: a\r\n\r\n");
    assert_eq!(second.response().status, 200);
}

#[test]
fn trusted_peers_keep_their_places_and_strangers_wait() {
    let rig = rig(|settings| {
        settings.listen.connections_max = 3;
        settings.listen.trusted_peers = vec!["127.0.0.1/32".parse().unwrap()];
        settings.listen.connections_per_address_max = Some(1);
    });
    let mut proxy: Vec<Client> = (0..3).map(|_| rig.client_from(1)).collect();
    proxy.iter_mut().for_each(assert_served);
    let mut stranger = rig.client_from(2);
    stranger.send(REQUEST);
    assert!(stranger.is_silent(A_WHILE));
    proxy.iter_mut().for_each(assert_served);
    proxy.pop();
    assert_eq!(stranger.response().status, 200);
    assert_eq!(rig.counted(Counter::ConnectionsGivenUp), 0);
}

#[test]
fn a_request_that_crosses_the_end_of_its_connection_meets_no_reset() {
    let rig = rig(|settings| settings.listen.connections_max = 1);
    let mut answered = 0;
    for round in 0..20 {
        let mut idle = rig.client_from(1);
        assert_served(&mut idle);
        let _newcomer = rig.client_from(2);
        std::thread::sleep(Duration::from_millis(7 * (round % 10)));
        idle.try_send(REQUEST);
        match idle.response_if_any() {
            Some(response) => {
                assert_eq!(response.status, 200);
                answered += 1;
            }
            None => assert!(idle.ends_in_order(), "round {round}"),
        }
    }
    assert!(answered > 0);
}

#[test]
fn an_address_has_no_more_connections_than_one_may_have() {
    let rig = rig(|settings| {
        settings.listen.connections_per_address_max = Some(2);
        settings.listen.workers = 3;
    });
    let mut two = [0; 2].map(|_| rig.client_from(1));
    two.iter_mut().for_each(assert_served);
    let response = rig.client_from(1).response();
    assert_eq!((response.status, response.code().as_str()), (429, "too_many_connections"), "{response:?}");
    assert_eq!(rig.counted(Counter::ConnectionsRefused), 1);
    two.iter_mut().for_each(assert_served);
    assert_served(&mut rig.client_from(2));
    drop(two);
    eventually("the place is free again", || {
        let mut client = rig.client_from(1);
        client.try_send(REQUEST);
        client.response_if_any().is_some_and(|response| response.status == 200)
    });
}

/// A request whose head is larger than what is read at once.
fn long_request() -> String {
    format!("GET /public HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(20_000))
}

#[test]
fn a_long_head_is_read_however_slowly_it_comes_and_wherever_in_a_connection() {
    let rig = rig(|_| {});
    let long = long_request();
    let mut client = rig.client();
    for round in 0..3 {
        for piece in [&long[..9000], &long[9000..18_000]] {
            client.send(piece);
            assert!(client.is_silent(A_WHILE), "round {round}");
        }
        client.send(format!("{}{REQUEST}{}", &long[18_000..], &long[..9000]));
        for _ in 0..2 {
            assert_eq!(client.response().status, 200, "round {round}");
        }
        assert!(client.is_silent(A_WHILE), "round {round}");
        client.send(&long[9000..]);
        assert_eq!(client.response().status, 200, "round {round}");
        assert_served(&mut client);
    }
}

#[test]
fn a_request_that_has_begun_to_come_when_the_gateway_is_asked_to_end_is_answered_as_the_last() {
    for before in ["", REQUEST] {
        let rig = rig(|settings| settings.shutdown.drain_deadline = Duration::from_secs(60));
        let long = long_request();
        let mut client = rig.client();
        if !before.is_empty() {
            assert_served(&mut client);
        }
        client.send(&long[..9000]);
        assert!(client.is_silent(A_WHILE));
        std::thread::scope(|scope| {
            scope.spawn(|| rig.stop());
            assert!(client.is_silent(A_WHILE));
            client.send(&long[9000..]);
            let response = client.response();
            assert_eq!((response.status, response.field("connection")), (200, Some("close")), "{before}");
            client.assert_closed();
        });
    }
}
