//! What holds for every table and every request.

use super::*;

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
