//! One address, and who may listen there.

use std::net::{Ipv4Addr, SocketAddr};

use tokengate::config::{ListenAddress, Listeners, Settings};
use tokengate::domain::stats::Counter;

use super::rig::{Rig, eventually};
use super::upstream::Upstream;

const MEMORY: &str = "[store]\nkind = \"memory\"\n";

const REQUEST: &str = "GET /public HTTP/1.1\r\nHost: a\r\n\r\n";

fn start(address: SocketAddr, change: impl FnOnce(&mut Settings)) -> Result<Rig, String> {
    let settings = |settings: &mut Settings| {
        settings.listeners = Listeners::plain(ListenAddress::Ip(address));
        settings.listen.workers = 2;
        change(settings);
    };
    Rig::try_start_from(Upstream::echo().address, MEMORY, settings).map_err(|error| error.to_string())
}

fn anywhere(ip: Ipv4Addr) -> SocketAddr {
    (ip, 0).into()
}

fn refusal(address: SocketAddr, change: impl FnOnce(&mut Settings)) -> String {
    start(address, change).err().unwrap_or_else(|| panic!("two listen at {address}"))
}

#[test]
fn a_second_gateway_at_the_same_address_does_not_start_and_says_what_to_do() {
    let first = start(anywhere(Ipv4Addr::LOCALHOST), |_| {}).unwrap();
    let error = refusal(first.address(), |_| {});
    assert!(error.contains(&first.address().to_string()) && error.contains("listen.share_port"), "{error}");
    assert_eq!(first.ask(REQUEST).status, 200);
}

#[test]
fn addresses_that_overlap_are_the_same() {
    for (one, other) in [(Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST)] {
        let first = start(anywhere(one), |_| {}).unwrap();
        refusal((other, first.address().port()).into(), |_| {});
    }
    let first = start(anywhere(Ipv4Addr::LOCALHOST), |_| {}).unwrap();
    let beside = start((Ipv4Addr::new(127, 0, 0, 2), first.address().port()).into(), |_| {});
    assert!(beside.is_ok(), "another address is another address");
}

#[test]
fn gateways_that_share_a_port_divide_its_connections_and_one_that_does_not_stays_out() {
    let share = |settings: &mut Settings| settings.listen.share_port = true;
    let first = start(anywhere(Ipv4Addr::LOCALHOST), share).unwrap();
    let second = start(first.address(), share).unwrap();
    refusal(first.address(), |_| {});
    for _ in 0..20 {
        assert_eq!(first.ask(REQUEST).status, 200);
    }
    drop(first);
    eventually("the other one goes on", || second.takes(REQUEST));
}

#[test]
fn the_address_stays_taken_while_a_worker_is_built_anew_and_connections_wait_for_it() {
    let rig = start(anywhere(Ipv4Addr::LOCALHOST), |settings| settings.listen.workers = 1).unwrap();
    rig.clock.panic_in_ticks(1);
    eventually("the worker panicked", || {
        refusal(rig.address(), |_| {});
        rig.counted(Counter::Panics) == 1
    });
    assert!(rig.takes(REQUEST), "whoever comes meanwhile is served by the next one");
    refusal(rig.address(), |_| {});
}

#[test]
fn a_shared_address_stays_closed_to_others_while_its_worker_is_built_anew_and_connections_wait_for_it() {
    let share = |settings: &mut Settings| (settings.listen.workers, settings.listen.share_port) = (1, true);
    let rig = start(anywhere(Ipv4Addr::LOCALHOST), share).unwrap();
    rig.clock.panic_in_ticks(1);
    eventually("the worker panicked", || {
        refusal(rig.address(), |_| {});
        rig.counted(Counter::Panics) == 1
    });
    assert!(rig.takes(REQUEST), "whoever comes meanwhile is served by the next one");
    refusal(rig.address(), |_| {});
}

#[test]
fn an_address_is_free_again_when_its_gateway_has_ended_though_connections_of_it_are_remembered() {
    let first = start(anywhere(Ipv4Addr::LOCALHOST), |_| {}).unwrap();
    let address = first.address();
    let mut client = first.client();
    // The gateway closes first: the kernel remembers this connection.
    client.send("GET /public HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    drop(client);
    first.stop();
    assert_eq!(start(address, |_| {}).unwrap().ask(REQUEST).status, 200);
}
