//! Routes that want a recent login.

use std::time::Duration;

use super::client::Response;
use super::rig::{Rig, eventually};
use super::upstream::Upstream;

const MINUTE: Duration = Duration::from_secs(60);

const ROUTE: &str =
    "[store]\nkind = \"memory\"\n[[routes]]\nname = \"payments\"\nprefix = \"/payments\"\nmax_login_age = \"10m\"\n";

/// The response once the revocations are confirmed again: the clock has jumped.
fn ask(rig: &Rig, token: &str) -> Response {
    eventually("revocations are confirmed", || rig.get("/api", token).status != 503);
    rig.get("/payments", token)
}

fn assert_wants_login(response: &Response) {
    let challenge = response.field("www-authenticate").unwrap();
    assert_eq!(response.status, 401, "{response:?}");
    assert!(challenge.starts_with(r#"bearer error="insufficient_user_authentication""#), "{response:?}");
    assert!(challenge.ends_with(r#"max_age="600""#) && response.body.contains(r#""code":"login_too_old""#), "{response:?}");
}

#[test]
fn an_old_login_is_asked_for_anew_and_a_refresh_does_not_make_it_younger() {
    let upstream = Upstream::echo();
    let rig = Rig::start_from(upstream.address, ROUTE, |_| {});
    let first = rig.log_in();
    assert_eq!(ask(&rig, &first.access).status, 200);
    rig.clock.advance(9 * MINUTE);
    assert_eq!(ask(&rig, &first.access).status, 200);
    rig.clock.advance(2 * MINUTE);
    let heard = upstream.heard().iter().filter(|request| request.contains("/payments")).count();
    assert_wants_login(&ask(&rig, &first.access));
    assert_eq!(rig.get("/api", &first.access).status, 200, "elsewhere the session goes on");
    let refreshed = rig.post("/refresh", &format!(r#"{{"refreshToken":"{}"}}"#, first.refresh));
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    let body: serde_json::Value = serde_json::from_str(&refreshed.body).unwrap();
    assert_wants_login(&ask(&rig, body["accessToken"].as_str().unwrap()));
    assert_eq!(upstream.heard().iter().filter(|request| request.contains("/payments")).count(), heard);
    assert_eq!(ask(&rig, &rig.log_in().access).status, 200);
}
