//! Which answers of the upstream become sessions.

use serde_json::json;

use crate::support::gateway::{Gateway, Tokens};
use crate::support::upstream::{PASSWORD, Upstream};

#[test]
fn registrations_become_sessions_and_refused_logins_pass_unchanged() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[]);
    let mut client = gateway.client();
    for (path, body) in
        [("/register", json!({"email": "bob", "password": PASSWORD})), ("/quick-register", json!({"name": "bob"}))]
    {
        let tokens = Tokens::of(&client.post(path, &body).expect(201));
        assert_eq!(client.get("/api/me", Some(&tokens.access)).expect(200).upstream_saw("x-auth-subject"), ["bob"]);
        client.refresh(&tokens.refresh).expect(200);
    }
    let refused = client.post("/login", &json!({"email": "bob", "password": "wrong"})).expect(401);
    assert_eq!(refused.json(), json!({"error": "wrong password"}));
}

#[test]
fn answers_that_name_nobody_pass_unchanged() {
    for (media_type, body) in [("text/html", "{\"user\":{\"id\":\"ann\"}}"), ("application/json", "{\"user\":{\"id\":\"\"}}")] {
        let response = format!("HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let upstream = Upstream::saying(move |_| response.clone().into_bytes());
        let gateway = Gateway::start(&upstream, &[]);
        let passed = gateway.client().post("/login", &json!({"email": "ann", "password": PASSWORD})).expect(200);
        assert_eq!((passed.header("content-type"), passed.text().as_str()), (Some(media_type), body));
    }
}
