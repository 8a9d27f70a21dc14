//! Paths that an upstream may take for other ones, and own endpoints beside pages of the same path.

use super::client::Response;
use super::rig::Rig;
use super::upstream::Upstream;

const ROUTES: &str = r#"
    [store]
    kind = "memory"
    [[routes]]
    name = "open"
    access = "public"
    [[routes]]
    name = "tasks"
    prefix = "/tasks"
    [[routes]]
    name = "styles"
    prefix = "/tasks.css"
    access = "public"
    "#;

fn rig(upstream: &Upstream) -> Rig {
    Rig::start_from(upstream.address, ROUTES, |_| {})
}

fn ask(rig: &Rig, method: &str, path: &str, fields: &str) -> Response {
    rig.ask(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
}

#[test]
fn what_an_upstream_may_take_for_a_stricter_path_is_refused() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    for path in [
        "/tasks.json",
        "/Tasks.XML",
        "/ta%C5%BFks",
        "/tas%E2%84%AAs/1",
        "/tasks%3Fx",
        "/tasks%23",
        "/tasks.",
        "/tasks%20/1",
        "/tasks::$DATA",
        "/tasks%3Bx%252Fy",
        "/index.php/tasks",
        "/%EF%BC%8Ftasks",
        "/%25u0074asks",
    ] {
        let response = ask(&rig, "GET", path, "");
        assert_eq!(response.status, 400, "{path}: {response:?}");
    }
    assert_eq!(upstream.heard(), [""; 0]);
    for path in ["/tasks.css", "/files/report.pdf", "/taskboard.json", "/v1.2/x", "/caf%C3%A9+b", "/x/tasks.json", "/tasks-1"] {
        let response = ask(&rig, "GET", path, "");
        assert!(response.body.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{path}: {response:?}");
    }
    assert_eq!(ask(&rig, "GET", "/tasks/1.json", "").status, 401);
}

#[test]
fn no_other_spelling_of_a_login_goes_around_its_limits() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    for path in
        ["/Login", "/login/", "/login.json", "/login%3F", "/log%C4%B1n", "/login;x", "/index.php/login", "/login%3Bx%252Fy"]
    {
        for method in ["POST", "PUT", "PATCH"] {
            assert_eq!(ask(&rig, method, path, "Content-Length: 0\r\n").status, 400, "{method} {path}");
        }
    }
    for method in ["PUT", "PATCH", "LOGIN"] {
        let response = ask(&rig, method, "/login", "");
        assert_eq!((response.status, response.field("allow")), (405, Some("post, options")), "{method}");
    }
    assert_eq!(upstream.heard(), [""; 0]);
    rig.log_in();
}

#[test]
fn a_front_end_has_pages_at_the_paths_of_own_endpoints() {
    const BROWSER: &str = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";
    let rig = rig(&Upstream::echo());
    for path in ["/login", "/register", "/quick-register", "/logout", "/refresh", "/login.html"] {
        let response = ask(&rig, "GET", path, "Sec-Fetch-Mode: navigate\r\n");
        assert!(response.body.starts_with(&format!("GET {path} ")), "{response:?}");
        let response = ask(&rig, "GET", path, "");
        assert!(response.body.starts_with(&format!("GET {path} ")), "{response:?}");
    }
    for fields in ["Sec-Fetch-Mode: navigate\r\n", BROWSER] {
        let response = ask(&rig, "GET", "/sessions", fields);
        assert!(response.body.starts_with("GET /sessions "), "{response:?}");
    }
    assert_eq!(ask(&rig, "GET", "/sessions", "").status, 401);
    let token = rig.log_in().access;
    let response = ask(&rig, "GET", "/sessions", &format!("Authorization: Bearer {token}\r\n{BROWSER}"));
    assert_eq!((response.status, response.body.contains("GET /sessions ")), (200, false), "{response:?}");
    let response = ask(&rig, "POST", "/sessions", "Content-Length: 0\r\n");
    assert!(response.body.starts_with("POST /sessions "), "{response:?}");
}

#[test]
fn a_page_that_nobody_has_is_a_405_that_names_the_methods() {
    let rig = Rig::start(Upstream::echo().address);
    for path in ["/login", "/logout"] {
        let response = ask(&rig, "GET", path, "Sec-Fetch-Mode: navigate\r\n");
        assert_eq!((response.status, response.field("allow")), (405, Some("post, options")), "{path}");
    }
    assert_eq!(ask(&rig, "GET", "/sessions", "Sec-Fetch-Mode: navigate\r\n").status, 401);
}
