//! How long tokens live by the settings as they come, on a clock that the test moves.

use std::time::Duration;

use super::rig::{Rig, Tokens, eventually};
use super::upstream::Upstream;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

fn refresh(rig: &Rig, token: &str) -> (u16, Option<String>) {
    let response = rig.post("/refresh", &format!(r#"{{"refreshToken":"{token}"}}"#));
    let successor =
        serde_json::from_str::<serde_json::Value>(&response.body).unwrap()["refreshToken"].as_str().map(str::to_owned);
    (response.status, successor)
}

/// The clock has leapt, and the log has to be read again before anyone is vouched for.
fn settled(rig: &Rig, token: &str) -> u16 {
    let mut status = 503;
    eventually("tokens are vouched for", || {
        status = rig.get("/api", token).status;
        status != 503
    });
    status
}

#[test]
fn an_access_token_expires_after_15_minutes() {
    let rig = Rig::start(Upstream::echo().address);
    let Tokens { access, .. } = rig.log_in();
    rig.clock.advance(870 * SECOND);
    assert_eq!(settled(&rig, &access), 200);
    rig.clock.advance(30 * SECOND);
    assert_eq!(settled(&rig, &access), 401);
    assert_eq!(rig.get("/api", &access).code(), "token_expired");
}

#[test]
fn a_refresh_token_expires_after_7_days_without_a_refresh() {
    let rig = Rig::start(Upstream::echo().address);
    let (used, unused) = (rig.log_in(), rig.log_in());
    rig.clock.advance(6 * DAY + 86_370 * SECOND);
    let (status, successor) = refresh(&rig, &used.refresh);
    assert_eq!(status, 200);
    rig.clock.advance(60 * SECOND);
    assert_eq!(refresh(&rig, &unused.refresh).0, 401);
    assert_eq!(refresh(&rig, &successor.unwrap()).0, 200, "a refresh gives seven days more");
}

#[test]
fn refresh_accepts_a_valid_token_and_refuses_an_invalid_a_revoked_and_an_expired_one() {
    let rig = Rig::start(Upstream::echo().address);
    let (valid, revoked, expired) = (rig.log_in(), rig.log_in(), rig.log_in());
    assert_eq!(rig.post("/logout", &format!(r#"{{"refreshToken":"{}"}}"#, revoked.refresh)).status, 200);
    for bad in ["", "tgr_", "garbage", &valid.access, &valid.refresh[..valid.refresh.len() - 1], &revoked.refresh] {
        assert!(matches!(refresh(&rig, bad).0, 400 | 401), "{bad}");
    }
    assert_eq!(refresh(&rig, &valid.refresh).0, 200);
    rig.clock.advance(8 * DAY);
    assert_eq!(refresh(&rig, &expired.refresh).0, 401);
}
