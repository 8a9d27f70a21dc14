//! Statistics and the sweep of real gateways: what they tell equals what is there, whoever is killed and whoever competes.

use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokengate::domain::time::Timestamp;
use tokengate::store::SessionStore as _;
use tokengate::store::redis::{RedisOptions, RedisStore};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::store::rig::{HOUR, now, partitions, session};
use crate::support::gateway::{Gateway, Pair};
use crate::support::http::Client;
use crate::support::redis::RedisServer;
use crate::support::upstream::Upstream;

/// How long is waited for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// As many partitions as gateways have by default.
const PARTITIONS: u16 = 16;

/// Gateways that tell often; no sweep but on demand.
const SET: &[(&str, &str)] =
    &[("statistics.flush_interval", "100ms"), ("statistics.measure_interval", "1s"), ("sweeper.schedule", "")];

/// Sessions that were created at this moment, written as a node writes them.
fn fill(redis: &RedisServer, count: u64, created_at: Timestamp, owner: &str) {
    Runtime::new().unwrap().block_on(async {
        let mut options = RedisOptions::from_url(&redis.url(), partitions(PARTITIONS)).unwrap();
        options.call_timeout = PATIENCE;
        let store = Arc::new(RedisStore::connect(&options).await.unwrap());
        let mut writers = JoinSet::new();
        for writer in 0..32 {
            let (store, owner) = (Arc::clone(&store), owner.to_owned());
            writers.spawn(async move {
                for number in (writer..count).step_by(32) {
                    let session = session(store.partitions(), &format!("{owner}-{}", number % 100), created_at, number);
                    store.create(&session, None, created_at).await.unwrap();
                }
            });
        }
        writers.join_all().await;
    });
}

fn stats(gateway: &Gateway) -> Value {
    gateway.admin().get("/stats?days=2", None).expect(200).json()
}

/// Over the days that are shown: a test may run at midnight.
fn counted(stats: &Value, name: &str) -> u64 {
    let days = stats["days"].as_array().unwrap().iter();
    days.map(|day| if name == "expired" { &day[name] } else { &day["counts"][name] }).filter_map(Value::as_u64).sum()
}

/// What a full SCAN finds: sessions, and their subjects.
fn recount(redis: &RedisServer) -> (u64, u64) {
    const RECOUNT: &str = "
        local cursor, seen, subjects, sessions, names = '0', {}, {}, 0, 0
        repeat
          local page = redis.call('SCAN', cursor, 'MATCH', 'tg:*:session:*', 'COUNT', 1000)
          cursor = page[1]
          for _, key in ipairs(page[2]) do
            local subject = redis.call('HGET', key, 's')
            if not seen[key] then seen[key] = true; sessions = sessions + 1 end
            if not subjects[subject] then subjects[subject] = true; names = names + 1 end
          end
        until cursor == '0'
        return sessions .. ' ' .. names";
    let counts = redis.cli(&["EVAL", RECOUNT, "0"]);
    let (sessions, subjects) = counts.split_once(' ').unwrap();
    (sessions.parse().unwrap(), subjects.parse().unwrap())
}

/// Entries of the index by which the sweep goes.
fn indexed(redis: &RedisServer) -> u64 {
    (0..PARTITIONS).map(|p| redis.cli(&["ZCARD", &format!("tg:{{{p}}}:expiry")]).parse::<u64>().unwrap()).sum()
}

fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(response) => return response,
            Err(instead) => assert!(Instant::now() < deadline, "{what}: still {instead}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Asks until no other sweep is under way.
fn sweep(gateway: &Gateway) -> Value {
    eventually("a sweep", || {
        let response = gateway.admin().call("POST", "/sweep", None, None);
        if response.status() == 409 { Err(response.text()) } else { Ok(response.expect(200).json()) }
    })
}

/// Waits for a measurement that says so.
fn measured(gateway: &Gateway, sessions: u64, subjects: u64) {
    eventually("a measurement", || {
        let last = stats(gateway)["lastMeasurement"].clone();
        let said = (last["sessions"].as_u64(), last["subjects"].as_u64());
        if said == (Some(sessions), Some(subjects)) { Ok(()) } else { Err(format!("{said:?}")) }
    });
}

#[test]
fn statistics_equal_what_was_done_and_a_recount_of_the_store() {
    let pair = Pair::start(SET);
    let (mut a, mut b) = (pair.a.client(), pair.b.client());
    let mut logouts = 0;
    for n in 0..40 {
        let client = if n % 2 == 0 { &mut a } else { &mut b };
        let tokens = client.log_in(&format!("user-{}@example.com", n % 15));
        client.refresh(&tokens.refresh).expect(200);
        client.get("/api/me", Some(&tokens.access)).expect(200);
        client.get("/api/me", Some("no.such.token")).expect(401);
        if n % 4 == 0 {
            client.log_out(&tokens.access, "session").expect(200);
            logouts += 1;
        }
    }
    let expected = [
        ("logins", 40),
        ("refreshes_rotated", 40),
        ("logouts", logouts),
        ("revocations_by_session", logouts),
        ("requests_forwarded", 40),
        ("rejected_invalid", 40),
    ];
    for gateway in pair.nodes() {
        eventually("the counts of both nodes", || {
            let stats = stats(gateway);
            let wrong = expected.iter().filter(|(name, count)| counted(&stats, name) != *count);
            let wrong: Vec<_> = wrong.map(|(name, _)| (name, counted(&stats, name))).collect();
            if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:?}")) }
        });
        let (sessions, subjects) = recount(&pair.redis);
        assert_eq!(sessions, 40 - logouts);
        measured(gateway, sessions, subjects);
    }
    // A node that stops tells what it has not told yet.
    let tokens = b.log_in("late@example.com");
    b.refresh(&tokens.refresh).expect(200);
    let Pair { a, b, .. } = &pair;
    b.terminate();
    eventually("the last counts", || match counted(&stats(a), "refreshes_rotated") {
        41 => Ok(()),
        other => Err(other.to_string()),
    });
}

#[test]
fn a_sweeper_killed_half_way_leaves_true_figures_and_another_goes_on() {
    const ENDED: u64 = 30_000;
    const LIVE: u64 = 300;
    let pair = Pair::start(SET);
    fill(&pair.redis, LIVE, now(), "live");
    fill(&pair.redis, ENDED, now().saturating_sub(2 * HOUR), "ended");
    assert_eq!(indexed(&pair.redis), ENDED + LIVE);

    let Pair { a, b, redis, .. } = pair;
    let mut asking = a.admin();
    let asked = thread::Builder::new().spawn(move || drop(asking.try_call("POST", "/sweep", None, None))).unwrap();
    let keys = || redis.cli(&["DBSIZE"]).parse::<u64>().unwrap();
    let before = keys();
    eventually("some of it is gone", || match keys() {
        now if now < before - 1000 => Ok(()),
        now => Err(format!("{now} keys")),
    });
    a.kill();
    asked.join().unwrap();

    let left = indexed(&redis) - LIVE;
    assert!(left > 0, "it was over before it was killed");
    assert_eq!(counted(&stats(&b), "expired"), ENDED - left, "what is gone was counted, and nothing else");
    assert_eq!(recount(&redis).0, left + LIVE);

    let rest = sweep(&b);
    assert_eq!(rest["sessions"], left);
    assert_eq!(counted(&stats(&b), "expired"), ENDED);
    assert_eq!((recount(&redis), indexed(&redis)), ((LIVE, 100), LIVE), "live state was not touched");
    measured(&b, LIVE, 100);
    let logged: Vec<Value> = b.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let line = logged.iter().find(|line| line["message"] == "swept").unwrap();
    assert_eq!((line["sessions"].as_u64(), line["orphans"].as_u64()), (Some(left), Some(0)), "{line}");
}

#[test]
fn of_sweepers_that_compete_none_counts_twice_and_live_state_stays() {
    const ENDED: u64 = 8_000;
    let pair = Pair::start(SET);
    fill(&pair.redis, 200, now(), "live");
    fill(&pair.redis, ENDED, now().saturating_sub(2 * HOUR), "ended");
    let sweeping: Vec<_> = pair
        .nodes()
        .into_iter()
        .flat_map(|node| (0..4).map(|_| node.admin()).collect::<Vec<_>>())
        .map(|mut admin: Client| thread::Builder::new().spawn(move || admin.call("POST", "/sweep", None, None)).unwrap())
        .collect();
    let answers: Vec<_> = sweeping.into_iter().map(|asked| asked.join().unwrap()).collect();
    assert!(answers.iter().all(|response| matches!(response.status(), 200 | 409)), "{answers:?}");
    let swept: u64 =
        answers.iter().filter(|response| response.status() == 200).map(|a| a.json()["sessions"].as_u64().unwrap()).sum();
    assert_eq!(swept, ENDED);
    assert_eq!(counted(&stats(&pair.a), "expired"), ENDED);
    assert_eq!((recount(&pair.redis), indexed(&pair.redis)), ((200, 100), 200));
}

#[test]
fn what_lost_its_record_is_swept_as_an_orphan_and_counted_as_none_that_expired() {
    let pair = Pair::start(SET);
    fill(&pair.redis, 500, now(), "live");
    let keys = pair.redis.cli(&["--scan", "--pattern", "tg:*:session:*"]);
    // As an eviction does that was not to be.
    for key in keys.lines().take(120) {
        pair.redis.cli(&["DEL", key]);
    }
    let swept = sweep(&pair.a);
    assert_eq!((swept["sessions"].as_u64(), swept["orphans"].as_u64()), (Some(0), Some(120)));
    assert_eq!((recount(&pair.redis).0, indexed(&pair.redis)), (380, 380));
    assert_eq!(counted(&stats(&pair.b), "expired"), 0);
    measured(&pair.b, 380, recount(&pair.redis).1);
}

#[test]
fn the_embedded_store_keeps_its_statistics_through_kills() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let set = [SET, &[("store.kind", "embedded")]].concat();
    for life in 1..=3 {
        let gateway = Gateway::start_in(folder.path(), &upstream, &set);
        let mut client = gateway.client();
        for n in 0..10 {
            client.log_in(&format!("user-{n}@example.com"));
        }
        let told = stats(&gateway);
        assert_eq!(counted(&told, "logins"), 10 * life);
        measured(&gateway, 10 * life, 10);
        gateway.kill();
    }
}

#[test]
fn operators_get_their_figures_as_they_like() {
    const TOKEN: &str = "an-admin-token-of-some-length";
    let upstream = Upstream::start();
    let set = [SET, &[("admin.token", TOKEN)]].concat();
    let gateway = Gateway::start(&upstream, &set);
    let mut client = gateway.client();
    let tokens = client.log_in("ann@example.com");
    client.get("/api/me", Some(&tokens.access)).expect(200);
    let url = format!("http://{}", gateway.admin_address());
    let told = |args: &[&str]| {
        let token = format!("admin.token={TOKEN}");
        tokengate(&[args, &["--url", &url, "--set", &token]].concat())
    };

    let table = told(&["stats", "--days", "2"]);
    assert!(table.status.success(), "{}", String::from_utf8_lossy(&table.stderr));
    let table = String::from_utf8(table.stdout).unwrap();
    let first = table.lines().next().unwrap();
    assert!(first.starts_with("day") && first.contains("logins") && first.contains("subjects"), "{table}");
    let today = table.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!((today[1], today[7]), ("1", "1"), "{table}");
    let json: Value = serde_json::from_slice(&told(&["stats", "--json"]).stdout).unwrap();
    assert_eq!(counted(&json, "logins"), 1);
    let swept = String::from_utf8(told(&["sweep"]).stdout).unwrap();
    assert!(swept.starts_with("0 sessions, 0 orphans and 0 revocations removed in "), "{swept}");
    let refused = tokengate(&["stats", "--url", &url]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("401"));

    let mut admin = gateway.admin();
    for path in ["/stats", "/metrics"] {
        admin.get(path, None).expect(401);
        admin.get(path, Some(&tokens.access)).expect(401);
    }
    admin.call("POST", "/sweep", None, None).expect(401);
    let metrics = admin.get("/metrics", Some(TOKEN)).expect(200);
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = metrics.text();
    assert!(text.contains("\ntokengate_logins_total{kind=\"login\"} 1\n"), "{text}");
    assert!(text.contains("\ntokengate_requests_forwarded_total 1\n") && !text.contains("ann@example.com"), "{text}");
    for bad in ["/stats?days=0", "/stats?days=401", "/stats?days=x", "/stats?day=1"] {
        admin.get(bad, Some(TOKEN)).expect(400);
    }
    // The page holds no figure, so that a browser can load it before it has the token.
    let page = admin.get("/", None).expect(200);
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'; script-src 'self';"));
    assert!(page.text().contains("dashboard.js") && !page.text().contains("ann"));
    for part in ["/dashboard.js", "/dashboard.css"] {
        admin.get(part, None).expect(200);
    }
}

fn tokengate(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_tokengate")).args(args).current_dir(folder.path()).env_clear().output().unwrap()
}
