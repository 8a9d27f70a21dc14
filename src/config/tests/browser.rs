//! Cookies and CORS.

use super::{assert_one_fault, minimal_and};
use crate::config::Settings;
use crate::domain::cors::Origins;

#[test]
fn cookies_that_a_browser_would_drop_are_refused() {
    let cookies = |text: &str| format!("[cookies]\nenabled = true\nrefresh_name = \"r\"\n{text}\n");
    for text in ["secure = false", "path = \"/api\"", "domain = \"example.com\""] {
        assert_one_fault(&cookies(text), &["cookies.access_name", "__Host-"]);
    }
    assert_one_fault(&cookies("access_name = \"a\"\nsecure = false\nsame_site = \"none\""), &["cookies.same_site", "secure"]);
    assert_one_fault(&cookies("access_name = \"__Secure-a\"\nsecure = false"), &["cookies.access_name", "__Secure-"]);
    assert_one_fault(&cookies("access_name = \"r\""), &["cookies.refresh_name"]);
    assert_one_fault(&cookies("access_name = \"a b\""), &["cookies.access_name", "cookie name"]);
    assert_one_fault(&cookies(&format!("access_name = \"{}\"", "a".repeat(257))), &["cookies.access_name", "256"]);
    assert_one_fault(
        &cookies(&format!("access_name = \"a\"\npath = \"/{}\"", "a".repeat(1024))),
        &["cookies.path", "1024 bytes"],
    );
    assert!(Settings::from_toml(&minimal_and(&cookies(""))).unwrap().cookies.is_some());
}

#[test]
fn former_cookies_are_named_with_what_browsers_kept_of_them() {
    let cookies = |former: &str| format!("[cookies]\nenabled = true\nformer = [{former}]\n");
    let settings =
        Settings::from_toml(&minimal_and(&cookies("{ name = 'a' }, { name = 'b', domain = 'a.example', path = '/x' }")));
    let own = settings.unwrap().cookies.unwrap().own;
    assert!(["a", "b"].iter().all(|name| own.names().iter().any(|own| own == name)), "{own:?}");
    let emptied = |start: &str| own.others_emptied().iter().any(|field| field.to_str().unwrap().starts_with(start));
    assert!(emptied("a=; Path=/;") && emptied("b=; Path=/x;"), "{own:?}");
    for (former, named) in [
        ("{ domain = 'a.example' }", "cookies.former[0].name"),
        ("{ name = 'a b' }", "cookies.former[0].name"),
        ("{ name = 'a', domain = '.a.example' }", "cookies.former[0].domain"),
        ("{ name = 'a', path = 'x' }", "cookies.former[0].path"),
        ("{ name = '__Host-a', path = '/x' }", "cookies.former[0].name"),
        ("{ name = 'a', pth = '/x' }", "cookies.former[0].pth"),
    ] {
        assert_one_fault(&cookies(former), &[named]);
    }
    assert_one_fault(&cookies(&"{ name = 'a' },".repeat(17)), &["cookies.former", "16"]);
}

#[test]
fn any_origin_goes_without_credentials_alone() {
    assert_one_fault(
        "cors = { allowed_origins = [\"*\"], allow_credentials = true }",
        &["cors.allowed_origins", "list the origins"],
    );
    assert_one_fault(
        "cors = { allowed_origins = [\"https://a.example/\"] }",
        &["cors.allowed_origins", "item 1", "origin as browsers"],
    );
    let any = Settings::from_toml(&minimal_and("cors = { allowed_origins = [\"*\"] }")).unwrap();
    assert_eq!(any.cors.unwrap().allowed_origins, Origins::Any);
}

#[test]
fn what_is_refreshed_in_flight_has_the_time_for_it() {
    let cookies = |text: &str| format!("cookies = {{ enabled = true, refresh_in_flight = true{text} }}\n");
    let mode = Settings::from_toml(&minimal_and(&cookies(", refresh_ahead = '1m'"))).unwrap().cookies.unwrap();
    assert_eq!(mode.in_flight.unwrap().ahead.as_secs(), 60);
    assert_one_fault(&cookies(", refresh_ahead = '8m'"), &["cookies.refresh_ahead", "half of tokens.lifetime"]);
    assert_one_fault(&(cookies("") + "refresh.leeway = '2s'"), &["refresh.leeway", "3s or more"]);
    assert_one_fault(&(cookies("") + "login.old_session = 'keep'"), &["login.old_session", "must be \"end\""]);
    assert!(Settings::from_toml(&minimal_and("cookies = { enabled = true }")).unwrap().cookies.unwrap().in_flight.is_none());
}

#[test]
fn in_flight_the_refresh_cookie_goes_everywhere_and_its_former_place_is_emptied() {
    let text = "endpoints.prefix = '/auth'\ncookies = { enabled = true, refresh_in_flight = true, access_name = 'a', refresh_name = 'r' }";
    let own = Settings::from_toml(&minimal_and(text)).unwrap().cookies.unwrap().own;
    assert!(own.refresh("t", 1).unwrap().to_str().unwrap().starts_with("r=t; Path=/; "));
    assert!(own.others_emptied().iter().any(|field| field.to_str().unwrap().starts_with("r=; Path=/auth; ")), "{own:?}");
}

#[test]
fn whoever_has_logged_out_is_sent_to_a_page_of_this_host() {
    let cookies = |text: &str| format!("cookies = {{ enabled = true, {text} }}\n");
    let mode = Settings::from_toml(&minimal_and(&cookies("signed_out = '/bye', clear_site_data = ['cache']"))).unwrap();
    assert_eq!(mode.cookies.unwrap().signed_out.unwrap(), "/bye");
    for page in ["https://a.example/", "//a.example", "/%2Fa.example", "/a/../b", "bye"] {
        assert_one_fault(&cookies(&format!("signed_out = '{page}'")), &["cookies.signed_out", "same host"]);
    }
    assert_one_fault(&cookies("clear_site_data = ['everything']"), &["cookies.clear_site_data"]);
}
