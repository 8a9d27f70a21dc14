//! Routes and their upstreams.

use super::{MINIMAL, assert_one_fault, faults, minimal_and};
use crate::config::Settings;
use crate::domain::route::{Access, UpstreamIndex};

#[test]
fn one_upstream_is_enough_and_everything_needs_a_token() {
    let settings = Settings::from_toml(MINIMAL).unwrap();
    assert_eq!(settings.upstreams.iter().count(), 1);
    assert_eq!(settings.routes.listed().len(), 1);
    let route = &settings.routes.listed()[0];
    assert_eq!((route.prefix.as_str(), route.exact, route.upstream), ("/", false, UpstreamIndex(0)));
    assert!(matches!(&route.access, Access::Token { audiences, scopes } if audiences.is_empty() && scopes.is_empty()));
    assert_eq!(route.response_timeout, settings.upstreams[UpstreamIndex(0)].response_timeout);
    assert_eq!(settings.login.upstream, Some(UpstreamIndex(0)));
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
    assert_eq!(settings.routes.listed()[0].upstream, UpstreamIndex(2));
    assert!(settings.upstreams[UpstreamIndex(1)].url.is_tls() && settings.upstreams[UpstreamIndex(1)].url.port() == 2);
}

#[test]
fn the_settings_of_the_benchmark_are_valid_and_check_the_tokens_that_are_sent() {
    let settings = Settings::from_toml(include_str!("../../../benches/peers.toml")).unwrap();
    assert_eq!(settings.routes.listed()[0].access, Access::Optional);
    assert_eq!(settings.issuers[0].audiences, ["https://api.example.com"]);
}
