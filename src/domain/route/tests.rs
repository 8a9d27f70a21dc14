use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::domain::path::CanonicalTarget;

fn route(prefix: &str, access: Access) -> Route {
    Route {
        name: prefix.into(),
        host: None,
        prefix: prefix.to_owned(),
        exact: false,
        methods: Vec::new(),
        upstream: UpstreamIndex(0),
        access,
        when_stale: WhenStale::Reject,
        enforced: Share::ALL,
        revocation: RevocationCheck::Replica,
        authorization: AuthorizationRule::default(),
        body_bytes_max: 0,
        response_timeout: Duration::ZERO,
    }
}

fn token() -> Access {
    scoped(&[])
}

fn scoped(scopes: &[&str]) -> Access {
    Access::Token { audiences: Arc::new([]), scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect() }
}

fn table(routes: Vec<Route>) -> RouteTable {
    RouteTable::new(EndpointPaths::default(), routes).unwrap()
}

fn own() -> EndpointPaths {
    EndpointPaths {
        login: vec!["/login".to_owned()],
        sessions: Some("/sessions".to_owned()),
        health: Some("/healthz".to_owned()),
        ..EndpointPaths::default()
    }
}

/// What a request meets, in short.
fn found(table: &RouteTable, method: &Method, host: &str, target: &str) -> String {
    let Ok(target) = CanonicalTarget::parse(target) else { return "400".to_owned() };
    match table.find(method, host, &target) {
        Match::Own(endpoint) => format!("own {endpoint:?}"),
        Match::Route(route) => route.name.to_string(),
        Match::MethodNotAllowed { allow } => format!("405 {allow}"),
        Match::Ambiguous => "ambiguous".to_owned(),
        Match::NotFound => "404".to_owned(),
    }
}

#[test]
fn the_most_specific_route_wins() {
    let host = Route { host: Some("b.example".to_owned()), name: "host".into(), ..route("/", token()) };
    let exact = Route { exact: true, name: "exact".into(), ..route("/api/x", token()) };
    let posts = Route { methods: vec![Method::POST], name: "posts".into(), ..route("/api", token()) };
    let table = table(vec![route("/", token()), route("/api", token()), posts, exact, host]);
    let get = |host, target| found(&table, &Method::GET, host, target);
    assert_eq!(get("a.example", "/api"), "/api");
    assert_eq!(get("a.example", "/api/?x"), "/api");
    assert_eq!(get("a.example", "/apis"), "/");
    assert_eq!(get("a.example", "/api/x"), "exact");
    assert_eq!(get("a.example", "/api/x/y"), "/api");
    assert_eq!(get("b.example", "/api/x"), "host");
    assert_eq!(found(&table, &Method::POST, "a.example", "/api"), "posts");
}

#[test]
fn what_no_route_covers_is_not_found() {
    let table = table(vec![route("/api", token())]);
    for target in ["/", "/apis", "/API", "/x/api"] {
        assert_eq!(found(&table, &Method::GET, "h", target), "404", "{target}");
    }
}

#[test]
fn a_laxer_rule_takes_a_method_from_a_stricter_one_only_by_naming_it() {
    let read = Route { methods: vec![Method::GET], ..route("/admin", token()) };
    let table_any = table(vec![route("/", Access::Public), read.clone()]);
    assert_eq!(found(&table_any, &Method::HEAD, "h", "/admin"), "/admin");
    assert_eq!(found(&table_any, &Method::POST, "h", "/admin"), "405 GET, HEAD");
    let named = Route { methods: vec![Method::POST], ..route("/", Access::Public) };
    assert_eq!(found(&table(vec![named, read]), &Method::POST, "h", "/admin"), "/");

    let public_read = Route { methods: vec![Method::GET], name: "read".into(), ..route("/items", Access::Public) };
    let table_read = table(vec![route("/items", token()), public_read]);
    assert_eq!(found(&table_read, &Method::HEAD, "h", "/items/1"), "read");
    assert_eq!(found(&table_read, &Method::POST, "h", "/items"), "/items");

    let scoped_read = Route { methods: vec![Method::GET], ..route("/items", scoped(&["read"])) };
    assert_eq!(found(&table(vec![route("/", token()), scoped_read]), &Method::DELETE, "h", "/items"), "405 GET, HEAD");
}

#[test]
fn what_an_upstream_may_take_for_a_stricter_route_is_refused() {
    let mixed = table(vec![route("/", Access::Public), route("/admin", token()), route("/@me", scoped(&["me"]))]);
    for target in [
        "/Admin",
        "/ADMIN/x",
        "/x%2F..",
        "/%2Fadmin",
        "/admin;x",
        "/admin%3Bx/y",
        "/;x/admin",
        "/%40me",
        "/%2540me",
        "/%25%25361dmin",
    ] {
        let found = found(&mixed, &Method::GET, "h", target);
        assert!(found == "ambiguous" || found == "400", "{target}: {found}");
    }
    for target in ["/admins", "/x//y", "/caf%C3%A9", "/a;b", "/x%2Fadmin"] {
        assert_eq!(found(&mixed, &Method::GET, "h", target), "/", "{target}");
    }
    let exact = Route { exact: true, ..route("/admin", token()) };
    assert_eq!(found(&table(vec![route("/", Access::Public), exact]), &Method::GET, "h", "/admin/"), "ambiguous");
}

#[test]
fn what_a_more_enforced_route_may_be_meant_to_guard_is_refused() {
    let share = |prefix: &str, enforced| Route { enforced, ..route(prefix, token()) };
    let half = Share::new(50).unwrap();
    for (outer, inner, met) in [
        (Share::NONE, Share::ALL, "ambiguous"),
        (half, Share::ALL, "ambiguous"),
        (half, half, "/"),
        (Share::ALL, Share::NONE, "/"),
    ] {
        let table = table(vec![share("/", outer), share("/admin", inner)]);
        assert_eq!(found(&table, &Method::GET, "a", "/Admin"), met, "{outer:?} around {inner:?}");
    }
}

#[test]
fn unusual_paths_pass_where_nothing_stricter_could_be_meant() {
    let uniform = table(vec![route("/", token()), route("/api", token()), route("/public", Access::Public)]);
    for (target, name) in [("/api/a%2Fb", "/api"), ("/x;y", "/"), ("/a//b", "/"), ("/Public", "/"), ("/public//x", "/public")] {
        assert_eq!(found(&uniform, &Method::GET, "h", target), name, "{target}");
    }
}

#[test]
fn own_endpoints_go_first_and_name_their_methods() {
    let table = RouteTable::new(own(), vec![route("/", token())]).unwrap();
    assert_eq!(found(&table, &Method::POST, "h", "/login?x"), "own Login");
    assert_eq!(found(&table, &Method::OPTIONS, "h", "/login"), "own Login");
    assert_eq!(found(&table, &Method::GET, "h", "/login"), "405 POST, OPTIONS");
    assert_eq!(found(&table, &Method::GET, "h", "/sessions"), "own Sessions");
    assert_eq!(found(&table, &Method::HEAD, "h", "/healthz"), "own Health");
    let id = SessionId::from_bytes([3; 16]);
    assert_eq!(found(&table, &Method::DELETE, "h", &format!("/sessions/{id}")), format!("own Session({id})"));
    assert_eq!(found(&table, &Method::GET, "h", &format!("/sessions/{id}")), "405 DELETE, OPTIONS");
    assert_eq!(found(&table, &Method::POST, "h", "/refresh"), "/", "switched off: the routes have it");
}

#[test]
fn other_spellings_of_own_endpoints_lead_nowhere() {
    let table = RouteTable::new(own(), vec![route("/", Access::Public)]).unwrap();
    let spellings = [
        "/Login",
        "/login/",
        "/login//",
        "/login;x",
        "/%2Flogin",
        "/login%3B",
        "/sessions/",
        "/sessions/nobody",
        "/Sessions/a/b",
    ];
    for target in spellings {
        assert_eq!(found(&table, &Method::POST, "h", target), "404", "{target}");
    }
    assert_eq!(found(&table, &Method::POST, "h", "/login/x"), "/");
}

#[test]
fn everything_wrong_with_a_table_is_told_at_once() {
    let paths = EndpointPaths {
        refresh: Some("/Login".to_owned()),
        jwks: Some("/jwks/".to_owned()),
        ready: Some("ready".to_owned()),
        ..own()
    };
    let routes = vec![
        route("/a", token()),
        Route { name: "twice".into(), methods: Vec::new(), ..route("/a", Access::Public) },
        Route { name: "slash".into(), ..route("/b/", token()) },
        Route { name: "encoded".into(), ..route("/b%2fc", token()) },
        Route { name: "parameter".into(), ..route("/b;c", token()) },
        Route { name: "query".into(), ..route("/b?c", token()) },
        Route { name: "case".into(), ..route("/A", Access::Public) },
        Route { name: "host".into(), host: Some("A.example:80".to_owned()), ..route("/c", token()) },
        Route { name: "own".into(), exact: true, ..route("/login", token()) },
        Route { name: "below".into(), ..route("/sessions/x", token()) },
    ];
    let errors = RouteTable::new(paths, routes).unwrap_err();
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let routes: Vec<&str> = errors.iter().filter_map(RouteError::route).collect();
    let expected = ["slash", "encoded", "parameter", "query", "host", "twice", "case", "own", "below"];
    assert_eq!(routes, expected, "{texts:#?}");
    for path in ["/Login", "/jwks/", "ready"] {
        assert!(texts.iter().any(|text| text.contains(path)), "{path}: {texts:#?}");
    }
}

#[test]
fn a_prefix_may_hold_what_must_be_encoded() {
    let table = table(vec![route("/caf%C3%A9", token()), route("/a%40b", token())]);
    assert_eq!(found(&table, &Method::GET, "h", "/caf%c3%a9/x"), "/caf%C3%A9");
    assert_eq!(found(&table, &Method::GET, "h", "/a%40b"), "/a%40b");
}

/// The rule in the words of the documentation, without regard to speed: for plain paths in lower case.
fn naive<'a>(routes: &'a [Route], method: &Method, host: &str, path: &str) -> Option<&'a Route> {
    let takes = |route: &&Route| {
        route.methods.is_empty()
            || route.methods.iter().any(|one| one == method || *one == Method::GET && *method == Method::HEAD)
    };
    let rank = |route: &&Route| (route.host.is_some(), segments(&route.prefix).len(), route.exact, !route.methods.is_empty());
    routes.iter().filter(|route| covers(route, host, path)).filter(takes).max_by_key(rank)
}

/// Whether a route concerns a path, whatever the method.
fn covers(route: &Route, host: &str, path: &str) -> bool {
    let here = if route.exact { path == route.prefix } else { segments(path).starts_with(&segments(&route.prefix)) };
    here && route.host.as_deref().is_none_or(|own| own == host)
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty()).collect()
}

fn any_access() -> impl Strategy<Value = Access> {
    prop_oneof![Just(Access::Public), Just(token()), Just(scoped(&["a"])), Just(scoped(&["a", "b"])), Just(scoped(&["c"]))]
}

fn any_path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop_oneof!["a", "b", "ab", "@"], 0..4).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn any_method() -> impl Strategy<Value = Method> {
    prop_oneof![Just(Method::GET), Just(Method::HEAD), Just(Method::POST), Just(Method::DELETE)]
}

fn any_host() -> impl Strategy<Value = String> {
    prop_oneof!["h", "i"]
}

prop_compose! {
    fn any_route()(
        prefix in any_path(),
        access in any_access(),
        exact: bool,
        host in prop::option::of(any_host()),
        methods in prop::collection::vec(any_method(), 0..2),
    ) -> Route {
        let name = format!("{host:?} {prefix} {exact} {methods:?}").into();
        Route { name, host, exact, methods, ..route(&prefix, access) }
    }
}

/// A table, and its routes without those that repeat another one's place.
fn any_routes() -> impl Strategy<Value = Vec<Route>> {
    prop::collection::vec(any_route(), 1..8).prop_map(|routes| {
        let mut distinct: Vec<Route> = Vec::new();
        for route in routes {
            let with_it = distinct.iter().cloned().chain([route.clone()]).collect();
            if RouteTable::new(EndpointPaths::default(), with_it).is_ok() {
                distinct.push(route);
            }
        }
        distinct
    })
}

/// How a path may be spelt so that some upstream takes it for the same.
fn respelt(path: &str, tricks: &[u8]) -> String {
    let mut out = String::new();
    for (at, character) in path.chars().enumerate() {
        match (character, tricks.get(at).copied().unwrap_or(0) % 12) {
            ('/', 1) if at > 0 => out.push_str("//"),
            ('/', 2) if at > 0 => out.push_str("%2f"),
            ('/', 3) if at > 0 => out.push_str("%5C"),
            ('/', 4) => out.push_str(";x=1/"),
            ('/', 5) => out.push_str("/;p/"),
            ('/', 6) if at > 0 => out.push_str("%252F"),
            (other, 7) if other != '/' => write!(out, "%{:02x}", u32::from(other)).unwrap(),
            (other, 8) if other != '/' => write!(out, "%25{:02X}", u32::from(other)).unwrap(),
            (other, 9) => out.push(other.to_ascii_uppercase()),
            (other, _) => out.push(other),
        }
    }
    match tricks.first().copied().unwrap_or(0) % 8 {
        1 => out + "/",
        2 => out + ";v=2",
        3 => out + "%3Bv",
        4 => out + "//",
        _ => out,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn the_table_finds_what_a_naive_reading_of_the_rule_finds(
        routes in any_routes(), method in any_method(), host in any_host(), path in any_path(),
    ) {
        let table = table(routes.clone());
        let expected = naive(&routes, &method, &host, &path);
        match table.find(&method, &host, &CanonicalTarget::parse(&path).unwrap()) {
            Match::Route(route) => prop_assert_eq!(Some(&route.name), expected.map(|route| &route.name)),
            Match::NotFound => prop_assert!(expected.is_none()),
            // No route takes the method, or a stricter one that does not stands before the one that does.
            Match::MethodNotAllowed { .. } => {
                let is_guarded = expected.is_none_or(|route| {
                    let guards = |other: &Route| !route.is_as_strict_as(other) && !other.allows(&method);
                    !route.names(&method) && routes.iter().any(guards)
                });
                prop_assert!(is_guarded);
            }
            Match::Ambiguous | Match::Own(_) => prop_assert!(false, "a plain path has but one meaning here"),
        }
    }

    #[test]
    fn no_spelling_of_a_path_meets_a_laxer_route(
        routes in any_routes(), method in any_method(), host in any_host(), path in any_path(),
        tricks in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        let table = table(routes.clone());
        let plain = CanonicalTarget::parse(&path).unwrap();
        let respelt = respelt(&path, &tricks);
        let Ok(target) = CanonicalTarget::parse(&respelt) else { return Ok(()) };
        if let Match::Route(taken) = table.find(&method, &host, &target) {
            match table.find(&method, &host, &plain) {
                Match::Route(meant) => prop_assert!(taken.is_as_strict_as(meant), "{respelt} for {path}"),
                // A route that does not list the method stood in the way of one that does.
                Match::MethodNotAllowed { .. } => {
                    let is_as_strict_as_all =
                        routes.iter().filter(|route| covers(route, &host, &path)).all(|route| taken.is_as_strict_as(route));
                    prop_assert!(taken.names(&method) || is_as_strict_as_all, "{respelt} for {path}");
                }
                other => prop_assert!(false, "{respelt} meets {}, {path} {other:?}", taken.name),
            }
        }
    }

    #[test]
    fn no_spelling_of_an_own_endpoint_reaches_an_upstream(
        name in prop::sample::select(vec!["/login", "/sessions", "/healthz"]),
        method in any_method(),
        tricks in prop::collection::vec(any::<u8>(), 0..10),
    ) {
        let table = RouteTable::new(own(), vec![route("/", Access::Public)]).unwrap();
        let respelt = respelt(name, &tricks);
        if let Ok(target) = CanonicalTarget::parse(&respelt) {
            let found = table.find(&method, "h", &target);
            prop_assert!(!matches!(found, Match::Route(_)), "{respelt}: {found:?}");
        }
    }
}
