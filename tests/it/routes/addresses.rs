//! From which addresses a route may be used.

use super::{assert_refused, metric};
use crate::support::gateway::Gateway;
use crate::support::http::Message;
use crate::support::upstream::Upstream;

const ROUTES: &str = r#"
[[routes]]
name = "office"
prefix = "/office"
allow = ["192.0.2.0/24", "2001:db8::/32"]
deny = ["192.0.2.66"]
[[routes]]
name = "blocked"
prefix = "/blocked"
access = "public"
deny = ["::ffff:198.51.100.0/120"]
[[routes]]
name = "api"
prefix = "/"
"#;

#[test]
fn a_route_is_open_to_the_addresses_that_it_allows_and_to_no_others() {
    let upstream = Upstream::start();
    let gateway = Gateway::of(&upstream, ROUTES, &[("listen.trusted_peers", "127.0.0.1/32")]);
    let bearer = format!("Bearer {}", gateway.client().log_in("ada").access);
    let from = |path: &str, client: &str| -> Message {
        let fields = [("x-forwarded-for", client), ("authorization", &bearer)];
        gateway.client().send("GET", path, &fields, None).unwrap()
    };
    for client in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8:1::1"] {
        from("/office/x", client).expect(200);
    }
    let before = upstream.requests();
    for client in ["192.0.2.66", "::ffff:192.0.2.66", "192.0.3.1", "2001:db9::1", "192.0.2.1, 203.0.113.9"] {
        assert_refused(&from("/office/x", client), 403, "address_refused");
    }
    assert_refused(&from("/blocked", "198.51.100.9"), 403, "address_refused");
    assert_refused(&from("/Office", "203.0.113.9"), 400, "request_malformed");
    assert_eq!(upstream.requests(), before);
    from("/blocked", "203.0.113.9").expect(200);
    from("/other", "203.0.113.9").expect(200);
    assert_eq!(metric(&gateway, r#"requests_rejected_total{cause="address"} "#), 6);
}

#[test]
fn an_address_is_refused_before_its_token_and_nobody_lends_themselves_another() {
    let upstream = Upstream::start();
    let gateway = Gateway::of(&upstream, ROUTES, &[]);
    for fields in
        [&[][..], &[("x-forwarded-for", "192.0.2.1")], &[("forwarded", "for=192.0.2.1")], &[("authorization", "Bearer x.y.z")]]
    {
        assert_refused(&gateway.client().send("GET", "/office", fields, None).unwrap(), 403, "address_refused");
    }
    gateway.client().get("/blocked", None).expect(200);
}
