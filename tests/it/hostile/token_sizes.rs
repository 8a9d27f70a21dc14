//! Tokens that are large: those that are taken, and those that are not even made.

use serde_json::json;
use tokengate::domain::stats::Counter;

use super::rig::Rig;
use super::upstream::Upstream;
use crate::support::old_api::{SECRET, now, signed};

const CLIENT_SECRET: &str = "0123456789abcdef0123456789abcdef";

fn groups(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("6a7e41ff-5f0c-4cf5-9d5b-{number:012}")).collect()
}

#[test]
fn a_token_that_lists_many_groups_is_taken_everywhere_and_a_larger_one_nowhere() {
    let further = format!(
        "[store]\nkind = \"memory\"\n[[legacy]]\nname = \"old-api\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n\
         accepted_until = 2099-12-31\n[[clients]]\nid = \"reports\"\nsecret = \"{CLIENT_SECRET}\"\n"
    );
    let rig = Rig::start_from(Upstream::echo().address, &further, |_| {});
    let of = |count: usize| {
        let claims = json!({"id": "ann", "iat": now(), "exp": now() + 600, "groups": groups(count)});
        signed(SECRET, &json!({"alg": "HS256", "typ": "JWT"}), &claims)
    };
    let (large, larger) = (of(150), of(250));
    assert!(large.len() > 7_000 && larger.len() > 12 * 1024, "{} {}", large.len(), larger.len());
    assert_eq!(rig.get("/api", &large).status, 200);
    assert_eq!(rig.get("/api", &larger).code(), "token_invalid");
    for (token, status) in [(&large, 200), (&larger, 401)] {
        assert_eq!(rig.post("/refresh", &format!(r#"{{"token":"{token}"}}"#)).status, status, "{}", token.len());
    }
    for (token, is_active) in [(&large, true), (&larger, false)] {
        let form = format!("client_id=reports&client_secret={CLIENT_SECRET}&token={token}");
        let length = form.len();
        let response = rig.ask(format!(
            "POST /oauth/introspect HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {length}\r\n\r\n{form}"
        ));
        assert_eq!((response.status, response.body.contains(r#""active":true"#)), (200, is_active), "{}", response.body);
    }
    assert_eq!(rig.post("/logout", &format!(r#"{{"token":"{large}"}}"#)).status, 200);
    assert_eq!(rig.get("/api", &large).status, 401, "it has ended");
}

#[test]
fn a_login_that_grants_more_than_a_token_holds_is_a_502_and_no_session() {
    let body = json!({"user": {"id": "user-1"}, "groups": groups(480)}).to_string();
    let upstream = Upstream::answering_once(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let mapped = "[store]\nkind = \"memory\"\n[login.claims]\ngroups = \"/groups\"\n";
    let rig = Rig::start_from(upstream.address, mapped, |_| {});
    for _ in 0..3 {
        let response = rig.post("/login", "{}");
        assert_eq!((response.status, response.code().as_str()), (502, "token_too_large"), "{response:?}");
        assert_eq!(response.field("set-cookie"), None);
    }
    assert_eq!(rig.counted(Counter::Logins), 0);
}
