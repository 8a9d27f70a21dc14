//! Coming over: an API as many have it, and the gateway put in front of it, step by step.

mod stage;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::gateway::{Gateway, Tokens};
use crate::support::http::{Client, Message};
use stage::{PASSWORD, Stage};

const PATIENCE: Duration = Duration::from_secs(20);

/// Refused by the gateway itself, not by the API.
fn is_refused_by_gateway(response: &Message) -> bool {
    response.status() == 401 && response.header("content-type") == Some("application/problem+json")
}

fn me(client: &mut Client, token: &str) -> Value {
    client.get("/me", Some(token)).expect(200).json()["user"].clone()
}

#[test]
fn legacy_tokens_go_on_and_new_logins_get_pairs() {
    let stage = Stage::set();
    let before = stage.api.client().sign_up("ann@example.com").json();
    let gateway = stage.gateway(&[]);
    let mut client = gateway.client();

    // What browsers held before goes on; who holds nothing is refused before the API is asked.
    assert_eq!(me(&mut client, before["token"].as_str().unwrap()), before["user"]);
    assert!(is_refused_by_gateway(&client.get("/me", None)));
    client.get("/health", None).expect(200);

    // An old front end finds its names, and everything else is as the API sent it.
    let response = client.sign_in("Ann@Example.com");
    let tokens = Tokens::of(&response);
    assert_eq!((response.member("token"), &response.json()["user"]), (tokens.access.clone(), &before["user"]));
    assert!(tokens.refresh.starts_with("tgr_"));
    assert_eq!(me(&mut client, &tokens.access), before["user"], "the API verifies the gateway's tokens as it did its own");

    let body = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nhello\r\n--b--\r\n";
    let authorization = format!("Bearer {}", tokens.access);
    let fields = [("authorization", &*authorization), ("content-type", "multipart/form-data; boundary=b")];
    let uploaded = client.send("POST", "/upload", &fields, Some(body.as_bytes())).unwrap().expect(201).json();
    assert_eq!((&uploaded["name"], &uploaded["size"]), (&"a.txt".into(), &5.into()));

    let refreshed = client.refresh(&tokens.refresh).expect(200).member("token");
    assert_eq!(me(&mut client, &refreshed), before["user"]);
    client.log_out(&refreshed, "session").expect(200);
    for token in [&tokens.access, &refreshed] {
        assert!(is_refused_by_gateway(&client.get("/me", Some(token))), "a logout counts at once");
    }
    client.refresh(&tokens.refresh).expect(401);

    let refused = client.post("/login", &json!({"email": "ann@example.com", "password": "wrong"})).expect(401);
    assert_eq!(refused.json(), json!({"error": "Invalid email or password"}));
    let taken = client.post("/register", &json!({"email": "ann@example.com", "password": PASSWORD})).expect(409);
    assert_eq!(taken.json(), json!({"error": "Email already registered"}));
}

#[test]
fn registrations_and_roles_come_over_too() {
    let stage = Stage::set();
    let gateway = stage.gateway(&[]);
    let mut client = gateway.client();
    let guest = client.post("/quick-register", &json!({"name": "Gus"})).expect(201);
    assert_eq!(me(&mut client, &Tokens::of(&guest).access)["role"], "guest");
    let registered = Tokens::of(&client.sign_up("root@example.com"));
    client.get("/admin/users", Some(&registered.access)).expect(403);
    stage.postgres.sql("UPDATE users SET role = 'admin' WHERE email = 'root@example.com'");
    let admin = Tokens::of(&client.sign_in("root@example.com"));
    let users = client.get("/admin/users", Some(&admin.access)).expect(200).json();
    assert_eq!(users["users"].as_array().unwrap().len(), 2);
    let refreshed = client.refresh(&admin.refresh).expect(200).member("token");
    client.get("/admin/users", Some(&refreshed)).expect(200);
}

/// The table as an operator exports it: with what the API's tokens say of each user.
const EXPORT: &str = "SELECT r.*, u.email, u.role FROM refresh_tokens r JOIN users u ON u.id = r.user_id";
const CLAIMS: [&str; 6] = ["--claim", "id=user_id", "--claim", "email=email", "--claim", "role=role"];

#[test]
fn a_hundred_thousand_refresh_tokens_come_along() {
    const ROWS: u32 = 100_000;
    let stage = Stage::set();
    let ann = stage.api.client().sign_up("ann@example.com").json();
    stage.postgres.sql(&format!(
        "INSERT INTO users (email, name) SELECT 'user-' || i || '@example.com', 'User ' || i FROM generate_series(1, 1000) i;
         INSERT INTO refresh_tokens (user_id, token, expires_at, revoked, revoked_at, created_at, last_used_at)
         SELECT 2 + i % 1000, 'a-refresh-token-of-old-' || i,
                timezone('UTC', now()) + CASE WHEN i % 10 = 0 THEN interval '-1 minute' ELSE interval '5 days' END,
                i % 10 = 1, CASE WHEN i % 10 = 1 THEN timezone('UTC', now()) END,
                timezone('UTC', now()) - interval '2 days', NULL
         FROM generate_series(1, {ROWS}) i;"
    ));
    stage.postgres.copy_csv(EXPORT, &stage.file("tokens.csv"));
    // The front end stores the refresh tokens that it gets.
    let gateway = stage.gateway(&[("refresh.rotation", "true")]);
    let done = stage.import("tokens.csv", &CLAIMS);
    let summary = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{summary}{}", String::from_utf8_lossy(&done.stderr));
    let counts: BTreeMap<&str, u32> = summary
        .lines()
        .filter_map(|line| Some((line.get(..13)?.trim(), line.get(13..)?.split_whitespace().next()?.parse().ok()?)))
        .collect();
    let expected = [("rows", ROWS + 1), ("imported", 80_001), ("already there", 0), ("expired", 10_000), ("revoked", 10_000)];
    assert!(expected.iter().all(|(kind, count)| counts.get(kind) == Some(count)), "{summary}");

    let mut client = gateway.client();
    for n in (1..=ROWS).step_by(997) {
        let response = client.refresh(&format!("a-refresh-token-of-old-{n}"));
        if matches!(n % 10, 0 | 1) {
            assert!(is_refused_by_gateway(&response), "{n}: {}", response.text());
            continue;
        }
        let tokens = Tokens::of(&response.expect(200));
        assert_eq!(me(&mut client, &tokens.access)["email"], format!("user-{}@example.com", 1 + n % 1000), "old-{n}");
        assert_eq!(
            Tokens::of(&client.refresh(&format!("a-refresh-token-of-old-{n}")).expect(200)).refresh,
            tokens.refresh,
            "a lost reply"
        );
        client.refresh(&tokens.refresh).expect(200);
    }
    let tokens = Tokens::of(&client.refresh(ann["refreshToken"].as_str().unwrap()).expect(200));
    assert_eq!(me(&mut client, &tokens.access), ann["user"]);
}

#[test]
fn an_old_front_end_that_keeps_its_first_refresh_token_stays_logged_in() {
    let stage = Stage::set();
    let ann = stage.api.client().sign_up("ann@example.com").json();
    stage.postgres.copy_csv(EXPORT, &stage.file("tokens.csv"));
    // Whatever is forgiven within the leeway must not be what carries this.
    let gateway = stage.gateway(&[("refresh.leeway", "0s"), ("refresh.acknowledge_interval", "10ms")]);
    assert!(stage.import("tokens.csv", &CLAIMS).status.success());
    let mut client = gateway.client();
    let bob = client.sign_up("bob@example.com").json();
    for old in [&ann, &bob] {
        for _ in 0..5 {
            let token = client.refresh(old["refreshToken"].as_str().unwrap()).expect(200).member("token");
            assert_eq!(me(&mut client, &token), old["user"]);
        }
    }
}

/// Requests of all kinds, each with whether the gateway is to refuse it.
fn requests(stage: &Stage) -> Vec<(Option<String>, bool)> {
    let token = |response: &Message| response.member("token");
    let good = token(&stage.api.client().sign_up("ann@example.com"));
    let expired = token(&stage.api_of_the_past().client().sign_in("ann@example.com"));
    let forged = format!("{}x", &good[..good.len() - 4]);
    let mut requests = Vec::new();
    for (token, refused, times) in [(Some(good), false, 5), (None, true, 7), (Some(expired), true, 3), (Some(forged), true, 4)] {
        requests.extend(std::iter::repeat_n((token, refused), times));
    }
    requests
}

#[test]
fn what_is_observed_is_what_is_then_refused() {
    let stage = Stage::set();
    let requests = requests(&stage);
    let observed_route = [("routes.0.mode", "observe")];
    let mut observing = stage.gateway(&observed_route);
    let mut client = observing.client();
    for (token, _) in &requests {
        let response = client.get("/me", token.as_deref());
        assert!(!is_refused_by_gateway(&response), "nothing is refused: {}", response.text());
    }
    observing.terminate();
    assert!(observing.wait(PATIENCE).is_some());
    let observed = observed(&observing);

    let enforcing = stage.gateway(&[]);
    let mut client = enforcing.client();
    let mut refused = 0;
    for (token, is_refused) in &requests {
        let response = client.get("/me", token.as_deref());
        assert_eq!(is_refused_by_gateway(&response), *is_refused, "{}", response.text());
        refused += u64::from(*is_refused);
    }
    assert_eq!(observed.values().sum::<u64>(), refused, "{observed:?}");
    let by_cause = [("observed_expired", 3), ("observed_invalid", 4), ("observed_no_token", 7)];
    assert_eq!(observed, by_cause.into_iter().map(|(cause, count)| (cause.to_owned(), count)).collect());
}

/// What a gateway that has ended told of requests that it would have refused.
fn observed(gateway: &Gateway) -> BTreeMap<String, u64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut counts = BTreeMap::new();
        for line in gateway.log().lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            if line["message"] == "would have been refused" {
                *counts.entry(line["observed"].as_str().unwrap().to_owned()).or_default() += line["count"].as_u64().unwrap();
            }
        }
        // The last lines may still be on their way here.
        if !counts.is_empty() || Instant::now() > deadline {
            return counts;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_gateway_is_ramped_up_and_back_down_and_nobody_is_logged_out() {
    let stage = Stage::set();
    for n in 0..20 {
        stage.api.client().sign_up(&format!("user-{n}@example.com"));
    }
    stage.edit("[login]\n", "[login]\nissue_share = 0\n");
    let gateway = stage.gateway(&[]);
    let mut client = gateway.client();
    let mut sign_in = |n: usize| client.sign_in(&format!("user-{n}@example.com")).json();
    let is_pair = |response: &Value| response.get("accessToken").is_some();

    let at_zero: Vec<Value> = (0..20).map(&mut sign_in).collect();
    assert!(at_zero.iter().all(|response| !is_pair(response)), "the API's own tokens, unchanged");
    reload(&gateway, &stage, "issue_share = 0", "issue_share = 50");
    let at_half: Vec<Value> = (0..20).map(&mut sign_in).collect();
    let pairs = at_half.iter().filter(|response| is_pair(response)).count();
    assert!((1..20).contains(&pairs), "some: {pairs}");
    reload(&gateway, &stage, "issue_share = 50", "issue_share = 100");
    let at_full: Vec<Value> = (0..20).map(&mut sign_in).collect();
    assert!(at_full.iter().all(is_pair));
    reload(&gateway, &stage, "issue_share = 100", "issue_share = 0");
    let back_at_zero: Vec<Value> = (0..20).map(&mut sign_in).collect();
    assert!(back_at_zero.iter().all(|response| !is_pair(response)));

    // While the API issues tokens too, its table is imported again and again: then `/refresh` knows them all.
    stage.postgres.copy_csv(EXPORT, &stage.file("tokens.csv"));
    assert!(stage.import("tokens.csv", &CLAIMS).status.success());
    for response in at_zero.iter().chain(&at_half).chain(&at_full).chain(&back_at_zero) {
        assert_eq!(me(&mut client, response["token"].as_str().unwrap()), response["user"]);
        let refreshed = client.refresh(response["refreshToken"].as_str().unwrap()).expect(200).member("token");
        assert_eq!(me(&mut client, &refreshed)["id"], response["user"]["id"]);
    }
}

/// Changes the settings of a gateway that runs, and waits until it has taken them.
fn reload(gateway: &Gateway, stage: &Stage, from: &str, to: &str) {
    let reloads = || gateway.log().matches("\"settings reloaded\"").count();
    let before = reloads();
    stage.edit(from, to);
    gateway.signal("HUP");
    let deadline = Instant::now() + PATIENCE;
    while reloads() == before {
        assert!(Instant::now() < deadline, "not reloaded");
        std::thread::sleep(Duration::from_millis(10));
    }
}
