//! Hosts and paths as real servers read them: none of them finds something that a rule of the gateway was to guard.

use super::rig::Site;
use crate::support::servers::{Cgi, Express, Nginx};

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
fn no_spelling_of_a_host_makes_a_cgi_program_another_server_past_its_route() {
    let cgi = Cgi::start();
    let site = Site::with(&cgi, GUARDED, &[]);
    let bearer = format!("Authorization: Bearer {}\r\n", site.token);
    for (host, canonical) in [
        ("admin.example.com", "admin.example.com"),
        ("admin.example.com.", "admin.example.com"),
        ("Admin.example.COM:", "admin.example.com"),
        ("ADMIN.example.com.:08080", "admin.example.com:8080"),
        ("a.b.tenants.example.com.", "a.b.tenants.example.com"),
    ] {
        assert_eq!(site.ask("GET", "/x", host, "").status(), 401, "{host}");
        assert_eq!(site.ask("GET", &format!("http://{host}/x"), "open.example", "").status(), 401, "{host}");
        let response = site.ask("GET", "/x", host, &bearer);
        assert_eq!(response.cgi_saw("HTTP_HOST").as_deref(), Some(canonical), "{host}");
        assert_eq!(response.cgi_saw("SERVER_NAME").as_deref(), canonical.split(':').next(), "{host}");
        assert_eq!(response.cgi_saw("HTTP_X_FORWARDED_HOST").as_deref(), Some(canonical), "{host}");
    }
    let open = site.ask("GET", "/x", "Tenants.Example.com.", "X-Forwarded-Host: admin.example.com\r\n");
    assert_eq!(open.cgi_saw("SERVER_NAME").as_deref(), Some("tenants.example.com"));
    assert!(!open.text().contains("admin.example.com"), "{}", open.text());
    let probe = site.say("GET /x HTTP/1.0\r\n\r\n");
    assert_eq!(probe.cgi_saw("SERVER_NAME").as_deref(), Some("127.0.0.1"), "that of the upstream's URL");
}

#[test]
fn no_spelling_of_a_path_is_the_path_info_of_a_cgi_program_past_its_route() {
    let cgi = Cgi::start();
    let site = Site::with(&cgi, GUARDED, &[]);
    let path_info = |path: &str, fields: &str| site.ask("GET", path, "a", fields).cgi_saw("PATH_INFO");
    for path in [
        "//tasks",
        "/x%2F..%2Ftasks",
        "/tasks%3Fx=1",
        "/tasks%23x",
        "/tasks.json",
        "/TASKS",
        "/ta%C5%BFks",
        "/tasks%20",
        "/tasks.",
        "/tasks;v=1",
        "/%2574asks",
        "/index.cgi/tasks",
        "/tasks.cgi/1",
    ] {
        assert_eq!(site.ask("GET", path, "a", "").status(), 400, "{path}");
    }
    let bearer = format!("Authorization: Bearer {}\r\n", site.token);
    for path in ["/tasks", "/%74asks"] {
        assert_eq!(site.ask("GET", path, "a", "").status(), 401, "{path}");
        assert_eq!(path_info(path, &bearer).as_deref(), Some("/tasks"), "{path}");
    }
    for (path, read) in [
        ("/files/a%20b.pdf?x=/tasks", "/files/a b.pdf"),
        ("/%E4%B8%AD%E6%96%87", "/中文"),
        ("/search/what%3F", "/search/what?"),
        ("/iiif/2/ark%3A%2F12345%2Fabc/full/max/0/default.jpg", "/iiif/2/ark:/12345/abc/full/max/0/default.jpg"),
        ("/hotels;stars=5/rooms", "/hotels;stars=5/rooms"),
        ("/tasks-api", "/tasks-api"),
        ("/index.cgi/x", "/index.cgi/x"),
    ] {
        assert_eq!(path_info(path, "").as_deref(), Some(read), "{path}");
    }
}

#[test]
fn no_spelling_of_a_path_reaches_a_location_past_its_route() {
    let suffixes = "location ~* ^/tasks(\\.[a-z]+)?(/|$) { return 200 secret; } location / { return 200 open; }";
    let nginx = Nginx::with_hosts(&[("_", suffixes)]);
    let site = Site::with(&nginx, GUARDED, &[]);
    for path in ["/tasks.json", "/TASKS", "/tasks.json/", "/%74asks.xml", "/x%2F..%2Ftasks", "//tasks"] {
        let response = site.ask("GET", path, "a", "");
        assert_eq!(response.status(), 400, "{path}");
    }
    for path in ["/tasks", "/%74asks", "/tasks/1.json"] {
        assert_eq!(site.ask("GET", path, "a", "").status(), 401, "{path}");
    }
    for path in ["/files/report.pdf", "/taskboard.json", "/a+b"] {
        assert_eq!(site.ask("GET", path, "a", "").text(), "open", "{path}");
    }
}

#[test]
fn a_login_whose_path_ends_in_a_slash_is_one() {
    let express = Express::start();
    let site = Site::with(&express, GUARDED, &[("endpoints.login", "/login, /api/login/")]);
    let post = |path: &str| {
        let body = r#"{"email":"ada"}"#;
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n");
        site.say(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()))
    };
    for path in ["/api/login", "/api/Login/", "/login/"] {
        assert_eq!(post(path).status(), 400, "{path}");
    }
    assert!(!post("/login").member("accessToken").is_empty());
    assert_eq!(post("/api/login/").json()["url"], "/api/login/", "the application is asked at the very path");
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
