//! What must hold whatever proxy asks.

use std::time::Duration;

use serde_json::json;

use super::rig::Beside;
use crate::support::http::Message;
use crate::support::upstream::PASSWORD;

/// How long a process that is killed takes to end.
const END_MAX: Duration = Duration::from_secs(10);

const IDENTITY: [&str; 6] = [
    "X-Auth-Subject",
    "X-Auth-Session",
    "X-Auth-Scopes",
    "X-Auth-Issuer",
    "X-Auth-Certificate-Subject",
    "X-Auth-Certificate-Names",
];

/// What some proxy takes for its own question.
const QUESTIONS: [&str; 7] = [
    "X-Original-URL: http://api.example/public\r\n",
    "X-Original-URI: /public\r\n",
    "X-Original-Method: OPTIONS\r\n",
    "X-Forwarded-Uri: /public\r\n",
    "X-Forwarded-Method: OPTIONS\r\n",
    "X-Forwarded-Host: other.example\r\n",
    "X-Rewrite-URL: /public\r\n",
];

/// A proxy lets those through whom the gateway knows, in their own names alone.
pub(super) fn hold(beside: &Beside) {
    callers_are_known(beside);
    cookies_of_others_stay_as_they_are(beside);
    nobody_lends_themselves_a_name(beside);
    nobody_asks_in_the_proxys_place(beside);
    no_spelling_of_a_path_is_another(beside);
    refusals_say_what_they_are(beside);
    a_logout_counts_at_once(beside);
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn callers_are_known(beside: &Beside) {
    let token = beside.client().log_in("user-1").access;
    let answer = beside.ask("GET", "/api/x?y=1", &bearer(&token)).expect(200);
    assert_eq!(answer.upstream_saw("x-auth-subject"), ["user-1"]);
    assert_eq!(answer.upstream_saw("x-auth-session").len(), 1);
    assert_eq!((answer.json()["target"].as_str(), answer.upstream_saw("host").len()), (Some("/api/x?y=1"), 1));
    let body = r#"{"a":1}"#;
    let posted = beside.say(format!(
        "POST /api HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n{}Content-Length: {}\r\n\r\n{body}",
        bearer(&token),
        body.len()
    ));
    assert_eq!((posted.json()["method"].as_str(), posted.json()["body"].as_str()), (Some("POST"), Some(body)));
    let chunked = beside.say(format!(
        "POST /api HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n{}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        bearer(&token)
    ));
    assert_eq!(chunked.json()["body"].as_str(), Some("hello"));
    beside.ask("GET", "/public", "").expect(200);
}

fn cookies_of_others_stay_as_they_are(beside: &Beside) {
    let head = format!(
        "GET /api HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n{}",
        bearer(&beside.client().log_in("user-1").access)
    );
    let answer = beside.say([head.as_bytes(), b"Cookie: theme=\xe9; b=1\r\n\r\n"].concat()).expect(200);
    assert_eq!(answer.upstream_saw("cookie"), ["theme=é; b=1"]);
}

/// Under no name, in no spelling, beside a token or without.
fn nobody_lends_themselves_a_name(beside: &Beside) {
    let token = beside.client().log_in("user-1").access;
    for name in IDENTITY {
        for separator in ["-", "_", ".", "!", "~"] {
            let lie = format!("{}: liar\r\n", name.replace('-', separator));
            let partly = format!("{}: liar\r\n", name.replacen('-', separator, 1));
            let hidden = format!("Connection: {name}\r\n{name}: liar\r\n");
            for lie in [&lie, &partly, &hidden, &format!("{lie}{lie}")] {
                for (target, fields) in [("/public", lie.clone()), ("/api", format!("{}{lie}", bearer(&token)))] {
                    let answer = beside.ask("GET", target, &fields);
                    assert!(!answer.text().contains("liar"), "{lie}: {}", answer.text());
                    if answer.status() == 200 && target == "/api" {
                        assert_eq!(answer.upstream_saw("x-auth-subject"), ["user-1"], "{lie}");
                    }
                    let is_plain = separator == "-" && !lie.contains("Connection");
                    assert!(!is_plain || answer.status() == 200, "an honest request beside it: {lie}: {}", answer.status());
                }
                assert_eq!(beside.ask("GET", "/api", lie).status() / 100, 4, "{lie}");
            }
        }
    }
}

fn nobody_asks_in_the_proxys_place(beside: &Beside) {
    for question in QUESTIONS {
        let before = beside.api.requests();
        for method in ["GET", "POST"] {
            let answer = beside.ask(method, "/api", &format!("{question}Content-Length: 0\r\n"));
            assert!([400, 401].contains(&answer.status()), "{question}: {}", answer.status());
        }
        let all = QUESTIONS.concat();
        assert!([400, 401].contains(&beside.ask("GET", "/api", &all).status()));
        assert_eq!(beside.api.requests(), before, "{question}");
    }
    let sent = beside.ask("GET", "/public", "X-Forwarded-For: 203.0.113.7\r\n").expect(200);
    let told = sent.upstream_saw("x-forwarded-for").join(", ");
    assert!(!told.is_empty() && !told.ends_with("203.0.113.7"), "a client tells of another: {told}");
}

fn no_spelling_of_a_path_is_another(beside: &Beside) {
    for target in [
        "/public/../api",
        "/public/%2e%2e/api",
        "/public/..%2fapi",
        "/public/..;/api",
        "/public%2f..%2fapi",
        "/public#/../api",
        "//public/../api",
        "/public/..%5capi",
        "/public\\..\\api",
        "/public/%252e%252e/api",
        "/%61pi",
        "/api;x=/public",
        "/api?/public",
        "http://api.example/api",
        "http://other.example/public/../api",
    ] {
        let before = beside.api.requests();
        let answer = beside.ask("GET", target, "");
        assert!((400..500).contains(&answer.status()), "{target}: {}", answer.status());
        assert_eq!(beside.api.requests(), before, "{target}");
    }
}

fn refusals_say_what_they_are(beside: &Beside) {
    let answer = beside.ask("GET", "/api", "");
    assert_eq!((answer.status(), answer.header("www-authenticate")), (401, Some("Bearer")));
    let answer = beside.ask("GET", "/api", "Authorization: Bearer nonsense\r\n");
    assert!(answer.header("www-authenticate").is_some_and(|challenge| challenge.contains("invalid_token")), "{answer:?}");
    let before = beside.api.requests();
    let grpc = beside.ask("POST", "/api", "Content-Type: application/grpc\r\nContent-Length: 0\r\n");
    // Envoy tells it to a caller of gRPC in the caller's own words.
    let is_told = grpc.status() == 401 || grpc.header("grpc-status") == Some("16");
    assert!(is_told && beside.api.requests() == before, "{grpc:?}");
}

fn a_logout_counts_at_once(beside: &Beside) {
    let token = beside.client().log_in("user-1").access;
    beside.ask("GET", "/api", &bearer(&token)).expect(200);
    let out = beside.ask("POST", "/logout", &format!("{}Content-Length: 0\r\n", bearer(&token)));
    assert!(out.status() < 300, "{}", out.text());
    beside.ask("GET", "/api", &bearer(&token)).expect(401);
}

/// Starts what [`cookies_are_handed_on`] needs: a gateway whose access tokens are almost as large as cookies can be.
pub(super) fn in_flight(start: impl FnOnce(&[(&str, &str)]) -> Beside) -> Beside {
    let audience = format!("tokengate,{}", "a".repeat(2400));
    start(&[("cookies.enabled", "true"), ("cookies.refresh_in_flight", "true"), ("tokens.audience", &audience)])
}

/// Cookies that are set, by name.
fn set(answer: &Message) -> Vec<(String, String)> {
    let fields = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    let pairs = fields.filter_map(|(_, field)| field.split(';').next()?.split_once('='));
    let mut pairs: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    pairs.sort();
    pairs
}

/// The proxy hands both cookies on to the browser, neither to the API, and takes none from a client.
pub(super) fn cookies_are_handed_on(beside: &Beside, are_private: bool) {
    let login = beside.client().post("/login", &json!({"email": "user-1", "password": PASSWORD})).expect(200);
    let [(_, _), (_, refresh)] = &set(&login)[..] else { panic!("{login:?}") };
    let lie = "X-Auth-Set-Cookie-Access: __Host-access=liar\r\nX-Auth-Set-Cookie-Refresh: __Host-refresh=liar\r\n";
    let renewed = beside.ask("GET", "/api", &format!("Cookie: theme=dark; __Host-refresh={refresh}\r\n{lie}")).expect(200);
    assert_eq!(renewed.upstream_saw("x-auth-subject"), ["user-1"]);
    assert_eq!(renewed.upstream_saw("cookie"), ["theme=dark"], "ours are for the gateway");
    let [(access_name, access), (refresh_name, next)] = &set(&renewed)[..] else { panic!("{renewed:?}") };
    assert_eq!((access_name.as_str(), refresh_name.as_str()), ("__Host-access", "__Host-refresh"));
    assert!(access.starts_with("ey") && next.starts_with("tgr_") && next != refresh, "{renewed:?}");
    assert!(!renewed.text().contains(next), "the API sees the next token");
    assert!(!are_private || renewed.header("cache-control") == Some("private"), "{renewed:?}");
    let good = beside.ask("GET", "/api", &format!("Cookie: __Host-access={access}; __Host-refresh={next}\r\n{lie}")).expect(200);
    assert_eq!((set(&good), good.upstream_saw("x-auth-subject")), (Vec::new(), vec!["user-1".to_owned()]));
    large_ones_are_handed_on(beside, refresh);
    let public = beside.ask("GET", "/public", lie).expect(200);
    assert!(set(&public).is_empty() && public.header("set-cookie").is_none(), "{public:?}");
    let before = beside.api.requests();
    let foreign = format!("Cookie: __Host-refresh={next}\r\nOrigin: https://evil.example\r\nContent-Length: 0\r\n");
    let refused = beside.ask("POST", "/api", &foreign);
    assert_eq!((refused.status(), set(&refused).len(), beside.api.requests()), (403, 0, before));
    let over = beside.ask("GET", "/api", "Cookie: __Host-refresh=tgr_x\r\n");
    assert_eq!((over.status(), set(&over).len()), (401, 0));
}

/// Every response is late by the proxy's configuration: it brings what the API said, and no cookies.
pub(super) fn late_cookies_are_left_out(beside: &Beside) {
    let login = beside.client().post("/login", &json!({"email": "user-1", "password": PASSWORD})).expect(200);
    let [_, (_, refresh)] = &set(&login)[..] else { panic!("{login:?}") };
    let late = beside.ask("GET", "/api", &format!("Cookie: __Host-refresh={refresh}\r\n")).expect(200);
    assert_eq!((late.upstream_saw("x-auth-subject"), set(&late)), (vec!["user-1".to_owned()], Vec::new()), "{late:?}");
}

/// The same text with something else in the place of what is in it so many times.
pub(super) fn replaced(text: &str, was: &str, is: &str, times: usize) -> String {
    assert_eq!(text.matches(was).count(), times, "{was}");
    text.replace(was, is)
}

/// Whatever else the browser keeps of the host, and however much comes with the request or its response.
fn large_ones_are_handed_on(beside: &Beside, refresh: &str) {
    let others: Vec<String> = (0..7).map(|number| format!("other-{number}={}", "x".repeat(1000))).collect();
    let others = others.join("; ");
    let renewed = beside.ask("GET", "/api", &format!("Cookie: {others}; __Host-refresh={refresh}\r\n")).expect(200);
    assert_eq!(renewed.upstream_saw("cookie"), [others.as_str()]);
    let lengths: Vec<usize> = set(&renewed).iter().map(|(_, value)| value.len()).collect();
    assert!(lengths.len() == 2 && lengths[0] > 3500, "{lengths:?}");
    assert_eq!(
        beside.ask("GET", "/public", &format!("Cookie: {others}\r\n")).expect(200).upstream_saw("cookie"),
        [others.as_str()]
    );
    let body = "x".repeat(40_000);
    let posted = beside.say(format!(
        "POST /api HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\nX-Csrf: 1\r\nCookie: __Host-refresh={refresh}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!((posted.status(), set(&posted).len()), (200, 2));
    assert_eq!(posted.json()["body"].as_str(), Some(&*body));
}

/// Nothing passes while there is nobody to ask.
pub(super) fn closed_without_a_gateway(mut beside: Beside) {
    let token = beside.client().log_in("user-1").access;
    beside.ask("GET", "/api", &bearer(&token)).expect(200);
    let before = beside.api.requests();
    beside.gateway.signal("KILL");
    assert!(beside.gateway.wait(END_MAX).is_some());
    for target in ["/api", "/public"] {
        let answer = beside.ask("GET", target, &bearer(&token));
        assert!(answer.status() >= 400, "{target}: {}", answer.status());
    }
    assert_eq!(beside.api.requests(), before);
}
