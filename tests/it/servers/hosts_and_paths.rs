//! Hosts and paths as real servers read them: none of them finds something that a rule of the gateway was to guard.

use super::rig::Site;
use crate::support::servers::{Express, Nginx};

const GUARDED: &str = r#"
[[routes]]
name = "open"
access = "public"

[[routes]]
name = "admin"
host = "admin.example.com"

[[routes]]
name = "tenants"
host = "*.tenants.example.com"

[[routes]]
name = "tasks"
prefix = "/tasks"
"#;

#[test]
fn no_spelling_of_a_host_reaches_a_virtual_host_past_its_route() {
    let nginx = Nginx::with_hosts(&[
        ("_", "location / { return 200 open; }"),
        ("admin.example.com", "location / { return 200 secret; }"),
        ("*.tenants.example.com", "location / { return 200 secret; }"),
    ]);
    let site = Site::with(&nginx, GUARDED, &[]);
    let bearer = format!("Authorization: Bearer {}\r\n", site.token);
    for host in
        ["admin.example.com", "admin.example.com.", "Admin.example.COM.:80", "admin.example.com:", "a.b.tenants.example.com."]
    {
        assert_eq!(site.ask("GET", "/x", host, "").status(), 401, "{host}");
        assert_eq!(site.ask("GET", "/x", host, &bearer).text(), "secret", "{host}");
        let absolute = site.ask("GET", &format!("http://{host}/x"), "open.example", "");
        assert_eq!(absolute.status(), 401, "{host}");
    }
    assert_eq!(site.ask("GET", "/x", "other.example.", "").text(), "open");
    assert_eq!(site.say("GET /x HTTP/1.0\r\n\r\n").text(), "open", "a probe");
}

#[test]
fn no_spelling_of_a_path_reaches_a_location_past_its_route() {
    let suffixes = "location ~* ^/tasks(\\.[a-z]+)?(/|$) { return 200 secret; } location / { return 200 open; }";
    let nginx = Nginx::with_hosts(&[("_", suffixes)]);
    let site = Site::with(&nginx, GUARDED, &[]);
    for path in ["/tasks.json", "/TASKS", "/tasks.json/", "/%74asks.xml", "/x%2F..%2Ftasks", "//tasks"] {
        let answer = site.ask("GET", path, "a", "");
        assert_eq!(answer.status(), 400, "{path}");
    }
    for path in ["/tasks", "/%74asks", "/tasks/1.json"] {
        assert_eq!(site.ask("GET", path, "a", "").status(), 401, "{path}");
    }
    for path in ["/files/report.pdf", "/taskboard.json", "/a+b"] {
        assert_eq!(site.ask("GET", path, "a", "").text(), "open", "{path}");
    }
}

#[test]
fn an_express_login_is_reached_by_its_own_path_alone() {
    let express = Express::start();
    let site = Site::with(&express, GUARDED, &[]);
    let body = r#"{"email":"ada"}"#;
    let post = |path: &str, method: &str| {
        let length = body.len();
        site.say(format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ))
    };
    assert!(!post("/login", "POST").member("accessToken").is_empty());
    for path in ["/Login", "/LOGIN", "/login/", "/%6Cogin/", "/login.json", "/log%C4%B1n", "/login%3Fx"] {
        assert_eq!(post(path, "POST").status(), 400, "{path}");
    }
    let page = site.ask("GET", "/login", "a", "Sec-Fetch-Mode: navigate\r\n");
    assert_eq!(page.json()["path"], "/login", "the front end's page");
}
