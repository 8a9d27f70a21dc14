//! Claims that a route demands.

use super::{assert_refused, metric};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

/// Whoever logs in has their name for a role.
const ROUTES: &str = r#"
[login.claims]
role = "/user/id"
[[routes]]
name = "admin"
prefix = "/admin"
claims = { role = ["admin", "owner"] }
[[routes]]
name = "watched"
prefix = "/watched"
claims = { role = "admin" }
mode = "observe"
[[routes]]
name = "api"
prefix = "/"
"#;

#[test]
fn a_route_lets_those_through_who_have_the_claim_and_tells_no_values() {
    let upstream = Upstream::start();
    let gateway = Gateway::of(&upstream, ROUTES, &[("log.level", "debug")]);
    let mut client = gateway.client();
    let (admin, ada) = (client.log_in("admin").access, client.log_in("ada").access);
    // Verified, and remembered.
    for _ in 0..2 {
        client.get("/admin/users", Some(&admin)).expect(200);
        let before = upstream.requests();
        let refused = client.get("/admin/users", Some(&ada));
        assert_refused(&refused, 403, "claims_insufficient");
        assert!(refused.header("www-authenticate").unwrap().starts_with(r#"Bearer error="insufficient_scope""#), "{refused:?}");
        assert!(!refused.text().contains("role") && !refused.text().contains("owner"), "{refused:?}");
        assert_eq!(upstream.requests(), before);
    }
    client.get("/other", Some(&ada)).expect(200);
    assert_refused(&client.get("/admin/users", None), 401, "token_missing");
    assert_refused(&client.get("/Admin/users", Some(&ada)), 400, "request_malformed");
    assert_eq!(metric(&gateway, r#"requests_rejected_total{cause="insufficient_claims"} "#), 2);
    gateway.await_log("the cause", |log| log.contains("insufficient claims: role"));
    assert!(!gateway.log().contains("owner"), "{}", gateway.log());
}

#[test]
fn a_route_that_observes_counts_a_missing_claim_and_refuses_nobody() {
    let upstream = Upstream::start();
    let gateway = Gateway::of(&upstream, ROUTES, &[]);
    let mut client = gateway.client();
    let ada = client.log_in("ada").access;
    client.get("/watched", Some(&ada)).expect(200);
    assert_eq!(metric(&gateway, r#"requests_observed_total{cause="insufficient_claims"} "#), 1);
    assert_eq!(metric(&gateway, r#"requests_rejected_total{cause="insufficient_claims"} "#), 0);
}
