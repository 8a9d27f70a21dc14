//! The claims hook: an upstream that is asked on refresh, over real sockets, with whatever it answers.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::until_refused;
use crate::support::gateway::{Gateway, Pair, Tokens};
use crate::support::http::{Client, Message};
use crate::support::upstream::{Turn, Upstream};

const HOOK: &str = "/internal/claims";
const TOKEN: &str = "known-to-the-upstream-alone";

/// Knows everyone, and answers about each what its name says.
fn upstream(asked: Arc<AtomicUsize>) -> Upstream {
    Upstream::saying(move |request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if request.target() != HOOK {
            let user = json!({"user": {"id": body["email"], "role": "member"}, "saw": request.header("x-auth-role")});
            return respond(200, &user.to_string());
        }
        asked.fetch_add(1, Ordering::SeqCst);
        assert_eq!(request.method(), "POST");
        assert_eq!(request.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
        assert!(body["session"].is_string(), "{body}");
        assert_eq!(request.header("accept-encoding"), Some("identity"));
        match body["subject"].as_str().unwrap() {
            "promoted" => respond(200, &json!({"user": {"role": "admin"}}).to_string()),
            "deleted" => respond(404, "{}"),
            "unknown" => {
                let problem = respond(404, r#"{"type":"about:blank","title":"No such user","status":404}"#);
                String::from_utf8(problem).unwrap().replace("application/json", "application/problem+json").into_bytes()
            }
            "erased" => respond(410, ""),
            "broken" => respond(500, "{}"),
            "forbidden" => respond(403, "{}"),
            "unauthorized" => page(401, "<h1>Sign in to the proxy</h1>"),
            "undeployed" => page(404, "<html><h1>404 Not Found</h1></html>"),
            "unlabelled" => page(404, "{}"),
            "unrouted" => respond(404, ""),
            "mislabelled" => respond(404, "<html></html>"),
            "half" => respond(404, "{\"error\":"),
            "moved" => b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".to_vec(),
            "empty" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            "captive" => page(511, "<html>Log in to the network</html>"),
            "paged" => page(200, "<html>Sign in</html>"),
            "packed" => {
                let head =
                    "HTTP/1.1 404 Told\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n";
                [head.as_bytes(), &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0]].concat()
            }
            "garbled" => respond(200, "{\"user\": "),
            "listed" => respond(200, "[]"),
            "endless" => respond(200, &format!("{{\"filler\": \"{}\"}}", "x".repeat(200_000))),
            "cut" => b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"user\":".to_vec(),
            "silent" => {
                thread::sleep(Duration::from_secs(3));
                Vec::new()
            }
            "gone away" | "cut off" => Vec::new(),
            other => panic!("{other} is not of this test"),
        }
    })
}

/// As a proxy or a web server says it to people.
fn page(status: u16, body: &str) -> Vec<u8> {
    let response = String::from_utf8(respond(status, body)).unwrap();
    response.replace("application/json", "text/html; charset=utf-8").into_bytes()
}

fn respond(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Told\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

const FAILING: [&str; 19] = [
    "empty",
    "captive",
    "paged",
    "packed",
    "broken",
    "forbidden",
    "moved",
    "garbled",
    "listed",
    "endless",
    "cut",
    "silent",
    "gone away",
    "unauthorized",
    "undeployed",
    "unlabelled",
    "unrouted",
    "mislabelled",
    "half",
];

const SETTINGS: [(&str, &str); 6] = [
    ("claims_hook.path", HOOK),
    ("claims_hook.token", TOKEN),
    ("claims_hook.timeout", "1s"),
    ("login.claims", "{ role = \"/user/role\" }"),
    ("identity.claims", "{ role = \"x-auth-role\" }"),
    // Each refresh is one that moves the session on.
    ("refresh.leeway", "0s"),
];

fn role_seen(client: &mut Client, tokens: &Tokens) -> Value {
    client.get("/api/me", Some(&tokens.access)).expect(200).json()["saw"].clone()
}

fn refreshed(client: &mut Client, tokens: &Tokens) -> Tokens {
    Tokens::of(&client.refresh(&tokens.refresh).expect(200))
}

#[test]
fn tokens_carry_the_claims_of_now_after_a_refresh() {
    let asked = Arc::new(AtomicUsize::new(0));
    let upstream = upstream(Arc::clone(&asked));
    let gateway = Gateway::start(&upstream, &SETTINGS);
    let mut client = gateway.client();
    let first = client.log_in("promoted");
    assert_eq!(role_seen(&mut client, &first), "member");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    let second = refreshed(&mut client, &first);
    assert_eq!(role_seen(&mut client, &second), "admin");
    assert_eq!(role_seen(&mut client, &first), "member", "what was made before says what it said");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn a_subject_that_is_gone_is_logged_out_everywhere() {
    let Pair { a, b, redis, upstream: unused, folder } = Pair::start(&[]);
    drop((a, b, unused));
    let upstream = upstream(Arc::default());
    let (url, upstream_url) = (redis.url(), upstream.url());
    let keys = folder.path().join("keys").display().to_string();
    let mut set = SETTINGS.to_vec();
    set.extend([
        ("store.kind", "redis"),
        ("store.redis.url", url.as_str()),
        ("keys.directory", keys.as_str()),
        ("refresh.secret", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        ("upstreams.api.url", upstream_url.as_str()),
    ]);
    let [a, b] = [(); 2].map(|()| Gateway::start(&upstream, &set));
    let (mut a, mut b) = (a.client(), b.client());
    for subject in ["deleted", "unknown", "erased"] {
        let tokens = a.log_in(subject);
        b.get("/api/me", Some(&tokens.access)).expect(200);
        let refused: Message = a.refresh(&tokens.refresh).expect(401);
        assert_eq!(refused.json()["error"], "invalid_grant");
        a.get("/api/me", Some(&tokens.access)).expect(401);
        until_refused(&mut b, &tokens.access);
        b.refresh(&tokens.refresh).expect(401);
    }
}

#[test]
fn without_a_response_the_old_claims_hold() {
    let upstream = upstream(Arc::default());
    let gateway = Gateway::start(&upstream, &SETTINGS);
    let mut client = gateway.client();
    for subject in FAILING {
        let tokens = client.log_in(subject);
        let began = Instant::now();
        let tokens = refreshed(&mut client, &tokens);
        assert!(began.elapsed() < Duration::from_secs(10), "{subject}: {:?}", began.elapsed());
        assert_eq!(role_seen(&mut client, &tokens), "member", "{subject}");
        refreshed(&mut client, &tokens);
    }
    assert!(gateway.log().contains("the claims hook gave no response"));
    assert!(!gateway.log().contains(TOKEN));
}

#[test]
fn without_a_response_there_are_no_tokens_where_that_is_wanted_and_the_session_lives() {
    let upstream = upstream(Arc::default());
    let mut set = SETTINGS.to_vec();
    set.push(("claims_hook.on_failure", "refuse"));
    let gateway = Gateway::start(&upstream, &set);
    let mut client = gateway.client();
    for subject in FAILING {
        let tokens = client.log_in(subject);
        let refused = client.refresh(&tokens.refresh).expect(503);
        assert_eq!(refused.json()["code"], "claims_unknown", "{subject}");
        assert!(refused.header("retry-after").is_some());
        assert_eq!(role_seen(&mut client, &tokens), "member", "{subject}");
    }
    let tokens = client.log_in("promoted");
    let tokens = refreshed(&mut client, &tokens);
    assert_eq!(role_seen(&mut client, &tokens), "admin");
}

/// Where everyone is an admin by the claims hook. By which connections questions came, and what is done with each but the first of
/// a connection.
fn upstream_of_admins(then: fn(Vec<u8>) -> Turn) -> (Upstream, Arc<Mutex<HashSet<u64>>>) {
    let connections = Arc::new(Mutex::new(HashSet::new()));
    let asked = Arc::clone(&connections);
    let told = |body: &Value| {
        let body = body.to_string();
        format!("HTTP/1.1 200 Told\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            .into_bytes()
    };
    let upstream = Upstream::taking_turns(move |request, connection| {
        if request.target() != HOOK {
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let user = json!({"id": body["email"], "role": "member"});
            return Turn::Response(told(&json!({"user": user, "saw": request.header("x-auth-role")})));
        }
        let response = told(&json!({"user": {"role": "admin"}}));
        if asked.lock().unwrap().insert(connection) { Turn::Response(response) } else { then(response) }
    });
    (upstream, connections)
}

fn settings_without_mercy() -> Vec<(&'static str, &'static str)> {
    // Whatever is not answered is a 503.
    [SETTINGS.as_slice(), &[("claims_hook.on_failure", "refuse")]].concat()
}

#[test]
fn questions_one_after_the_other_share_a_connection() {
    let (upstream, connections) = upstream_of_admins(Turn::Response);
    let mut set = settings_without_mercy();
    set.push(("upstreams.api.idle_timeout", "1s"));
    let gateway = Gateway::start(&upstream, &set);
    let mut client = gateway.client();
    let mut tokens = client.log_in("ann");
    for _ in 0..20 {
        tokens = refreshed(&mut client, &tokens);
    }
    assert_eq!(role_seen(&mut client, &tokens), "admin");
    assert!(connections.lock().unwrap().len() <= 2, "{connections:?}");
    let deadline = Instant::now() + Duration::from_secs(20);
    while upstream.connections() > 0 {
        assert!(Instant::now() < deadline, "what is not used is let go");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_kept_connection_that_the_upstream_closes_costs_no_refresh() {
    // It closes what it has answered on, and may do so on reading the next question, which is lost then.
    for then in [Turn::AnswerAndClose, |_| Turn::HangUp] {
        let (upstream, connections) = upstream_of_admins(then);
        let gateway = Gateway::start(&upstream, &settings_without_mercy());
        let mut client = gateway.client();
        let mut tokens = client.log_in("ann");
        for _ in 0..10 {
            tokens = refreshed(&mut client, &tokens);
            assert_eq!(role_seen(&mut client, &tokens), "admin");
        }
        assert!(connections.lock().unwrap().len() >= 5, "they were closed: {connections:?}");
    }
}

#[test]
fn a_question_that_a_new_connection_loses_is_not_asked_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let upstream = upstream(Arc::clone(&asked));
    let gateway = Gateway::start(&upstream, &settings_without_mercy());
    let mut client = gateway.client();
    let tokens = client.log_in("cut off");
    client.refresh(&tokens.refresh).expect(503);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
