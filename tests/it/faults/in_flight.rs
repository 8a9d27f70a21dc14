//! Cookies that are refreshed on the way of a request, on two nodes of one store that fails.

use std::collections::BTreeSet;
use std::sync::{Barrier, Mutex};
use std::thread;

use serde_json::json;

use super::eventually;
use super::rig::Rig;
use crate::support::fault_proxy::{Fault, FaultProxy, Loss};
use crate::support::gateway::Gateway;
use crate::support::http::{Client, Message};
use crate::support::redis::RedisServer;
use crate::support::upstream::PASSWORD;

const SET: [(&str, &str); 3] =
    [("cookies.enabled", "true"), ("cookies.refresh_in_flight", "true"), ("revocation.max_staleness", "10m")];

const PARALLEL: usize = 50;
const ROUNDS: usize = 20;

/// What a browser keeps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Jar {
    access: String,
    refresh: String,
}

impl Jar {
    fn log_in(client: &mut Client, user: &str) -> Self {
        let mut jar = Self::default();
        jar.keep(&client.post("/login", &json!({"email": user, "password": PASSWORD})).expect(200));
        jar
    }

    /// As a browser does with a response.
    fn keep(&mut self, response: &Message) {
        for field in cookies_of(response) {
            let (name, value) = field.split(';').next().unwrap().split_once('=').unwrap();
            match name {
                "__Host-access" => value.clone_into(&mut self.access),
                "__Host-refresh" => value.clone_into(&mut self.refresh),
                _ => panic!("{field}"),
            }
        }
    }

    fn get(&self, client: &mut Client, path: &str) -> Message {
        let cookie = format!("__Host-access={}; __Host-refresh={}", self.access, self.refresh);
        client.send("GET", path, &[("cookie", &cookie)], None).unwrap()
    }

    /// When the access cookie has run out.
    fn without_access(&self) -> Self {
        Self { access: String::new(), refresh: self.refresh.clone() }
    }

    /// What is in it after the response.
    fn after(&self, response: &Message) -> Self {
        let mut jar = self.clone();
        jar.keep(response);
        jar
    }
}

fn cookies_of(response: &Message) -> Vec<&str> {
    let set = response.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    set.map(|(_, field)| field.as_str()).collect()
}

fn rotated(gateway: &Gateway) -> u64 {
    let metrics = gateway.admin().get("/metrics", None).expect(200).text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("tokengate_refreshes_total{outcome=\"rotated\"} "));
    line.unwrap_or_else(|| panic!("{metrics}")).trim().parse().unwrap()
}

#[test]
fn fifty_parallel_requests_of_a_page_over_two_nodes_are_one_rotation() {
    let redis = RedisServer::start();
    let rig = Rig::start(&[&redis.url(), &redis.url()], &SET);
    let (barrier, page, seen) = (Barrier::new(PARALLEL), Mutex::new(Jar::default()), Mutex::new(BTreeSet::new()));
    let load = |number: usize| {
        let mut client = rig.nodes[number % 2].client();
        for round in 0..ROUNDS {
            let user = format!("user-{round}");
            if number == 0 {
                *page.lock().unwrap() = Jar::log_in(&mut client, &user).without_access();
            }
            barrier.wait();
            let before = page.lock().unwrap().clone();
            let response = before.get(&mut client, "/api/me").expect(200);
            assert_eq!(response.upstream_saw("x-auth-subject"), [user]);
            let after = before.after(&response);
            assert!(after.refresh != before.refresh && !after.access.is_empty(), "{response:?}");
            seen.lock().unwrap().insert(after.refresh);
            barrier.wait();
            if number == 0 {
                let found = std::mem::take(&mut *seen.lock().unwrap());
                assert_eq!(found.len(), 1, "round {round}: one successor");
            }
        }
    };
    thread::scope(|scope| {
        for number in 0..PARALLEL {
            let load = &load;
            scope.spawn(move || load(number));
        }
    });
    assert_eq!(rig.nodes.iter().map(rotated).sum::<u64>(), ROUNDS as u64);
}

#[test]
fn a_store_that_is_away_is_missed_by_nobody_whose_token_lives_and_logs_nobody_out() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let set = [&SET[..], &[("store.redis.deadline", "500ms")]].concat();
    let rig = Rig::start(&[&redis.url()], &set);
    let mut client = rig.nodes[0].client();
    let jar = Jar::log_in(&mut client, "ann");
    redis.kill();
    for _ in 0..5 {
        jar.get(&mut client, "/api/me").expect(200);
        let away = jar.without_access().get(&mut client, "/api/me").expect(503);
        assert!(away.header("retry-after").is_some() && cookies_of(&away).is_empty(), "{away:?}");
    }
    redis.run();
    let renewed = eventually_served(&jar.without_access(), &mut client);
    assert_eq!((renewed.status(), cookies_of(&renewed).len()), (200, 2), "{renewed:?}");
    jar.after(&renewed).get(&mut client, "/api/me").expect(200);
}

/// The first response that is not for want of the store.
fn eventually_served(jar: &Jar, client: &mut Client) -> Message {
    let mut served = None;
    eventually("the store is there again", || {
        served = Some(jar.get(client, "/api/me")).filter(|response| response.status() != 503);
        served.is_some()
    });
    served.unwrap()
}

#[test]
fn a_rotation_whose_reply_is_lost_is_found_again_by_the_next_request_on_either_node() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::to(redis.port());
    let rig = Rig::start(&[&proxy.url(), &redis.url()], &SET);
    let mut clients = [rig.nodes[0].client(), rig.nodes[1].client()];
    // The server knows the scripts from here on: what is lost is the reply of a write.
    let warm = Jar::log_in(&mut clients[0], "first").without_access();
    warm.get(&mut clients[0], "/api/me").expect(200);
    for (round, loss) in Loss::ALL.into_iter().enumerate() {
        let user = format!("browsing-{round}");
        let jar = Jar::log_in(&mut clients[0], &user).without_access();
        let before = proxy.losses();
        proxy.lose_reply(&user, loss);
        let lost = jar.get(&mut clients[0], "/api/me").expect(503);
        assert!(lost.header("retry-after").is_some() && cookies_of(&lost).is_empty(), "{lost:?}");
        assert_eq!(proxy.losses(), before + 1);
        let elsewhere = jar.after(&jar.get(&mut clients[1], "/api/me").expect(200));
        eventually("the store is there again", || jar.get(&mut clients[0], "/api/me").status() == 200);
        let here = jar.after(&jar.get(&mut clients[0], "/api/me").expect(200));
        assert_eq!(here.refresh, elsewhere.refresh, "{loss:?}: rotated once, by the call that failed");
        here.get(&mut clients[1], "/api/me").expect(200);
    }
}

#[test]
fn a_node_that_has_not_heard_of_a_login_elsewhere_brings_no_cookies_of_the_user_before() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::to(redis.port());
    let rig = Rig::start(&[&proxy.url(), &redis.url()], &SET);
    let mut clients = [rig.nodes[0].client(), rig.nodes[1].client()];
    let dora = Jar::log_in(&mut clients[0], "dora").without_access();
    proxy.set(Fault::ResponseLogs("ERR no logs here"));
    let (late, carl) = thread::scope(|scope| {
        let (dora, mut client) = (&dora, rig.nodes[0].client());
        let held = scope.spawn(move || dora.get(&mut client, "/api/held"));
        rig.upstream.await_held(1);
        let cookie = format!("__Host-refresh={}", dora.refresh);
        let body = json!({"email": "carl", "password": PASSWORD});
        let fields = [("cookie", cookie.as_str()), ("content-type", "application/json")];
        let login = clients[1].send("POST", "/login", &fields, Some(body.to_string().as_bytes())).unwrap().expect(200);
        rig.upstream.release();
        (held.join().unwrap().expect(200), dora.after(&login))
    });
    assert_eq!(late.upstream_saw("x-auth-subject"), ["dora"]);
    assert_eq!(cookies_of(&late), Vec::<&str>::new(), "the store knows what the node does not");
    // What the browser has is good on both, and nobody else's cookies come by the node that hears nothing.
    for client in &mut clients {
        assert_eq!(carl.get(client, "/api/me").expect(200).upstream_saw("x-auth-subject"), ["carl"]);
        assert_eq!(carl.without_access().get(client, "/api/me").expect(200).upstream_saw("x-auth-subject"), ["carl"]);
    }
    let former = dora.get(&mut clients[0], "/api/me");
    assert_eq!(cookies_of(&former), Vec::<&str>::new(), "{former:?}");
}

#[test]
fn a_response_does_not_wait_for_a_store_that_hangs() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::to(redis.port());
    // Longer than the client waits.
    let set = [&SET[..], &[("store.redis.deadline", "30s")]].concat();
    let rig = Rig::start(&[&proxy.url()], &set);
    let jar = Jar::log_in(&mut rig.nodes[0].client(), "eve").without_access();
    let served = thread::scope(|scope| {
        let (jar, mut client) = (&jar, rig.nodes[0].client());
        let held = scope.spawn(move || jar.get(&mut client, "/api/held"));
        rig.upstream.await_held(1);
        proxy.set(Fault::Blackhole);
        rig.upstream.release();
        held.join().unwrap().expect(200)
    });
    assert_eq!(served.upstream_saw("x-auth-subject"), ["eve"]);
    assert_eq!(cookies_of(&served), Vec::<&str>::new(), "the store did not say that the session is still there");
}
