//! Who may try how often to log in.

use std::time::Duration;

use http::Response;

use super::{FORM, Fields, Gate, JSON, granted, json, text};
use crate::domain::login_kind::LoginKind;
use crate::domain::stats::Counter;

const TWO_FOR_EACH: &str = "limits.login = { per_address = '', per_account = '2/1m' }";

fn refused() -> Response<&'static str> {
    Response::builder().status(401).body("").unwrap()
}

/// The status of an attempt in JSON that the upstream refuses.
async fn fail(gate: &Gate, address: &str, body: &str) -> u16 {
    let reply = gate.log_in_from(address, LoginKind::Login, &[JSON], body, refused()).await;
    if reply.status() == 429 {
        assert!(reply.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
        assert_eq!(text(&json(&reply), "code"), "rate_limited");
    }
    reply.status().as_u16()
}

async fn succeed(gate: &Gate, address: &str, kind: LoginKind, body: &str, user: &str) -> u16 {
    let response = format!(r#"{{"user":{{"id":"{user}"}}}}"#);
    let upstream = Response::builder().header("content-type", "application/json").body(response.as_str()).unwrap();
    gate.log_in_from(address, kind, &[JSON], body, upstream).await.status().as_u16()
}

#[tokio::test]
async fn logins_are_limited_by_address_and_by_account() {
    let gate = Gate::new("limits.login = { per_address = '5/1m', per_account = '2/1m' }");
    let attempt = async |account: &str| fail(&gate, "192.0.2.1", &format!(r#"{{"email":"{account}"}}"#)).await;
    assert_eq!(
        [attempt("ada").await, attempt(" ADA ").await, attempt("\u{e1}da").await],
        [401, 401, 429],
        "however it is written"
    );
    assert_eq!([attempt("eve").await, attempt("bob").await, attempt("joe").await], [401, 401, 429], "too many from the address");
    gate.world.clock.advance(Duration::from_secs(60));
    assert_eq!(attempt("ada").await, 401);
    assert_eq!(gate.world.count(Counter::RateLimited), 2);
}

#[tokio::test]
async fn an_account_is_limited_however_it_is_sent() {
    const MULTI: (&str, &str) = ("content-type", "multipart/form-data; boundary=b");
    let sendings: [(Fields<'_>, &str); 13] = [
        (&[JSON], r#"{"username":"ada"}"#),
        (&[JSON], r#"{"email":"decoy","username":"ada"}"#),
        (&[JSON], r#"{"user":{"email":"ada"}}"#),
        (&[JSON], r#"{"email":"other","email":"ada"}"#),
        (&[JSON], "\u{feff}{\"email\":\"ada\"}"),
        (&[JSON], r#"{"x":"\ud800","email":"ada"}"#),
        (&[FORM], "email=ada"),
        (&[], "user[login]=ada"),
        (&[MULTI], "--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nada\r\n--b--\r\n"),
        (&[("authorization", "Basic YWRhOnB3")], ""),
        (&[("authorization", "Digest username=\"ada\", realm=\"a\"")], ""),
        (&[JSON], r#"{"query":"mutation { login(email: \"ada\", password: \"x\") { token } }"}"#),
        (&[("content-type", "application/graphql")], r#"{ login(email: "ada") { token } }"#),
    ];
    for (fields, body) in sendings {
        let gate = Gate::new(TWO_FOR_EACH);
        for _ in 0..2 {
            assert_eq!(fail(&gate, "192.0.2.7", r#"{"email":"Ada"}"#).await, 401);
        }
        let reply = gate.log_in_from("198.51.100.1", LoginKind::Login, fields, body, refused()).await;
        assert_eq!(reply.status(), 429, "{body}");
    }
}

#[tokio::test]
async fn bodies_that_hide_the_account_are_refused_or_rare() {
    let gate = Gate::new("limits.login = { per_address = '', per_account = '2/1m', unreadable = '3/1m' }");
    let send = async |fields: Fields<'_>, body: &str| {
        gate.log_in_from("192.0.2.1", LoginKind::Login, fields, body, refused()).await.status().as_u16()
    };
    let gzip: Fields<'_> = &[JSON, ("content-encoding", "gzip")];
    assert_eq!(send(gzip, "x").await, 415);
    assert_eq!(send(&[("content-type", "application/json; charset=utf-16")], "{}").await, 415);
    assert_eq!(send(&[JSON], "{'email':'ada'}").await, 400);
    let protobuf: Fields<'_> = &[("content-type", "application/protobuf")];
    let sent = [send(protobuf, "a").await, send(protobuf, "b").await, send(protobuf, "c").await, send(protobuf, "d").await];
    assert_eq!(sent, [401, 401, 401, 429]);
    for _ in 0..5 {
        assert_eq!(send(&[JSON], r#"{"mfaToken":"t","code":"1"}"#).await, 401, "names nobody, in a body that can be read");
        assert_eq!(send(&[], "").await, 401);
    }
    // Whose accounts are not limited can send what they like.
    let gate = Gate::new("limits.login = { per_address = '', per_account = '', unreadable = '' }");
    for body in ["{'email':'ada'}", "x"] {
        assert_eq!(fail(&gate, "192.0.2.1", body).await, 401, "{body}");
    }
}

#[tokio::test]
async fn strangers_do_not_lock_the_owner_out() {
    let gate = Gate::new(TWO_FOR_EACH);
    let ada = r#"{"email":"ada"}"#;
    assert_eq!(succeed(&gate, "192.0.2.1", LoginKind::Login, ada, "1").await, 200);
    for stranger in ["198.51.100.1", "198.51.100.2", "198.51.100.3"] {
        fail(&gate, stranger, ada).await;
    }
    assert_eq!(fail(&gate, "198.51.100.4", ada).await, 429, "strangers share what there is");
    assert_eq!(succeed(&gate, "192.0.2.1", LoginKind::Login, ada, "1").await, 200, "but the owner has a share apart");
    assert_eq!(succeed(&gate, "192.0.2.2", LoginKind::Login, ada, "1").await, 429, "elsewhere, nobody can tell");
    assert_eq!([fail(&gate, "192.0.2.1", ada).await, fail(&gate, "192.0.2.1", ada).await], [401, 429], "which is limited too");
    // IPv6 by its prefix.
    assert_eq!(succeed(&gate, "2001:db8::1", LoginKind::Login, r#"{"email":"eve"}"#, "2").await, 200);
    for _ in 0..3 {
        fail(&gate, "198.51.100.9", r#"{"email":"eve"}"#).await;
    }
    assert_eq!(fail(&gate, "2001:db8::2", r#"{"email":"eve"}"#).await, 401);
    assert_eq!(fail(&gate, "2001:db8:0:1::2", r#"{"email":"eve"}"#).await, 429);
}

#[tokio::test]
async fn an_owner_is_remembered_over_a_reload_and_for_a_month() {
    let gate = Gate::new(TWO_FOR_EACH);
    let ada = r#"{"email":"ada"}"#;
    let owner_is_apart = async || {
        for _ in 0..3 {
            fail(&gate, "198.51.100.1", ada).await;
        }
        fail(&gate, "192.0.2.1", ada).await == 401
    };
    // The second step of a login may name the account in its response alone.
    let response = r#"{"user":{"id":"1","email":"Ada"}}"#;
    let upstream = Response::builder().header("content-type", "application/json").body(response).unwrap();
    gate.log_in_from("192.0.2.1", LoginKind::Login, &[JSON], r#"{"code":"123456"}"#, upstream).await;
    assert!(owner_is_apart().await);
    gate.reload(&format!("{TWO_FOR_EACH}\nlimits.entries_max = 1000\n"));
    assert!(owner_is_apart().await);
    gate.world.clock.advance(Duration::from_hours(31 * 24));
    assert!(!owner_is_apart().await);
}

#[tokio::test]
async fn what_was_counted_counts_on_over_a_reload_that_leaves_the_limits_alone() {
    let gate = Gate::new(TWO_FOR_EACH);
    let ada = r#"{"email":"ada"}"#;
    for expected in [401, 401, 429] {
        assert_eq!(fail(&gate, "192.0.2.1", ada).await, expected);
    }
    gate.reload(&format!("{TWO_FOR_EACH}\ntokens.lifetime = '5m'"));
    assert_eq!(fail(&gate, "192.0.2.1", ada).await, 429, "whoever tries passwords gains nothing by a reload");
    gate.reload("limits.login = { per_address = '', per_account = '3/1m' }");
    assert_eq!(fail(&gate, "192.0.2.1", ada).await, 401, "other limits count from the start");
}

#[tokio::test]
async fn naming_another_account_in_ones_own_login_gives_few_further_attempts_at_it() {
    let gate = Gate::new(TWO_FOR_EACH);
    let both = r#"{"email":"eve","username":"ada"}"#;
    let places: Vec<String> = (1..=50).map(|number| format!("203.0.113.{number}")).collect();
    for (place, user) in places.iter().zip(1..) {
        succeed(&gate, place, LoginKind::Login, both, &format!("eve-{user}")).await;
        succeed(&gate, place, LoginKind::Register, r#"{"name":"ada"}"#, &format!("new-{user}")).await;
        gate.world.clock.advance(Duration::from_secs(60));
    }
    let mut passed = 0;
    for place in &places {
        for _ in 0..3 {
            passed += u32::from(fail(&gate, place, r#"{"username":"ada"}"#).await == 401);
        }
    }
    assert!(passed <= 8, "two for strangers, two for each of the few that are remembered: {passed}");
}

#[tokio::test]
async fn whoever_names_another_beside_himself_takes_no_place_of_its_owner() {
    let gate = Gate::new(TWO_FOR_EACH);
    for user in 1..=5 {
        let place = format!("203.0.113.{user}");
        let both = format!(r#"{{"email":"eve{user}","username":"ada"}}"#);
        succeed(&gate, &place, LoginKind::Login, &both, &format!("eve-{user}")).await;
        // An address book in the response is not the user's account either.
        let response = format!(r#"{{"user":{{"id":"eve-{user}","email":"eve{user}","friends":[{{"email":"ada"}}]}}}}"#);
        let upstream = Response::builder().header("content-type", "application/json").body(response.as_str()).unwrap();
        gate.log_in_from(&place, LoginKind::Login, &[JSON], r#"{"code":"1"}"#, upstream).await;
        gate.world.clock.advance(Duration::from_secs(60));
    }
    let ada = r#"{"username":"ada"}"#;
    assert_eq!(succeed(&gate, "192.0.2.1", LoginKind::Login, ada, "1").await, 200);
    for _ in 0..3 {
        fail(&gate, "203.0.113.1", ada).await;
    }
    assert_eq!(fail(&gate, "203.0.113.2", ada).await, 429);
    assert_eq!(succeed(&gate, "192.0.2.1", LoginKind::Login, ada, "1").await, 200, "the owner is known all the same");
}

#[tokio::test]
async fn whoever_registers_may_invite_many() {
    let gate = Gate::new("limits.login = { per_address = '', per_account = '2/1m', unreadable = '3/1m' }");
    let invited: Vec<String> = (0..40).map(|number| format!(r#"{{"email":"friend{number}"}}"#)).collect();
    let body = format!(r#"{{"email":"ada","invited":[{}]}}"#, invited.join(","));
    let register = async || succeed(&gate, "192.0.2.1", LoginKind::Register, &body, "1").await;
    assert_eq!([register().await, register().await, register().await, register().await], [200, 200, 200, 429]);
    assert_eq!(succeed(&gate, "192.0.2.2", LoginKind::Login, &body, "1").await, 400, "nobody logs in as forty");
}

/// The status of a form that makes a session of that user, with the Basic credentials of a client.
async fn succeed_with_client(gate: &Gate, address: &str, body: &str, user: &str) -> u16 {
    let response = format!(r#"{{"user":{{"id":"{user}"}}}}"#);
    let upstream = Response::builder().header("content-type", "application/json").body(response.as_str()).unwrap();
    gate.log_in_from(address, LoginKind::Login, BY_A_CLIENT, body, upstream).await.status().as_u16()
}

async fn fail_with_client(gate: &Gate, address: &str, body: &str) -> u16 {
    gate.log_in_from(address, LoginKind::Login, BY_A_CLIENT, body, refused()).await.status().as_u16()
}

/// Of the user "client".
const BY_A_CLIENT: Fields<'_> = &[FORM, ("authorization", "Basic Y2xpZW50OnNlY3JldA==")];

fn grant_of(user: &str) -> String {
    format!("grant_type=password&username={user}&password=x")
}

#[tokio::test]
async fn users_of_one_client_share_no_limit_of_accounts() {
    let gate = Gate::new("limits.login = { per_address = '', per_account = '2/1m', unreadable = '1/1m' }");
    for user in ["a", "b", "c"] {
        assert_eq!(succeed_with_client(&gate, "192.0.2.1", &grant_of(user), user).await, 200, "{user}");
    }
    for user in ["d", "e", "f", "g", "h"] {
        assert_eq!(fail_with_client(&gate, "192.0.2.1", &grant_of(user)).await, 401, "{user}: the client is known as one");
    }
    let of_one = async || fail_with_client(&gate, "198.51.100.1", &grant_of("victim")).await;
    assert_eq!([of_one().await, of_one().await, of_one().await], [401, 401, 429], "and its users are counted one by one");
    assert_eq!(succeed_with_client(&gate, "192.0.2.1", &grant_of("a"), "a").await, 200);
    for stranger in 1..=5 {
        fail_with_client(&gate, &format!("198.51.100.{stranger}"), &grant_of("a")).await;
    }
    assert_eq!(succeed_with_client(&gate, "192.0.2.1", &grant_of("a"), "a").await, 200, "whoever logs in so owns the account");
}

#[tokio::test]
async fn a_client_that_is_not_known_yet_locks_nobody_out() {
    let gate = Gate::new("limits.login = { per_address = '', per_account = '2/1m', unreadable = '3/1m' }");
    let tried = async |address: &str| {
        let mut answers = Vec::new();
        for user in 0..6 {
            answers.push(fail_with_client(&gate, address, &grant_of(&format!("{address}-{user}"))).await);
        }
        answers
    };
    assert_eq!(tried("192.0.2.1").await, [401, 401, 401, 401, 401, 429], "two for the account, three that cannot be told");
    assert_eq!(tried("192.0.2.2").await, [401, 401, 401, 429, 429, 429], "each address has its own");
}

#[tokio::test]
async fn a_grant_beside_basic_hides_no_account_that_logs_in_by_basic() {
    let gate = Gate::new("limits.login = { per_address = '', per_account = '2/1m', unreadable = '' }");
    let response = r#"{"user":{"id":"1"}}"#;
    let upstream = Response::builder().header("content-type", "application/json").body(response).unwrap();
    let basic: Fields<'_> = &[("authorization", "Basic Y2xpZW50OnNlY3JldA==")];
    assert_eq!(gate.log_in_from("192.0.2.1", LoginKind::Login, basic, "", upstream).await.status(), 200);
    let decoy = async |number: u32| {
        let body = grant_of(&format!("decoy-{number}"));
        fail_with_client(&gate, &format!("198.51.100.{number}"), &body).await
    };
    assert_eq!([decoy(1).await, decoy(2).await, decoy(3).await], [401, 429, 429]);
    // Only its password logs it in, and as one subject alone: nobody else can make it common.
    for user in ["eve", "mallory", "trudy"] {
        succeed_with_client(&gate, "198.51.100.9", &grant_of(user), "1").await;
        gate.world.clock.advance(Duration::from_secs(60));
    }
    assert_eq!([decoy(1).await, decoy(2).await, decoy(3).await], [401, 401, 429]);
}

#[tokio::test]
async fn a_value_that_all_users_send_locks_nobody_out() {
    for constant in
        ["login=Login", "login=1", "login=Se+connecter", "login=Entrez", "user=customer", "identifier=com.example.app"]
    {
        let gate = Gate::new("limits.login = { per_address = '', per_account = '3/1m' }");
        let log_in = async |user: &str| {
            let response = format!(r#"{{"user":{{"id":"{user}"}}}}"#);
            let upstream = Response::builder().header("content-type", "application/json").body(response.as_str()).unwrap();
            let body = format!("email={user}&password=x&{constant}");
            gate.log_in_from("192.0.2.1", LoginKind::Login, &[FORM], &body, upstream).await.status().as_u16()
        };
        for user in 0..20 {
            assert_eq!(log_in(&format!("user{user}")).await, 200, "{constant}: user {user}");
        }
        assert_eq!([log_in("user3").await, log_in("user3").await, log_in("user3").await], [200, 200, 200]);
        assert_eq!(log_in("user3").await, 429, "{constant}: the account beside it counts");
    }
}

#[tokio::test]
async fn a_button_locks_nobody_out_before_anybody_has_logged_in() {
    let gate = Gate::new("limits.login = { per_address = '', per_account = '2/1m', unreadable = '3/1m' }");
    let press = async |address: &str, body: &str| {
        gate.log_in_from(address, LoginKind::Login, &[FORM], body, refused()).await.status().as_u16()
    };
    for attempt in 0..10 {
        press("198.51.100.1", &format!("pseudo=user{attempt}&login=Login")).await;
    }
    assert_eq!(press("192.0.2.1", "pseudo=ada&login=Login").await, 401);
    assert_eq!(press("192.0.2.1", "username=ada&login=Login").await, 401);
}

#[tokio::test]
async fn a_value_that_was_common_beside_an_account_is_limited_by_address() {
    let gate = Gate::new("limits.login = { per_address = '', per_account = '2/1m', unreadable = '3/1m' }");
    // Three of the attacker's own logins say that nobody reads the user name beside the address.
    for user in 1..=3 {
        let body = format!(r#"{{"email":"eve{user}","username":"ada"}}"#);
        assert_eq!(succeed(&gate, "198.51.100.1", LoginKind::Login, &body, &format!("eve{user}")).await, 200);
        gate.world.clock.advance(Duration::from_secs(60));
    }
    let beside = async |decoy: u32| fail(&gate, "198.51.100.1", &format!(r#"{{"email":"x{decoy}","username":"ada"}}"#)).await;
    assert_eq!([beside(1).await, beside(2).await, beside(3).await, beside(4).await], [401, 401, 401, 429]);
    let alone = async || fail(&gate, "198.51.100.2", r#"{"username":"ada"}"#).await;
    assert_eq!([alone().await, alone().await, alone().await], [401, 401, 429], "alone it counts as ever");
}

#[tokio::test]
async fn each_guess_of_a_graphql_document_counts() {
    let gate = Gate::new("limits.login = { per_address = '', per_account = '4/1m' }");
    let document = |guesses: usize| {
        let fields: Vec<String> =
            (0..guesses).map(|guess| format!("g{guess}: login(email: $e, password: \\\"{guess}\\\") {{ t }}")).collect();
        format!(r#"{{"query":"mutation ($e: String) {{ {} }}","variables":{{"e":"ada"}}}}"#, fields.join(" "))
    };
    assert_eq!(fail(&gate, "192.0.2.1", &document(3)).await, 401);
    assert_eq!([fail(&gate, "192.0.2.2", &document(1)).await, fail(&gate, "192.0.2.3", &document(1)).await], [401, 429]);
    assert_eq!(fail(&gate, "192.0.2.4", &document(40)).await, 400);
}

#[tokio::test]
async fn a_login_without_a_limit_for_accounts_is_as_it_was() {
    let gate = Gate::new("limits.login = { per_address = '', per_account = '' }");
    for _ in 0..30 {
        assert_eq!(gate.log_in(&[JSON], r#"{"email":"ada"}"#, granted()).await.status(), 200);
    }
}
