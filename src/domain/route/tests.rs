use std::fmt::Write as _;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::demands::TokenDemands;
use crate::domain::headers::AuthorizationRule;
use crate::domain::path::CanonicalTarget;
use crate::domain::per_upstream::UpstreamIndex;
use crate::domain::rate::Rate;

mod own_endpoints;
mod properties;
mod spellings;

pub(in crate::domain) fn route(prefix: &str, access: Access) -> Route {
    Route {
        name: prefix.into(),
        host: None,
        prefix: prefix.to_owned(),
        exact: false,
        methods: Vec::new(),
        addresses: AddressRule::default(),
        access,
        limit: None,
        when_stale: WhenStale::Reject,
        enforced: Share::ALL,
        sign_in: None,
        revocation: RevocationCheck::Replica,
        action: Action::Forward(Forward {
            upstream: UpstreamIndex::FIRST,
            prefix: PrefixRule::Keep,
            authorization: AuthorizationRule::default(),
            request_fields: None,
            response_fields: None,
            body_bytes_max: 0,
            body_rate_min: None,
            response_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            websocket_renewal: None,
        }),
    }
}

fn host(pattern: &str) -> HostPattern {
    pattern.parse().unwrap()
}

fn token() -> Access {
    scoped(&[])
}

fn scoped(scopes: &[&str]) -> Access {
    Access::Token(TokenDemands { scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(), ..TokenDemands::default() })
}

fn table(routes: Vec<Route>) -> RouteTable {
    RouteTable::new(EndpointPaths::default(), routes).unwrap()
}

fn own() -> EndpointPaths {
    EndpointPaths {
        login: vec!["/login".to_owned()],
        revoke: Some("/oauth/revoke".to_owned()),
        sessions: Some("/sessions".to_owned()),
        session: Some("/session".to_owned()),
        health: Some("/healthz".to_owned()),
        ..EndpointPaths::default()
    }
}

/// What a request meets, in short.
fn found(table: &RouteTable, method: &Method, host: &str, target: &str) -> String {
    found_with(table, method, host, target, &[])
}

fn found_with(table: &RouteTable, method: &Method, host: &str, target: &str, fields: &[(&'static str, &'static str)]) -> String {
    let Ok(target) = CanonicalTarget::parse(target) else { return "400".to_owned() };
    let headers = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    told(table.find(&Asked { method, host: Some(host), told_host: None, target: &target, headers: &headers }))
}

fn told(found: Found<'_>) -> String {
    match found {
        Match::Endpoint(Endpoint::Login(kind)) => format!("own {kind:?}"),
        Match::Endpoint(Endpoint::Own(endpoint)) => format!("own {endpoint:?}"),
        Match::Preflight => "preflight".to_owned(),
        Match::Route(route) => route.name.to_string(),
        Match::MethodNotAllowed { allow } => format!("405 {allow}"),
        Match::Ambiguous => "ambiguous".to_owned(),
        Match::AmbiguousHost => "ambiguous host".to_owned(),
        Match::NotFound => "404".to_owned(),
    }
}

#[test]
fn the_most_specific_route_wins() {
    let host = Route { host: Some(host("b.example")), name: "host".into(), ..route("/", token()) };
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
fn an_exact_host_goes_before_all_below_a_name_and_those_before_any() {
    let at = |pattern: &'static str| Route { host: Some(host(pattern)), name: pattern.into(), ..route("/", token()) };
    let table = table(vec![at("*.example.com"), route("/", token()), at("*.b.example.com"), at("a.b.example.com")]);
    for (host, name) in [
        ("a.b.example.com", "a.b.example.com"),
        ("c.b.example.com", "*.b.example.com"),
        ("d.c.b.example.com", "*.b.example.com"),
        ("b.example.com", "*.example.com"),
        ("example.com", "/"),
        ("badexample.com", "/"),
    ] {
        assert_eq!(found(&table, &Method::GET, host, "/x"), name, "{host}");
    }
}

#[test]
fn addresses_and_limits_make_a_route_stricter() {
    let nets = |text: &str| AddressRule::new(vec![text.parse().unwrap()], Vec::new()).unwrap();
    let limit = |permits: u32| {
        let permits = permits.try_into().unwrap();
        Some(RouteLimit { rate: Rate { permits, period: Duration::from_secs(1), burst: permits }, by: LimitBy::Address })
    };
    let guarded = [
        Route { addresses: nets("10.0.0.0/8"), ..route("/admin", Access::Public) },
        Route { limit: limit(5), ..route("/admin", Access::Public) },
    ];
    for admin in guarded {
        let laxer =
            [route("/", Access::Public), Route { limit: limit(6), addresses: nets("10.0.0.0/7"), ..route("/", Access::Public) }];
        for all in laxer {
            let table = table(vec![all, admin.clone()]);
            assert_eq!(found(&table, &Method::GET, "h", "/admin"), "/admin");
            assert_eq!(found(&table, &Method::GET, "h", "/Admin"), "ambiguous");
            assert_eq!(found(&table, &Method::GET, "h", "/administrators"), "/");
        }
        let all = Route { limit: limit(5), addresses: nets("10.1.0.0/16"), ..route("/", Access::Public) };
        assert_eq!(found(&table(vec![all, admin]), &Method::GET, "h", "/Admin"), "/", "as strict");
    }
}

#[test]
fn a_path_that_a_route_keeps_shut_is_opened_by_no_spelling() {
    let respond = |status: u16| {
        let status = http::StatusCode::from_u16(status).unwrap();
        Action::Respond(FixedResponse { status, fields: HeaderMap::new(), body: bytes::Bytes::new() })
    };
    let shut = |status| Route { action: respond(status), ..route("/internal", Access::Public) };
    for status in [403, 404, 503] {
        let table = table(vec![route("/", token()), shut(status)]);
        assert_eq!(found(&table, &Method::GET, "h", "/internal/x"), "/internal");
        for spelt in ["/Internal", "/internal;x/y", "/%2Finternal"] {
            assert_eq!(found(&table, &Method::GET, "h", spelt), "ambiguous", "{spelt}");
        }
    }
    // A page beside which another name is another page.
    let table =
        table(vec![route("/", token()), Route { action: respond(200), exact: true, ..route("/robots.txt", Access::Public) }]);
    assert_eq!(found(&table, &Method::GET, "h", "/robots"), "/");
    assert_eq!(found(&table, &Method::GET, "h", "/robots.txt"), "/robots.txt");
}

#[test]
fn what_responds_by_itself_opens_nothing() {
    let to = "/new".parse().unwrap();
    let redirect = Action::Redirect(Redirect { to, status: http::StatusCode::PERMANENT_REDIRECT });
    let table = table(vec![Route { action: redirect, ..route("/", Access::Public) }, route("/admin", token())]);
    assert_eq!(found(&table, &Method::GET, "h", "/Admin"), "/");
}

#[test]
fn a_request_that_names_no_host_meets_the_routes_that_name_none() {
    let closed = Route { host: Some(host("*.example.com")), name: "closed".into(), ..route("/", token()) };
    let table = RouteTable::new(own(), vec![closed, route("/open", Access::Public)]).unwrap();
    let find = |path: &str| {
        let target = CanonicalTarget::parse(path).unwrap();
        format!(
            "{:?}",
            table.find(&Asked { method: &Method::GET, host: None, told_host: None, target: &target, headers: &HeaderMap::new() })
        )
    };
    assert!(find("/open").contains("Route"), "{}", find("/open"));
    assert_eq!(find("/x"), "NotFound");
    assert_eq!(find("/healthz"), "Endpoint(Own(Health))");
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
fn a_host_that_a_proxy_tells_of_meets_no_laxer_route_than_its_own() {
    let at = |name: &str, pattern: &str, prefix: &str, access: Access| Route {
        host: Some(host(pattern)),
        name: name.into(),
        ..route(prefix, access)
    };
    let read = Route { methods: vec![Method::GET], ..at("read", "read.example.com", "/", token()) };
    let table = table(vec![
        route("/", Access::Public),
        route("/tasks", token()),
        at("admin", "admin.example.com", "/", scoped(&["admin"])),
        at("below", "*.apps.example.com", "/", token()),
        at("open", "open.example.com", "/", Access::Public),
        read,
    ]);
    let find = |method: &Method, host: Option<&str>, told_host: Option<&str>, target: &str| {
        let target = CanonicalTarget::parse(target).unwrap();
        told(table.find(&Asked { method, host, told_host, target: &target, headers: &HeaderMap::new() }))
    };
    let get = |host: &str, told: &str, target: &str| find(&Method::GET, Some(host), Some(told), target);
    assert_eq!(get("a.example", "admin.example.com", "/x"), "ambiguous host");
    assert_eq!(get("a.example", "admin.example.com", "/tasks"), "ambiguous host", "a token is less than a scope");
    assert_eq!(get("a.example", "a.apps.example.com", "/x"), "ambiguous host");
    assert_eq!(find(&Method::GET, None, Some("admin.example.com"), "/x"), "ambiguous host");
    assert_eq!(find(&Method::POST, Some("a.example"), Some("read.example.com"), "/x"), "ambiguous host");

    assert_eq!(get("a.example", "a.apps.example.com", "/tasks"), "/tasks", "both ask for a token");
    assert_eq!(get("admin.example.com", "a.example", "/x"), "admin", "the stricter rule has been applied");
    assert_eq!(get("admin.example.com", "admin.example.com", "/x"), "admin");
    assert_eq!(get("gateway", "open.example.com", "/x"), "/");
    assert_eq!(get("gateway", "www.example.org", "/x"), "/", "no rule tells this host from others");
    assert_eq!(find(&Method::GET, Some("a.example"), None, "/x"), "/");
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
        Route { name: "own".into(), exact: true, methods: vec![Method::POST], ..route("/login", token()) },
        Route { name: "below".into(), methods: vec![Method::DELETE], ..route("/sessions/x", token()) },
        Route { name: "page".into(), exact: true, ..route("/login", Access::Public) },
    ];
    let errors = RouteTable::new(paths, routes).unwrap_err();
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let routes: Vec<&str> = errors.iter().filter_map(RouteError::route).collect();
    let expected = ["slash", "encoded", "parameter", "query", "twice", "case", "own", "below"];
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
