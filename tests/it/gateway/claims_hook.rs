//! The claims hook: an upstream that is asked on refresh, over real sockets, with whatever it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::until_refused;
use crate::support::gateway::{Gateway, Pair, Tokens};
use crate::support::http::{Client, Message};
use crate::support::upstream::Upstream;

const HOOK: &str = "/internal/claims";
const TOKEN: &str = "known-to-the-upstream-alone";

/// Knows everyone, and answers about each what its name says.
fn upstream(asked: Arc<AtomicUsize>) -> Upstream {
    Upstream::saying(move |request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if request.target() != HOOK {
            let user = json!({"user": {"id": body["email"], "role": "member"}, "saw": request.header("x-auth-role")});
            return answer(200, &user.to_string());
        }
        asked.fetch_add(1, Ordering::SeqCst);
        assert_eq!(request.method(), "POST");
        assert_eq!(request.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
        assert!(body["session"].is_string(), "{body}");
        match body["subject"].as_str().unwrap() {
            "promoted" => answer(200, &json!({"user": {"role": "admin"}}).to_string()),
            "deleted" => answer(404, "{}"),
            "erased" => answer(410, ""),
            "broken" => answer(500, "{}"),
            "forbidden" => answer(403, "{}"),
            "moved" => b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".to_vec(),
            "garbled" => answer(200, "{\"user\": "),
            "listed" => answer(200, "[]"),
            "endless" => answer(200, &format!("{{\"filler\": \"{}\"}}", "x".repeat(200_000))),
            "cut" => b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"user\":".to_vec(),
            "silent" => {
                thread::sleep(Duration::from_secs(3));
                Vec::new()
            }
            "gone away" => Vec::new(),
            other => panic!("{other} is not of this test"),
        }
    })
}

fn answer(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Told\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

const FAILING: [&str; 9] = ["broken", "forbidden", "moved", "garbled", "listed", "endless", "cut", "silent", "gone away"];

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
    for subject in ["deleted", "erased"] {
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
fn without_an_answer_the_old_claims_hold() {
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
    assert!(gateway.log().contains("the claims hook gave no answer"));
    assert!(!gateway.log().contains(TOKEN));
}

#[test]
fn without_an_answer_there_are_no_tokens_where_that_is_wanted_and_the_session_lives() {
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
