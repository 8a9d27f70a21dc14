//! What rewriting a request's fields costs: read from the client's, written as the upstream's.
//!
//! `cargo bench --bench headers`

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use serde_json::Map;
use tokengate::domain::claims::{Principal, Window};
use tokengate::domain::headers::forwarded::{Forwarding, Hop};
use tokengate::domain::headers::{IdentityFields, RewriteContext, RewriteRules, Withheld};
use tokengate::domain::ids::{Partition, SessionId, Subject};
use tokengate::domain::peer::Peer;
use tokengate::domain::scheme::Scheme;
use tokengate::domain::time::Timestamp;

/// What wrk sends, and its token.
const BARE: [(&str, &str); 1] = [("authorization", "Bearer eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmF0dXJl")];

/// What a browser sends.
const BROWSER: [(&str, &str); 14] = [
    ("authorization", "Bearer eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmF0dXJl"),
    ("accept", "application/json, text/plain, */*"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
    ("cache-control", "no-cache"),
    ("connection", "keep-alive"),
    ("cookie", "theme=dark; __Host-access=abc; _ga=GA1.1.1; consent=all"),
    ("origin", "https://app.example.com"),
    ("referer", "https://app.example.com/orders/42"),
    ("sec-fetch-dest", "empty"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-site", "same-site"),
    ("te", "trailers"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"),
];

/// What an attacker sends.
const HOSTILE: [(&str, &str); 6] = [
    ("connection", "close, x-secret, x-auth-subject, authorization"),
    ("x_auth_subject", "admin"),
    ("x-auth_session", "1"),
    ("content_length", "7"),
    ("x_forwarded_for", "127.0.0.1"),
    ("forwarded", "for=127.0.0.1"),
];

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("request fields");
    for (name, fields, trusted) in [
        ("bare", &BARE[..], None),
        ("browser", &BROWSER[..], None),
        ("browser behind a trusted peer", &BROWSER[..], Some("192.0.2.0/24")),
        ("hostile", &HOSTILE[..], None),
    ] {
        let (rules, headers) = (rules(trusted), headers(fields));
        let identity = rules.identity(&principal());
        let hop = Hop::new(Peer::Known(([192, 0, 2, 1], 0).into()), Scheme::Http);
        let context = RewriteContext {
            origin: &rules.forwarding().origin(&hop, &headers),
            host: Some(&HeaderValue::from_static("api.example.com")),
            identity: Some(&identity),
            certificate: None,
            request_id: &HeaderValue::from_static("0123456789abcdef0123456789abcdef"),
            authorization: Withheld::All,
            edits: None,
            stripped: None,
        };
        let mut out = Vec::with_capacity(4096);
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                rules.write_request(black_box(&headers), &context, &mut out);
                out.len()
            });
        });
    }
    group.finish();
    answers(&mut criterion);
    criterion.final_summary();
}

fn answers(criterion: &mut Criterion) {
    let rules = rules(None);
    let response = headers(&[
        ("content-type", "application/json"),
        ("content-length", "101"),
        ("date", "Tue, 24 Nov 2026 12:00:00 GMT"),
        ("server", "api"),
        ("connection", "keep-alive"),
    ]);
    let id = HeaderValue::from_static("0123456789abcdef0123456789abcdef");
    criterion.bench_function("answer's fields, their copy included", |b| {
        b.iter(|| {
            let mut headers = response.clone();
            rules.response(black_box(&mut headers), &id);
            headers
        });
    });
}

fn rules(trusted: Option<&str>) -> RewriteRules {
    let identity = IdentityFields {
        subject: Some(HeaderName::from_static("x-auth-subject")),
        session: Some(HeaderName::from_static("x-auth-session")),
        scopes: Some(HeaderName::from_static("x-auth-scopes")),
        ..IdentityFields::default()
    };
    let trusted = trusted.map(|net| net.parse::<IpNet>().expect("a network")).into_iter().collect();
    let cookies = vec!["__Host-access".to_owned()];
    RewriteRules::new(identity, &[], cookies, Forwarding::new(trusted), HeaderValue::from_static("1.1 tokengate"))
}

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    fields.iter().map(field).collect()
}

fn principal() -> Principal {
    Principal {
        subject: Subject::new("3f0d6c1e-6f0a-4a52-9a3c-0a5b1f3f9b11").expect("a name"),
        issuer: "tokengate".into(),
        session: Some(SessionId::new(Partition(3), Timestamp::from_secs(1_790_000_000), [7; 8])),
        generation: None,
        token: None,
        audiences: Vec::new(),
        scopes: ["read:orders", "write:orders"].map(str::to_owned).to_vec(),
        issued_at: None,
        logged_in_at: None,
        not_before: None,
        expires_at: Timestamp::MAX,
        window: Window::ALWAYS,
        claims: Map::new(),
    }
}
