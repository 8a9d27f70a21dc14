//! Routes and their upstreams.

use super::{MINIMAL, assert_one_fault, faults, inputs, load, minimal_and};
use crate::config::Settings;
use crate::domain::demands::TokenDemands;
use crate::domain::per_upstream::UpstreamIndex;
use crate::domain::route::{Access, Action, LimitBy, PrefixRule, Route};

#[test]
fn one_upstream_is_enough_and_everything_needs_a_token() {
    let settings = Settings::from_toml(MINIMAL).unwrap();
    assert_eq!(settings.upstreams.iter().count(), 1);
    assert_eq!(settings.routes.listed().len(), 1);
    let route = &settings.routes.listed()[0];
    assert_eq!((route.prefix.as_str(), route.exact, route.forward().unwrap().upstream), ("/", false, UpstreamIndex::FIRST));
    assert_eq!(route.access, Access::Token(TokenDemands::default()));
    assert_eq!(route.forward().unwrap().response_timeout, settings.upstreams[UpstreamIndex::FIRST].response_timeout);
    assert_eq!(settings.login.upstream, Some(UpstreamIndex::FIRST));
    assert_eq!(settings.keys.directory.as_deref(), Some(std::path::Path::new("data/keys")));
    assert!(settings.keys.generate && settings.cookies.is_none() && settings.cors.is_none());
}

#[test]
fn routes_are_checked_against_upstreams_and_each_other() {
    let route = |text: &str| format!("[[routes]]\nname = \"a\"\n{text}\n");
    assert_one_fault(&route("upstream = \"nowhere\""), &["routes[0].upstream = \"nowhere\"", "allowed: \"api\""]);
    assert_one_fault(&route("access = \"public\"\nscopes = [\"x\"]"), &["routes[0].scopes", "public"]);
    assert_one_fault(&route("methods = [\"get\"]"), &["routes[0].methods", "upper case"]);
    assert_one_fault(&route("prefix = \"/a/../b\""), &["routes[0].prefix", "starts with a slash"]);
    assert_one_fault(&route("host = \"a:80\""), &["routes[0].host", "without port"]);
    assert_one_fault(&route("host = \"*example.com\""), &["routes[0].host", "*.example.com"]);
    let at_login = |methods: &str| route(&format!("prefix = \"/login\"\nexact = true\nmethods = [{methods}]"));
    assert_one_fault(&at_login("\"POST\""), &["routes[0].prefix", "\"/login\"", "endpoint"]);
    assert_eq!(
        Settings::from_toml(&minimal_and(&at_login("\"GET\""))).unwrap().routes.listed().len(),
        1,
        "a page of the front end"
    );
    assert_one_fault(&(route("prefix = \"/a\"") + "[[routes]]\nname = \"b\"\nprefix = \"/a/\""), &["routes[1].prefix", "\"a\""]);
    assert_one_fault(&(route("prefix = \"/a\"") + "[[routes]]\nname = \"a\"\nprefix = \"/b\""), &["routes[1].name"]);
    assert_one_fault("[[routes]]\nprefix = \"/x\"\n", &["routes[0].name: is missing", "name = \"api\""]);
    let split = route("prefix = \"/a\"\nmethods = [\"GET\"]") + "[[routes]]\nname = \"b\"\nprefix = \"/a\"\nmethods = [\"POST\"]";
    assert_eq!(Settings::from_toml(&minimal_and(&split)).unwrap().routes.listed().len(), 2);
}

#[test]
fn several_upstreams_without_a_default_must_be_named() {
    let two = "[upstreams.a]\nurl = \"http://h:1\"\n[upstreams.b]\nurl = \"https://h:2\"\n";
    let faults = faults(two);
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(faults[0].contains("routes[0].upstream") && faults[1].contains("login.upstream"), "{faults:#?}");
    let with_default = format!("{two}[upstreams.default]\nurl = \"http://h:3\"\n");
    let settings = Settings::from_toml(&with_default).unwrap();
    assert_eq!(&*settings.upstreams[settings.routes.listed()[0].forward().unwrap().upstream].name, "default");
    let second = settings.upstreams.iter().nth(1).unwrap();
    assert!(second.targets.is_tls() && second.targets.first().url.port() == 2);
}

#[test]
fn the_settings_of_the_benchmark_are_valid_and_check_the_tokens_that_are_sent() {
    let settings = Settings::from_toml(include_str!("../../../benches/peers.toml")).unwrap();
    assert_eq!(settings.routes.listed()[0].access, Access::Optional);
    assert_eq!(settings.issuers[0].audiences, ["https://api.example.com"]);
}

/// The route of these lines, with an upstream to go to.
fn read(lines: &str) -> Route {
    let text = minimal_and(&format!("[[routes]]\nname = \"a\"\n{lines}\n"));
    let settings = Settings::from_toml(&text).unwrap_or_else(|invalid| panic!("{lines}: {invalid}"));
    settings.routes.listed()[0].clone()
}

fn assert_fault(lines: &str, parts: &[&str]) {
    assert_one_fault(&format!("[[routes]]\nname = \"a\"\n{lines}\n"), parts);
}

#[test]
fn claims_are_single_values_or_lists() {
    let route =
        read("claims = { role = [\"admin\", \"owner\"], \"/realm/level\" = 3, verified = true }\nmax_login_age = \"10m\"");
    let Access::Token(demands) = route.access else { panic!("{route:?}") };
    let claims: Vec<(&str, Vec<&str>)> =
        demands.claims.iter().map(|demand| (demand.path.as_str(), demand.values.iter().map(String::as_str).collect())).collect();
    assert_eq!(claims, [("/realm/level", vec!["3"]), ("role", vec!["admin", "owner"]), ("verified", vec!["true"])]);
    assert_eq!(demands.login_age_max.unwrap().as_secs(), 600);
    assert_fault("claims = { role = [] }", &["routes[0].claims.role", "nobody could pass"]);
    assert_fault("claims = { role = 1.5 }", &["routes[0].claims.role", "whole number"]);
    assert_fault("claims = { role = [[\"a\"]] }", &["routes[0].claims.role", "whole number"]);
    assert_fault("claims = { scope = \"a\" }", &["routes[0].claims.scope", "instead: scopes"]);
    assert_fault("claims = { \"/aud/0\" = \"a\" }", &["routes[0].claims", "instead: audiences"]);
    assert_fault("claims = { auth_time = 1 }", &["routes[0].claims.auth_time", "instead: max_login_age"]);
    assert_fault("max_login_age = \"0s\"", &["routes[0].max_login_age", "from 1s"]);
    assert_fault("access = \"optional\"\nmax_login_age = \"10m\"", &["routes[0].max_login_age", "no meaning"]);
    assert_fault("access = \"public\"\nclaims = { role = \"a\" }", &["routes[0].claims", "no meaning"]);
    assert_one_fault("login = { claims = { auth_time = \"/at\" } }", &["login.claims.auth_time", "sets this claim itself"]);
}

#[test]
fn addresses_and_limits_are_read_and_what_admits_nobody_is_refused() {
    let route = read("allow = [\"10.0.0.0/8\", \"::1\"]\ndeny = [\"10.9.0.0/16\"]\nlimit = \"100/1s burst 200\"");
    assert_eq!(route.addresses.allowed().len(), 2);
    let limit = route.limit.unwrap();
    assert_eq!((limit.rate.permits.get(), limit.rate.burst.get(), limit.by), (100, 200, LimitBy::Subject));
    assert_eq!(read("access = \"public\"\nlimit = \"1/1s\"").limit.unwrap().by, LimitBy::Address);
    assert_fault("allow = [\"10.0.0.0/33\"]", &["routes[0].allow", "10.0.0.0/33"]);
    assert_fault("allow = [\"10.0.0.0/8\"]\ndeny = [\"0.0.0.0/0\"]", &["routes[0].deny", "nobody"]);
    assert_fault("limit = \"many\"", &["routes[0].limit", "10/1m"]);
    assert_fault("limit_by = \"address\"", &["routes[0].limit_by", "without `limit`"]);
    let public = "access = \"public\"\nlimit = \"1/1s\"\nlimit_by = \"subject\"";
    assert_fault(public, &["routes[0].limit_by", "no subject is known"]);
}

#[test]
fn a_prefix_is_stripped_or_replaced_and_not_both() {
    let rule = |lines: &str| read(&format!("prefix = \"/api\"\n{lines}")).forward().unwrap().prefix.clone();
    assert_eq!(rule(""), PrefixRule::Keep);
    assert_eq!(rule("strip_prefix = true").stripped().unwrap(), "/api");
    assert_eq!(rule("replace_prefix = \"/v2/\""), PrefixRule::Replace("/v2".to_owned()));
    let fault = |lines: &str, parts: &[&str]| assert_fault(&format!("prefix = \"/api\"\n{lines}"), parts);
    fault("strip_prefix = true\nreplace_prefix = \"/v2\"", &["routes[0].replace_prefix", "one of the two"]);
    fault("replace_prefix = \"/api\"", &["routes[0].replace_prefix", "the prefix itself"]);
    for bad in ["v2", "/a//b", "/../b", "/a?b", "//evil.example", "/a;b", "/%2e%2e"] {
        fault(&format!("replace_prefix = \"{bad}\""), &["routes[0].replace_prefix", bad]);
    }
    assert_fault("strip_prefix = true", &["routes[0].strip_prefix", "nothing to strip"]);
}

#[test]
fn fields_with_rules_of_their_own_are_nobodys_to_set() {
    for name in ["Host", "content_length", "authorization", "x-forwarded-for", "X.Real.IP", "cookie", "traceparent", "via"] {
        for key in ["set", "add"] {
            let lines = format!("request_headers.{key} = {{ \"{name}\" = \"hunter2\" }}");
            let faults = faults(&minimal_and(&format!("[[routes]]\nname = \"a\"\n{lines}\n")));
            assert_eq!(faults.len(), 1, "{faults:#?}");
            assert!(
                faults[0].contains(&format!("routes[0].request_headers.{key}")) && faults[0].contains("rules of its own"),
                "{faults:#?}"
            );
            assert!(!faults[0].contains("hunter2"), "{faults:#?}");
        }
    }
    for (lines, parts) in [
        ("request_headers.set = { x-auth-subject = \"root\" }", &["routes[0].request_headers.set", "x-auth-subject"][..]),
        ("request_headers.set = { \"x_auth.subject\" = \"root\" }", &["routes[0].request_headers.set", "x-auth-subject"]),
        ("request_headers.add = { x-auth-issuer = \"root\" }", &["routes[0].request_headers.add", "x-auth-issuer"]),
        ("request_headers.remove = [\"x-auth-*\"]", &["routes[0].request_headers.remove"]),
        ("request_headers.remove = [\"authorization\"]", &["routes[0].request_headers.remove", "authorization = "]),
        ("request_headers.remove = [\"content-*\"]", &["routes[0].request_headers.remove", "content-"]),
        ("request_headers.set = { \"x a\" = \"1\" }", &["routes[0].request_headers.set", "name of a header field"]),
        ("request_headers.set = { x-a = \"a\\r\\nx-b: 1\" }", &["routes[0].request_headers.set.x-a", "control"]),
        ("request_headers.set = { x-a = \"1\", X_A = \"2\" }", &["routes[0].request_headers.set", "twice"]),
        (
            "request_headers = { set = { x-a = \"1\" }, add = { x-a = \"2\" } }",
            &["routes[0].request_headers.add", "one of the two"],
        ),
        (
            "response_headers.set = { Content-Length = \"1\" }",
            &["routes[0].response_headers.set.Content-Length", "content-length"],
        ),
        ("response_headers.remove = [\"*\"]", &["routes[0].response_headers.remove"]),
        ("response_headers.remove = [\"transfer_encoding\"]", &["routes[0].response_headers.remove", "transfer-encoding"]),
        ("response_headers.add = { via = \"1.1 x\" }", &["routes[0].response_headers.add.via"]),
    ] {
        let faults = faults(&minimal_and(&format!("[[routes]]\nname = \"a\"\n{lines}\n")));
        assert!(!faults.is_empty(), "{lines}");
        for part in parts {
            assert!(faults[0].contains(part), "{lines}: {part} in {faults:#?}");
        }
    }
    let named = "identity.subject_header = \"x-user\"\n[[routes]]\nname = \"a\"\nrequest_headers.set = { x_user = \"root\" }\n";
    assert_one_fault(named, &["routes[0].request_headers.set", "x-user"]);
    // At once with what is wrong elsewhere.
    let lines = "name = \"a\"\nupstream = \"nowhere\"\nrequest_headers.set = { x-auth-subject = \"root\" }";
    let told = faults(&minimal_and(&format!("login.answer_bytes_max = \"-\"\n[[routes]]\n{lines}\n")));
    for key in ["login.answer_bytes_max", "routes[0].upstream", "routes[0].request_headers.set"] {
        assert!(told.iter().any(|fault| fault.contains(key)), "{key}: {told:#?}");
    }
    let fine =
        read("request_headers = { set = { remote-user = \"batch\", accept-language = \"en\" }, remove = [\"x-debug-*\"] }");
    assert!(fine.forward().unwrap().request_fields.is_some());
}

#[test]
fn values_of_request_headers_are_secrets_and_tables_of_routes_are_printed_as_they_are_written() {
    let text = "[[routes]]\nname = \"a\"\n[routes.request_headers]\nset = { x-api-key = \"hunter2\" }\n[[routes]]\nname = \"b\"\n\
                prefix = \"/old\"\nredirect.to = \"/new\"\n";
    let loaded = load(&inputs(&minimal_and(text), &[], &[])).unwrap();
    let printed = loaded.print();
    assert!(!printed.contains("hunter2") && !format!("{:?}", loaded.settings).contains("hunter2"), "{printed}");
    let read: toml::Table = toml::from_str(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
    assert_eq!(read["routes"][0]["request_headers"]["remove"].as_array().map(Vec::len), Some(0), "{printed}");
    assert_eq!(read["routes"][1]["redirect"]["to"].as_str(), Some("/new"), "{printed}");
    assert!(read["routes"][0].get("redirect").is_none(), "{printed}");
}

#[test]
fn a_route_responds_by_itself_or_forwards() {
    let redirect = read("prefix = \"/old\"\nredirect = { to = \"/new{rest}\" }");
    assert!(matches!(&redirect.action, Action::Redirect(redirect) if redirect.status == 308), "{redirect:?}");
    let respond = read("respond = { status = 404, body = \"a\\nb\", headers = { x-a = \"1\" } }");
    let Action::Respond(response) = &respond.action else { panic!("{respond:?}") };
    assert_eq!((response.status.as_u16(), &response.body[..], response.fields.len()), (404, &b"a\nb"[..], 2));
    assert_eq!(response.fields["content-type"], "text/plain; charset=utf-8");
    let empty = read("respond = { status = 204 }");
    assert!(matches!(&empty.action, Action::Respond(response) if response.fields.is_empty()), "{empty:?}");
    for key in [
        "upstream = \"api\"",
        "replace_prefix = \"/x\"",
        "request_headers.remove = [\"x-a\"]",
        "body_bytes_max = \"1B\"",
        "idle_timeout = \"5s\"",
    ] {
        let name = key.split([' ', '.']).next().unwrap();
        let parts = [&format!("routes[0].{name}"), "nothing is forwarded"];
        assert_fault(&format!("prefix = \"/old\"\n{key}\nredirect.to = \"/new\""), &parts);
        assert_fault(&format!("{key}\nrespond.status = 404"), &parts);
    }
    for (lines, parts) in [
        ("prefix = \"/old\"\nredirect.to = \"/new\"\nrespond.status = 404", &["routes[0].respond", "one of the two"][..]),
        ("redirect.status = 308", &["routes[0].redirect.to", "is missing"]),
        ("prefix = \"/old\"\nredirect = { to = \"/new\", status = 200 }", &["routes[0].redirect.status", "allowed: 301"]),
        ("redirect.to = \"//evil.example\"", &["routes[0].redirect.to", "allowed is a path"]),
        ("redirect.to = \"https://{path}\"", &["routes[0].redirect.to", "allowed is a path"]),
        ("redirect.to = \"{path}\"", &["routes[0].redirect.to", "circles"]),
        ("prefix = \"/old\"\nredirect = { to = \"/new\", too = 1 }", &["routes[0].redirect.too"]),
        ("respond.status = 302", &["routes[0].respond.status", "redirects"]),
        ("respond.status = 101", &["routes[0].respond.status", "200 to 299"]),
        ("respond = { status = 204, body = \"x\" }", &["routes[0].respond.body", "must be empty"]),
        ("respond.headers = { content-type = \"text/html\" }", &["routes[0].respond.headers.content-type", "content_type"]),
        ("respond.headers = { connection = \"close\" }", &["routes[0].respond.headers.connection"]),
    ] {
        assert_fault(lines, parts);
    }
    assert_fault(&format!("respond.body = \"{}\"", "x".repeat((64 << 10) + 1)), &["routes[0].respond.body", "65536"]);
}

#[test]
fn a_browser_is_sent_to_log_in_where_there_is_a_page_for_it() {
    let login = "[[routes]]\nname = \"login\"\nprefix = \"/login\"\naccess = \"public\"\nexact = true\n";
    let pages = |sign_in: &str| format!("{login}[[routes]]\nname = \"pages\"\nsign_in = \"{sign_in}\"\n");
    let settings = Settings::from_toml(&minimal_and(&pages("/login?next={path}"))).unwrap();
    assert_eq!(settings.routes.listed()[1].sign_in.as_ref().unwrap().to_string(), "/login?next={path}");
    for elsewhere in ["https://login.example/", "//login.example/{path}", "login", "/login?next={path}&x"] {
        assert_one_fault(&pages(elsewhere), &["routes[1].sign_in", "allowed is a path on the same host"]);
    }
    assert_one_fault(&pages("/signin"), &["routes[1].sign_in", "no page for GET on a public route"]);
    assert_one_fault(&pages("/.well-known/jwks.json"), &["routes[1].sign_in", "no page for GET"]);
    assert_fault("access = \"public\"\nsign_in = \"/\"", &["routes[0].sign_in", "public route"]);
}

#[test]
fn a_websocket_is_renewed_by_messages_where_a_token_can_take_the_place_of_another() {
    let route = |text: &str| format!("[[routes]]\nname = \"a\"\nwebsocket_renewal = \"tokengate:\"\n{text}\n");
    let key = "routes[0].websocket_renewal = \"tokengate:\"";
    for access in ["public", "optional"] {
        assert_one_fault(&route(&format!("access = \"{access}\"")), &[key, "public or optional", "access = \"token\""]);
    }
    assert_one_fault(&route("revocation = \"strict\""), &[key, "strict", "revocation = \"replica\""]);
    assert_one_fault(&route("[routes.respond]\nstatus = 404"), &[key, "nothing is forwarded"]);
    for prefix in ["abc", "token gate:", "123456789012345678901234567890123"] {
        let text = format!("[[routes]]\nname = \"a\"\nwebsocket_renewal = \"{prefix}\"\n");
        assert_one_fault(&text, &["routes[0].websocket_renewal", "4 to 32 characters", "\"tokengate:\""]);
    }
    let settings = Settings::from_toml(&minimal_and(&route("claims = { role = [\"admin\"] }"))).unwrap();
    let renewal = settings.routes.listed()[0].forward().unwrap().websocket_renewal.as_ref();
    assert_eq!(renewal.map(ToString::to_string).as_deref(), Some("tokengate:"));
}
