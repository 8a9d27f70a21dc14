//! Cookies of others beside ours, ours twice, and tokens that are none.

use super::client::Response;
use super::rig::{Rig, Tokens};
use super::upstream::Upstream;

const HOST_COOKIES: &str = "[store]\nkind = \"memory\"\n[cookies]\nenabled = true\ntokens_in_body = true\n";

/// After a move: a domain was given, and names lost their prefix.
const MOVED_COOKIES: &str = r#"
    [store]
    kind = "memory"
    [cookies]
    enabled = true
    tokens_in_body = true
    access_name = "access"
    refresh_name = "refresh"
    domain = "example.com"
    former = [{ name = "__Host-access" }, { name = "__Host-refresh" }, { name = "access", path = "/app" }]
"#;

fn rig(cookies: &str) -> Rig {
    Rig::start_from(Upstream::echo().address, cookies, |_| {})
}

fn get(rig: &Rig, fields: &[&[u8]]) -> Response {
    call(rig, "GET /api", fields, "")
}

fn call(rig: &Rig, line: &str, fields: &[&[u8]], body: &str) -> Response {
    let mut request = format!("{line} HTTP/1.1\r\nHost: a\r\n").into_bytes();
    for field in fields {
        request.extend_from_slice(field);
        request.extend_from_slice(b"\r\n");
    }
    if !body.is_empty() {
        request.extend_from_slice(b"Content-Type: application/json\r\n");
    }
    request.extend_from_slice(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    rig.ask(request)
}

fn post(rig: &Rig, path: &str, fields: &[&[u8]], body: &str) -> Response {
    call(rig, &format!("POST {path}"), fields, body)
}

fn cookie(before: &[u8], name: &str, token: &str) -> Vec<u8> {
    [b"Cookie: ", before, name.as_bytes(), b"=", token.as_bytes()].concat()
}

const CSRF: &[u8] = b"x-csrf: 1";

#[test]
fn cookies_of_others_hide_none_of_ours_whatever_their_bytes() {
    let rig = rig(HOST_COOKIES);
    let strange: [&[u8]; 6] =
        ["n=Zoë; ".as_bytes(), b"n=\xff\xfe; ", b"plain; =x; ;; ", b"a=\"q; ", b"a={\"b\":1,\"c\":2}; ", b"\xe9=1;"];
    for before in strange {
        let Tokens { access, refresh } = rig.log_in();
        let access = cookie(before, "__Host-access", &access);
        assert_eq!(get(&rig, &[&access]).status, 200, "{}", before.escape_ascii());
        let refreshed = post(&rig, "/refresh", &[&cookie(before, "__Host-refresh", &refresh), CSRF], "");
        assert_eq!(refreshed.status, 200, "{refreshed:?}");
        let ended = post(&rig, "/logout", &[&cookie(before, "__Host-refresh", &refresh), CSRF], "");
        assert_eq!((ended.status, ended.body.as_str()), (200, r#"{"ended":1}"#));
        assert_eq!(get(&rig, &[&access]).status, 401, "it has ended");
    }
}

#[test]
fn an_upstream_gets_the_cookies_of_others_byte_for_byte_and_none_of_ours() {
    let rig = rig(HOST_COOKIES);
    let token = rig.log_in().access;
    let sent = format!("Cookie: n=Zoë ;q=\"a;b\"; __Host-access={token}; plain; {{x}}=1,2;__Host-refresh=r");
    let response = get(&rig, &[sent.as_bytes(), b"Cookie: z=9"]);
    assert!(response.body.contains("cookie: n=Zoë ;q=\"a;b\"; plain; {x}=1,2; z=9\r\n"), "{response:?}");
    assert!(!response.body.contains(&token) && !response.body.contains("__Host-"));
    let untouched = "Cookie: a=1;b=2 ;;  c=é";
    let response = call(&rig, "GET /public", &[untouched.as_bytes()], "");
    assert!(response.body.contains("cookie: a=1;b=2 ;;  c=é\r\n"), "{response:?}");
}

#[test]
fn of_two_cookies_of_one_name_none_counts_and_every_place_is_emptied() {
    let rig = rig(MOVED_COOKIES);
    let Tokens { access, refresh } = rig.log_in();
    let doubled = format!("Cookie: access={access}; access=tossed");
    let emptied = [
        "access=; path=/; max-age=0; httponly; samesite=lax; secure; domain=example.com",
        "refresh=; path=/; max-age=0; httponly; samesite=lax; secure; domain=example.com",
        "access=; path=/; max-age=0; httponly; samesite=lax; secure",
        "refresh=; path=/; max-age=0; httponly; samesite=lax; secure",
        "__host-access=; path=/; max-age=0; httponly; samesite=lax; secure",
        "__host-refresh=; path=/; max-age=0; httponly; samesite=lax; secure",
        "access=; path=/app; max-age=0; httponly; samesite=lax; secure",
    ];
    for fields in [&[doubled.as_bytes()][..], &[doubled.as_bytes(), b"Sec-Fetch-Site: same-origin"], &[doubled.as_bytes(), CSRF]]
    {
        let response = get(&rig, fields);
        assert_eq!((response.status, response.code().as_str()), (400, "token_ambiguous"));
        assert_eq!(response.fields("set-cookie").collect::<Vec<_>>(), emptied);
    }
    for foreign in ["Origin: https://evil.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"] {
        let response = get(&rig, &[doubled.as_bytes(), foreign.as_bytes()]);
        assert_eq!((response.status, response.fields("set-cookie").count()), (400, 0), "{foreign}: nobody else logs people out");
    }
    let doubled = format!("Cookie: refresh={refresh}; refresh=tossed");
    for path in ["/refresh", "/logout"] {
        let response = post(&rig, path, &[doubled.as_bytes(), CSRF], "");
        assert_eq!((response.status, response.code().as_str()), (400, "token_ambiguous"));
        assert_eq!(response.fields("set-cookie").collect::<Vec<_>>(), emptied);
        let foreign = post(&rig, path, &[doubled.as_bytes(), b"Origin: https://evil.example"], "");
        assert_eq!(foreign.fields("set-cookie").count(), 0);
    }
    assert_eq!(get(&rig, &[format!("Cookie: access={access}").as_bytes()]).status, 200, "nothing has ended meanwhile");
}

#[test]
fn one_login_or_one_refresh_mends_what_a_move_of_the_cookies_left_behind() {
    let rig = rig(MOVED_COOKIES);
    let old = b"Cookie: access=a; access=b; refresh=c; refresh=d; __Host-access=e";
    let body = r#"{"email":"a@example.com","password":"correct horse battery"}"#;
    let response = post(&rig, "/login", &[old], body);
    assert_eq!(response.status, 200, "{response:?}");
    leaves_two(&response);
    let refresh: serde_json::Value = serde_json::from_str(&response.body).unwrap();
    let refresh = format!("Cookie: refresh={}; __Host-refresh=old", refresh["refreshToken"].as_str().unwrap());
    let response = post(&rig, "/refresh", &[refresh.as_bytes(), CSRF], "");
    assert_eq!(response.status, 200, "{response:?}");
    leaves_two(&response);
}

/// As a browser: the last word on a place counts.
fn leaves_two(response: &Response) {
    let fields: Vec<&str> = response.fields("set-cookie").collect();
    let (emptied, set) = fields.split_at(fields.len() - 2);
    assert!(emptied.len() == 5 && emptied.iter().all(|field| field.contains("=; ") && field.contains("max-age=0")), "{fields:?}");
    for (field, name) in set.iter().zip(["access=ey", "refresh=tgr_"]) {
        assert!(field.starts_with(name) && field.ends_with("domain=example.com") && !field.contains("max-age=0;"), "{field}");
    }
}

#[test]
fn a_page_learns_who_is_logged_in_and_never_by_what() {
    let rig = rig(HOST_COOKIES);
    let Tokens { access, .. } = rig.log_in();
    let cookie = cookie(b"theme=dark; ", "__Host-access", &access);
    let answer = call(&rig, "GET /session", &[&cookie, b"Sec-Fetch-Mode: cors"], "");
    assert_eq!((answer.status, answer.field("cache-control")), (200, Some("no-store")), "{answer:?}");
    let told: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert!(told["subject"].is_string() && told["session"].is_string() && told["expiresAt"].is_string(), "{told}");
    assert!(!answer.body.contains(&access) && !answer.body.contains("tgr_"));
    assert_eq!(call(&rig, "GET /session", &[], "").code(), "token_missing");
    assert_eq!(post(&rig, "/logout", &[&cookie, CSRF], "").status, 200);
    assert_eq!(call(&rig, "GET /session", &[&cookie], "").code(), "token_revoked");
    let without_cookies = Rig::start_from(Upstream::echo().address, "[store]\nkind = \"memory\"\n", |_| {});
    assert_eq!(call(&without_cookies, "GET /session", &[], "").code(), "route_not_found", "its path is the routes'");
}

#[test]
fn what_front_ends_write_when_they_have_no_token_is_no_token() {
    let rig = rig(HOST_COOKIES);
    let Tokens { access, refresh } = rig.log_in();
    let (access, refresh) = (cookie(b"", "__Host-access", &access), cookie(b"", "__Host-refresh", &refresh));
    for nothing in ["null", "undefined", "", " ", "None", "NaN", "false", "[object Object]", "\"\""] {
        let field = format!("Authorization: Bearer {nothing}");
        assert_eq!(get(&rig, &[&access, field.as_bytes()]).status, 200, "{nothing}: no second token");
        let alone = get(&rig, &[field.as_bytes()]);
        assert_eq!(
            (alone.status, alone.code().as_str(), alone.field("www-authenticate")),
            (401, "token_missing", Some("bearer"))
        );
        let body = serde_json::json!({"refreshToken": nothing}).to_string();
        assert_eq!(post(&rig, "/refresh", &[&refresh, CSRF], &body).status, 200, "{nothing}: no second token");
    }
    for other in ["Digest username=\"Zoë\"", "Basic ü"] {
        assert_eq!(get(&rig, &[&access, format!("Authorization: {other}").as_bytes()]).status, 200, "{other}");
    }
    assert_eq!(get(&rig, &[&access, b"Authorization: Bearer some.other.token"]).status, 400, "two tokens");
}
