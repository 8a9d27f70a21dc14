//! Two gateways side by side on one store.

use serde_json::json;

use crate::support::gateway::{Pair, Tokens};
use crate::support::upstream::PASSWORD;

#[test]
fn a_login_on_one_node_is_good_on_the_other_until_the_logout() {
    let pair = Pair::start(&[]);
    let (mut a, mut b) = (pair.a.client(), pair.b.client());

    let login = a.post("/login", &json!({"email": "ann@example.com", "password": PASSWORD})).expect(200);
    assert_eq!(login.json()["user"]["id"], "ann@example.com", "what the upstream said stays");
    assert_eq!((login.json()["tokenType"].as_str(), login.json()["expiresIn"].as_u64()), (Some("Bearer"), Some(900)));
    assert_eq!(login.header("cache-control"), Some("no-store"));
    let first = Tokens::of(&login);

    let resource = b.get("/api/notes?page=2", Some(&first.access)).expect(200);
    assert_eq!(resource.json()["target"], "/api/notes?page=2");
    assert_eq!(resource.upstream_saw("x-auth-subject"), ["ann@example.com"]);
    assert_eq!(resource.upstream_saw("x-auth-session").len(), 1);
    assert!(resource.upstream_saw("authorization").is_empty());

    let refused = b.get("/api/notes", None).expect(401);
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));

    let second = Tokens::of(&b.refresh(&first.refresh).expect(200));
    assert_ne!(first, second);
    b.get("/api/notes", Some(&second.access)).expect(200);
    let again = Tokens::of(&a.refresh(&first.refresh).expect(200));
    assert_eq!(again.refresh, second.refresh, "within the leeway the spent token yields the same successor");
}
