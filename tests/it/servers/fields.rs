//! What fields come to behind the gateway: CGI programs get them as variables, Express acts by them.

use super::rig::Site;
use crate::support::servers::{Cgi, Express, Nginx, proxying};

/// Every character of a name that is neither a letter nor a digit (RFC 9110, section 5.6.2).
const SEPARATORS: &str = "!#$%&'*+-.^_`|~";

fn spelt(name: &str, separator: char) -> String {
    name.replace('-', &separator.to_string())
}

/// A line for each spelling, with a value that tells it from ours.
fn in_every_spelling(names: &[&str]) -> String {
    let lines = names.iter().flat_map(|name| SEPARATORS.chars().map(|separator| format!("{}: liar\r\n", spelt(name, separator))));
    lines.collect()
}

#[test]
fn a_cgi_program_knows_its_caller_from_the_gateway_alone() {
    let cgi = Cgi::start();
    let site = Site::before(&cgi);
    let names =
        ["x-auth-subject", "x-auth-session", "x-auth-scopes", "x-real-ip", "x-request-id", "x-forwarded-for", "x-forwarded-host"];
    for lies in names.map(|name| in_every_spelling(&[name])) {
        let lies = format!("{lies}X.Auth_Subject: liar\r\nX!Auth-Subject: liar\r\n");
        let response = site.ask("GET", "/api", "a", &format!("Authorization: Bearer {}\r\n{lies}", site.token));
        assert_eq!(response.cgi_saw("HTTP_X_AUTH_SUBJECT").as_deref(), Some("user-1"));
        assert!(!response.text().contains("liar"), "{}", response.text());
        let response = site.ask("GET", "/public", "a", &lies);
        assert_eq!(response.cgi_saw("HTTP_X_AUTH_SUBJECT"), None);
        assert!(!response.text().contains("liar"), "{}", response.text());
    }
}

#[test]
fn a_cgi_program_sees_one_spelling_of_what_frames_a_request() {
    let cgi = Cgi::start();
    let site = Site::before(&cgi);
    for separator in SEPARATORS.chars().filter(|separator| *separator != '-') {
        let [length, kind, coding] = ["content-length", "content-type", "transfer-encoding"].map(|name| spelt(name, separator));
        let response = site.say(format!(
            "POST /public HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\
             {length}: 9\r\n{kind}: text/liar\r\n{coding}: liar\r\n\r\nhi"
        ));
        let text = response.text();
        assert_eq!(
            (response.cgi_saw("CONTENT_LENGTH").as_deref(), response.cgi_saw("CONTENT_TYPE").as_deref()),
            (Some("2"), Some("text/plain"))
        );
        assert!(!text.contains("liar") && !text.contains("HTTP_CONTENT_LENGTH=9") && text.ends_with("hi"), "{text}");
    }
}

#[test]
fn names_that_are_the_apis_own_reach_a_cgi_program() {
    let cgi = Cgi::start();
    let site = Site::before(&cgi);
    let fields = "X-Auth-Token: t\r\nX-Auth-Key: k\r\nX-Auth-Role: r\r\nMy_Field: m\r\nX.Own: o\r\nX-Remote: x\r\n";
    let response = site.ask("GET", "/public", "a", fields);
    for (variable, value) in [
        ("HTTP_X_AUTH_TOKEN", "t"),
        ("HTTP_X_AUTH_KEY", "k"),
        ("HTTP_X_AUTH_ROLE", "r"),
        ("HTTP_MY_FIELD", "m"),
        ("HTTP_X_OWN", "o"),
        ("HTTP_X_REMOTE", "x"),
    ] {
        assert_eq!(response.cgi_saw(variable).as_deref(), Some(value), "{}", response.text());
    }
}

#[test]
fn a_cgi_program_is_told_of_no_user_and_no_proxy_by_strangers() {
    let cgi = Cgi::start();
    let site = Site::before(&cgi);
    for name in [
        "remote-user",
        "x-remote-user",
        "x-forwarded-user",
        "x-webauth-user",
        "x-ssl-client-cert",
        "client-ip",
        // The variable HTTP_PROXY, by which libraries choose a proxy.
        "proxy",
        "x-original-url",
    ] {
        let response = site.ask("GET", "/public", "a", &in_every_spelling(&[name]));
        let variable = format!("HTTP_{}", name.to_ascii_uppercase().replace('-', "_"));
        assert_eq!(response.cgi_saw(&variable), None, "{name}");
        assert!(!response.text().contains("liar"), "{}", response.text());
    }
}

const POSTS: &str = r#"
[[routes]]
name = "tasks"
prefix = "/tasks"
access = "public"
methods = ["POST"]
"#;

#[test]
fn express_takes_no_other_method_from_a_field() {
    let express = Express::start();
    let overrides = ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x_http_method_override"];
    let seen = |site: &Site<'_>| {
        overrides.map(|field| {
            let response = site.ask("POST", "/tasks/1", "a", &format!("{field}: DELETE\r\nContent-Length: 0\r\n")).expect(200);
            response.member("method")
        })
    };
    assert_eq!(seen(&Site::with(&express, POSTS, &[])), ["POST"; 4]);
    let trusted = [("listen.trusted_peers", "127.0.0.0/8")];
    assert_eq!(seen(&Site::with(&express, POSTS, &trusted)), ["POST"; 4]);
    // What it does when it is told.
    assert_eq!(seen(&Site::with(&express, POSTS, &[("headers.remove", "[]")])), ["DELETE", "DELETE", "DELETE", "POST"]);
}

#[test]
fn nginx_is_told_of_no_user_by_strangers() {
    let nginx = Nginx::with_hosts(&[(
        "_",
        "underscores_in_headers on; ignore_invalid_headers off; location / { return 200 \
         \"[$http_x_auth_subject][$http_remote_user][$http_x_original_url][$http_x_auth_token]\"; }",
    )]);
    let site = Site::before(&nginx);
    let lies = in_every_spelling(&["x-auth-subject", "remote-user", "x-original-url"]);
    let response = site.ask("GET", "/api", "a", &format!("Authorization: Bearer {}\r\n{lies}X-Auth-Token: t\r\n", site.token));
    assert_eq!(response.text(), "[user-1][][][t]");
    assert_eq!(site.ask("GET", "/public", "a", &lies).text(), "[][][][]");
}

#[test]
fn trailers_tell_express_nothing_of_the_caller() {
    let express = Express::start();
    let site = Site::before(&express);
    let lies = in_every_spelling(&["x-auth-subject", "x-original-url", "content-type"]);
    let response = site.say(format!(
        "POST /api HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Type: text/plain\r\n\
         Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\n{lies}X-Sum: 7\r\n\r\n",
        site.token
    ));
    assert!(!response.text().contains("liar"), "{}", response.text());
    assert_eq!(response.upstream_saw("x-auth-subject"), ["user-1"]);
}

#[test]
fn basic_reaches_a_cgi_program_and_a_token_of_ours_does_not() {
    let cgi = Cgi::start();
    let site = Site::before(&cgi);
    let authorization = |value: &str| {
        let response = site.ask("GET", "/public", "a", &format!("Authorization: {value}\r\n"));
        response.cgi_saw("HTTP_AUTHORIZATION")
    };
    assert_eq!(authorization("Basic YTpi").as_deref(), Some("Basic YTpi"));
    assert_eq!(authorization("Bearer whsec_1234").as_deref(), Some("Bearer whsec_1234"));
    assert_eq!(authorization(&format!("Bearer {}", site.token)), None);
    assert_eq!(site.get("/api").cgi_saw("HTTP_AUTHORIZATION"), None);
}

#[test]
fn express_knows_the_client_whatever_field_a_trusted_peer_told_it_by() {
    let express = Express::start();
    let routes = "[[routes]]\nname = \"public\"\nprefix = \"/public\"\naccess = \"public\"\n";
    let site = Site::with(&express, routes, &[("listen.trusted_peers", "127.0.0.0/8")]);
    for fields in [
        "X-Forwarded-For: 203.0.113.9,\r\nX-Forwarded-Proto: https\r\n",
        "Forwarded: for=203.0.113.9;proto=https\r\n",
        "Forwarded: for=203.0.113.9;proto=https, for=127.0.0.9\r\n",
    ] {
        let response = site.ask("GET", "/public", "a", fields);
        assert_eq!(
            (response.member("ip"), response.member("protocol")),
            ("203.0.113.9".to_owned(), "https".to_owned()),
            "{fields}"
        );
        let told = response.upstream_saw("forwarded").concat();
        assert!(told.starts_with("for=203.0.113.9;proto=https;host=\"a\", "), "{told}");
    }
    let strangers = Site::before(&express);
    let response = strangers.ask("GET", "/public", "a", "Forwarded: for=203.0.113.9;proto=https\r\nX-Forwarded-Proto: https\r\n");
    assert_eq!((response.member("ip"), response.member("protocol")), ("127.0.0.1".to_owned(), "http".to_owned()));
}

#[test]
fn a_trace_goes_through_nginx_to_express_as_it_came() {
    let express = Express::start();
    let nginx = Nginx::with_hosts(&[("_", &proxying(&express))]);
    let site = Site::before(&nginx);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let response = site.ask("GET", "/public", "a", &format!("traceparent: {parent}\r\ntracestate: a=1\r\n"));
    assert_eq!(
        (response.upstream_saw("traceparent"), response.upstream_saw("tracestate")),
        (vec![parent.to_owned()], vec!["a=1".to_owned()])
    );
}

#[test]
fn a_proxy_that_the_settings_do_not_name_is_told_of_once_until_they_are_read_again() {
    let cgi = Cgi::start();
    let site = Site::before(&cgi);
    let told = || site.gateway.log().matches("a peer that listen.trusted_peers does not name").count();
    assert_eq!(told(), 0);
    for fields in ["X-Forwarded-For: 203.0.113.9\r\n", "Forwarded: for=203.0.113.9\r\n", "X-Forwarded-For: 203.0.113.9\r\n"] {
        site.ask("GET", "/api", "a", fields).expect(401);
    }
    site.gateway.await_log("the peer is named", |log| log.contains("\"peer\":\"127.0.0.1\""));
    assert_eq!(told(), 1);
    site.gateway.reload(|settings| settings);
    // A worker takes the new settings with its next tick.
    site.gateway.await_log("it is told of again", |_| {
        site.ask("GET", "/api", "a", "X-Forwarded-For: 203.0.113.9\r\n").expect(401);
        told() > 1
    });
    site.ask("GET", "/api", "a", "X-Forwarded-For: 203.0.113.9\r\n").expect(401);
    assert_eq!(told(), 2);
}
