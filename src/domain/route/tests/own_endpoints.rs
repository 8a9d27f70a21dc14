//! What own endpoints take, and what they leave to the routes.

use super::*;

#[test]
fn a_login_may_end_in_a_slash() {
    let paths = |login: &[&str], sessions: &str| EndpointPaths {
        login: login.iter().map(|path| (*path).to_owned()).collect(),
        sessions: Some(sessions.to_owned()),
        ..EndpointPaths::default()
    };
    let post = |login: &[&str], target: &str| {
        let table = RouteTable::new(paths(login, "/sessions"), vec![route("/", Access::Public)]).unwrap();
        found(&table, &Method::POST, "h", target)
    };
    assert_eq!(post(&["/api/login/"], "/api/login/"), "own Login");
    for other in ["/api/login", "/api/login//", "/API/login/", "/api/login.json"] {
        assert_eq!(post(&["/api/login/"], other), "ambiguous", "{other}");
    }
    assert_eq!(post(&["/login", "/login/"], "/login"), "own Login");
    assert_eq!(post(&["/login", "/login/"], "/login/"), "own Login");
    for (login, sessions) in
        [(&["/login//"][..], "/sessions"), (&["/"], "/sessions"), (&["/login/", "/login/"], "/s"), (&["/a/"], "/a"), (&[], "/s/")]
    {
        assert!(RouteTable::new(paths(login, sessions), Vec::new()).is_err(), "{login:?} {sessions}");
    }
}

#[test]
fn every_endpoint_names_its_methods_where_nobody_takes_another() {
    let at = |path: &str| Some(path.to_owned());
    let paths = EndpointPaths {
        login: vec!["/login".to_owned()],
        register: vec!["/register".to_owned()],
        quick_register: vec!["/quick".to_owned()],
        refresh: at("/refresh"),
        logout: at("/logout"),
        sessions: at("/sessions"),
        session: at("/session"),
        revoke: at("/revoke"),
        ticket: at("/ticket"),
        token: at("/token"),
        introspect: at("/introspect"),
        jwks: at("/jwks"),
        metadata: at("/metadata"),
        health: at("/health"),
        ready: at("/ready"),
    };
    let table = RouteTable::new(paths, Vec::new()).unwrap();
    let posts = ["/login", "/register", "/quick", "/refresh", "/logout", "/ticket", "/token", "/revoke", "/introspect"]
        .map(|path| (path, "POST"));
    let gets = ["/sessions", "/session", "/jwks", "/metadata", "/health", "/ready"].map(|path| (path, "GET, HEAD"));
    for (path, methods) in posts.into_iter().chain(gets) {
        for method in [Method::PUT, Method::from_bytes(b"BREW").unwrap()] {
            assert_eq!(found(&table, &method, "h", path), format!("405 {methods}, OPTIONS"), "{method} {path}");
        }
        assert_eq!(found(&table, &Method::OPTIONS, "h", path), format!("405 {methods}"), "{path}");
    }
}

#[test]
fn own_endpoints_claim_their_methods_and_the_routes_have_the_others() {
    let id = SessionId::from_bytes([3; 16]);
    let one = format!("/sessions/{id}");
    let covered = RouteTable::new(own(), vec![route("/", token())]).unwrap();
    let bare = RouteTable::new(own(), vec![route("/x", token())]).unwrap();
    for (method, target, met, without_routes) in [
        (Method::POST, "/login?x", "own Login", "own Login"),
        (Method::GET, "/login", "/", "405 POST, OPTIONS"),
        (Method::HEAD, "/login", "/", "405 POST, OPTIONS"),
        (Method::OPTIONS, "/login", "/", "405 POST"),
        (Method::DELETE, "/login", "/", "405 POST, OPTIONS"),
        (Method::PUT, "/login", "405 POST, OPTIONS", "405 POST, OPTIONS"),
        (Method::GET, "/sessions", "own Sessions", "own Sessions"),
        (Method::POST, "/sessions", "/", "405 GET, HEAD, OPTIONS"),
        (Method::HEAD, "/session", "own CurrentSession", "own CurrentSession"),
        (Method::DELETE, "/session", "/", "405 GET, HEAD, OPTIONS"),
        (Method::GET, "/session/x", "/", "404"),
        (Method::HEAD, "/healthz", "own Health", "own Health"),
        (Method::POST, "/healthz", "/", "405 GET, HEAD, OPTIONS"),
        (Method::DELETE, &one, &format!("own Session({id})"), &format!("own Session({id})")),
        (Method::GET, &one, "/", "405 DELETE, OPTIONS"),
        (Method::GET, "/sessions/nobody", "/", "404"),
        (Method::DELETE, "/sessions/nobody", "404", "404"),
        (Method::GET, "/oauth/revoke?token=x", "405 POST, OPTIONS", "405 POST, OPTIONS"),
        (Method::OPTIONS, "/oauth/revoke", "405 POST", "405 POST"),
        (Method::GET, "/oauth/revoke/x", "/", "404"),
        (Method::POST, "/refresh", "/", "404"),
    ] {
        assert_eq!(found(&covered, &method, "h", target), met, "{method} {target}");
        assert_eq!(found(&bare, &method, "h", target), without_routes, "{method} {target}");
    }
    let put = Route { methods: vec![Method::PATCH], ..route("/sessions", token()) };
    let table = RouteTable::new(own(), vec![put]).unwrap();
    assert_eq!(found(&table, &Method::POST, "h", "/sessions"), "405 GET, HEAD, OPTIONS, PATCH");
}

#[test]
fn a_browser_that_shows_a_page_that_is_called_like_an_endpoint_gets_it_from_the_routes() {
    const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
    let covered = RouteTable::new(own(), vec![route("/", Access::Public)]).unwrap();
    let get =
        |table: &RouteTable, fields: &[(&'static str, &'static str)]| found_with(table, &Method::GET, "h", "/sessions", fields);
    for fields in [
        &[("sec-fetch-mode", "navigate"), BROWSER][..],
        &[BROWSER],
        &[("accept", "text/html")],
        &[("accept", "application/json;q=0.5, text/html; q=0.75")],
    ] {
        assert_eq!(get(&covered, fields), "/", "{fields:?}");
        assert_eq!(found_with(&covered, &Method::GET, "h", "/session", fields), "/", "{fields:?}");
    }
    for fields in [
        &[][..],
        &[("accept", "*/*")],
        &[("accept", "application/json")],
        &[("accept", "application/json, text/plain, */*")],
        &[("accept", "text/html, application/json")],
        &[("accept", "text/html;q=0, */*")],
        &[("accept", "nonsense;q=x,,")],
        &[("sec-fetch-mode", "cors"), BROWSER],
        &[("sec-fetch-mode", "same-origin")],
        &[BROWSER, ("authorization", "Bearer x")],
    ] {
        assert_eq!(get(&covered, fields), "own Sessions", "{fields:?}");
        assert_eq!(found_with(&covered, &Method::GET, "h", "/session", fields), "own CurrentSession", "{fields:?}");
    }
    let bare = RouteTable::new(own(), Vec::new()).unwrap();
    assert_eq!(get(&bare, &[("sec-fetch-mode", "navigate")]), "own Sessions", "nobody has such a page");
}

#[test]
fn the_question_whether_an_own_endpoint_may_be_called_is_its_own_where_it_is_answered() {
    let ask = |answers: bool, method: &'static str| {
        let table = RouteTable::new(own(), vec![route("/", Access::Public)]).unwrap().answering_preflights(answers);
        found_with(&table, &Method::OPTIONS, "h", "/login", &[("access-control-request-method", method)])
    };
    assert_eq!(ask(true, "POST"), "preflight");
    assert_eq!(ask(true, "GET"), "/");
    assert_eq!(ask(false, "POST"), "/", "the upstream answers");
}

#[test]
fn other_spellings_of_own_endpoints_reach_no_upstream() {
    let table = RouteTable::new(own(), vec![route("/", Access::Public)]).unwrap();
    for target in [
        "/Login",
        "/login/",
        "/login//",
        "/login;x",
        "/%2Flogin",
        "/login%3B",
        "/login%3Ba%252Fb",
        "/login.json",
        "/login.",
        "/login%3Fx",
        "/log%C4%B1n",
        "/index.php/login",
        "/login/index.php",
    ] {
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::from_bytes(b"LOGIN").unwrap()] {
            assert_eq!(found(&table, &method, "h", target), "ambiguous", "{method} {target}");
        }
        assert_eq!(found(&table, &Method::GET, "h", target), "/", "{target}");
    }
    for target in ["/Sessions/a/b", "/sessions;x/a", "/sess%C4%B0ons/a"] {
        assert_eq!(found(&table, &Method::DELETE, "h", target), "ambiguous", "{target}");
    }
    for target in ["/sessions/", "/sessions/nobody"] {
        assert_eq!(found(&table, &Method::DELETE, "h", target), "404", "{target}");
    }
    for target in ["/login/x", "/logins.json", "/x/login.json", "/login-1.json"] {
        assert_eq!(found(&table, &Method::POST, "h", target), "/", "{target}");
    }
    let named = RouteTable::new(own(), vec![route("/", Access::Public), route("/login.json", Access::Public)]).unwrap();
    assert_eq!(found(&named, &Method::POST, "h", "/login.json"), "/login.json");
    assert_eq!(found(&named, &Method::POST, "h", "/login.xml"), "ambiguous");
    assert_eq!(found(&named, &Method::POST, "h", "/Login"), "ambiguous");
}
