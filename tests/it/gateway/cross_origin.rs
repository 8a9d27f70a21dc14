//! Pages of other origins: what their browsers ask, and what they may read.

use serde_json::json;

use crate::support::gateway::Gateway;
use crate::support::http::Message;
use crate::support::upstream::{PASSWORD, Upstream};

const APP: &str = "https://app.example.com";
const STRANGER: &str = "https://stranger.example.com";

fn readable_by(response: &Message) -> Option<&str> {
    response.header("access-control-allow-origin")
}

#[test]
fn a_listed_page_may_ask_and_read_everywhere_and_a_stranger_nowhere() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[("cors.allowed_origins", APP)]);
    let mut client = gateway.client();
    let access = client.log_in("ada").access;
    let bearer = format!("Bearer {access}");
    let mut ask = |method, path, origin, fields: &[(&'static str, &str)]| {
        let fields: Vec<(&str, &str)> = [("origin", origin)].into_iter().chain(fields.iter().copied()).collect();
        client.send(method, path, &fields, None).unwrap()
    };
    let question = [("access-control-request-method", "GET"), ("access-control-request-headers", "authorization")];

    let asked = ask("OPTIONS", "/api/me", APP, &question).expect(204);
    assert_eq!(readable_by(&asked), Some(APP));
    assert!(asked.header("access-control-allow-headers").unwrap().contains("authorization"));
    let refused = ask("GET", "/api/me", APP, &[]).expect(401);
    assert_eq!(readable_by(&refused), Some(APP));
    assert!(refused.header("access-control-expose-headers").unwrap().contains("www-authenticate"));
    let answered = ask("GET", "/api/me", APP, &[("authorization", &bearer)]).expect(200);
    assert_eq!((readable_by(&answered), answered.header("vary")), (Some(APP), Some("origin")));

    assert_eq!(readable_by(&ask("OPTIONS", "/api/me", STRANGER, &question).expect(401)), None);
    assert_eq!(readable_by(&ask("GET", "/api/me", STRANGER, &[("authorization", &bearer)]).expect(200)), None);
}

#[test]
fn a_refused_login_can_be_read_and_what_an_upstream_says_of_origins_stands() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[("cors.allowed_origins", APP)]);
    let body = json!({"email": "ada", "password": format!("not {PASSWORD}")}).to_string();
    let fields = [("origin", APP), ("content-type", "application/json")];
    let refused = gateway.client().send("POST", "/login", &fields, Some(body.as_bytes())).unwrap().expect(401);
    assert_eq!(readable_by(&refused), Some(APP));

    let strict = "HTTP/1.1 200 OK\r\naccess-control-allow-origin: https://one.example.com\r\ncontent-length: 0\r\n\r\n";
    let upstream = Upstream::saying(move |_| strict.as_bytes().to_vec());
    let gateway = Gateway::start(&upstream, &[("cors.allowed_origins", APP)]);
    let answered = gateway.client().send("GET", "/public/x", &[("origin", APP)], None).unwrap().expect(200);
    assert_eq!(readable_by(&answered), Some("https://one.example.com"));
}

#[test]
fn origins_of_apps_and_of_all_names_below_one_may_read_and_no_others() {
    let upstream = Upstream::start();
    let allowed = "https://*.example.com,capacitor://localhost";
    let gateway = Gateway::start(&upstream, &[("cors.allowed_origins", allowed)]);
    let mut client = gateway.client();
    for origin in ["https://a.example.com", "https://a.b.example.com", "capacitor://localhost"] {
        let response = client.send("GET", "/public/x", &[("origin", origin)], None).unwrap().expect(200);
        assert_eq!(readable_by(&response), Some(origin));
        let question = [("origin", origin), ("access-control-request-method", "POST")];
        let response = client.send("OPTIONS", "/login", &question, None).unwrap().expect(204);
        assert_eq!(readable_by(&response), Some(origin));
    }
    for origin in
        ["https://example.com", "https://evilexample.com", "https://a.example.com.evil.example", "ionic://localhost", "null"]
    {
        let response = client.send("GET", "/public/x", &[("origin", origin)], None).unwrap().expect(200);
        assert_eq!(readable_by(&response), None, "{origin}");
    }
}

#[test]
fn a_page_is_told_how_it_may_call_own_endpoints_and_reads_what_they_refuse() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[("cors.allowed_origins", APP), ("cors.allow_credentials", "true")]);
    let mut client = gateway.client();
    let question = |origin, method| [("origin", origin), ("access-control-request-method", method)];
    for (path, method) in [("/login", "POST"), ("/refresh", "POST"), ("/sessions", "GET"), ("/oauth/revoke", "POST")] {
        let told = client.send("OPTIONS", path, &question(APP, method), None).unwrap().expect(204);
        assert_eq!((readable_by(&told), told.header("access-control-allow-credentials")), (Some(APP), Some("true")), "{path}");
        assert!(told.header("access-control-allow-methods").unwrap().contains(method), "{path}");
        let stranger = client.send("OPTIONS", path, &question(STRANGER, method), None).unwrap().expect(204);
        assert_eq!((readable_by(&stranger), stranger.header("access-control-allow-methods")), (None, None), "{path}");
        assert_eq!(stranger.header("vary"), Some("origin"), "{path}");
    }
    assert_eq!(upstream.requests(), 0);
    let fields = [("origin", APP), ("content-type", "application/json")];
    let refused = client.send("POST", "/refresh", &fields, Some(br#"{"refreshToken":"x"}"#)).unwrap().expect(401);
    assert_eq!((readable_by(&refused), refused.header("vary")), (Some(APP), Some("origin")));
}
