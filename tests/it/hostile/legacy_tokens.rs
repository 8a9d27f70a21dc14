//! Legacy tokens against a clock that moves.

use std::time::Duration;

use serde_json::json;
use tokengate::config::Settings;
use tokengate::domain::stats::Counter;
use tokengate::domain::time::Timestamp;

use super::rig::{Rig, eventually};
use super::upstream::Upstream;
use crate::support::old_api::{self, now, signed};

const HOUR: i64 = 3600;

/// Accepted for an hour from now on.
fn for_an_hour(settings: &mut Settings) {
    settings.legacy[0].accepted_until = Timestamp::from_secs(now() + HOUR);
}

fn rig() -> Rig {
    let secret = old_api::SECRET;
    let further = format!(
        "[store]\nkind = \"memory\"\n[[legacy]]\nname = \"old-api\"\nalgorithm = \"HS256\"\nsecret = \"{secret}\"\n\
         accepted_until = 2099-12-31\n"
    );
    Rig::start_from(Upstream::echo().address, &further, for_an_hour)
}

#[test]
fn the_moment_of_the_cut_off_ends_legacy_tokens_and_nothing_that_was_made_of_them() {
    let rig = rig();
    let old = old_api::token("ann");
    assert_eq!(rig.get("/api", &old).status, 200);
    let pair = rig.post("/refresh", &format!(r#"{{"token":"{old}"}}"#));
    assert_eq!(pair.status, 200, "{pair:?}");
    let pair: serde_json::Value = serde_json::from_str(&pair.body).unwrap();
    rig.clock.advance(Duration::from_secs(HOUR.unsigned_abs() - 60));
    eventually("the revocations are confirmed after the jump", || rig.get("/api", &old).status == 200);
    rig.clock.advance(Duration::from_secs(60));
    let refused = rig.get("/api", &old);
    assert_eq!((refused.status, refused.code().as_str()), (401, "token_expired"));
    for _ in 0..2 {
        let refused = rig.post("/refresh", &format!(r#"{{"token":"{old}"}}"#));
        assert_eq!((refused.status, refused.code().as_str()), (401, "refresh_token_invalid"));
    }
    let refreshed = rig.post("/refresh", &format!(r#"{{"refreshToken":{}}}"#, pair["refreshToken"]));
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
}

#[test]
fn a_legacy_token_ends_by_its_own_exp_and_is_verified_once_for_many_requests() {
    let rig = rig();
    let claims = json!({"id": 42, "iat": now(), "exp": now() + 120});
    let old = signed(old_api::SECRET, &json!({"alg": "HS256", "typ": "JWT"}), &claims);
    for _ in 0..10 {
        let response = rig.get("/api", &old);
        assert_eq!(response.status, 200);
        assert!(response.body.to_ascii_lowercase().contains("x-auth-subject: 42"), "{response:?}");
    }
    assert_eq!((rig.counted(Counter::LegacyTokensSeen), rig.counted(Counter::TokenCacheHits)), (1, 9));
    rig.clock.advance(Duration::from_secs(121));
    assert_eq!(rig.get("/api", &old).code(), "token_expired");
}
