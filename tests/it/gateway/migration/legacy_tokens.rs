//! Tokens that the API made: accepted, refused from a day on, exchanged, ended.

use std::thread;

use serde_json::{Value, json};

use super::{Steps, exchange, log_in, pair, sessions, soon, with_legacy};
use crate::gateway::until_refused;
use crate::support::gateway::{Gateway, Tokens};
use crate::support::http::{Client, Message};
use crate::support::old_api::{self, now, signed, token_of};
use crate::support::upstream::Upstream;

#[test]
fn legacy_token_format_works() {
    let upstream = old_api::start();
    let gateway = Gateway::start(&upstream, &with_legacy(&[("login.issue_share", "0")]));
    let mut client = gateway.client();
    let login = log_in(&mut client, "ann");
    let members: Vec<String> = login.json().as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["token", "user"], "the response is the API's, unchanged");
    let old = token_of(&login);
    let resource = client.get("/api/me", Some(&old)).expect(200);
    assert_eq!(resource.upstream_saw("x-auth-subject"), ["ann"]);
    assert!(resource.upstream_saw("authorization").is_empty());
    assert_eq!(sessions(&mut client, &old), 0);

    let new = Tokens::of(&exchange(&mut client, &old).expect(200));
    for token in [&new.access, &old] {
        assert_eq!(client.get("/api/me", Some(token)).expect(200).upstream_saw("x-auth-subject"), ["ann"]);
    }
    let session =
        |client: &mut Client, token: &str| client.get("/api/me", Some(token)).expect(200).upstream_saw("x-auth-session");
    assert_eq!(session(&mut client, &new.access), session(&mut client, &old), "the upstream sees one login");
    client.refresh(&new.refresh).expect(200);
}

#[test]
fn old_and_new_names_stand_side_by_side_in_answers() {
    let upstream = old_api::start();
    let members = [
        ("login.members.token", "token"),
        ("login.members.access_token", r#"["accessToken", "/data/tokens/access"]"#),
        ("login.members.refresh_token", r#"["refreshToken", "/data/tokens/refresh"]"#),
    ];
    let gateway = Gateway::start(&upstream, &with_legacy(&members));
    let mut client = gateway.client();
    let login = log_in(&mut client, "ann");
    assert_eq!(login.json()["user"], json!({"id": "ann", "name": "Somebody"}), "as the API said it");
    let check = |response: &Message| {
        let (json, tokens) = (response.json(), Tokens::of(response));
        assert_eq!([&json["token"], &json["data"]["tokens"]["access"]], [tokens.access.as_str(); 2].map(Value::from).each_ref());
        assert_eq!(json["data"]["tokens"]["refresh"], tokens.refresh);
        tokens
    };
    let tokens = check(&login);
    client.get("/api/me", Some(&tokens.access)).expect(200);
    check(&client.refresh(&tokens.refresh).expect(200));
}

#[test]
fn a_legacy_token_is_refused_from_the_cut_off_on_also_where_it_is_remembered() {
    let upstream = Upstream::start();
    let entry = |until: &str| {
        let secret = old_api::SECRET;
        format!("[[legacy]]\nname = \"old-api\"\nalgorithm = \"HS256\"\nsecret = \"{secret}\"\naccepted_until = {until}\n")
    };
    let mut steps = Steps::start(&upstream, &[]);
    let mut client = steps.gateway.client();
    let (old, other) = (old_api::token("ann"), old_api::token("bob"));
    client.get("/api/me", Some(&old)).expect(401);
    steps.take("", &entry("2099-12-31"));
    client.get("/api/me", Some(&old)).expect(200);
    let pair = Tokens::of(&exchange(&mut client, &old).expect(200));

    steps.take("", &entry("2020-01-01T00:00:00Z"));
    for token in [&old, &other] {
        assert_eq!(client.get("/api/me", Some(token)).expect(401).json()["code"], "token_expired");
        assert_eq!(exchange(&mut client, token).expect(401).json()["error"], "invalid_grant");
    }
    assert!(steps.gateway.log().contains("accepted_until has passed"));
    client.get("/api/me", Some(&pair.access)).expect(200);
    client.refresh(&pair.refresh).expect(200);
}

#[test]
fn a_short_secret_works_by_choice_and_is_warned_of() {
    let upstream = Upstream::start();
    let short = [("legacy.0.secret", "secret"), ("legacy.0.allow_short_secret", "true")];
    let gateway = Gateway::start(&upstream, &with_legacy(&short));
    assert!(gateway.log().contains("the secret of legacy tokens is short"));
    assert!(!gateway.log().contains("\"secret\"") && !gateway.log().contains(old_api::SECRET));
    // `jwt.sign({ id: "ann", exp: 4102444800 }, "secret", { noTimestamp: true })` of jsonwebtoken for Node.
    let old = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpZCI6ImFubiIsImV4cCI6NDEwMjQ0NDgwMH0.R0_vitSxqdOB8NIRmIZf5u1ssm5noZmryQShR6K1uZw";
    assert_eq!(gateway.client().get("/api/me", Some(old)).expect(200).upstream_saw("x-auth-subject"), ["ann"]);
}

#[test]
fn whoever_is_not_the_api_makes_no_legacy_token() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &with_legacy(&[]));
    let mut client = gateway.client();
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let claims = json!({"id": "ann", "iat": now(), "exp": now() + 600});
    client.get("/api/me", Some(&signed(old_api::SECRET, &header, &claims))).expect(200);
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        signed(old_api::SECRET, &header, &claims)
    };
    let good = signed(old_api::SECRET, &header, &claims);
    let (body, signature) = good.rsplit_once('.').unwrap();
    let bad = [
        signed("another secret of thirty-two bytes or more", &header, &claims),
        signed(old_api::SECRET, &json!({"alg": "none"}), &claims),
        signed(old_api::SECRET, &json!({"alg": "HS512", "typ": "JWT"}), &claims),
        signed(old_api::SECRET, &json!({"alg": "HS256", "kid": "old"}), &claims),
        signed(old_api::SECRET, &json!({"alg": "HS256", "crit": ["exp"]}), &claims),
        with("exp", json!(now() - 1)),
        with("exp", json!("never")),
        with("nbf", json!(now() + 600)),
        with("iat", json!(now() + 600)),
        with("id", json!("")),
        with("id", json!(["ann"])),
        format!("{body}."),
        format!("{body}.{signature}="),
        format!("{body}.{}", signature.to_ascii_uppercase()),
    ];
    let reached = upstream.requests();
    for token in &bad {
        let refused = client.get("/api/me", Some(token)).expect(401);
        assert!(refused.header("www-authenticate").unwrap().contains("invalid_token"));
        exchange(&mut client, token).expect(401);
    }
    assert_eq!(upstream.requests(), reached);
}

#[test]
fn a_legacy_token_is_exchanged_once_whatever_nodes_are_asked_at_once() {
    let pair = pair(&[]);
    let old = old_api::token("ann");
    let ask = |index: usize| {
        let (old, node) = (&old, pair.nodes()[index % 2]);
        move || Tokens::of(&exchange(&mut node.client(), old).expect(200))
    };
    let answers: Vec<Tokens> = thread::scope(|scope| {
        let calls: Vec<_> = (0..16).map(|index| scope.spawn(ask(index))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|tokens| tokens.refresh == answers[0].refresh), "one pair for all");
    let (mut a, mut b) = (pair.a.client(), pair.b.client());
    assert_eq!(sessions(&mut a, &old), 1);
    for tokens in &answers {
        b.get("/api/me", Some(&tokens.access)).expect(200);
    }
    let form = format!("grant_type=refresh_token&refresh_token={old}");
    let fields = [("content-type", "application/x-www-form-urlencoded")];
    let again = b.send("POST", "/refresh", &fields, Some(form.as_bytes())).unwrap().expect(200);
    assert_eq!(again.member("refresh_token"), answers[0].refresh, "as a form too");
}

#[test]
fn once_is_once_after_the_leeway_and_the_copy_harms_nobody() {
    let pair = pair(&[("refresh.leeway", "0s"), ("refresh.acknowledge_interval", "10ms")]);
    let (mut a, mut b) = (pair.a.client(), pair.b.client());
    let old = old_api::token("ann");
    let tokens = Tokens::of(&exchange(&mut a, &old).expect(200));
    // The client shows that it has the reply; the store is told a little later.
    a.get("/api/me", Some(&tokens.access)).expect(200);
    let key = pair.redis.cli(&["--scan", "--pattern", "tg:*session:*"]);
    soon("the reply is known to have arrived", || pair.redis.cli(&["HGET", key.trim(), "a"]).trim() == "1");
    for node in [&mut a, &mut b] {
        assert_eq!(exchange(node, &old).expect(401).json()["error"], "invalid_grant");
    }
    assert_eq!(sessions(&mut a, &old), 1);
    a.get("/api/me", Some(&old)).expect(200);
}

#[test]
fn a_legacy_token_is_exchanged_many_times_where_that_is_chosen_and_never_where_it_is_not() {
    let many = pair(&[("legacy.0.exchange", "many")]);
    let (mut a, mut b) = (many.a.client(), many.b.client());
    let old = old_api::token("ann");
    let [first, second] = [Tokens::of(&exchange(&mut a, &old).expect(200)), Tokens::of(&exchange(&mut b, &old).expect(200))];
    assert_ne!(first.refresh, second.refresh);
    assert_eq!(sessions(&mut a, &old), 2);
    a.log_out(&first.access, "session").expect(200);
    b.get("/api/me", Some(&second.access)).expect(200);
    drop(many);

    let never = pair(&[("legacy.0.exchange", "never")]);
    let mut a = never.a.client();
    exchange(&mut a, &old).expect(401);
    a.get("/api/me", Some(&old)).expect(200);
}

#[test]
fn logging_a_legacy_token_out_is_refused_at_once_here_and_soon_everywhere() {
    let pair = pair(&[]);
    let (mut a, mut b) = (pair.a.client(), pair.b.client());
    let (kept, exchanged, in_body) = (old_api::token("ann"), old_api::token("bob"), old_api::token("joe"));
    for token in [&kept, &exchanged, &in_body] {
        for node in [&mut a, &mut b] {
            node.get("/api/me", Some(token)).expect(200);
        }
    }
    let tokens = Tokens::of(&exchange(&mut b, &exchanged).expect(200));
    assert_eq!(a.log_out(&kept, "session").expect(200).json()["ended"], 1);
    assert_eq!(a.log_out(&exchanged, "session").expect(200).json()["ended"], 1);
    assert_eq!(a.post("/logout", &json!({"token": in_body})).expect(200).json()["ended"], 1);
    for token in [&kept, &exchanged, &in_body, &tokens.access] {
        assert_eq!(a.get("/api/me", Some(token)).expect(401).json()["code"], "token_revoked");
        until_refused(&mut b, token);
    }
    for node in [&mut a, &mut b] {
        for token in [&kept, &exchanged, &in_body] {
            exchange(node, token).expect(401);
        }
        node.refresh(&tokens.refresh).expect(401);
        node.log_out(&kept, "session").expect(200);
    }
}

#[test]
fn the_end_of_the_new_session_is_the_end_of_the_legacy_token() {
    let pair = pair(&[]);
    let (mut a, mut b) = (pair.a.client(), pair.b.client());
    let old = old_api::token("ann");
    let tokens = Tokens::of(&exchange(&mut a, &old).expect(200));
    a.log_out(&tokens.access, "session").expect(200);
    a.get("/api/me", Some(&old)).expect(401);
    until_refused(&mut b, &old);
    exchange(&mut b, &old).expect(401);
}

#[test]
fn logging_all_out_ends_every_legacy_token_of_the_subject_and_of_nobody_else() {
    let pair = pair(&[]);
    let (mut a, mut b) = (pair.a.client(), pair.b.client());
    let claims = |user: &str, ago: i64| json!({"id": user, "iat": now() - ago, "exp": now() + 600});
    let token = |user: &str, ago| signed(old_api::SECRET, &json!({"alg": "HS256"}), &claims(user, ago));
    let (phone, laptop, other) = (token("ann", 100), token("ann", 200), token("bob", 100));
    a.log_out(&phone, "all").expect(200);
    for token in [&phone, &laptop] {
        a.get("/api/me", Some(token)).expect(401);
        until_refused(&mut b, token);
        exchange(&mut b, token).expect(401);
    }
    for node in [&mut a, &mut b] {
        node.get("/api/me", Some(&other)).expect(200);
    }
}
