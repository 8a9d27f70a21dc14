use http::header::CONTENT_TYPE;
use proptest::prelude::*;

use super::forwarded::Hop;
use super::*;
use crate::domain::claims::Window;
use crate::domain::ids::{SessionId, Subject};
use crate::domain::peer::Peer;
use crate::domain::scheme::Scheme;
use crate::domain::time::Timestamp;

fn rules() -> RewriteRules {
    let identity = IdentityFields {
        subject: Some(HeaderName::from_static("x-auth-subject")),
        session: Some(HeaderName::from_static("x-auth-session")),
        scopes: Some(HeaderName::from_static("x-auth-scopes")),
        certificate_subject: Some(HeaderName::from_static("x-auth-certificate-subject")),
        issuer: None,
        certificate_names: None,
        claims: vec![("email".to_owned(), HeaderName::from_static("x-user-email"))],
    };
    RewriteRules::new(
        identity,
        &["x-original-url", "x-remote-*", "proxy"].map(|name| name.parse().unwrap()),
        vec!["__Host-access".to_owned()],
        Forwarding::default(),
        HeaderValue::from_static("1.1 tokengate"),
    )
}

fn principal() -> Principal {
    Principal {
        subject: Subject::new("zoë%").unwrap(),
        issuer: "us".into(),
        session: Some(SessionId::from_bytes([1; 16])),
        generation: None,
        token: None,
        audiences: Vec::new(),
        scopes: vec!["read".to_owned(), "write".to_owned()],
        issued_at: None,
        logged_in_at: None,
        not_before: None,
        expires_at: Timestamp::MAX,
        window: Window::ALWAYS,
        claims: [("email".to_owned(), "a@b\r\nx: y".into())].into_iter().collect(),
    }
}

fn rewritten(fields: &[(&str, &str)], principal: Option<&Principal>) -> HeaderMap {
    rewritten_by(fields, principal, None, None)
}

/// On a route that changes some, and takes a prefix from the path.
fn rewritten_by(
    fields: &[(&str, &str)],
    principal: Option<&Principal>,
    edits: Option<&FieldEdits>,
    stripped: Option<&'static str>,
) -> HeaderMap {
    let stripped = stripped.map(HeaderValue::from_static);
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let rules = rules();
    let hop = Hop::new(Peer::Known("192.0.2.1:1".parse().unwrap()), Scheme::Http);
    let identity = principal.map(|principal| rules.identity(principal));
    let context = RewriteContext {
        origin: &rules.forwarding().origin(&hop, &headers),
        host: Some(&HeaderValue::from_static("api.example")),
        identity: identity.as_ref(),
        certificate: None,
        request_id: &HeaderValue::from_static("r"),
        authorization: Withheld::Tokens(&|token| token == "a.b.c"),
        edits,
        stripped: stripped.as_ref(),
    };
    let mut lines = Vec::new();
    rules.write_request(&headers, &context, &mut lines);
    let read = parsed(&lines);
    let mut pairs = HeaderMap::new();
    rules.write_request(&headers, &context, &mut pairs);
    assert_eq!(pairs, read, "whatever the upstream's protocol is");
    read
}

/// Reads lines as an upstream would.
fn parsed(lines: &[u8]) -> HeaderMap {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let whole = [lines, b"\r\n"].concat();
    let httparse::Status::Complete((length, fields)) = httparse::parse_headers(&whole, &mut fields).unwrap() else {
        panic!("{whole:?} is no head");
    };
    assert_eq!(length, whole.len());
    let field = |field: &httparse::Header<'_>| {
        (HeaderName::from_bytes(field.name.as_bytes()).unwrap(), HeaderValue::from_bytes(field.value).unwrap())
    };
    let mut headers = HeaderMap::new();
    for (name, value) in fields.iter().map(field) {
        headers.append(name, value);
    }
    headers
}

#[test]
fn identity_comes_from_us_alone() {
    let headers = rewritten(
        &[
            ("X-Auth-Subject", "evil"),
            ("x_auth_subject", "evil"),
            ("X.Auth.Subject", "evil"),
            ("X!Auth-Subject", "evil"),
            ("x-auth-issuer", "evil"),
            ("x_user_email", "evil"),
            ("x-user|email", "evil"),
            ("X-User-Email", "evil"),
            ("X-Auth-Token", "the API's own"),
        ],
        Some(&principal()),
    );
    assert_eq!(headers["x-auth-subject"], "zo%C3%AB%25");
    assert_eq!(headers["x-auth-session"], principal().session.unwrap().to_string());
    assert_eq!(headers["x-auth-scopes"], "read write");
    assert_eq!(headers["x-user-email"], "a@b%0D%0Ax:%20y");
    assert!(!headers.iter().any(|(_, value)| value == "evil"));
    assert_eq!(headers["x-auth-token"], "the API's own");
}

#[test]
fn identity_from_outside_goes_on_public_routes_too() {
    let headers = rewritten(&[("X-Auth-Subject", "evil"), ("x-user-email", "evil")], None);
    assert!(!headers.contains_key("x-auth-subject") && !headers.contains_key("x-user-email"));
}

#[test]
fn hop_by_hop_fields_go_and_whatever_connection_names() {
    let headers = rewritten(
        &[
            ("connection", "close, X-Secret, upgrade"),
            ("connection", "host, authorization, content-length, x-auth-subject"),
            ("x-secret", "1"),
            ("keep-alive", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("proxy-authorization", "x"),
            ("proxy-connection", "x"),
            ("transfer-encoding", "chunked"),
            ("host", "h"),
            ("authorization", "Bearer t"),
            ("content-length", "1"),
            ("content-type", "text/plain"),
        ],
        Some(&principal()),
    );
    for gone in [
        "connection",
        "x-secret",
        "keep-alive",
        "te",
        "upgrade",
        "http2-settings",
        "proxy-authorization",
        "proxy-connection",
        "transfer-encoding",
        // Said by whoever sends.
        "host",
        "content-length",
    ] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    for kept in [AUTHORIZATION, CONTENT_TYPE] {
        assert!(headers.contains_key(&kept), "{kept}");
    }
    assert!(headers.contains_key("x-auth-subject"));
}

#[test]
fn other_spellings_of_framing_and_routing_fields_go() {
    let headers = rewritten(
        &[
            ("content_length", "9"),
            ("transfer.encoding", "x"),
            ("x~forwarded_for", "1.2.3.4"),
            ("content'type", "x"),
            ("my_field", "stays"),
            ("x.y", "stays"),
        ],
        None,
    );
    let stay: Vec<_> =
        headers.keys().filter(|name| name.as_str().contains(|c: char| !c.is_ascii_alphanumeric() && c != '-')).collect();
    assert_eq!(stay, ["my_field", "x.y"]);
}

#[test]
fn origins_are_overwritten() {
    let headers = rewritten(
        &[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https"), ("forwarded", "for=1.2.3.4"), ("x-real-ip", "1.2.3.4")],
        None,
    );
    assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-forwarded-host"], "api.example");
    assert!(!headers.contains_key("x-real-ip"));
    assert_eq!(headers["forwarded"], "for=192.0.2.1;proto=http;host=\"api.example\"");
}

#[test]
fn our_cookie_goes_and_the_others_stay() {
    assert_eq!(rewritten(&[("cookie", "a=1; __Host-access=tok; b=2")], None)["cookie"], "a=1; b=2");
    assert!(!rewritten(&[("cookie", "__Host-access=tok")], None).contains_key("cookie"));
}

#[test]
fn what_redirects_or_impersonates_behind_us_is_removed() {
    let fields = ["x-original-url", "X_Original_URL", "x-remote-user", "x.remote.groups", "proxy"];
    let headers =
        rewritten(&[fields.map(|name| (name, "evil")).as_slice(), &[("x-remote", "1"), ("proxy-status", "2")]].concat(), None);
    assert!(!headers.iter().any(|(_, value)| value == "evil"));
    assert_eq!((headers["x-remote"].as_bytes(), headers["proxy-status"].as_bytes()), (&b"1"[..], &b"2"[..]));
}

#[test]
fn a_token_of_ours_stays_and_other_credentials_pass() {
    let fields = [("authorization", "Bearer a.b.c"), ("authorization", "Basic YTpi"), ("authorization", "Bearer secret")];
    let headers = rewritten(&fields, None);
    assert_eq!(headers.get_all(AUTHORIZATION).iter().collect::<Vec<_>>(), ["Basic YTpi", "Bearer secret"]);
}

#[test]
fn a_trace_goes_on_as_it_came() {
    let parent = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let headers =
        rewritten(&[parent, ("tracestate", "a=1"), ("tracestate", "b=2"), ("connection", "traceparent, tracestate")], None);
    assert_eq!(headers["traceparent"], parent.1);
    assert_eq!(headers.get_all("tracestate").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
    for broken in [
        &[("traceparent", "00-xyz"), ("tracestate", "a=1")][..],
        &[parent, parent, ("tracestate", "a=1")],
        &[("tracestate", "a=1")],
        &[],
    ] {
        let headers = rewritten(broken, None);
        assert!(!headers.contains_key("traceparent") && !headers.contains_key("tracestate"), "{broken:?}");
    }
}

fn edits() -> FieldEdits {
    let field = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let removed = ["x-debug-*", "accept-language"].map(|name| name.parse().unwrap()).to_vec();
    FieldEdits::new(vec![field("x-tenant", "ours")], vec![field("x-tag", "ours")], removed).unwrap()
}

#[test]
fn what_a_route_sets_comes_from_nobody_else() {
    let fields = [("x-tenant", "evil"), ("x_tenant", "evil"), ("x.tenant", "evil"), ("x-tag", "theirs"), ("x-debug-1", "evil")];
    let further = [("accept-language", "evil"), ("accept", "*/*"), ("x-tenants", "theirs"), ("connection", "x-tenant, x-tag")];
    let headers = rewritten_by(&[&fields[..], &further[..]].concat(), None, Some(&edits()), None);
    assert!(!headers.values().any(|value| value == "evil"), "{headers:?}");
    let values = |name: &str| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
    assert_eq!(
        (values("x-tenant"), values("x-tag")),
        (vec![HeaderValue::from_static("ours")], vec![HeaderValue::from_static("ours")])
    );
    assert_eq!((headers["accept"].as_bytes(), headers["x-tenants"].as_bytes()), (&b"*/*"[..], &b"theirs"[..]));
    let headers = rewritten_by(&[("x-tag", "theirs")], None, Some(&edits()), None);
    assert_eq!(headers.get_all("x-tag").iter().collect::<Vec<_>>(), ["theirs", "ours"], "beside what came");
}

#[test]
fn a_prefix_that_was_stripped_is_told_by_the_gateway_alone() {
    let forged = [("x-forwarded-prefix", "/evil"), ("x_forwarded_prefix", "/evil")];
    let headers = rewritten_by(&forged, None, None, Some("/api"));
    assert_eq!(headers.get_all("x-forwarded-prefix").iter().collect::<Vec<_>>(), ["/api"]);
    assert!(!headers.contains_key("x_forwarded_prefix"));
}

#[test]
fn trailers_carry_nothing_that_a_route_sets_or_removes() {
    let names = ["x-tenant", "x_tenant", "x-debug-1", "x-tag", "x-sum"];
    let mut trailers: HeaderMap =
        names.map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).into_iter().collect();
    rules().trailers(Some(&Arc::new(edits()))).rewrite(&mut trailers);
    assert!(trailers.len() == 2 && trailers.contains_key("x-tag") && trailers.contains_key("x-sum"), "{trailers:?}");
}

#[test]
fn trailers_carry_no_identity_and_no_framing() {
    let mut trailers = HeaderMap::new();
    for name in [
        "x-auth-subject",
        "x-user-email",
        "x_user_email",
        "x.user!email",
        "x-original-url",
        "x_remote_user",
        "traceparent",
        "content_type",
        "content-length",
        "host",
        "authorization",
        "transfer-encoding",
        "x-forwarded-for",
        "x-real-ip",
        "x-sum",
    ] {
        trailers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
    }
    rules().trailers(None).rewrite(&mut trailers);
    assert_eq!(trailers.keys().collect::<Vec<_>>(), ["x-sum"]);
}

proptest! {
    #[test]
    fn nothing_from_outside_survives_as_identity(
        names in proptest::collection::vec(
            "[xX][!#$%&'*+.^_`|~-][aA]uth[!#$%&'*+.^_`|~-](subject|Session|scopes|issuer)|x[._+-][uU]ser[.|_-]email",
            0..6,
        ),
        connection in "[a-z, -]{0,30}",
    ) {
        let mut fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "evil")).collect();
        fields.push(("connection", &connection));
        let headers = rewritten(&fields, Some(&principal()));
        prop_assert!(!headers.iter().any(|(_, value)| value == "evil"));
        prop_assert_eq!(headers.get_all("x-auth-subject").iter().count(), 1);
    }
}

#[test]
fn an_upstream_sets_no_cookie_of_ours() {
    let mut headers = HeaderMap::new();
    for field in ["theme=dark; Path=/", "__Host-access=evil; Path=/; Secure", "=__Host-access=evil", "__host-access=x"] {
        headers.append(SET_COOKIE, HeaderValue::from_static(field));
    }
    rules().response(&mut headers, &HeaderValue::from_static("id"));
    let left: Vec<&HeaderValue> = headers.get_all(SET_COOKIE).iter().collect();
    assert_eq!(left, ["theme=dark; Path=/", "__host-access=x"], "the names of cookies mind the case");
}
