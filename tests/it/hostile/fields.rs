//! Fields that must not pass, however they are spelt.

use super::rig::Rig;
use super::upstream::Upstream;

/// The forwarded request for one with these fields, in lower case.
fn forwarded(rig: &Rig, token: &str, fields: &str) -> String {
    let answer = rig.ask(format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{fields}\r\n"));
    assert_eq!(answer.status, 200, "{fields}: {answer:?}");
    answer.body.to_ascii_lowercase()
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
    let lies = "X-Auth-Subject: root\r\nX_Auth_Subject: root\r\nx-auth_subject: root\r\nX-AUTH-SESSION: root\r\nX-Auth-Role: root\r\n\
                X-Auth-Subject: root\r\nX_Forwarded_For: root\r\nX_Request_Id: root\r\nContent_Length: root\r\nHost_: kept\r\n\
                Transfer_Encoding: root\r\nAuthorization_: kept\r\n";
    let request = forwarded(&rig, &token, lies);
    assert!(!request.contains("root"), "{request}");
    assert_eq!(values(&request, "x-auth-subject"), ["user-1"]);

    let public = rig.ask(format!("GET /public HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{lies}\r\n"));
    assert!(!public.body.contains("root") && !public.body.contains("x-auth-"), "{}", public.body);
    assert!(!public.body.contains(&token), "the token stays here");
}

#[test]
fn trailers_never_become_fields_and_carry_no_identity() {
    let upstream = Upstream::echo();
    let rig = Rig::start_with(upstream.address, |settings| {
        settings.identity.claims = vec![("role".to_owned(), "x-role".parse().unwrap())];
    });
    let token = rig.log_in().access;
    let answer = rig.ask(format!(
        "POST /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
         X-Role: root\r\nX_Role: root\r\nX-Auth-Subject: root\r\nx_auth_subject: root\r\nAuthorization: root\r\nX-Forwarded-For: root\r\nContent-Length: 7\r\n\
         Host: root\r\nTransfer-Encoding: root\r\nCookie: root\r\n\r\n"
    ));
    assert_eq!(answer.status, 200, "{answer:?}");
    let request = answer.body.to_ascii_lowercase();
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
    assert_eq!(values(&request, "x-forwarded-for"), ["6.6.6.6", "127.0.0.1"]);
    assert_eq!(values(&request, "x-real-ip"), ["6.6.6.6"]);
}

#[test]
fn hop_by_hop_fields_of_an_answer_are_removed() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Hop, Set-Cookie, content-length\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nSet-Cookie: a=b\r\n\
         Proxy-Connection: x\r\nUpgrade: h2c\r\nTrailer: X-T\r\nProxy-Authenticate: Basic\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok",
    );
    let rig = Rig::start(upstream.address);
    let answer = rig.ask("GET /public HTTP/1.1\r\nHost: a\r\n\r\n");
    for gone in ["x-hop", "keep-alive", "proxy-connection", "upgrade", "trailer", "proxy-authenticate", "connection"] {
        assert_eq!(answer.field(gone), None, "{}", answer.head);
    }
    assert_eq!((answer.field("x-kept"), answer.field("set-cookie")), (Some("1"), Some("a=b")));
    assert_eq!((answer.field("content-length"), answer.body.as_str()), (Some("2"), "ok"));
}
