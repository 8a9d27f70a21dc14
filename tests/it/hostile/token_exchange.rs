//! Tokens of another issuer at the token endpoint, before those who would make more of them than they are.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::Response;
use super::partner::{Partner, token};
use super::rig::{Rig, eventually};
use super::upstream::Upstream;
use crate::support::old_api::{self, now, signed};

/// Names and values.
type Parameters<'a> = Vec<(&'a str, &'a str)>;

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const TERMS: &str = "subject_prefix = \"partner:\"\nexchange = \"once\"\nexchange_audiences = [\"app\"]\n\
                     exchange_scopes = [\"read\", \"admin\"]\nexchange_claims = { role = \"/realm/role\" }\n";
const ENDPOINT: &str = "[endpoints]\ntoken = \"/oauth/token\"\n";

fn rig_with(partner: &Partner, terms: &str, further: &str) -> Rig {
    let settings = partner.accepted(&format!("{terms}{ENDPOINT}{further}"));
    Rig::start_from(Upstream::echo().address, &settings, |_| {})
}

fn post(rig: &Rig, target: &str, lines: &[&str], body: &str) -> Response {
    let mut head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n", body.len());
    for line in lines {
        let _ = write!(head, "{line}\r\n");
    }
    rig.ask(format!("{head}\r\n{body}"))
}

fn form(pairs: &[(&str, &str)]) -> String {
    let mut form = String::new();
    for (name, value) in pairs {
        let encoded: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
        let _ = write!(form, "{}{name}={encoded}", if form.is_empty() { "" } else { "&" });
    }
    form
}

fn exchange_with(rig: &Rig, subject_token: &str, further: &[(&str, &str)]) -> Response {
    let named = |name: &str| further.iter().any(|(other, _)| *other == name);
    let usual = [("grant_type", EXCHANGE), ("subject_token", subject_token), ("subject_token_type", JWT)];
    let pairs: Vec<(&str, &str)> = usual.into_iter().filter(|(name, _)| !named(name)).chain(further.iter().copied()).collect();
    post(rig, "/oauth/token", &[FORM], &form(&pairs))
}

fn exchange(rig: &Rig, subject_token: &str) -> Response {
    exchange_with(rig, subject_token, &[])
}

fn for_app(name: &str, further: &Value) -> String {
    let mut claims = json!({"aud": "app", "scope": "openid read", "realm": {"role": "boss"}});
    for (name, value) in further.as_object().unwrap() {
        claims[name] = value.clone();
    }
    token(name, &claims)
}

fn body(response: &Response) -> Value {
    serde_json::from_str(&response.body).unwrap_or_else(|error| panic!("{error}: {response:?}"))
}

/// Status and `error`, where the rest is as RFC 6749, section 5.2, has it.
#[track_caller]
fn refused(response: &Response) -> (u16, String) {
    assert_eq!(response.field("content-type"), Some("application/json"), "{response:?}");
    assert_eq!((response.field("cache-control"), response.field("pragma")), (Some("no-store"), Some("no-cache")), "{response:?}");
    assert!(response.field("set-cookie").is_none(), "{response:?}");
    (response.status, body(response)["error"].as_str().unwrap().to_owned())
}

#[track_caller]
fn granted(response: &Response) -> Value {
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!((response.field("cache-control"), response.field("pragma")), (Some("no-store"), Some("no-cache")), "{response:?}");
    body(response)
}

#[test]
fn a_partners_token_becomes_a_session_which_is_listed_refreshed_and_ended_as_others_are() {
    let partner = Partner::new();
    let rig = rig_with(&partner, TERMS, "");
    let theirs = for_app("7", &json!({"role": "smuggled", "email": "a@example.com"}));
    assert_eq!(rig.get("/api", &theirs).code(), "token_invalid", "it is for the exchange, and not for the API");
    let pair = granted(&exchange(&rig, &theirs));
    assert_eq!(
        (&pair["issued_token_type"], &pair["token_type"], &pair["scope"]),
        (&json!(ACCESS_TOKEN), &json!("Bearer"), &json!("read"))
    );
    assert!(pair["expires_in"].as_u64().unwrap() > 0);
    let access = pair["access_token"].as_str().unwrap();
    let seen = rig.get("/api", access).body.to_ascii_lowercase();
    for field in ["x-auth-subject: partner:7\r\n", "x-auth-scopes: read\r\n", "x-auth-role: boss\r\n", "x-auth-session: "] {
        assert!(seen.contains(field), "{field}: {seen}");
    }
    assert!(!seen.contains("smuggled") && !seen.contains("example.com"), "{seen}");
    let sessions = body(&rig.get("/sessions", access));
    assert_eq!((sessions["sessions"].as_array().unwrap().len(), &sessions["sessions"][0]["current"]), (1, &json!(true)));
    let refresh = |token: &Value| {
        let form = form(&[("grant_type", "refresh_token"), ("refresh_token", token.as_str().unwrap())]);
        post(&rig, "/oauth/token", &[FORM], &form)
    };
    // Within the leeway, who asks again has lost a response.
    rig.clock.advance(Duration::from_secs(31));
    let next = granted(&refresh(&pair["refresh_token"]));
    assert_ne!(next["refresh_token"], pair["refresh_token"], "it rotates");
    assert_eq!((&next["scope"], next.get("issued_token_type")), (&json!("read"), None));
    eventually("it is vouched for", || rig.get("/api", next["access_token"].as_str().unwrap()).status == 200);
    let line = format!("Authorization: Bearer {}", next["access_token"].as_str().unwrap());
    assert_eq!(post(&rig, "/logout", &[&line, "Content-Type: application/json"], "{}").body, r#"{"ended":1}"#);
    for token in [access, next["access_token"].as_str().unwrap()] {
        assert_eq!(rig.get("/api", token).code(), "token_revoked");
    }
    assert_eq!(refused(&refresh(&next["refresh_token"])), (400, "invalid_grant".to_owned()));
    assert_eq!(refused(&exchange(&rig, &theirs)), (400, "invalid_request".to_owned()), "nor does its token come again");
    granted(&exchange(&rig, &for_app("7", &json!({"jti": "another"}))));
}

#[test]
fn each_error_is_the_one_of_the_rfc() {
    let partner = Partner::new();
    let rig = rig_with(&partner, TERMS, "[tokens]\naudience = [\"api\", \"bills\"]\n");
    let good = for_app("7", &json!({}));
    let ours = rig.log_in();
    let long = "x".repeat(5000);
    let cases: Vec<(&str, Parameters<'_>, &str)> = vec![
        (&good, vec![("subject_token_type", "")], "invalid_request"),
        (&good, vec![("subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token")], "invalid_request"),
        (&good, vec![("subject_token_type", "urn:ietf:params:oauth:token-type:saml2")], "invalid_request"),
        (&good, vec![("subject_token_type", "jwt")], "invalid_request"),
        (&good, vec![("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token")], "invalid_request"),
        (&good, vec![("requested_token_type", JWT)], "invalid_request"),
        (&good, vec![("actor_token", &good), ("actor_token_type", JWT)], "invalid_request"),
        (&good, vec![("actor_token", &good)], "invalid_request"),
        (&good, vec![("actor_token_type", JWT)], "invalid_request"),
        (&good, vec![("scope", "openid")], "invalid_scope"),
        (&good, vec![("scope", "read admin")], "invalid_scope"),
        (&good, vec![("audience", "elsewhere")], "invalid_target"),
        (&good, vec![("audience", "api")], "invalid_target"),
        (&good, vec![("audience", "api"), ("audience", "bills"), ("resource", "https://elsewhere.example")], "invalid_target"),
        (&good, vec![("grant_type", "urn:ietf:params:oauth:grant-type:Token-Exchange")], "unsupported_grant_type"),
        (&good, vec![("grant_type", EXCHANGE), ("grant_type", EXCHANGE)], "invalid_request"),
        (&good, vec![("subject_token", &good), ("subject_token", &good)], "invalid_request"),
        (&good, vec![("subject_token", "")], "invalid_request"),
        (&ours.access, vec![], "invalid_request"),
        (&ours.access, vec![("subject_token_type", ACCESS_TOKEN)], "invalid_request"),
        (&ours.refresh, vec![], "invalid_request"),
        (&long, vec![], "invalid_request"),
        ("a.b.c", vec![], "invalid_request"),
    ];
    for (subject_token, further, error) in &cases {
        assert_eq!(refused(&exchange_with(&rig, subject_token, further)), (400, (*error).to_owned()), "{further:?}");
    }
    for name in ["subject_token", "actor_token", "grant_type", "subject%5ftoken"] {
        let form = form(&[("grant_type", EXCHANGE), ("subject_token", &good), ("subject_token_type", JWT)]);
        let response = post(&rig, &format!("/oauth/token?{name}=x"), &[FORM], &form);
        assert_eq!(refused(&response), (400, "invalid_request".to_owned()), "{name}");
    }
    assert!(rig.get("/api", &ours.access).status == 200, "and nobody was logged out");
    // Nothing of all that has spent it, and what is right is taken.
    let right = [
        ("audience", "bills"),
        ("audience", "api"),
        ("scope", "read"),
        ("requested_token_type", ACCESS_TOKEN),
        ("actor_token", ""),
    ];
    granted(&exchange_with(&rig, &good, &right));
}

#[test]
fn a_token_is_exchanged_by_the_rules_of_its_issuer_alone() {
    let partner = Partner::new();
    let rig = rig_with(&partner, TERMS, "");
    let other_key = |claims: &Value| {
        signed("another secret, as long as the partner's would be", &json!({"alg": "HS256", "typ": "JWT", "kid": "p1"}), claims)
    };
    let claims = json!({"iss": "https://partner.example", "sub": "7", "aud": "app", "iat": now(), "exp": now() + 600});
    let unsigned = {
        let good = for_app("7", &json!({}));
        format!("{}.", good.rsplit_once('.').unwrap().0)
    };
    for (what, text) in [
        ("for the API", for_app("7", &json!({"aud": "api"}))),
        ("for nobody", for_app("7", &json!({"aud": []}))),
        ("of another issuer", for_app("7", &json!({"iss": "https://other.example"}))),
        ("of ours", for_app("7", &json!({"iss": "tokengate"}))),
        ("expired", for_app("7", &json!({"exp": now() - 61, "iat": now() - 600}))),
        ("of tomorrow", for_app("7", &json!({"nbf": now() + 3600}))),
        ("too long", for_app("7", &json!({"exp": now() + 10 * 86_400}))),
        ("without an end", for_app("7", &json!({"exp": null}))),
        ("of nobody", for_app("", &json!({}))),
        ("of a name that is none", for_app("a\nb", &json!({}))),
        ("by another key", other_key(&claims)),
        ("unsigned", unsigned),
    ] {
        let response = exchange(&rig, &text);
        assert_eq!(refused(&response), (400, "invalid_request".to_owned()), "{what}");
        assert_eq!(response.code(), "subject_token_invalid", "{what}");
    }
    granted(&exchange(&rig, &for_app("7", &json!({"exp": now() - 50, "iat": now() - 600}))));
}

#[test]
fn an_access_token_is_no_id_token_and_what_its_issuer_excludes_is_neither() {
    let partner = Partner::new();
    let of_type = |typ: &str| {
        let claims =
            json!({"iss": "https://partner.example", "sub": "7", "aud": "app", "iat": now(), "exp": now() + 600, "jti": typ});
        signed(super::partner::SECRET, &json!({"alg": "HS256", "typ": typ, "kid": "p1"}), &claims)
    };
    let urn = |name: &str| format!("urn:ietf:params:oauth:token-type:{name}");
    let rig = rig_with(&partner, TERMS, "");
    let by = |rig: &Rig, typ: &str, kind: &str| exchange_with(rig, &of_type(typ), &[("subject_token_type", &urn(kind))]).status;
    for (typ, kind, status) in [
        ("JWT", "id_token", 200),
        ("JWT", "access_token", 200),
        ("at+jwt", "access_token", 200),
        ("at+jwt", "jwt", 200),
        ("at+jwt", "id_token", 400),
        ("application/at+jwt", "id_token", 400),
    ] {
        assert_eq!(by(&rig, typ, kind), status, "{typ} {kind}");
    }
    let settings = partner.accepted(&format!("{TERMS}{ENDPOINT}")).replace("types = []", "types = [\"at+jwt\"]");
    let rig = Rig::start_from(Upstream::echo().address, &settings, |_| {});
    for kind in ["id_token", "jwt", "access_token"] {
        assert_eq!(by(&rig, "JWT", kind), 400, "{kind}");
    }
    assert_eq!(by(&rig, "at+jwt", "access_token"), 200);
}

#[test]
fn without_an_issuer_that_is_exchanged_there_is_no_such_grant() {
    let partner = Partner::new();
    let rig = rig_with(&partner, "subject_prefix = \"partner:\"\n", "");
    assert_eq!(refused(&exchange(&rig, &token("7", &json!({})))), (400, "unsupported_grant_type".to_owned()));
    // Another issuer is: this one's tokens are none for it.
    let mut rig = rig_with(&partner, TERMS, "");
    let theirs = for_app("7", &json!({}));
    let access = granted(&exchange(&rig, &theirs))["access_token"].as_str().unwrap().to_owned();
    assert_eq!(rig.get("/api", &access).status, 200);
    let jwks = partner.accepted("").lines().find(|line| line.starts_with("jwks_file")).unwrap().to_owned();
    let other = format!(
        "[[issuers]]\nissuer = \"https://other.example\"\naudiences = [\"app\"]\nalgorithms = [\"HS256\"]\n{jwks}\n\
         types = []\nsubject_prefix = \"other:\"\nexchange = true\n"
    );
    rig.reload(&format!("{}{other}{ENDPOINT}", partner.accepted("subject_prefix = \"partner:\"")));
    eventually("its users have sessions no more", || rig.get("/api", &access).status == 401);
    assert_eq!(refused(&exchange(&rig, &for_app("7", &json!({"jti": "n"})))), (400, "invalid_request".to_owned()));
    granted(&exchange(&rig, &for_app("7", &json!({"iss": "https://other.example"}))));
}

#[test]
fn the_users_of_a_partner_that_shares_ours_are_ours() {
    let partner = Partner::new();
    let terms = "shares_subjects = true\nexchange = \"many\"\nexchange_audiences = [\"app\"]\n";
    let rig = rig_with(&partner, terms, "");
    let ours = rig.log_in();
    let theirs = for_app("user-1", &json!({}));
    let (first, second) = (granted(&exchange(&rig, &theirs)), granted(&exchange(&rig, &theirs)));
    assert_ne!(first["refresh_token"], second["refresh_token"], "many");
    assert!(first.get("scope").is_none(), "no scope is taken over that is not listed");
    assert_eq!(body(&rig.get("/sessions", &ours.access))["sessions"].as_array().unwrap().len(), 3);
}

#[test]
fn legacy_tokens_are_exchanged_here_too_by_the_same_rules_as_at_refresh() {
    let settings = format!(
        "[store]\nkind = \"memory\"\n{ENDPOINT}[[legacy]]\nname = \"old-api\"\nalgorithm = \"HS256\"\nsecret = \"{}\"\n\
         accepted_until = 2099-12-31\n",
        old_api::SECRET
    );
    let rig = Rig::start_from(Upstream::echo().address, &settings, |_| {});
    let old = old_api::token("ann");
    let here = granted(&exchange(&rig, &old));
    let there = post(&rig, "/refresh", &["Content-Type: application/json"], &json!({"refreshToken": old}).to_string());
    assert_eq!(body(&there)["refreshToken"], here["refresh_token"], "one session, and one pair");
}

#[test]
fn in_cookies_it_is_a_login_and_another_site_cannot_make_it() {
    let partner = Partner::new();
    let cookies = |in_body: bool| {
        format!(
            "[cookies]\nenabled = true\nsecure = false\naccess_name = \"a\"\nrefresh_name = \"r\"\n\
             csrf_origins = [\"https://app.example\"]\ntokens_in_body = {in_body}\n"
        )
    };
    let theirs = for_app("7", &json!({}));
    let body_of = |token: &str| form(&[("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", JWT)]);
    let (own, evil) = ("Origin: https://app.example", "Origin: https://evil.example");

    let rig = rig_with(&partner, TERMS, &cookies(false));
    let refused_there = post(&rig, "/oauth/token", &[FORM, evil], &body_of(&theirs));
    assert_eq!((refused_there.status, refused_there.code().as_str()), (403, "origin_refused"));
    assert_eq!(refused_there.fields("set-cookie").count(), 0);
    let response = post(&rig, "/oauth/token", &[FORM, own], &body_of(&theirs));
    let told = granted(&response);
    assert!(told.get("access_token").is_none() && told.get("refresh_token").is_none(), "scripts read neither: {told}");
    assert_eq!((&told["issued_token_type"], &told["scope"]), (&json!(ACCESS_TOKEN), &json!("read")));
    let set = response.fields("set-cookie").filter(|field| !field.contains("max-age=0")).collect::<Vec<_>>();
    assert!(set.iter().any(|field| field.starts_with("a=ey")) && set.iter().any(|field| field.starts_with("r=tgr_")), "{set:?}");

    let rig = rig_with(&partner, TERMS, &cookies(true));
    let held = |pair: &Value| {
        format!("Cookie: a={}; r={}", pair["access_token"].as_str().unwrap(), pair["refresh_token"].as_str().unwrap())
    };
    let call = |cookies: &str| rig.ask(format!("GET /api HTTP/1.1\r\nHost: a\r\n{cookies}\r\n\r\n")).status;
    let first = held(&granted(&post(&rig, "/oauth/token", &[FORM, own], &body_of(&theirs))));
    assert_eq!(call(&first), 200);
    // Who logs in as somebody else with the cookies of the former has ended that session.
    let second = held(&granted(&post(&rig, "/oauth/token", &[FORM, own, &first], &body_of(&for_app("8", &json!({}))))));
    assert_eq!((call(&first), call(&second)), (401, 200));
    // A token that is worth nothing ends nothing, and takes no cookie away.
    let worthless = post(&rig, "/oauth/token", &[FORM, own, &second], &body_of("a.b.c"));
    assert_eq!(refused(&worthless), (400, "invalid_request".to_owned()));
    assert_eq!(call(&second), 200);
}

#[test]
fn a_token_that_its_holder_revoked_is_not_exchanged() {
    let partner = Partner::new();
    let rig = rig_with(&partner, TERMS, "");
    let theirs = for_app("7", &json!({"jti": "leaked"}));
    let revoke = |token: &str| post(&rig, "/oauth/revoke", &[FORM], &form(&[("token", token)])).status;
    assert_eq!((revoke(&theirs), revoke(&theirs), revoke("a.b.c")), (200, 200, 200));
    assert_eq!(refused(&exchange(&rig, &theirs)), (400, "invalid_request".to_owned()));
    let other = for_app("7", &json!({"jti": "used"}));
    let access = granted(&exchange(&rig, &other))["access_token"].as_str().unwrap().to_owned();
    assert_eq!((rig.get("/api", &access).status, revoke(&other)), (200, 200));
    assert_eq!(rig.get("/api", &access).code(), "token_revoked", "nor does what was made of it live on");
}

#[test]
fn bytes_that_are_no_token_in_any_spelling_make_nothing() {
    let partner = Partner::new();
    let rig = rig_with(&partner, TERMS, "");
    let good = for_app("7", &json!({}));
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let head = format!("grant_type={}&subject_token_type={JWT}&subject_token=", EXCHANGE.replace(':', "%3A"));
    for spelling in [
        format!("%20{good}"),
        format!("{good}%20"),
        format!("{good}%00"),
        format!("{good}+"),
        format!("{good}%0A"),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}="),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{header}..{signature}"),
        format!("{header}.{payload}."),
        format!("{header}%2E%2E{payload}.{signature}"),
        format!("{}.{payload}.{signature}", header.to_lowercase()),
        format!("{good}%FF%FE"),
        format!("Bearer+{good}"),
        format!("%22{good}%22"),
    ] {
        let response = post(&rig, "/oauth/token", &[FORM], &format!("{head}{spelling}"));
        assert_eq!(refused(&response), (400, "invalid_request".to_owned()), "{spelling}");
    }
    let targets = |count: usize| "&audience=elsewhere".repeat(count);
    for (further, error) in [(targets(1), "invalid_target"), (targets(20), "invalid_target"), (targets(40), "invalid_request")] {
        let response = post(&rig, "/oauth/token", &[FORM], &format!("{head}{good}{further}"));
        assert_eq!(refused(&response), (400, error.to_owned()), "{}", further.len());
    }
    let huge = post(&rig, "/oauth/token", &[FORM], &format!("{head}{}", "x".repeat(100_000)));
    assert_eq!(huge.status, 413);
    // The percent signs of a client that encodes everything are its right.
    let encoded: String = good.bytes().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "%{byte:02x}");
        text
    });
    granted(&post(&rig, "/oauth/token", &[FORM], &format!("{head}{encoded}")));
}

#[test]
fn cookies_of_an_exchange_are_refreshed_on_their_way() {
    let partner = Partner::new();
    let cookies = "[cookies]\nenabled = true\nsecure = false\naccess_name = \"a\"\nrefresh_name = \"r\"\nrefresh_in_flight = true\n\
                   tokens_in_body = true\n";
    let rig = rig_with(&partner, TERMS, cookies);
    let pair = granted(&exchange(&rig, &for_app("7", &json!({}))));
    rig.clock.advance(Duration::from_secs(3600));
    let line = format!("Cookie: r={}", pair["refresh_token"].as_str().unwrap());
    let mut seen = None;
    eventually("it is refreshed and forwarded", || {
        let response = rig.ask(format!("GET /api HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n"));
        let is_forwarded = response.status == 200;
        seen = Some(response);
        is_forwarded
    });
    let seen = seen.unwrap();
    assert!(seen.body.to_ascii_lowercase().contains("x-auth-subject: partner:7\r\n"), "{seen:?}");
    assert!(seen.fields("set-cookie").any(|field| field.starts_with("r=tgr_")), "{seen:?}");
}

#[test]
fn tries_are_counted_by_address_and_by_token() {
    let partner = Partner::new();
    let by_token = rig_with(&partner, TERMS, "[limits.refresh]\nper_account = \"2/1m\"\n");
    let theirs = for_app("7", &json!({}));
    let statuses: Vec<u16> = (0..3).map(|_| exchange(&by_token, &theirs).status).collect();
    assert_eq!(statuses, [200, 200, 429]);
    granted(&exchange(&by_token, &for_app("8", &json!({}))));
    let by_address = rig_with(&partner, TERMS, "[limits.refresh]\nper_address = \"2/1m\"\n");
    let statuses: Vec<u16> = (0..3).map(|_| exchange(&by_address, "a.b.c").status).collect();
    assert_eq!(statuses, [400, 400, 429]);
    assert_eq!(refused(&exchange(&by_address, &theirs)), (429, "temporarily_unavailable".to_owned()));
}

#[test]
fn a_client_that_shows_a_secret_shows_the_right_one() {
    let partner = Partner::new();
    let secret = "0123456789abcdef0123456789abcdef";
    let rig = rig_with(&partner, TERMS, &format!("[[clients]]\nid = \"app\"\nsecret = \"{secret}\"\n"));
    let theirs = for_app("7", &json!({}));
    let wrong = exchange_with(&rig, &theirs, &[("client_id", "app"), ("client_secret", "wrong")]);
    assert_eq!((refused(&wrong), wrong.field("www-authenticate").is_some()), ((401, "invalid_client".to_owned()), true));
    granted(&exchange_with(&rig, &theirs, &[("client_id", "app"), ("client_secret", secret)]));
    granted(&exchange_with(&rig, &theirs, &[("client_id", "public")]));
}

#[test]
fn a_session_goes_on_for_as_long_as_it_is_refreshed_though_its_token_has_ended() {
    let partner = Partner::new();
    let rig = rig_with(&partner, TERMS, "");
    let mut pair = granted(&exchange(&rig, &for_app("7", &json!({}))));
    for _ in 0..3 {
        rig.clock.advance(Duration::from_hours(24));
        let form = form(&[("grant_type", "refresh_token"), ("refresh_token", pair["refresh_token"].as_str().unwrap())]);
        pair = granted(&post(&rig, "/oauth/token", &[FORM], &form));
    }
    eventually("its access token counts", || rig.get("/api", pair["access_token"].as_str().unwrap()).status == 200);
}
