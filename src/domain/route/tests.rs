use std::fmt::Write as _;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::demands::TokenDemands;
use crate::domain::headers::AuthorizationRule;
use crate::domain::path::CanonicalTarget;
use crate::domain::per_upstream::UpstreamIndex;
use crate::domain::rate::Rate;

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
fn what_frameworks_servers_and_file_systems_take_for_a_stricter_route_is_refused() {
    let mixed = table(vec![route("/", Access::Public), route("/tasks", token()), route("/admin/skills", scoped(&["admin"]))]);
    for target in [
        "/tasks.json",
        "/tasks.json/",
        "/tasks.a.b",
        "/tasks%20.json",
        "/Tasks.JSON",
        "/tasks.php/1",
        "/index.php/tasks",
        "/a/../tasks",
        "/INDEX.PHP/tasks/1",
        "/index.php%2Ftasks",
        "/tasks.",
        "/tasks./1",
        "/tasks..",
        "/tasks%20",
        "/%20tasks/1",
        "/tasks+",
        "/tasks%2E",
        "/tasks%3Fx",
        "/tasks%3fx/y",
        "/tasks%23x",
        "/tasks%253Fx",
        "/tasks%3Bx%252Fy",
        "/ta%C5%BFks",
        "/tas%E2%84%AAs",
        "/ta%25C5%25BFks",
        "/%EF%BD%94asks",
        "/t%C3%A1sks",
        "/ta%CC%81sks",
        "/tasks%E2%80%8B",
        "/x%EF%BC%8F..%EF%BC%8Ftasks",
        "/x/%E2%80%A5/tasks",
        "/x/%EF%BC%8E%EF%BC%8E/tasks",
        "/%EF%BC%8Ftasks",
        "/%E2%88%95tasks",
        "/x/..%20/tasks",
        "/tasks::$DATA",
        "/tasks:$i30:$INDEX_ALLOCATION/1",
        "/%25u0074asks",
        "/%25uFF54asks",
        "/%EF%BC%8574asks",
        "/adm%C4%B1n/skills",
        "/adm%C4%B0n/skills/1",
        "/admin/%C5%BFkills",
        "/admin./skills",
        "/admin/skills.xml",
        "/admin.php/skills",
        "/%25252525252574asks",
        "/...//tasks",
    ] {
        let found = found(&mixed, &Method::GET, "h", target);
        assert!(found == "ambiguous" || found == "400", "{target}: {found}");
    }
    for target in [
        "/files/report.pdf",
        "/taskstasks.json",
        "/task.json",
        "/x/tasks.json",
        "/tasks-1.json",
        "/.well-known/x.json",
        "/v1.2/things",
        "/admin.css",
        "/admin/index.html",
        "/search/a+b",
        "/c++",
        "/things:cancel",
        "/urn:x::y",
        "/index.php/x",
        "/x/tasks.php/y",
        "/100%EF%BC%85.pdf",
        "/a%E2%80%A6b",
        "/%E2%80%A6",
        "/stra%C3%9Fe",
        "/a%20b.c",
    ] {
        assert_eq!(found(&mixed, &Method::GET, "h", target), "/", "{target}");
    }
    for target in ["/tasks/1.json", "/tasks/a+b", "/tasks/x.php/y", "/tasks/%C5%BF", "/tasks/index.html"] {
        assert_eq!(found(&mixed, &Method::GET, "h", target), "/tasks", "{target}");
    }
    let alone = table(vec![route("/", Access::Public), Route { exact: true, ..route("/tasks", token()) }]);
    for target in ["/tasks.json", "/tasks/index.html", "/tasks/Default.aspx", "/tasks/index", "/tasks;x=%252F"] {
        assert_eq!(found(&alone, &Method::GET, "h", target), "ambiguous", "{target}");
    }
    assert_eq!(found(&alone, &Method::GET, "h", "/tasks/1.json"), "/");
}

#[test]
fn a_route_that_names_a_path_means_it() {
    let style = route("/admin.css", Access::Public);
    let script = route("/index.php", Access::Public);
    let api = route("/api", token());
    let table = table(vec![route("/", token()), route("/admin", scoped(&["admin"])), style, script, api]);
    assert_eq!(found(&table, &Method::GET, "h", "/admin.css"), "/admin.css");
    assert_eq!(found(&table, &Method::GET, "h", "/admin.js"), "ambiguous");
    assert_eq!(found(&table, &Method::GET, "h", "/index.php"), "/index.php");
    assert_eq!(found(&table, &Method::GET, "h", "/index.php/x"), "/index.php");
    assert_eq!(found(&table, &Method::GET, "h", "/index.php/api"), "ambiguous", "the script may serve it");
}

#[test]
fn a_name_without_its_extension_meets_no_laxer_route() {
    let guarded = [route("/admin.html", token()), route("/tool.php", token()), route("/page.html.en", token())];
    let open = table([vec![route("/", Access::Public)], guarded.to_vec()].concat());
    for target in ["/admin", "/Admin", "/admin/", "/admin;x", "/tool", "/tool/1", "/page", "/page.html", "/PAGE.HTML", "/%61dmin"]
    {
        assert_eq!(found(&open, &Method::GET, "h", target), "ambiguous", "{target}");
    }
    for target in ["/admi", "/admins", "/admin/1", "/admin-html", "/page.htm", "/page.html/1", "/toolbox", "/x/admin", "/tool.ph"]
    {
        assert_eq!(found(&open, &Method::GET, "h", target), "/", "{target}");
    }
    for (target, name) in [("/admin.html", "/admin.html"), ("/tool.php/1", "/tool.php"), ("/page.html.en", "/page.html.en")] {
        assert_eq!(found(&open, &Method::GET, "h", target), name, "{target}");
    }
    let hidden = table(vec![route("/", Access::Public), route("/.env", token()), route("/files/.git", token())]);
    for target in ["/", "/files", "/files/"] {
        assert_eq!(found(&hidden, &Method::GET, "h", target), "/", "a name that begins with a dot is no extension: {target}");
    }
    let alike = table(vec![route("/", token()), route("/admin.html", token())]);
    assert_eq!(found(&alike, &Method::GET, "h", "/admin"), "/");
}

#[test]
fn a_route_that_names_a_path_without_extension_means_it() {
    let table = table(vec![route("/", token()), route("/admin", Access::Public), route("/admin.php", scoped(&["admin"]))]);
    for target in ["/admin", "/admin/", "/admin/1"] {
        assert_eq!(found(&table, &Method::GET, "h", target), "/admin", "{target}");
    }
    for target in ["/Admin", "/ADMIN.PHP", "/admin;x"] {
        assert_eq!(found(&table, &Method::GET, "h", target), "ambiguous", "{target}");
    }
}

#[test]
fn an_exact_route_may_end_in_a_slash() {
    let exact = |prefix: &str, access: Access| Route { exact: true, ..route(prefix, access) };
    let open = table(vec![route("/", Access::Public), exact("/tasks/", token())]);
    assert_eq!(found(&open, &Method::GET, "h", "/tasks/"), "/tasks/");
    assert_eq!(found(&open, &Method::GET, "h", "/tasks/1"), "/");
    for target in ["/tasks", "/tasks//", "/TASKS/", "/tasks.json", "/tasks/index.html"] {
        assert_eq!(found(&open, &Method::GET, "h", target), "ambiguous", "{target}");
    }
    let alike = table(vec![route("/", token()), exact("/tasks/", token()), exact("/tasks", token())]);
    for (target, name) in [("/tasks", "/tasks"), ("/tasks/", "/tasks/"), ("/tasks//", "/")] {
        assert_eq!(found(&alike, &Method::GET, "h", target), name, "{target}");
    }
    let differ = vec![exact("/tasks/", token()), exact("/tasks", Access::Public)];
    let errors = RouteTable::new(EndpointPaths::default(), differ).unwrap_err();
    assert!(matches!(errors[..], [RouteError::SpeltAlike(..)]), "{errors:?}");
    for bad in [route("/tasks/", token()), exact("/tasks//", token()), exact("//", token())] {
        assert!(RouteTable::new(EndpointPaths::default(), vec![bad.clone()]).is_err(), "{}", bad.prefix);
    }
}

#[test]
fn a_plus_at_the_end_is_a_space_to_some_and_itself_to_others() {
    let plus = table(vec![route("/", Access::Public), route("/c++", token()), route("/a+b", token()), route("/+1", token())]);
    for target in ["/c", "/c/1", "/c+", "/1", "/a", "/c%20+x"] {
        assert_eq!(found(&plus, &Method::GET, "h", target), "/", "{target}");
    }
    for target in ["/C++", "/c%2B%2B", "/c%2b%2B/1", "/c++;x", "/c++.html", "/a%20b", "/A%2Bb", "/c%20%20", "/c++."] {
        assert_eq!(found(&plus, &Method::GET, "h", target), "ambiguous", "{target}");
    }
    for (target, name) in [("/c++", "/c++"), ("/c++/1", "/c++"), ("/a+b", "/a+b"), ("/+1", "/+1")] {
        assert_eq!(found(&plus, &Method::GET, "h", target), name, "{target}");
    }
    let bare = table(vec![route("/", Access::Public), route("/c", token())]);
    for target in ["/c++", "/c+", "/+c", "/c%20", "/c%2B/1", "/c+.html"] {
        assert_eq!(found(&bare, &Method::GET, "h", target), "ambiguous", "{target}");
    }
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
fn readings_cost_nothing_where_routes_do_not_differ() {
    let table = table(vec![route("/", token()), route("/tasks", token()), Route { exact: true, ..route("/admin", token()) }]);
    for target in ["/tasks.json", "/Admin", "/admin;x", "/ta%C5%BFks", "/x/..%20/tasks", "/%2525252525x"] {
        assert_eq!(found(&table, &Method::GET, "h", target), "/", "{target}");
    }
}

#[test]
fn what_is_merely_observed_refuses_no_path() {
    let observed = Route { enforced: Share::NONE, methods: vec![Method::GET], ..route("/tasks", scoped(&["tasks"])) };
    for open in [Access::Public, Access::Optional, token()] {
        let table = table(vec![route("/", open.clone()), observed.clone()]);
        for target in ["/tasks.json", "/TASKS", "/tasks;x", "/index.php/tasks"] {
            assert_eq!(found(&table, &Method::GET, "h", target), "/", "{target} {open:?}");
        }
        assert_eq!(found(&table, &Method::GET, "h", "/tasks/1"), "/tasks");
        assert_eq!(found(&table, &Method::POST, "h", "/tasks"), "/");
    }
}

#[test]
fn a_script_leads_to_no_method_that_the_path_behind_it_refuses() {
    let read = Route { methods: vec![Method::GET], ..route("/tasks", token()) };
    let script = route("/index.php", Access::Public);
    let any = table(vec![route("/", Access::Public), script, read.clone()]);
    assert_eq!(found(&any, &Method::DELETE, "h", "/tasks"), "405 GET, HEAD");
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(found(&any, &method, "h", "/index.php/tasks"), "ambiguous", "{method}");
        assert_eq!(found(&any, &method, "h", "/index.php/things"), "/index.php", "{method}");
    }
    let named = Route { methods: vec![Method::POST], ..route("/index.php", Access::Public) };
    let table = table(vec![named, read]);
    assert_eq!(found(&table, &Method::POST, "h", "/index.php/tasks"), "/index.php", "it names the method");
}

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
fn every_endpoint_names_its_methods_where_nobody_takes_another() {
    let at = |path: &str| Some(path.to_owned());
    let paths = EndpointPaths {
        login: vec!["/login".to_owned()],
        register: vec!["/register".to_owned()],
        quick_register: vec!["/quick".to_owned()],
        refresh: at("/refresh"),
        logout: at("/logout"),
        sessions: at("/sessions"),
        revoke: at("/revoke"),
        ticket: at("/ticket"),
        introspect: at("/introspect"),
        jwks: at("/jwks"),
        metadata: at("/metadata"),
        health: at("/health"),
        ready: at("/ready"),
    };
    let table = RouteTable::new(paths, Vec::new()).unwrap();
    let posts =
        ["/login", "/register", "/quick", "/refresh", "/logout", "/ticket", "/revoke", "/introspect"].map(|path| (path, "POST"));
    let gets = ["/sessions", "/jwks", "/metadata", "/health", "/ready"].map(|path| (path, "GET, HEAD"));
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
fn a_browser_that_shows_the_page_of_sessions_gets_it_from_the_routes() {
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
    here && route.host.as_ref().is_none_or(|own| own.matches(host))
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
        let host = host.map(|host| host.parse().unwrap());
        Route { name, host, exact, methods, ..route(&prefix, access) }
    }
}

fn any_rule() -> impl Strategy<Value = PrefixRule> {
    let replace = |other: &str| Just(PrefixRule::Replace(other.to_owned()));
    prop_oneof![
        Just(PrefixRule::Keep),
        Just(PrefixRule::Strip(HeaderValue::from_static("/x"))),
        replace("/"),
        replace("/v2"),
        replace("/a/b")
    ]
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

fn asked<'a>(method: &'a Method, host: &'a str, target: &'a CanonicalTarget<'a>, headers: &'a HeaderMap) -> Asked<'a> {
    Asked { method, host: Some(host), told_host: None, target, headers }
}

/// How a path may be spelt so that some upstream takes it for the same.
fn respelt(path: &str, tricks: &[u8]) -> String {
    let mut out = String::new();
    for (at, character) in path.chars().enumerate() {
        match (character, tricks.get(at).copied().unwrap_or(0) % 24) {
            ('/', 1) if at > 0 => out.push_str("//"),
            ('/', 2) if at > 0 => out.push_str("%2f"),
            ('/', 3) if at > 0 => out.push_str("%5C"),
            ('/', 4) => out.push_str(";x=1/"),
            ('/', 5) => out.push_str("/;p/"),
            ('/', 6) if at > 0 => out.push_str("%252F"),
            (other, 7) if other != '/' => write!(out, "%{:02x}", u32::from(other)).unwrap(),
            (other, 8) if other != '/' => write!(out, "%25{:02X}", u32::from(other)).unwrap(),
            (other, 9) => out.push(other.to_ascii_uppercase()),
            ('/', 10) if at > 0 => out.push_str("%EF%BC%8F"),
            ('/', 11) if at > 0 => out.push_str("./"),
            ('/', 12) if at > 0 => out.push_str("%20/"),
            ('/', 13) if at > 0 => out.push_str("+/"),
            ('/', 14) if at > 0 => out.push_str("::$INDEX_ALLOCATION/"),
            ('/', 15) if at > 0 => out.push_str("/x.php/"),
            ('/', 16) if at > 0 => out.push_str(".php/"),
            ('s', 17) => out.push_str("%C5%BF"),
            ('i', 18) => out.push_str("%c4%b1"),
            ('i', 19) => out.push_str("%25C4%25B0"),
            (other, 20) if other != '/' => {
                // Of full width.
                let wide = char::from_u32(u32::from(other) + 0xfee0).unwrap();
                wide.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| write!(out, "%{byte:02X}").unwrap());
            }
            (other, 21) if other != '/' => write!(out, "%25u{:04X}", u32::from(other)).unwrap(),
            (other, 22) if other != '/' => write!(out, "{other}%CC%81").unwrap(),
            (other, 23) if other != '/' => write!(out, "{other}%E2%80%8D").unwrap(),
            (other, _) => out.push(other),
        }
    }
    // Behind the root, these are names.
    let has_name = path != "/";
    match tricks.first().copied().unwrap_or(0) % 16 {
        1 => out + "/",
        2 => out + ";v=2",
        3 => out + "%3Bv",
        4 => out + "//",
        5 if has_name => out + ".json",
        6 if has_name => out + ".a.b/",
        7 => out + "%3Fx",
        8 => out + "%23x/y",
        9 if has_name => out + ".",
        10 if has_name => out + "%20",
        11 if has_name => out + "::$DATA",
        12 => out + "%253Fx",
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
        match table.find(&asked(&method, &host, &CanonicalTarget::parse(&path).unwrap(), &HeaderMap::new())) {
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
            Match::Ambiguous | Match::AmbiguousHost | Match::Endpoint(_) | Match::Preflight => prop_assert!(false, "a plain path has but one meaning here"),
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
        if let Match::Route(taken) = table.find(&asked(&method, &host, &target, &HeaderMap::new())) {
            match table.find(&asked(&method, &host, &plain, &HeaderMap::new())) {
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
    fn what_goes_out_is_canonical_and_leads_back_to_its_route(
        routes in any_routes(), rules in prop::collection::vec(any_rule(), 8), method in any_method(), host in any_host(),
        path in any_path(), tricks in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        let with_rule = |(mut route, rule): (Route, PrefixRule)| {
            if let Action::Forward(forward) = &mut route.action {
                forward.prefix = rule;
            }
            route
        };
        let table = table(routes.into_iter().zip(rules).map(with_rule).collect());
        let respelt = respelt(&path, &tricks) + "?q=//../x";
        let (Ok(target), headers) = (CanonicalTarget::parse(&respelt), HeaderMap::new()) else { return Ok(()) };
        let Match::Route(route) = table.find(&asked(&method, &host, &target, &headers)) else { return Ok(()) };
        let rule = &route.forward().unwrap().prefix;
        let Ok(out) = route.target(rule, &target) else {
            prop_assert!(*rule != PrefixRule::Keep && target.path().contains("//"), "{respelt}");
            return Ok(());
        };
        let out = out.as_ref().unwrap_or(&target).path_and_query();
        let again = CanonicalTarget::parse(out).unwrap();
        prop_assert_eq!(again.path_and_query(), out);
        prop_assert!(again.query() == target.query() && !again.path().starts_with("//"));
        let (prefix, rest) = route.split(target.path());
        let other = match rule {
            PrefixRule::Keep => prefix,
            PrefixRule::Strip(_) => "",
            PrefixRule::Replace(other) => other.strip_suffix('/').unwrap_or(other),
        };
        let kept = again.path().strip_prefix(other).unwrap();
        prop_assert!(kept == rest || rest.is_empty() && kept == "/", "{respelt} → {out}");
        let back = [prefix, rest, target.query()].concat();
        let back = CanonicalTarget::parse(&back).unwrap();
        let found = table.find(&asked(&method, &host, &back, &headers));
        prop_assert!(matches!(found, Match::Route(same) if Arc::ptr_eq(same, route)), "{respelt}: {found:?}");
    }

    #[test]
    fn no_spelling_of_an_own_endpoint_reaches_an_upstream(
        (name, method) in prop::sample::select(vec![("/login", Method::POST), ("/sessions/x", Method::DELETE)]),
        tricks in prop::collection::vec(any::<u8>(), 0..10),
    ) {
        let table = RouteTable::new(own(), vec![route("/", Access::Public)]).unwrap();
        let respelt = respelt(name, &tricks);
        if let Ok(target) = CanonicalTarget::parse(&respelt) {
            let headers = HeaderMap::new();
            let found = table.find(&asked(&method, "h", &target, &headers));
            prop_assert!(!matches!(found, Match::Route(_)), "{respelt}: {found:?}");
        }
    }
}
