//! Own endpoints, and how a login becomes a session.

use super::{assert_one_fault, minimal_and};
use crate::config::Settings;
use crate::domain::per_upstream::UpstreamIndex;
use crate::domain::session_policy::WithoutClaims;

#[test]
fn own_endpoints_take_the_prefix_and_never_one_path_twice() {
    let settings = Settings::from_toml(&minimal_and("endpoints = { prefix = \"/auth/\", register = \"\" }")).unwrap();
    assert_eq!(settings.endpoints.paths.login, ["/auth/login"]);
    assert_eq!(settings.endpoints.paths.jwks.as_deref(), Some("/.well-known/jwks.json"));
    assert!(settings.endpoints.paths.register.is_empty());
    assert_one_fault("endpoints = { logout = \"/login\" }", &["endpoints.logout", "endpoints.login"]);
    assert_one_fault("endpoints = { login = \"/\" }", &["endpoints.login"]);
}

#[test]
fn the_parameter_of_tickets_is_nobody_elses_and_has_no_meaning_while_there_are_none() {
    let on = "endpoints = { ticket = \"/ticket\" }\n";
    let settings = Settings::from_toml(&minimal_and(&format!("{on}tickets = {{ parameter = \"t\" }}"))).unwrap();
    assert_eq!(settings.tickets.parameter.name(), "t");
    for (name, cause) in
        [("email", "limits.login.account"), ("E-Mail", "limits.login.account"), ("after", "limit"), ("a b", "letters")]
    {
        assert_one_fault(&format!("{on}tickets = {{ parameter = \"{name}\" }}"), &["tickets.parameter", cause]);
    }
    for key in ["parameter = \"t\"", "lifetime = \"20s\"", "per_session_max = 7"] {
        assert_one_fault(&format!("tickets = {{ {key} }}"), &["tickets.", "endpoints.ticket"]);
    }
}

#[test]
fn calls_of_logins_may_have_several_paths_each() {
    let text =
        "endpoints = { prefix = \"/auth\", login = [\"/login\", \"/login/2fa\"], register = \"/join\", quick_register = [] }";
    let settings = Settings::from_toml(&minimal_and(text)).unwrap();
    assert_eq!(settings.endpoints.paths.login, ["/auth/login", "/auth/login/2fa"]);
    assert_eq!(settings.endpoints.paths.register, ["/auth/join"]);
    assert!(settings.endpoints.paths.quick_register.is_empty());
    assert_one_fault(
        "endpoints = { login = [\"/in\", \"/in\"] }",
        &["endpoints.login", "\"/in\" is the path of endpoints.login"],
    );
    assert_one_fault("endpoints = { login = [\"/in\", \"\"] }", &["endpoints.login", "item 2"]);
    assert_one_fault("endpoints = { register = [\"/in\", \"/refresh\"] }", &["endpoints.refresh", "endpoints.register"]);
    let of_the_route = "[[routes]]\nname = \"a\"\nprefix = \"/in\"\nexact = true\nmethods = [\"POST\"]\n[endpoints]\nlogin = [\"/login\", \"/in\"]";
    assert_one_fault(of_the_route, &["routes[0].prefix", "\"/in\"", "endpoint"]);
}

#[test]
fn what_makes_a_session_is_not_a_contradiction() {
    assert_one_fault("login = { statuses = [204] }", &["login.statuses", "204 to 206"]);
    assert_one_fault("login = { statuses = [] }", &["login.statuses", "must not be empty"]);
    assert_one_fault("login = { statuses = [401] }", &["login.statuses"]);
    assert_one_fault("login = { issue_on = [\"refresh\"] }", &["login.issue_on", "quick_register"]);
    assert_one_fault("login = { unless = [\"/a={}\"] }", &["login.unless", "JSON scalar"]);
    assert_one_fault(
        "login = { requires = [\"/a\"], unless = [\"/a\"] }",
        &["login.requires", "no response would become a session"],
    );
}

#[test]
fn claims_and_members_keep_clear_of_what_is_taken() {
    assert_one_fault("login = { claims = { sub = \"/id\" } }", &["login.claims.sub", "sets this claim itself"]);
    assert_one_fault("login = { claims = { role = \"user/role\" } }", &["login.claims.role", "JSON pointer"]);
    assert_one_fault("login = { subject = [] }", &["login.subject", "must not be empty"]);
    assert_one_fault("login = { members = { token = \"accessToken\" } }", &["login.members.token", "same name"]);
    assert_one_fault("login = { members = { access_token = \"\" } }", &["login.members.access_token"]);
    let claims = "[login.claims]\n\"https://example.com/role\" = \"/user/role\"\n";
    assert_eq!(Settings::from_toml(&minimal_and(claims)).unwrap().login.claims[0].0, "https://example.com/role");
}

#[test]
fn a_claims_hook_has_an_upstream_and_answers_in_the_time_of_a_refresh() {
    let hook = |text: &str| Settings::from_toml(&minimal_and(&format!("claims_hook = {{ {text} }}"))).unwrap().claims_hook;
    assert!(hook("").is_none() && hook("timeout = \"1s\"").is_none());
    let on = hook("path = \"/claims\"").unwrap();
    assert_eq!((on.upstream, on.on_failure), (UpstreamIndex::FIRST, WithoutClaims::Keep));
    assert_one_fault(
        "claims_hook = { path = \"/claims\", upstream = \"nobody\" }\n",
        &["claims_hook.upstream = \"nobody\"", "\"api\""],
    );
    assert_one_fault("claims_hook = { path = \"claims\" }\n", &["claims_hook.path = \"claims\""]);
    assert_one_fault("claims_hook = { path = \"/claims\", timeout = \"9s\" }\n", &["claims_hook.timeout = \"9s\"", "8s"]);
    let with_space = "claims_hook = { path = \"/claims\", token = \"two words\" }\n";
    assert_one_fault(with_space, &["claims_hook.token", "visible ASCII"]);
}
