//! A server that answers, and not with what it was asked for: full, read-only, loading, without scripts or without data.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::load::{Kind, under_load};
use super::rig::Rig;
use super::{PATIENCE, eventually, has_alarm, is_ended, report};
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::gateway::Tokens;
use crate::support::http::Client;
use crate::support::redis::RedisServer;
use crate::support::upstream::PASSWORD;

/// Codes that a server has for each state in which it does not do what it is asked. The texts are those of Redis 7.
const CODES: [(&str, Fault); 9] = [
    ("READONLY", Fault::ResponseScripts("READONLY You can't write against a read only replica.")),
    (
        "MISCONF",
        Fault::ResponseScripts("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist"),
    ),
    ("NOREPLICAS", Fault::ResponseScripts("NOREPLICAS Not enough good replicas to write.")),
    ("LOADING", Fault::AnswerAll("LOADING Redis is loading the dataset in memory")),
    ("BUSY", Fault::AnswerAll("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.")),
    ("MASTERDOWN", Fault::AnswerAll("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.")),
    ("CLUSTERDOWN", Fault::AnswerAll("CLUSTERDOWN The cluster is down")),
    ("TRYAGAIN", Fault::AnswerAll("TRYAGAIN Multiple keys request during rehashing of slot")),
    ("NOAUTH", Fault::AnswerAll("NOAUTH Authentication required.")),
];

fn calls(client: &mut Client, held: &Tokens) -> [(&'static str, u16); 4] {
    [
        ("/login", client.post("/login", &json!({"email": "bob", "password": PASSWORD})).status()),
        ("/refresh", client.refresh(&held.refresh).status()),
        ("/sessions", client.get("/sessions", Some(&held.access)).status()),
        ("/logout", client.log_out(&held.access, "session").status()),
    ]
}

#[test]
fn no_code_of_the_server_reaches_a_client_as_anything_but_503() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::to(redis.port());
    // Without a leeway each refresh is a write.
    let rig = Rig::start(&[&proxy.url()], &[("refresh.leeway", "0s")]);
    let mut client = rig.nodes[0].client();
    let mut held = client.log_in("ann");
    for (code, fault) in CODES {
        proxy.set(fault);
        for (path, status) in calls(&mut client, &held) {
            let reads_alone = matches!(fault, Fault::ResponseScripts(_)) && path == "/sessions";
            assert!(status == 503 || (reads_alone && status == 200), "{code}: {path} is {status}");
        }
        client.get("/api/me", Some(&held.access)).expect(200);
        client.get("/public", None).expect(200);
        proxy.set(Fault::None);
        eventually(&format!("{code} is over"), || client.refresh(&held.refresh).status() == 200);
        held = Tokens::of(&client.refresh(&held.refresh).expect(200));
    }
    assert!(calls(&mut client, &held).iter().all(|(_, status)| *status == 200), "nothing was revoked behind the error");
}

#[test]
fn scripts_that_the_server_forgets_under_load_are_missed_by_nobody() {
    let redis = RedisServer::start();
    let rig = Rig::start(&[&redis.url(), &redis.url()], &[("refresh.leeway", "0s"), ("store.redis.deadline", "10s")]);
    let mut flushes = 0;
    let calls = under_load(&rig.nodes, || {
        for _ in 0..60 {
            assert_eq!(redis.cli(&["SCRIPT", "FLUSH"]), "OK");
            flushes += 1;
            thread::sleep(Duration::from_millis(40));
        }
    });
    let missed: Vec<_> = calls.iter().filter(|call| call.status != 200).collect();
    assert!(missed.is_empty(), "{missed:?}");
    let own = calls.iter().filter(|call| call.kind == Kind::Own).count();
    assert!(own > 50, "too little load to show anything: {own}");
    report(&format!("SCRIPT FLUSH {flushes} times: {} calls, {own} of them of own endpoints, all served", calls.len()));
}

#[test]
fn a_flood_of_calls_that_wait_for_the_store_is_503_at_once_and_logs_nobody_out() {
    let redis = RedisServer::start();
    let rig = Rig::start(&[&redis.url()], &[("endpoints.calls_max", "1"), ("store.redis.deadline", "10s")]);
    let node = &rig.nodes[0];
    let held = node.client().log_in("ann");
    redis.freeze();
    let response = thread::scope(|scope| {
        let (sender, answers) = mpsc::channel();
        for _ in 0..2 {
            let (sender, held) = (sender.clone(), &held);
            scope.spawn(move || sender.send(node.client().refresh(&held.refresh)).unwrap());
        }
        let refused = answers.recv_timeout(PATIENCE).unwrap().expect(503);
        assert_eq!((refused.member("code").as_str(), refused.header("retry-after")), ("overloaded", Some("1")));
        node.client().get("/healthz", None).expect(200);
        node.client().get("/api/me", Some(&held.access)).expect(200);
        redis.thaw();
        answers.recv_timeout(PATIENCE).unwrap()
    });
    let tokens = Tokens::of(&response.expect(200));
    node.client().refresh(&tokens.refresh).expect(200);
    let metrics = node.admin().get("/metrics", None).text();
    assert!(metrics.contains("tokengate_calls_failed_total{cause=\"overloaded\"} 1\n"), "{metrics}");
}

#[test]
fn a_full_store_takes_no_login_and_every_logout() {
    let redis = RedisServer::start();
    let rig = Rig::start(&[&redis.url(), &redis.url()], &[("refresh.leeway", "0s")]);
    let (mut a, mut b) = (rig.nodes[0].client(), rig.nodes[1].client());
    let [one, other, third] = [a.log_in("ann"), a.log_in("ann"), b.log_in("ann")];
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);

    let login = json!({"email": "bob", "password": PASSWORD});
    let refused = a.post("/login", &login).expect(503);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    a.refresh(&one.refresh).expect(503);
    a.get("/api/me", Some(&one.access)).expect(200);
    assert_eq!(a.log_out(&one.access, "session").expect(200).json()["ended"], 1);
    assert_eq!(b.log_out(&other.access, "all").expect(200).json()["ended"], 2);
    for (name, ended) in [("one", &one), ("other", &other), ("third", &third)] {
        for node in [&mut a, &mut b] {
            eventually(name, || is_ended(node, ended));
            node.refresh(&ended.refresh).expect(401);
        }
    }

    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    let bob = Tokens::of(&a.post("/login", &login).expect(200));
    b.refresh(&bob.refresh).expect(200);
}

#[test]
fn an_emptied_store_ends_sessions_and_keeps_what_was_revoked_revoked() {
    let redis = RedisServer::start();
    let mut rig = Rig::start(&[&redis.url(), &redis.url()], &[]);
    let (mut a, mut b) = (rig.nodes[0].client(), rig.nodes[1].client());
    let (kept, ended, everywhere) = (a.log_in("ann"), a.log_in("bob"), a.log_in("eve"));
    a.log_out(&ended.access, "session").expect(200);
    b.log_out(&everywhere.access, "all").expect(200);
    for tokens in [&ended, &everywhere] {
        eventually("both know", || is_ended(&mut a, tokens) && is_ended(&mut b, tokens));
    }

    assert_eq!(redis.cli(&["FLUSHALL"]), "OK");
    for node in [&mut a, &mut b] {
        node.get("/api/me", Some(&kept.access)).expect(200);
        node.refresh(&kept.refresh).expect(401);
        for gone in [&ended, &everywhere] {
            node.get("/api/me", Some(&gone.access)).expect(401);
            node.refresh(&gone.refresh).expect(401);
        }
    }
    let entries = || -> u64 {
        let logs = redis.cli(&["--scan", "--pattern", "tg:*:revocations"]);
        logs.lines().map(|log| redis.cli(&["XLEN", log]).parse::<u64>().unwrap()).sum()
    };
    eventually("the revocations are put back", || entries() >= 2);

    for node in &rig.nodes {
        eventually("the alarm", || has_alarm(&mut node.client(), "emptied"));
    }

    // A node that never knew of them takes them from there.
    let newcomer = rig.launch(&redis.url());
    newcomer.await_ready();
    let mut c = newcomer.client();
    for gone in [&ended, &everywhere] {
        c.get("/api/me", Some(&gone.access)).expect(401);
    }
    c.get("/api/me", Some(&kept.access)).expect(200);
    let anew = c.log_in("ann");
    a.refresh(&anew.refresh).expect(200);
}

#[test]
fn an_eviction_policy_that_is_set_while_nodes_run_is_an_alarm_until_it_is_put_right() {
    let redis = RedisServer::start();
    let rig = Rig::start(&[&redis.url(), &redis.url()], &[]);
    let mut clients = [rig.nodes[0].client(), rig.nodes[1].client()];
    assert!(clients.iter_mut().all(|client| !has_alarm(client, "eviction")));
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    for client in &mut clients {
        eventually("the alarm", || has_alarm(client, "eviction"));
        // Nothing is lost yet, and no other node would be better off: traffic is taken on.
        client.get("/readyz", None).expect(200);
        client.log_in("ann");
    }
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    for client in &mut clients {
        eventually("the end of the alarm", || !has_alarm(client, "eviction"));
    }
}
