//! What the proxied path, by token or cookie, and a decision, ask of the store: nothing.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::gateway::{Gateway, Pair};
use crate::support::http::Client;
use crate::support::redis::RedisServer;
use crate::support::upstream::PASSWORD;

const REQUESTS: usize = 2000;
const SESSIONS: usize = 100;
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Between two looks after the store.
const LOOK: Duration = Duration::from_secs(2);
/// How long a server holds back the response to a blocking read.
const WAKER: Duration = Duration::from_millis(500);
/// Between two in which a node tells the others that it is there.
const PRESENCE: Duration = Duration::from_secs(5);
const PARTITIONS: u64 = 16;
const NODES: u64 = 2;
const SOON: Duration = Duration::from_secs(10);

/// Counts by command, those within scripts included.
type Calls = BTreeMap<String, u64>;

/// What nodes do by themselves is done often enough to be known, or not at all.
const SET: [(&str, &str); 4] = [
    ("revocation.heartbeat", "1s"),
    ("refresh.acknowledge_interval", "1s"),
    ("revocation.canary_interval", "1h"),
    ("statistics.flush_interval", "1h"),
];

#[test]
fn validated_requests_cost_no_store_call() {
    let pair = Pair::start(&SET);
    let mut nodes = pair.nodes().map(Gateway::client);
    let tokens: Vec<String> = (0..SESSIONS).map(|user| nodes[0].log_in(&format!("user-{user}")).access).collect();

    // Each token is new to each node once.
    let (before, began) = (calls(&pair.redis), Instant::now());
    for request in 0..REQUESTS {
        nodes[request % 2].get("/api/me", Some(&tokens[request / 2 % SESSIONS])).expect(200);
    }
    let after = await_acknowledgements(&pair.redis, &before);
    let elapsed = began.elapsed();
    let mut made = difference(&before, &after);
    assert_heartbeats(&mut made, elapsed);
    let batches = made.remove("evalsha").unwrap_or_default() + made.remove("eval").unwrap_or_default();
    assert!(batches <= NODES * PARTITIONS * (elapsed.as_secs() + 2), "{batches} acknowledgements in {elapsed:?}");
    // What the acknowledgement does within the server, once for each session and node at most.
    for (command, most) in [("hmget", 2), ("hset", 1), ("hincrby", 1)] {
        assert!(made.remove(command).unwrap_or_default() <= most * SESSIONS as u64, "{command}");
    }
    assert_eq!(made, Calls::new());

    // From here on there is nothing to acknowledge.
    settle(&pair.redis);
    let (before, began) = (calls(&pair.redis), Instant::now());
    for request in 0..REQUESTS {
        nodes[request % 2].get("/api/me", Some(&tokens[request / 2 % SESSIONS])).expect(200);
    }
    let mut made = difference(&before, &calls(&pair.redis));
    assert_heartbeats(&mut made, began.elapsed());
    assert_eq!(made, Calls::new());
}

#[test]
fn decisions_cost_no_store_call() {
    let pair = Pair::start(&[&SET[..], &[("decision.address", "127.0.0.1:0")]].concat());
    let mut node = pair.a.client();
    let tokens: Vec<String> = (0..SESSIONS).map(|user| node.log_in(&format!("user-{user}")).access).collect();
    let mut proxies = pair.nodes().map(|node| Client::new(node.decision_address()));
    let mut decide = |request: usize| {
        let user = request / 2 % SESSIONS;
        let bearer = format!("Bearer {}", tokens[user]);
        let fields = [
            ("x-original-url", "http://a/api/me"),
            ("x-original-method", "GET"),
            ("x-forwarded-for", "192.0.2.7"),
            ("authorization", bearer.as_str()),
        ];
        let response = proxies[request % 2].send("GET", "/", &fields, None).unwrap().expect(200);
        assert_eq!(response.header("x-auth-subject"), Some(format!("user-{user}").as_str()));
    };
    // Each token is new to each node once.
    let before = calls(&pair.redis);
    (0..2 * SESSIONS).for_each(&mut decide);
    await_acknowledgements(&pair.redis, &before);
    settle(&pair.redis);
    let (before, began) = (calls(&pair.redis), Instant::now());
    (0..REQUESTS).for_each(&mut decide);
    let mut made = difference(&before, &calls(&pair.redis));
    assert_heartbeats(&mut made, began.elapsed());
    assert_eq!(made, Calls::new());
}

#[test]
fn cookies_that_could_be_refreshed_in_flight_cost_no_store_call_while_their_token_is_good() {
    let pair = Pair::start(&[&SET[..], &[("cookies.enabled", "true"), ("cookies.refresh_in_flight", "true")]].concat());
    let mut nodes = pair.nodes().map(Gateway::client);
    let jars: Vec<String> = (0..SESSIONS).map(|user| cookies_of_login(&mut nodes[0], &format!("user-{user}"))).collect();
    let mut ask = |request: usize| {
        let user = request / 2 % SESSIONS;
        let response = nodes[request % 2].send("GET", "/api/me", &[("cookie", &jars[user])], None).unwrap().expect(200);
        assert_eq!(response.upstream_saw("x-auth-subject"), [format!("user-{user}")]);
        assert_eq!(response.header("set-cookie"), None);
    };
    // Each token is new to each node once.
    let before = calls(&pair.redis);
    (0..2 * SESSIONS).for_each(&mut ask);
    await_acknowledgements(&pair.redis, &before);
    settle(&pair.redis);
    let (before, began) = (calls(&pair.redis), Instant::now());
    (0..REQUESTS).for_each(&mut ask);
    let mut made = difference(&before, &calls(&pair.redis));
    assert_heartbeats(&mut made, began.elapsed());
    assert_eq!(made, Calls::new());
}

/// What a browser sends after it.
fn cookies_of_login(client: &mut Client, user: &str) -> String {
    let response = client.post("/login", &json!({"email": user, "password": PASSWORD})).expect(200);
    let set = response.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    let pairs: Vec<&str> = set.map(|(_, field)| field.split(';').next().unwrap()).collect();
    pairs.join("; ")
}

/// Waits until each session was acknowledged, and returns what was called by then.
fn await_acknowledgements(redis: &RedisServer, before: &Calls) -> Calls {
    let began = Instant::now();
    loop {
        let now = calls(redis);
        if count(&now, "hincrby") - count(before, "hincrby") == SESSIONS as u64 {
            return now;
        }
        assert!(began.elapsed() < SOON, "not acknowledged: {:?}", difference(before, &now));
        thread::sleep(Duration::from_millis(20));
    }
}

/// Takes out what does not depend on requests, as often as it may be: the logs are read, nodes know each other, the store is looked
/// after.
#[track_caller]
fn assert_heartbeats(made: &mut Calls, elapsed: Duration) {
    let wakers = made.remove("xread").unwrap_or_default();
    let most = |every: Duration| NODES * (u64::try_from(elapsed.as_millis() / every.as_millis()).unwrap() + 2);
    assert!(wakers <= most(WAKER), "{wakers} blocking reads in {elapsed:?}");
    // Each log, at each heartbeat.
    for command in ["xrange", "xinfo|stream"] {
        let reads = made.remove(command).unwrap_or_default();
        assert!(reads <= PARTITIONS * most(HEARTBEAT), "{reads} {command} in {elapsed:?}");
    }
    // And the script by which nodes know each other, with what it does.
    let known = made.remove("hlen").unwrap_or_default();
    assert!(known <= most(PRESENCE), "{known} in {elapsed:?}");
    for command in ["hdel", "hgetall", "hset"] {
        made.insert(command.to_owned(), count(made, command).checked_sub(known).unwrap());
    }
    // And the look after the store, at each log too.
    for (command, each) in [("ping", 1), ("config|get", 1), ("get", PARTITIONS)] {
        assert!(count(made, command) <= each * most(LOOK), "{} {command} in {elapsed:?}", count(made, command));
    }
    let looks = made.remove("ping").unwrap_or_default() + known;
    made.insert("time".to_owned(), count(made, "time").saturating_sub(looks));
    let scripts = made.remove("get").unwrap_or_default() + known;
    made.insert("evalsha".to_owned(), count(made, "evalsha").saturating_sub(scripts));
    made.remove("config|get");
    made.retain(|_, calls| *calls > 0);
}

/// Waits until nothing was acknowledged for two intervals.
fn settle(redis: &RedisServer) {
    let (began, mut last, mut since) = (Instant::now(), calls(redis), Instant::now());
    while since.elapsed() < 2 * HEARTBEAT {
        assert!(began.elapsed() < SOON, "the store is never left alone");
        thread::sleep(Duration::from_millis(50));
        let now = calls(redis);
        if count(&now, "hmget") != count(&last, "hmget") {
            (last, since) = (now, Instant::now());
        }
    }
}

fn count(calls: &Calls, command: &str) -> u64 {
    calls.get(command).copied().unwrap_or_default()
}

fn difference(before: &Calls, after: &Calls) -> Calls {
    let made = after.iter().map(|(command, calls)| (command.clone(), calls - count(before, command)));
    made.filter(|(_, calls)| *calls > 0).collect()
}

/// Without those that this question makes itself.
fn calls(redis: &RedisServer) -> Calls {
    let text = redis.cli(&["INFO", "commandstats"]);
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("cmdstat_")?.split_once(":calls="));
    let counted = lines.map(|(command, rest)| (command.to_owned(), rest.split(',').next().unwrap().parse().unwrap()));
    counted.filter(|(command, _)| !matches!(command.as_str(), "info" | "command" | "command|docs")).collect()
}
