//! Fields that must not pass, however they are spelt.

use std::time::Duration;

use tokengate::config::Settings;
use tokengate::domain::headers::AuthorizationRule;
use tokengate::domain::route::Access;

use super::client::Response;
use super::rig::{Rig, forward};
use super::upstream::Upstream;

/// The forwarded request for one with these fields, in lower case.
fn forwarded(rig: &Rig, token: &str, fields: &str) -> String {
    let response = rig.ask(format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{fields}\r\n"));
    assert_eq!(response.status, 200, "{fields}: {response:?}");
    response.body.to_ascii_lowercase()
}

fn values<'a>(request: &'a str, name: &str) -> Vec<&'a str> {
    request
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value.trim())
        .collect()
}

#[test]
fn hop_by_hop_fields_and_what_connection_names_are_removed() {
    let rig = Rig::start(Upstream::echo().address);
    let token = rig.log_in().access;
    let request = forwarded(
        &rig,
        &token,
        "Connection: X-Hop, close , x-other\r\nConnection: x-third\r\nX-Hop: 1\r\nX-Other: 1\r\nX-Third: 1\r\nX-Kept: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\
         Upgrade: h2c\r\nTrailer: X-T\r\nProxy-Authorization: Basic eA==\r\n",
    );
    for gone in [
        "x-hop",
        "x-other",
        "x-third",
        "keep-alive",
        "proxy-connection",
        "te",
        "http2-settings",
        "upgrade",
        "trailer",
        "proxy-authorization",
        "connection",
    ] {
        assert_eq!(values(&request, gone), [""; 0], "{gone}: {request}");
    }
    assert_eq!(values(&request, "x-kept"), ["1"]);
}

#[test]
fn connection_cannot_name_away_what_counts() {
    let rig = Rig::start(Upstream::echo().address);
    let token = rig.log_in().access;
    let request = forwarded(
        &rig,
        &token,
        "Connection: Host, Authorization, X-Auth-Subject, X-Auth-Session, X-Forwarded-For, X-Request-Id, Via, Cookie\r\nCookie: a=b\r\n",
    );
    assert_eq!(values(&request, "host"), ["a"]);
    assert_eq!(values(&request, "x-auth-subject"), ["user-1"]);
    assert_eq!(values(&request, "x-auth-session").len(), 1);
    assert_eq!(values(&request, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values(&request, "x-request-id").len(), 1);
    assert_eq!(values(&request, "cookie"), ["a=b"]);

    let length = rig.ask(format!(
        "POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: content-length\r\nContent-Length: 5\r\n\r\nhello"
    ));
    assert!(length.body.contains("content-length: 5\r\n") && length.body.ends_with("hello"), "{length:?}");
}

#[test]
fn identity_from_outside_is_removed_in_every_spelling() {
    let rig = Rig::start(Upstream::echo().address);
    let token = rig.log_in().access;
    let lies = "X-Auth-Subject: root\r\nX_Auth_Subject: root\r\nx-auth_subject: root\r\nX-AUTH-SESSION: root\r\nX-Auth-Issuer: root\r\n\
                X.Auth.Subject: root\r\nX!Auth-Subject: root\r\nx|auth^scopes: root\r\nX~Forwarded+For: root\r\nX_Forwarded_For: root\r\nX_Request_Id: root\r\nContent_Length: root\r\nHost_: kept\r\n\
                Transfer_Encoding: root\r\nAuthorization_: kept\r\nX-Auth-Token: kept\r\nX-Auth-Key: kept\r\nX_Own.Field: kept\r\n";
    let request = forwarded(&rig, &token, lies);
    assert!(!request.contains("root"), "{request}");
    assert_eq!(values(&request, "x-auth-subject"), ["user-1"]);
    for kept in ["host_", "authorization_", "x-auth-token", "x-auth-key", "x_own.field"] {
        assert_eq!(values(&request, kept), ["kept"], "{kept}");
    }

    let public = rig.ask(format!("GET /public HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{lies}\r\n"));
    assert!(!public.body.contains("root") && !public.body.contains("user-1"), "{}", public.body);
    assert!(!public.body.contains(&token), "the token stays here");
}

#[test]
fn trailers_never_become_fields_and_carry_no_identity() {
    let upstream = Upstream::echo();
    let rig = Rig::start_with(upstream.address, |settings| {
        settings.identity.claims = vec![("role".to_owned(), "x-role".parse().unwrap())];
    });
    let token = rig.log_in().access;
    let response = rig.ask(format!(
        "POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
         X.Role: root\r\nX_Role: root\r\nX-Role: root\r\nX-Original-URL: root\r\nx_remote.user: root\r\nContent.Type: root\r\nX-Auth-Subject: root\r\nx_auth_subject: root\r\nAuthorization: root\r\nX-Forwarded-For: root\r\nContent-Length: 7\r\n\
         Host: root\r\nTransfer-Encoding: root\r\nCookie: root\r\n\r\n"
    ));
    assert_eq!(response.status, 200, "{response:?}");
    let request = response.body.to_ascii_lowercase();
    assert!(!request.contains("root") && !request.contains("content-length"), "{request}");
    assert_eq!(values(&request, "x-auth-subject"), ["user-1"]);
}

#[test]
fn the_origin_is_our_word_unless_the_peer_is_trusted() {
    let lies = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 6\r\n\
                X-Forwarded-Prefix: /evil\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6;host=evil\r\n";
    let rig = Rig::start(Upstream::echo().address);
    let token = rig.log_in().access;
    let request = forwarded(&rig, &token, lies);
    assert!(!request.contains("6.6.6.6") && !request.contains("evil"), "{request}");
    assert_eq!(values(&request, "x-forwarded-for"), ["127.0.0.1"]);

    let trusting = Rig::start_with(Upstream::echo().address, |settings| {
        settings.listen.trusted_peers = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let token = trusting.log_in().access;
    let request = forwarded(&trusting, &token, lies);
    assert_eq!(values(&request, "x-forwarded-for"), ["6.6.6.6, 127.0.0.1"]);
    assert_eq!(values(&request, "x-real-ip"), ["6.6.6.6"]);
    assert_eq!(values(&request, "forwarded"), ["for=6.6.6.6;proto=https;host=\"evil\", for=127.0.0.1"]);
}

#[test]
fn what_a_stranger_says_of_its_origin_is_removed_under_every_name() {
    let rig = Rig::start(Upstream::echo().address);
    let token = rig.log_in().access;
    let lies = "X-Forwarded-Ssl: on-6\r\nX-Forwarded-Scheme: https-6\r\nX-Forwarded-Server: evil-6\r\nX-Real-IP: 6.6.6.6\r\n\
                X-Forwarded-User: evil-6\r\nX.Real.IP: 6.6.6.6\r\n";
    let request = forwarded(&rig, &token, lies);
    assert!(!request.contains("-6") && !request.contains("6.6"), "{request}");
}

#[test]
fn what_redirects_or_impersonates_passes_from_nobody() {
    let lies = [
        "X-HTTP-Method-Override: DELETE-6",
        "x_http_method: DELETE-6",
        "X-Original-URL: /admin-6",
        "x.rewrite.url: /admin-6",
        "X-Forwarded-User: root-6",
        "Remote-User: root-6",
        "X-Remote-Anything: root-6",
        "X_WEBAUTH_USER: root-6",
        "X-Auth-Request-Email: root-6",
        "X-Forwarded-Client-Cert: root-6",
        "X-SSL-Client-S-DN: root-6",
        "Client-Cert: root-6",
        "client_cert_chain: root-6",
        "SSL-Client-Verify: root-6",
        "X-Amzn-Mtls-Clientcert-Subject: root-6",
        "X-ARR-ClientCert: root-6",
        "X-SSL-Cert: root-6",
        "X-TLS-Client-Cert: root-6",
        "Front-End-Https: on-6",
        "X-Url-Scheme: https-6",
        "Client-IP: 6.6.6.6",
        "Proxy: evil-6",
    ];
    let lies = lies.map(|line| format!("{line}\r\n")).concat();
    for trusted in [vec![], vec!["127.0.0.0/8".parse().unwrap()]] {
        let rig = Rig::start_with(Upstream::echo().address, |settings| settings.listen.trusted_peers = trusted);
        let token = rig.log_in().access;
        let request = forwarded(&rig, &token, &format!("{lies}X-Remote: kept\r\nProxy-Status: kept\r\nX-Original: kept\r\n"));
        assert!(!request.contains("-6") && !request.contains("6.6"), "{request}");
        for kept in ["x-remote", "proxy-status", "x-original"] {
            assert_eq!(values(&request, kept), ["kept"], "{kept}");
        }
    }
    let chosen =
        Rig::start_with(Upstream::echo().address, |settings| settings.headers.remove = vec!["x-internal-*".parse().unwrap()]);
    let token = chosen.log_in().access;
    let request = forwarded(&chosen, &token, "X_Internal_User: root-6\r\nRemote-User: kept\r\n");
    assert!(!request.contains("-6") && values(&request, "remote-user") == ["kept"], "{request}");
}

#[test]
fn a_trace_goes_on_as_it_came_and_none_is_made_up() {
    let rig = Rig::start(Upstream::echo().address);
    let token = rig.log_in().access;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = forwarded(
        &rig,
        &token,
        &format!("Traceparent: {parent}\r\nTracestate: a=1\r\nTracestate: b=2\r\nConnection: traceparent\r\n"),
    );
    assert_eq!((values(&request, "traceparent"), values(&request, "tracestate")), (vec![parent], vec!["a=1", "b=2"]));
    for none in ["", "Traceparent: 00-broken-01\r\nTracestate: a=1\r\n", "Trace.Parent: 1\r\nTracestate: a=1\r\n"] {
        let request = forwarded(&rig, &token, none);
        assert_eq!((values(&request, "traceparent"), values(&request, "tracestate")), (vec![], vec![]), "{none}");
    }
}

#[test]
fn authorization_that_is_not_ours_reaches_the_upstream() {
    let upstream = Upstream::echo();
    let rig = Rig::start_with(upstream.address, |settings| {
        settings.routes.change(|routes| routes[1].access = Access::Optional).unwrap();
    });
    let token = rig.log_in().access;
    let ask =
        |path: &str, fields: &str| rig.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).body.to_ascii_lowercase();
    let basic = "basic ytpi";
    let aws = "aws4-hmac-sha256 credential=akia/20130524/us-east-1/s3/aws4_request, signedheaders=host, signature=fe5f";
    for credentials in [basic, aws, "bearer whsec_1234", "bearer null", "bearer e30.e30.e30", "digest username=\"a\""] {
        let request = ask("/public", &format!("Authorization: {credentials}\r\n"));
        assert_eq!(values(&request, "authorization"), [credentials]);
    }
    for credentials in [basic, aws] {
        let request = ask("/lenient", &format!("Authorization: {credentials}\r\n"));
        assert_eq!(values(&request, "authorization"), [credentials], "an optional route");
    }
    let login = "{}";
    rig.ask(format!("POST /login HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YTpi\r\nContent-Length: 2\r\n\r\n{login}"));
    assert_eq!(values(&upstream.heard().last().unwrap().to_ascii_lowercase(), "authorization"), [basic]);
    rig.ask(format!("POST /login HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 2\r\n\r\n{login}"));
    assert!(!upstream.heard().last().unwrap().contains(&token), "a token of ours stays at a login too");
}

#[test]
fn a_token_of_ours_reaches_no_upstream_unless_its_route_says_so() {
    let rule = |rule| {
        move |settings: &mut Settings| {
            settings.routes.change(|routes| routes.iter_mut().for_each(|route| forward(route).authorization = rule)).unwrap();
        }
    };
    let lower = |response: Response| response.body.to_ascii_lowercase();
    let rig = Rig::start(Upstream::echo().address);
    let tokens = rig.log_in();
    let access = &tokens.access;
    for fields in [
        format!("Authorization: Bearer {access}\r\n"),
        format!("Authorization: Basic YTpi\r\nAuthorization: bearer  {access}\r\n"),
        format!("Authorization: Basic YTpi, Bearer \"{access}\"\r\n"),
        format!("Authorization: Token {access}\r\n"),
        format!("Authorization: {access}\r\n"),
        format!("Proxy-Authorization: Bearer {access}\r\n"),
    ] {
        let response = rig.ask(format!("GET /public HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        assert!(response.status == 200 && !response.body.contains(access), "{fields}: {response:?}");
    }
    let two = rig
        .ask(format!("GET /public HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YTpi\r\nAuthorization: Bearer {access}\r\n\r\n"));
    assert_eq!(values(&lower(two), "authorization"), ["basic ytpi"]);
    // It was taken out by its name: that it is no longer good does not matter.
    rig.clock.advance(Duration::from_hours(1));
    assert!(!rig.get("/public", access).body.contains(access));
    assert_eq!(rig.get("/api", access).status, 401);

    let passing = Rig::start_with(Upstream::echo().address, rule(AuthorizationRule::Pass));
    let access = passing.log_in().access;
    assert!(passing.get("/api", &access).body.contains(&access) && passing.get("/public", &access).body.contains(&access));

    let removing = Rig::start_with(Upstream::echo().address, rule(AuthorizationRule::Remove));
    let basic = removing.ask("GET /public HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YTpi\r\n\r\n");
    assert_eq!(values(&lower(basic), "authorization"), [""; 0]);
}

#[test]
fn a_token_of_ours_does_not_hide_among_others() {
    let rig = Rig::start(Upstream::echo().address);
    let access = rig.log_in().access;
    let foreign = |count: usize| vec!["e30.e30.e30"; count];
    let ask = |fields: &[String]| {
        let lines: String = fields.iter().flat_map(|value| ["Authorization: ", value, "\r\n"]).collect();
        rig.ask(format!("GET /public HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
    };
    let few = ask(&[foreign(8).join(" ")]);
    assert_eq!(values(&few.body.to_ascii_lowercase(), "authorization"), [foreign(8).join(" ")], "few are looked at, each");
    let field = [foreign(400), vec![&access]].concat().join(" ");
    let fields: Vec<String> = [foreign(40), vec![&access]].concat().into_iter().map(str::to_owned).collect();
    for hidden in [vec![field], fields] {
        let response = ask(&hidden);
        assert!(response.status == 200 && !response.body.contains(&access), "{response:?}");
    }
}

#[test]
fn basic_passes_beside_a_token_in_a_cookie() {
    let cookies = "[store]\nkind = \"memory\"\n[cookies]\nenabled = true\ntokens_in_body = true\n";
    let rig = Rig::start_from(Upstream::echo().address, cookies, |_| {});
    let response = rig.ask("POST /login HTTP/1.1\r\nHost: a\r\nX-Csrf: 1\r\nContent-Length: 2\r\n\r\n{}");
    let body: serde_json::Value = serde_json::from_str(&response.body).unwrap();
    let access = body["accessToken"].as_str().unwrap();
    let response = rig
        .ask(format!("GET /api HTTP/1.1\r\nHost: a\r\nCookie: a=1; __Host-access={access}\r\nAuthorization: Basic YTpi\r\n\r\n"));
    assert_eq!(response.status, 200, "{response:?}");
    let request = response.body.to_ascii_lowercase();
    assert_eq!((values(&request, "authorization"), values(&request, "x-auth-subject")), (vec!["basic ytpi"], vec!["user-1"]));
    assert!(!response.body.contains(access));
}

#[test]
fn forwarded_of_a_trusted_peer_is_believed_where_x_forwarded_for_is_absent() {
    let rig = Rig::start_with(Upstream::echo().address, |settings| {
        settings.listen.trusted_peers = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let token = rig.log_in().access;
    let request =
        forwarded(&rig, &token, "Forwarded: for=\"[2001:db8::1]:4711\";proto=https;host=shop.example, for=127.0.0.9\r\n");
    assert_eq!(values(&request, "x-forwarded-for"), ["[2001:db8::1]:4711, 127.0.0.9, 127.0.0.1"]);
    assert_eq!(values(&request, "x-real-ip"), ["2001:db8::1"]);
    assert_eq!(
        (values(&request, "x-forwarded-proto"), values(&request, "x-forwarded-host")),
        (vec!["https"], vec!["shop.example"])
    );
    let told = "for=\"[2001:db8::1]:4711\";proto=https;host=\"shop.example\", for=127.0.0.9, for=127.0.0.1";
    assert_eq!(values(&request, "forwarded"), [told]);
}

#[test]
fn hop_by_hop_fields_of_a_response_are_removed() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Hop, Set-Cookie, content-length\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nSet-Cookie: a=b\r\n\
         Proxy-Connection: x\r\nUpgrade: h2c\r\nTrailer: X-T\r\nProxy-Authenticate: Basic\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok",
    );
    let rig = Rig::start(upstream.address);
    let response = rig.ask("GET /public HTTP/1.1\r\nHost: a\r\n\r\n");
    for gone in ["x-hop", "keep-alive", "proxy-connection", "upgrade", "trailer", "proxy-authenticate", "connection"] {
        assert_eq!(response.field(gone), None, "{}", response.head);
    }
    assert_eq!((response.field("x-kept"), response.field("set-cookie")), (Some("1"), Some("a=b")));
    assert_eq!((response.field("content-length"), response.body.as_str()), (Some("2"), "ok"));
}
