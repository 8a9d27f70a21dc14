//! How often callers may use a route.

use std::time::Duration;

use tokio::time::Instant;

use super::{assert_refused, metric};
use crate::support::gateway::Gateway;
use crate::support::http::Message;
use crate::support::upstream::Upstream;

const ALLOWED: usize = 5;

const BY_SUBJECT: &str = r#"
[[routes]]
name = "limited"
prefix = "/limited"
limit = "5/1d"
[[routes]]
name = "api"
prefix = "/"
"#;

const BY_ADDRESS: &str = r#"
[[routes]]
name = "limited"
prefix = "/limited"
limit = "5/1d"
limit_by = "address"
[[routes]]
name = "open"
prefix = "/open"
access = "public"
limit = "5/1d"
[[routes]]
name = "api"
prefix = "/"
"#;

/// How many of twice as many calls as are allowed are let through, each by a connection of its own: the workers share them.
fn admitted(gateway: &Gateway, path: &str, fields: &[(&str, &str)]) -> usize {
    let call = |_: usize| gateway.client().send("GET", path, fields, None).unwrap();
    let answers: Vec<Message> = (0..2 * ALLOWED).map(call).collect();
    let (passed, refused): (Vec<&Message>, Vec<&Message>) = answers.iter().partition(|response| response.status() != 429);
    for response in &refused {
        assert_refused(response, 429, "rate_limited");
        let wait: u64 = response.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=86_400 / ALLOWED as u64).contains(&wait), "{wait}");
    }
    assert!(passed.iter().all(|response| response.status() == passed[0].status()), "{passed:?}");
    passed.len()
}

/// The first response that is not of the kind that is to be waited out.
fn answer_unless(ask: impl Fn() -> Message, is_awaited: impl Fn(&Message) -> bool) -> Message {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let response = ask();
        if !is_awaited(&response) {
            return response;
        }
        assert!(Instant::now() < deadline, "{response:?}");
    }
}

#[test]
fn each_subject_has_an_allowance_of_its_own_which_all_workers_and_a_reload_respect() {
    let upstream = Upstream::start();
    let gateway = Gateway::of(&upstream, BY_SUBJECT, &[]);
    let mut client = gateway.client();
    let bearer = |token: &str| format!("Bearer {token}");
    let (ada, bob) = (bearer(&client.log_in("ada").access), bearer(&client.log_in("bob").access));
    let again = bearer(&client.log_in("ada").access);
    assert_eq!(admitted(&gateway, "/limited/x", &[("authorization", &ada)]), ALLOWED);
    assert_eq!(admitted(&gateway, "/limited/x", &[("authorization", &again)]), 0, "another session is no other subject");
    assert_eq!(admitted(&gateway, "/limited/x", &[("authorization", &bob)]), ALLOWED);
    client.send("GET", "/other", &[("authorization", &ada)], None).unwrap().expect(200);
    assert_eq!(metric(&gateway, r#"requests_rejected_total{cause="rate_limited"} "#), 4 * ALLOWED as u64);
    let before = upstream.requests();
    assert_eq!(admitted(&gateway, "/limited/x", &[("authorization", &ada)]), 0);
    assert_eq!(upstream.requests(), before, "what is refused reaches no upstream");
    // Until a worker takes the new settings over, the path is another route's.
    gateway.reload(|text| text.replace("prefix = \"/limited\"", "prefix = \"/bounded\"\nstrip_prefix = true"));
    let ask = || gateway.client().send("GET", "/bounded/x", &[("authorization", &ada)], None).unwrap();
    let is_by_the_former = |response: &Message| response.status() == 200 && response.json()["target"] == "/bounded/x";
    let first = answer_unless(ask, is_by_the_former);
    assert_refused(&first, 429, "rate_limited");
    gateway.reload(|text| text.replace("5/1d", "6/1d"));
    answer_unless(ask, |response| response.status() == 429).expect(200);
}

#[test]
fn addresses_are_counted_as_trusted_peers_tell_them_before_any_token_is_looked_at() {
    let upstream = Upstream::start();
    let gateway = Gateway::of(&upstream, BY_ADDRESS, &[("listen.trusted_peers", "127.0.0.1/32")]);
    let of =
        |path: &str, client: &str| admitted(&gateway, path, &[("x-forwarded-for", client), ("authorization", "Bearer a.b.c")]);
    assert_eq!(of("/limited", "192.0.2.1"), ALLOWED, "refused by their token, and counted");
    assert_eq!(of("/limited", "198.51.100.7, 192.0.2.1"), 0, "what a client says itself is not believed");
    assert_eq!(of("/limited", "192.0.2.2"), ALLOWED);
    assert_eq!(of("/limited", "::ffff:192.0.2.2"), 0, "an IPv4 address however it is written");
    assert_eq!(of("/open", "2001:db8:0:1::1"), ALLOWED, "each route counts for itself");
    assert_eq!(of("/open", "2001:db8:0:1:ffff::2"), 0, "one network");
    assert_eq!(of("/open", "2001:db8:0:2::1"), ALLOWED);
}

#[test]
fn nobody_gets_another_allowance_by_naming_an_address() {
    let upstream = Upstream::start();
    let gateway = Gateway::of(&upstream, BY_ADDRESS, &[]);
    assert_eq!(admitted(&gateway, "/open", &[("x-forwarded-for", "192.0.2.1")]), ALLOWED);
    assert_eq!(admitted(&gateway, "/open", &[("x-forwarded-for", "192.0.2.2")]), 0);
}
