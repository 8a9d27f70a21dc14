//! Browsers without a session are sent to log in, and from there to nowhere else.

use percent_encoding::percent_decode_str;
use tokengate::domain::path::CanonicalTarget;

use super::{assert_refused, metric};
use crate::support::gateway::Gateway;
use crate::support::http::Message;
use crate::support::upstream::Upstream;

/// Values of the parameter that lead elsewhere.
const ELSEWHERE: &str = include_str!("../../../src/domain/sign_in/elsewhere.txt");

const ROUTES: &str = r#"
[[routes]]
name = "login page"
prefix = "/sign-in"
exact = true
access = "public"
[[routes]]
name = "api"
prefix = "/api"
[[routes]]
name = "shop"
prefix = "/shop"
access = "optional"
sign_in = "/sign-in"
[[routes]]
name = "pages"
prefix = "/"
sign_in = "/sign-in?lang=de&next={path}"
"#;

const NAVIGATION: (&str, &str) = ("sec-fetch-mode", "navigate");
const OLD_BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

fn send(gateway: &Gateway, method: &str, path: &str, fields: &[(&str, &str)]) -> Message {
    gateway.client().send(method, path, fields, None).unwrap()
}

/// Where the browser is sent by this response.
#[track_caller]
fn sent_to(answer: &Message) -> String {
    assert_eq!((answer.status(), answer.header("cache-control")), (303, Some("no-store")), "{answer:?}");
    answer.header("location").unwrap().to_owned()
}

#[test]
fn a_navigation_without_a_session_leads_to_the_page_for_logging_in_and_a_fetch_gets_its_401() {
    let upstream = Upstream::start();
    let gateway = Gateway::of(&upstream, ROUTES, &[]);
    let ada = gateway.client().log_in("ada").access;
    let (token, before) = (format!("Bearer {ada}"), upstream.requests());
    for fields in [&[NAVIGATION][..], &[OLD_BROWSER], &[NAVIGATION, ("authorization", "Bearer made.up.token")]] {
        let location = sent_to(&send(&gateway, "GET", "/orders?page=2&sort=name", fields));
        assert_eq!(location, "/sign-in?lang=de&next=/orders%3Fpage%3D2%26sort%3Dname", "{fields:?}");
    }
    for fields in [
        &[][..],
        &[("accept", "*/*")],
        &[("sec-fetch-mode", "cors"), OLD_BROWSER],
        &[("sec-fetch-mode", "websocket"), ("connection", "upgrade"), ("upgrade", "websocket"), OLD_BROWSER],
        &[OLD_BROWSER, ("authorization", "Bearer null")],
    ] {
        assert_refused(&send(&gateway, "GET", "/orders", fields), 401, "token_missing");
    }
    for method in ["HEAD", "POST", "DELETE"] {
        assert_eq!(
            send(&gateway, method, "/orders", &[NAVIGATION]).status(),
            401,
            "{method}: a body is not sent again elsewhere"
        );
    }
    assert_refused(&send(&gateway, "GET", "/api/x", &[NAVIGATION]), 401, "token_missing");
    assert_eq!(upstream.requests(), before, "nothing of it reached the upstream");
    send(&gateway, "GET", "/orders", &[NAVIGATION, ("authorization", &token)]).expect(200);
    send(&gateway, "GET", "/shop", &[NAVIGATION]).expect(200);
    assert_eq!(sent_to(&send(&gateway, "GET", "/shop", &[NAVIGATION, ("authorization", "Bearer x.y.z")])), "/sign-in");

    gateway.client().log_out(&ada, "session").expect(200);
    assert_eq!(
        sent_to(&send(&gateway, "GET", "/orders", &[NAVIGATION, ("authorization", &token)])),
        "/sign-in?lang=de&next=/orders"
    );
    assert!(metric(&gateway, "requests_rejected_total{cause=\"no_token\"} ") >= 2);
}

#[test]
fn a_page_for_logging_in_never_hears_of_another_place_by_a_hundred_spellings() {
    let upstream = Upstream::start();
    let gateway = Gateway::of(&upstream, ROUTES, &[]);
    let mut client = gateway.client();
    for value in ELSEWHERE.lines() {
        // What is no target at all ends earlier.
        let path = format!("/sign-in?lang=de&next={value}&x=1");
        if CanonicalTarget::parse(&path).is_err() {
            continue;
        }
        let before = upstream.requests();
        let answer = client.send("GET", &path, &[], None).unwrap();
        assert_eq!(sent_to(&answer), "/sign-in?lang=de&x=1", "{value}");
        assert_refused(&send(&gateway, "POST", &path, &[]), 400, "request_malformed");
        for spelt in ["/Sign-In", "/sign-in/", "/sign-in.html", "/%73ign-in"] {
            let answer = send(&gateway, "GET", &path.replace("/sign-in", spelt), &[]);
            assert!([303, 400, 401].contains(&answer.status()), "{spelt} {value}: {answer:?}");
        }
        assert_eq!(upstream.requests(), before, "{value}");
        // Asked for by a path, it is no place to come back to either.
        let wanted = send(&gateway, "GET", &format!("/{value}"), &[NAVIGATION]);
        if wanted.status() == 303 {
            let location = sent_to(&wanted);
            let next = location.strip_prefix("/sign-in?lang=de&next=").unwrap();
            let next = percent_decode_str(next).decode_utf8().unwrap();
            assert!(CanonicalTarget::parse(&next).is_ok_and(|target| target.stays_on_host()), "{value}: {next}");
        }
    }
    for value in ["", "%2Forders%3Fpage%3D2", "/orders?q=//x", "/@ada"] {
        let path = format!("/sign-in?lang=de&next={value}");
        let answer = client.send("GET", &path, &[NAVIGATION], None).unwrap().expect(200);
        assert_eq!(answer.json()["target"], path, "an honest place stays as it is");
    }
    client.send("GET", "/other?next=//evil.example", &[NAVIGATION], None).unwrap().expect(303);
    client.send("GET", "/shop?next=//evil.example", &[], None).unwrap().expect(200);
}
