//! The gateway before servers that people have: nginx, a CGI program under lighttpd, an Express application. What an attack comes
//! to is decided there, by how they read fields, hosts and paths.

mod fields;
mod hosts_and_paths;
mod rig;

use rig::Site;

use crate::support::servers::{Cgi, Express, Nginx, proxying};

#[test]
fn a_caller_is_known_to_every_kind_of_server() {
    let express = Express::start();
    let response = Site::before(&express).get("/api");
    assert_eq!(response.upstream_saw("x-auth-subject"), ["user-1"]);
    assert_eq!(response.json()["path"], "/api");

    let cgi = Cgi::start();
    let response = Site::before(&cgi).get("/api");
    assert_eq!(response.cgi_saw("HTTP_X_AUTH_SUBJECT").as_deref(), Some("user-1"));
    assert_eq!(response.cgi_saw("REQUEST_URI").as_deref(), Some("/api"));

    let nginx = Nginx::with_hosts(&[
        ("_", "location / { return 404; }"),
        ("api.example.com", "location / { return 200 \"$http_x_auth_subject at $server_name$uri\"; }"),
        ("app.example.com", &proxying(&express)),
    ]);
    let site = Site::before(&nginx);
    let at_host = |host: &str| site.ask("GET", "/api", host, &format!("Authorization: Bearer {}\r\n", site.token));
    assert_eq!(at_host("api.example.com").text(), "user-1 at api.example.com/api");
    let response = at_host("app.example.com");
    assert_eq!(response.upstream_saw("x-auth-subject"), ["user-1"]);
    assert_eq!(response.json()["hostname"], "app.example.com");
    assert_eq!(at_host("else.example.com").status(), 404);
}
