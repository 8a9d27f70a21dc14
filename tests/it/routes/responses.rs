//! Redirects and fixed responses.

use super::{assert_refused, metric};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

const ROUTES: &str = r#"
[[routes]]
name = "moved"
prefix = "/moved"
access = "public"
redirect = { to = "https://new.example.com{rest}" }
[[routes]]
name = "renamed"
prefix = "/renamed"
access = "public"
redirect = { to = "{rest}", status = 302 }
[[routes]]
name = "for users"
prefix = "/users"
redirect = { to = "/new{path}", status = 303 }
[[routes]]
name = "robots"
prefix = "/robots.txt"
exact = true
access = "public"
methods = ["GET"]
[routes.respond]
body = "User-agent: *\nDisallow: /\n"
headers = { cache-control = "max-age=60" }
[[routes]]
name = "shut"
prefix = "/internal"
access = "public"
respond.status = 404
[[routes]]
name = "api"
prefix = "/"
access = "public"
"#;

#[test]
fn a_redirect_leads_where_the_operator_says_and_nowhere_else() {
    let upstream = Upstream::start();
    let gateway = Gateway::of(&upstream, ROUTES, &[]);
    for (path, status, location) in [
        ("/moved/a/b?q=1&x=//y", 308, "https://new.example.com/a/b?q=1&x=//y"),
        ("/moved", 308, "https://new.example.com"),
        ("/moved?q", 308, "https://new.example.com?q"),
        ("/moved//evil.example", 308, "https://new.example.com//evil.example"),
        ("/moved/%40evil.example", 308, "https://new.example.com/%40evil.example"),
        ("/renamed/x", 302, "/x"),
        ("/renamed", 302, "/"),
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let response = gateway.client().send(method, path, &[], None).unwrap().expect(status);
            assert_eq!((response.header("location"), response.body.len()), (Some(location), 0), "{method} {path}");
        }
    }
    for path in ["/renamed//evil.example", "/renamed/\\evil.example", "/renamed/../x"] {
        assert_refused(&gateway.client().get(path, None), 400, "request_malformed");
    }
    assert_refused(&gateway.client().get("/users/a", None), 401, "token_missing");
    let ada = gateway.client().log_in("ada").access;
    let before = upstream.requests();
    assert_eq!(gateway.client().get("/users/a?q", Some(&ada)).expect(303).header("location"), Some("/new/users/a?q"));
    assert_eq!(upstream.requests(), before);
    assert_eq!(metric(&gateway, "requests_answered_by_route_total "), 7 * 3 + 1);
}

#[test]
fn a_redirected_request_with_a_body_gets_its_response_whole() {
    let upstream = Upstream::start();
    let gateway = Gateway::of(&upstream, ROUTES, &[]);
    let body = vec![b'x'; 1 << 20];
    let response = gateway.client().send("POST", "/moved/upload", &[], Some(&body)).unwrap().expect(308);
    assert_eq!(
        (response.header("location"), response.header("connection")),
        (Some("https://new.example.com/upload"), Some("close"))
    );
}

#[test]
fn a_fixed_response_is_what_the_settings_say() {
    let upstream = Upstream::start();
    let gateway = Gateway::of(&upstream, ROUTES, &[]);
    let mut client = gateway.client();
    let response = client.get("/robots.txt?x", None).expect(200);
    assert_eq!(response.text(), "User-agent: *\nDisallow: /\n");
    assert_eq!(
        (response.header("content-type"), response.header("cache-control")),
        (Some("text/plain; charset=utf-8"), Some("max-age=60"))
    );
    assert!(response.header("x-request-id").is_some());
    let head = client.send("HEAD", "/robots.txt", &[], None).unwrap().expect(200);
    assert_eq!((head.header("content-length"), head.body.len()), (Some("26"), 0));
    assert_eq!(head.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(upstream.requests(), 0);
    client.send("POST", "/robots.txt", &[], Some(b"x")).unwrap().expect(200);
    assert_eq!(upstream.requests(), 1, "another method is for another route");
    client.get("/robots", None).expect(200);
    assert_eq!(upstream.requests(), 2, "another name is another page");
}

#[test]
fn a_path_that_is_shut_is_shut_in_every_spelling() {
    let upstream = Upstream::start();
    let gateway = Gateway::of(&upstream, ROUTES, &[]);
    let response = gateway.client().get("/internal/metrics", None).expect(404);
    assert_eq!((response.body.len(), response.header("content-type")), (0, None));
    for path in ["/Internal", "/internal;x/y", "/%69nternal", "/internal.json", "/%2Finternal"] {
        let status = gateway.client().get(path, None).status();
        assert!([400, 404].contains(&status), "{path}: {status}");
    }
    assert_eq!(upstream.requests(), 0);
    gateway.client().get("/internals", None).expect(200);
}
