//! Refusing and issuing for a share of all callers, up and back down.

use std::collections::BTreeMap;
use std::thread;

use serde_json::{Value, json};

use super::{Steps, exchange, log_in, soon, with_legacy};
use crate::support::gateway::Tokens;
use crate::support::http::{Client, Message};
use crate::support::old_api::{self, now, signed, token_of};
use crate::support::upstream::Upstream;

const OBSERVE: &str = "mode = \"observe\"";
const SCOPED: &str = "[[routes]]\nname = \"scoped\"\nprefix = \"/scoped\"\nscopes = [\"admin\"]\n";

/// What each of the mixed calls comes to, by the code of its refusal.
const REFUSED: [(&str, &str, u64); 5] = [
    ("observed_no_token", "token_missing", 7),
    ("observed_invalid", "token_invalid", 6),
    ("observed_expired", "token_expired", 5),
    ("observed_revoked_session", "token_revoked", 4),
    ("observed_scope", "scope_insufficient", 3),
];
const GOOD: u64 = 9;

/// Calls of all kinds, with the tokens that they need.
struct Mix {
    good: String,
    revoked: String,
    expired: String,
}

impl Mix {
    /// Every answer.
    fn ask(&self, client: &mut Client) -> Vec<Message> {
        let mut calls: Vec<(&str, Option<&str>)> = Vec::new();
        for (kind, _, count) in REFUSED {
            let call = match kind {
                "observed_no_token" => ("/api/me", None),
                "observed_invalid" => ("/api/me", Some("garbage")),
                "observed_expired" => ("/api/me", Some(self.expired.as_str())),
                "observed_revoked_session" => ("/api/me", Some(self.revoked.as_str())),
                _ => ("/scoped", Some(self.good.as_str())),
            };
            calls.extend(std::iter::repeat_n(call, usize::try_from(count).unwrap()));
        }
        calls.extend(std::iter::repeat_n(("/api/me", Some(self.good.as_str())), usize::try_from(GOOD).unwrap()));
        calls.iter().map(|(path, token)| client.get(path, *token)).collect()
    }
}

/// The counts that the log tells, by cause; those of all routes together.
fn told(log: &str) -> BTreeMap<String, u64> {
    let mut told = BTreeMap::new();
    for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if line["message"] == "would have been refused" {
            *told.entry(line["observed"].as_str().unwrap().to_owned()).or_default() += line["count"].as_u64().unwrap();
        }
    }
    told
}

#[test]
fn what_is_observed_is_what_is_then_refused() {
    let upstream = Upstream::start();
    let mut steps = Steps::start(&upstream, &with_legacy(&[]));
    let mut client = steps.gateway.client();
    let expired = json!({"id": "ann", "iat": now() - 600, "exp": now() - 1});
    let mix = Mix {
        good: old_api::token("ann"),
        revoked: client.log_in("bob").access,
        expired: signed(old_api::SECRET, &json!({"alg": "HS256"}), &expired),
    };
    client.log_out(&mix.revoked, "session").expect(200);

    let scoped = format!("{SCOPED}{OBSERVE}");
    steps.take(OBSERVE, &scoped);
    let reached = upstream.requests();
    let observed = mix.ask(&mut client);
    let all: u64 = REFUSED.iter().map(|(.., count)| count).sum::<u64>() + GOOD;
    assert!(observed.iter().all(|response| response.status() == 200), "nothing is refused");
    assert_eq!(upstream.requests() - reached, all);

    steps.take("", SCOPED);
    let expected: BTreeMap<String, u64> = REFUSED.iter().map(|(kind, _, count)| ((*kind).to_owned(), *count)).collect();
    soon("what was observed is told", || told(&steps.gateway.log()) == expected);
    let tokens = [&mix.good, &mix.expired, &mix.revoked];
    assert!(tokens.iter().all(|token| !steps.gateway.log().contains(token.as_str())), "no token is in the log");

    let reached = upstream.requests();
    let mut refused = BTreeMap::<String, u64>::new();
    for response in mix.ask(&mut client).into_iter().filter(|response| response.status() != 200) {
        *refused.entry(response.member("code")).or_default() += 1;
    }
    let expected: BTreeMap<String, u64> = REFUSED.iter().map(|(_, code, count)| ((*code).to_owned(), *count)).collect();
    assert_eq!(refused, expected, "the very same is refused now");
    assert_eq!(upstream.requests() - reached, GOOD);
}

#[test]
fn observed_requests_are_rewritten_as_strictly_as_others() {
    let upstream = Upstream::start();
    let mut steps = Steps::start(&upstream, &with_legacy(&[]));
    steps.take(OBSERVE, "");
    let mut client = steps.gateway.client();
    let old = old_api::token("ann");
    for (token, subjects) in [(Some(old.as_str()), vec!["ann"]), (Some("garbage"), vec![]), (None, vec![])] {
        let authorization = token.map(|token| format!("Bearer {token}"));
        let mut fields = vec![("x-auth-subject", "root"), ("X_Auth_Subject", "root"), ("x-auth-scopes", "admin")];
        fields.extend(authorization.as_ref().map(|text| ("authorization", text.as_str())));
        let response = client.send("GET", "/api/me", &fields, None).unwrap().expect(200);
        assert_eq!(response.upstream_saw("x-auth-subject"), subjects);
        for name in ["x_auth_subject", "x-auth-scopes"] {
            assert!(response.upstream_saw(name).is_empty(), "{name}: {}", response.text());
        }
        // What is nobody's token here may be the upstream's.
        let passes: Vec<String> = authorization.filter(|_| token == Some("garbage")).into_iter().collect();
        assert_eq!(response.upstream_saw("authorization"), passes);
    }
}

#[test]
fn what_is_observed_is_not_cut_off_when_its_session_ends() {
    let upstream = Upstream::start();
    let mut steps = Steps::start(&upstream, &with_legacy(&[]));
    steps.take(OBSERVE, "");
    let (mut slow, mut client) = (steps.gateway.client(), steps.gateway.client());
    let old = old_api::token("ann");
    thread::scope(|scope| {
        let held = scope.spawn(|| slow.get("/api/held", Some(&old)));
        upstream.await_held(1);
        client.log_out(&old, "session").expect(200);
        client.get("/api/me", Some(&old)).expect(200);
        upstream.release();
        held.join().unwrap().expect(200);
    });
}

/// One user of the old front end, who knows `token` alone, and one of the new, who keeps a pair where the response has one.
struct User {
    name: String,
    old: String,
    pair: Option<Tokens>,
}

impl User {
    fn log_in(name: &str, client: &mut Client) -> Self {
        let response = log_in(client, name);
        let pair = response.json().get("refreshToken").is_some().then(|| Tokens::of(&response));
        Self { name: name.to_owned(), old: token_of(&response), pair }
    }

    /// Uses everything that there is. Whatever the share is now, none of it may fail.
    fn assert_logged_in(&mut self, client: &mut Client) {
        let access = [Some(&self.old), self.pair.as_ref().map(|pair| &pair.access)];
        for token in access.into_iter().flatten() {
            let response = client.get("/api/me", Some(token)).expect(200);
            assert_eq!(response.upstream_saw("x-auth-subject"), [self.name.as_str()]);
        }
        if let Some(pair) = &mut self.pair {
            *pair = Tokens::of(&client.refresh(&pair.refresh).expect(200));
        }
    }
}

#[test]
fn ramping_up_to_all_and_back_down_to_none_logs_nobody_out() {
    let upstream = old_api::start();
    let mut steps = Steps::start(&upstream, &with_legacy(&[]));
    let mut users: Vec<User> = Vec::new();
    let mut issued_before = Vec::new();
    let (up, down) = ([0, 25, 60, 100], [60, 25, 0]);
    for (round, share) in up.into_iter().chain(down).enumerate() {
        steps.take(&format!("enforce_share = {share}"), &format!("[login]\nissue_share = {share}\n"));
        let mut client = steps.gateway.client();
        for user in &mut users {
            user.assert_logged_in(&mut client);
        }
        let names: Vec<String> = (0..20).map(|id| format!("user-{id}")).collect();
        let newcomers: Vec<User> = names.iter().map(|name| User::log_in(name, &mut client)).collect();
        let issued: Vec<bool> = newcomers.iter().map(|user| user.pair.is_some()).collect();
        assert!(share != 0 || !issued.contains(&true));
        assert!(share != 100 || !issued.contains(&false));
        let grows = share > 0 && round < up.len();
        assert!(!grows || issued_before.iter().zip(&issued).all(|(before, now)| !before || *now), "whoever is in stays in");
        issued_before = issued;
        users.extend(newcomers);
        for user in &mut users {
            user.assert_logged_in(&mut client);
        }
    }
    assert!(users.iter().any(|user| user.pair.is_some()) && users.iter().any(|user| user.pair.is_none()));
    // And nobody is so far gone that the last step back would not let them in.
    let mut client = steps.gateway.client();
    client.get("/api/me", None).expect(200);
    for user in &users {
        exchange(&mut client, &user.old).expect(200);
    }
}

#[test]
fn a_share_is_refused_by_subject_and_stays_refused_while_it_grows() {
    let upstream = Upstream::start();
    let mut steps = Steps::start(&upstream, &with_legacy(&[]));
    let expired = |id: u32| {
        let claims = json!({"id": format!("user-{id}"), "iat": now() - 600, "exp": now() - 1});
        signed(old_api::SECRET, &json!({"alg": "HS256"}), &claims)
    };
    let tokens: Vec<String> = (0..60).map(expired).collect();
    let mut refused_at = |share: u32| -> Vec<bool> {
        steps.take(&format!("enforce_share = {share}"), "");
        let mut client = steps.gateway.client();
        tokens.iter().map(|token| client.get("/api/me", Some(token)).status() == 401).collect()
    };
    let (none, some, more, again) = (refused_at(0), refused_at(30), refused_at(70), refused_at(30));
    assert!(none.iter().all(|refused| !refused));
    assert!(some.contains(&true) && more.contains(&false) && some != more);
    assert!(some.iter().zip(&more).all(|(small, large)| !small || *large));
    assert_eq!(some, again);
}
