//! What administrators do through the admin listener: with HTTP, and with the command line.

use std::process::{Command, Output};
use std::time::Duration;
use std::{fs, thread};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::gateway::{Gateway, Pair};
use crate::support::http::Message;
use crate::support::upstream::Upstream;

const PATIENCE: Duration = Duration::from_secs(20);
const POLL_PAUSE: Duration = Duration::from_millis(20);
const WAIT: &str = "/revocations?wait=all&timeout=20s";

fn revoke(node: &Gateway, path: &str, order: &Value) -> Message {
    node.admin().post(path, order)
}

fn names(nodes: &Value) -> Vec<String> {
    let mut ids: Vec<String> = nodes.as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn own_id(node: &Gateway) -> String {
    node.admin().get("/revocations", None).expect(200).member("node")
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(POLL_PAUSE);
    }
}

#[test]
fn a_revocation_that_waits_returns_when_every_node_refuses() {
    let pair = Pair::start(&[]);
    let mut ids = pair.nodes().map(own_id).to_vec();
    ids.sort();
    let (mut a, mut b) = (pair.a.client(), pair.b.client());
    for round in 0..25 {
        let user = format!("user-{round}");
        let (one, two) = (a.log_in(&user), b.log_in(&user));
        for token in [&one.access, &two.access] {
            a.get("/api/me", Some(token)).expect(200);
            b.get("/api/me", Some(token)).expect(200);
        }
        let (from, by) = if round % 2 == 0 { (&pair.a, &mut b) } else { (&pair.b, &mut a) };
        let done = revoke(from, WAIT, &json!({"subject": user})).expect(200).json();
        assert_eq!((done["ended"].as_u64(), names(&done["nodes"]["pending"])), (Some(2), vec![]));
        assert_eq!(names(&done["nodes"]["applied"]), ids);
        for token in [&one.access, &two.access] {
            by.get("/api/me", Some(token)).expect(401);
        }
    }
}

#[test]
fn a_frozen_node_is_named_and_catches_up() {
    let pair = Pair::start(&[]);
    let frozen = own_id(&pair.b);
    let session = pair.a.client().log_in("ann");
    pair.b.client().get("/api/me", Some(&session.access)).expect(200);

    pair.b.signal("STOP");
    let order = json!({"subject": "ann"});
    let done = revoke(&pair.a, "/revocations?wait=all&timeout=1s", &order).expect(202).json();
    assert_eq!((done["ended"].as_u64(), names(&done["nodes"]["pending"])), (Some(1), vec![frozen.clone()]));
    pair.a.client().get("/api/me", Some(&session.access)).expect(401);

    pair.b.signal("CONT");
    let done = revoke(&pair.a, WAIT, &order).expect(200).json();
    assert!(names(&done["nodes"]["applied"]).contains(&frozen), "{done}");
    pair.b.client().get("/api/me", Some(&session.access)).expect(401);
}

#[test]
fn a_node_that_is_gone_is_waited_for_until_it_could_vouch_for_nobody() {
    let Pair { a, b, redis, upstream, folder } =
        Pair::start(&[("revocation.max_staleness", "3s"), ("revocation.heartbeat", "200ms")]);
    let (killed, order) = (own_id(&b), json!({"jti": "any"}));
    b.kill();
    let done = revoke(&a, "/revocations?wait=all&timeout=100ms", &order).expect(202).json();
    assert_eq!(names(&done["nodes"]["pending"]), std::slice::from_ref(&killed));
    let known = |a: &Gateway| names(&a.admin().get("/nodes", None).expect(200).json()["nodes"]);
    until("the killed node is forgotten", || !known(&a).contains(&killed));
    revoke(&a, WAIT, &order).expect(200);
    drop((a, redis, upstream, folder));
}

#[test]
fn a_node_that_stops_takes_leave() {
    let mut pair = Pair::start(&[]);
    pair.b.terminate();
    assert!(pair.b.wait(PATIENCE).is_some());
    let nodes = pair.a.admin().get("/nodes", None).expect(200).json();
    assert_eq!(names(&nodes["nodes"]), [own_id(&pair.a)]);
    revoke(&pair.a, WAIT, &json!({"jti": "any"})).expect(200);
}

/// Prints the figures: run it with `--no-capture`.
#[test]
fn each_node_measures_how_long_the_log_takes_to_reach_it() {
    const SAMPLES: u64 = 40;
    let pair = Pair::start(&[("revocation.canary_interval", "50ms"), ("node.name", "a node")]);
    for node in pair.nodes() {
        let look = || node.admin().get("/revocations", None).expect(200).json();
        until("canaries come back", || look()["lag"]["samples"].as_u64().unwrap() >= SAMPLES);
        let seen = look();
        let micros = ["p50Micros", "p99Micros", "maxMicros"].map(|name| seen["lag"][name].as_u64().unwrap());
        assert!(0 < micros[0] && micros.is_sorted(), "{seen}");
        assert_eq!(seen["counts"], json!({"sessions": 0, "subjects": 0, "tokens": 0, "everyone": 0}));
        #[expect(clippy::print_stdout, reason = "the figures are what the test is for")]
        {
            println!("lag of the log: p50 {} µs, p99 {} µs, max {} µs", micros[0], micros[1], micros[2]);
        }
    }
    let nodes = pair.a.admin().get("/nodes", None).expect(200).json();
    assert_eq!(nodes["asked"], own_id(&pair.a));
    let mut ids = pair.nodes().map(own_id).to_vec();
    ids.sort();
    assert_eq!(names(&nodes["nodes"]), ids);
    assert!(nodes["nodes"].as_array().unwrap().iter().all(|node| node["name"] == "a node"), "{nodes}");
    // Each node has one canary in each partition, however many it wrote.
    let entries: u64 =
        (0..16).map(|p| pair.redis.cli(&["XLEN", &format!("tg:{{{p}}}:revocations")]).parse::<u64>().unwrap()).sum();
    assert!(entries <= 2 * 16, "{entries} entries");
}

#[test]
fn everything_older_than_a_moment_ends_on_every_node() {
    let pair = Pair::start(&[]);
    let (mut a, mut b) = (pair.a.client(), pair.b.client());
    let old = [a.log_in("ann"), b.log_in("bob"), a.log_in("eve")];
    for tokens in &old {
        a.get("/api/me", Some(&tokens.access)).expect(200);
        b.get("/api/me", Some(&tokens.access)).expect(200);
    }
    // The moment is in whole seconds: what began after it lives.
    thread::sleep(Duration::from_millis(1100));
    let moment = claim(&a.log_in("clock").access, "iat");
    let done = revoke(&pair.b, WAIT, &json!({"everyone": true, "issuedBefore": moment})).expect(200).json();
    assert_eq!(done["ended"].as_u64(), Some(3), "{done}");
    for tokens in &old {
        for node in [&mut a, &mut b] {
            assert_eq!(node.get("/api/me", Some(&tokens.access)).expect(401).json()["code"], "token_revoked");
            node.refresh(&tokens.refresh).expect(401);
        }
    }
    let anew = b.log_in("ann");
    for node in [&mut a, &mut b] {
        node.get("/api/me", Some(&anew.access)).expect(200);
    }
    a.refresh(&anew.refresh).expect(200);
}

/// What an administrator types, in a process of its own.
struct Console<'a> {
    url: String,
    environment: &'a [(&'a str, &'a str)],
}

impl<'a> Console<'a> {
    fn of(node: &Gateway, environment: &'a [(&'a str, &'a str)]) -> Self {
        Self { url: format!("http://{}", node.admin_address()), environment }
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
        command.args(args).args(["--url", &self.url]).env_clear().envs(self.environment.iter().copied()).output().unwrap()
    }

    #[track_caller]
    fn said(&self, args: &[&str], exit_code: i32) -> String {
        let output = self.run(args);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(exit_code), "{args:?}: {out}{err}");
        if exit_code == 0 { out.into_owned() } else { format!("{out}{err}") }
    }
}

#[test]
fn the_command_line_lists_and_ends_sessions_of_any_store() {
    let upstream = Upstream::start();
    for store in ["memory", "embedded"] {
        let gateway = Gateway::start(&upstream, &[("store.kind", store)]);
        let (console, mut client) = (Console::of(&gateway, &[]), gateway.client());
        assert_eq!(console.said(&["sessions", "list", "--subject", "ann"], 0), "no sessions\n");
        let [first, second, third, fourth] = [(); 4].map(|()| client.log_in("ann"));
        let listed: Value = serde_json::from_str(&console.said(&["sessions", "list", "--subject", "ann", "--json"], 0)).unwrap();
        // Those of one millisecond are listed in any order.
        let ids = [&first, &second, &third, &fourth].map(|tokens| claim(&tokens.access, "sid").as_str().unwrap().to_owned());
        let id = |n: usize| ids[n].as_str();
        let is_listed = |id: &String| listed["sessions"].as_array().unwrap().iter().any(|session| session["id"] == id.as_str());
        assert!(ids.iter().all(is_listed), "{listed}");
        let table = console.said(&["sessions", "list", "--subject", "ann"], 0);
        assert_eq!(table.lines().count(), 5, "{table}");
        assert!(table.starts_with("ID  ") && table.lines().any(|line| line.starts_with(id(0))), "{table}");
        assert!(table.contains("127.0.0.1"), "{table}");

        assert_eq!(console.said(&["sessions", "revoke", id(0)], 0), "ended 1 session\n");
        assert_eq!(console.said(&["revoke", "--session", id(1)], 0), "ended 1 session\n");
        assert_eq!(console.said(&["sessions", "revoke", id(1)], 0), "ended 0 sessions\n");
        for ended in [&first, &second] {
            client.get("/api/me", Some(&ended.access)).expect(401);
            client.refresh(&ended.refresh).expect(401);
        }
        let jti = claim(&third.access, "jti");
        console.said(&["revoke", "--jti", jti.as_str().unwrap()], 0);
        assert_eq!(client.get("/api/me", Some(&third.access)).expect(401).json()["code"], "token_revoked");
        client.refresh(&third.refresh).expect(200);
        client.get("/api/me", Some(&fourth.access)).expect(200);

        assert_eq!(
            console.said(&["revoke", "--subject", "ann", "--issued-before", "2020-01-01T00:00:00Z"], 0),
            "ended 0 sessions\n"
        );
        client.get("/api/me", Some(&fourth.access)).expect(200);
        let done = console.said(&["revoke", "--subject", "ann", "--wait", "--json"], 0);
        let done: Value = serde_json::from_str(&done).unwrap();
        assert_eq!((done["ended"].as_u64(), names(&done["nodes"]["applied"])), (Some(2), vec![own_id(&gateway)]));
        client.get("/api/me", Some(&fourth.access)).expect(401);

        let (ann, bob) = (client.log_in("ann"), client.log_in("bob"));
        let later = (claim(&bob.access, "iat").as_i64().unwrap() + 1).to_string();
        let said = console.said(&["revoke", "--issued-before", &later, "--wait", "5"], 0);
        assert!(said.starts_with("ended 2 sessions\nknown to: "), "{said}");
        for ended in [&ann, &bob] {
            client.get("/api/me", Some(&ended.access)).expect(401);
            client.refresh(&ended.refresh).expect(401);
        }
    }
}

#[test]
fn the_command_line_says_when_not_every_node_knows() {
    let pair = Pair::start(&[]);
    let (frozen, console) = (own_id(&pair.b), Console::of(&pair.a, &[]));
    pair.b.signal("STOP");
    let said = console.said(&["revoke", "--subject", "ann", "--wait", "1"], 1);
    assert!(said.contains("not known yet to: ") && said.contains(&frozen), "{said}");
    pair.b.signal("CONT");
    let said = console.said(&["revoke", "--subject", "ann", "--wait"], 0);
    assert!(said.contains(&frozen) && !said.contains("not known"), "{said}");
}

#[test]
fn calls_that_make_no_sense_or_reach_nobody_end_with_their_exit_code() {
    let upstream = Upstream::start();
    let token = ("admin.token", "a-token-of-many-characters");
    let gateway = Gateway::start(&upstream, &[token]);
    let stranger = Console::of(&gateway, &[]);
    let said = stranger.said(&["sessions", "list", "--subject", "ann"], 1);
    assert!(said.contains("401") && said.contains("admin.token"), "{said}");
    let environment = [("TOKENGATE__ADMIN__TOKEN", token.1)];
    let console = Console::of(&gateway, &environment);
    assert_eq!(console.said(&["sessions", "list", "--subject", "ann"], 0), "no sessions\n");

    for wrong in [
        &["revoke"][..],
        &["revoke", "--subject", "ann", "--session", "x"],
        &["revoke", "--session", "not an id"],
        &["revoke", "--jti", "x", "--issued-before", "1790000000"],
        &["revoke", "--subject", "ann", "--issuer", "x"],
        &["revoke", "--issued-before", "yesterday"],
        &["revoke", "--issued-before", "2999-01-01T00:00:00Z"],
        &["revoke", "--subject", ""],
        &["sessions", "revoke", "not-an-id"],
        &["sessions", "list"],
    ] {
        console.said(wrong, 2);
    }
    let nobody = Console { url: "http://127.0.0.1:1".to_owned(), environment: &[] };
    nobody.said(&["revoke", "--subject", "ann"], 1);
    // What answers on the traffic's port is no admin listener.
    let elsewhere = Console { url: format!("http://{}", gateway.address()), environment: &[] };
    elsewhere.said(&["sessions", "list", "--subject", "ann"], 1);
}

#[test]
fn a_reload_that_was_asked_for_is_answered() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &upstream, &[]);
    let file = folder.path().join("tokengate.toml");
    let settings = fs::read_to_string(&file).unwrap();
    let reload = || gateway.admin().call("POST", "/reload", None, None);
    gateway.client().get("/open/x", None).expect(401);

    fs::write(&file, format!("{settings}\n[[routes]]\nname = \"open\"\nprefix = \"/open\"\naccess = \"public\"\n")).unwrap();
    assert_eq!(reload().expect(200).json(), json!({"status": "reloaded", "needsRestart": []}));
    gateway.client().get("/open/x", None).expect(200);

    fs::write(&file, format!("{settings}\n[tokens]\nlifetime = \"soon\"\n")).unwrap();
    let refused = reload().expect(422).json();
    assert_eq!(refused["code"], "settings_refused");
    assert!(refused["detail"].as_str().unwrap().contains("tokens.lifetime"), "{refused}");
    gateway.client().get("/open/x", None).expect(200);
}

#[test]
fn what_a_reload_cannot_take_over_is_named_and_stays_as_it_is() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &upstream, &[]);
    let file = folder.path().join("tokengate.toml");
    let settings = fs::read_to_string(&file).unwrap();
    let changed = settings.replace("workers = 2\n", "workers = 3\n").replace("\"memory\"", "\"embedded\"");
    fs::write(&file, format!("{changed}\n[tokens]\nlifetime = \"5m\"\n")).unwrap();
    let reload = || gateway.admin().call("POST", "/reload", None, None);
    let named = json!({"status": "reloaded", "needsRestart": ["listen.workers", "store.kind"]});
    assert_eq!(reload().expect(200).json(), named);
    gateway.await_log("the log names them", |log| log.contains("listen.workers, store.kind"));
    let tokens = gateway.client().log_in("ann");
    assert_eq!(claim(&tokens.access, "exp").as_u64().unwrap() - claim(&tokens.access, "iat").as_u64().unwrap(), 300);

    let url = format!("http://{}", gateway.admin_address());
    let console = Console { url, environment: &[] };
    assert_eq!(console.said(&["reload"], 0), "reloaded\nneeds a restart: listen.workers\nneeds a restart: store.kind\n");
    fs::write(&file, &settings).unwrap();
    assert_eq!(console.said(&["reload"], 0), "reloaded\n");
}

#[test]
fn what_is_said_to_be_reloaded_is_in_force() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &upstream, &[("listen.workers", "4")]);
    let file = folder.path().join("tokengate.toml");
    let settings = fs::read_to_string(&file).unwrap();
    for health in ["/up-1", "/up-2", "/up-3"] {
        fs::write(&file, format!("{settings}\n[endpoints]\nhealth = \"{health}\"\n")).unwrap();
        gateway.admin().call("POST", "/reload", None, None).expect(200);
        // Each connection is some worker's.
        for _ in 0..8 {
            gateway.client().get(health, None).expect(200);
        }
    }
}

#[test]
fn the_level_of_the_log_and_the_token_of_the_admin_listener_change_by_a_reload() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let token = folder.path().join("admin-token");
    fs::write(&token, "first-token-of-admin\n").unwrap();
    let gateway = Gateway::start_in(folder.path(), &upstream, &[("admin.token_file", token.to_str().unwrap())]);
    let first = [("TOKENGATE__ADMIN__TOKEN", "first-token-of-admin")];
    let second = [("TOKENGATE__ADMIN__TOKEN", "second-token-of-admin")];
    let (first, second) = (Console::of(&gateway, &first), Console::of(&gateway, &second));
    fs::write(&token, "second-token-of-admin\n").unwrap();
    let file = folder.path().join("tokengate.toml");
    let settings = fs::read_to_string(&file).unwrap();
    fs::write(&file, settings.replace("[log]\n", "[log]\nlevel = \"error\"\n")).unwrap();
    let told = || gateway.log().matches("settings reloaded").count();
    assert_eq!(first.said(&["reload"], 0), "reloaded\n");
    // What is told at `info` is told no more.
    let before = told();
    first.said(&["reload"], 1);
    assert_eq!(second.said(&["reload"], 0), "reloaded\n");
    assert_eq!(told(), before);
}

/// A claim of a token, unverified.
#[test]
fn a_token_that_was_revoked_alone_costs_a_browser_nothing_that_is_refreshed_on_the_way() {
    let set = ["enabled", "refresh_in_flight", "tokens_in_body"].map(|key| (format!("cookies.{key}"), "true"));
    let set: Vec<(&str, &str)> = set.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &set);
    let mut client = gateway.client();
    let tokens = client.log_in("ada");
    revoke(&gateway, WAIT, &json!({"jti": claim(&tokens.access, "jti")})).expect(200);
    assert_eq!(client.get("/api/me", Some(&tokens.access)).expect(401).json()["code"], "token_revoked");
    let cookies = format!("__Host-access={}; __Host-refresh={}", tokens.access, tokens.refresh);
    let served = client.send("GET", "/api/me", &[("cookie", &cookies)], None).unwrap().expect(200);
    assert_eq!(served.upstream_saw("x-auth-subject"), ["ada"]);
}

fn claim(token: &str, name: &str) -> Value {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&payload).unwrap()[name].clone()
}
