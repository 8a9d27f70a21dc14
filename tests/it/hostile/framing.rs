//! Heads and bodies whose end two readers could see in different places.

use super::rig::Rig;
use super::upstream::Upstream;

/// Each is answered 400 and followed by the end of the connection, and nothing of it reaches the upstream as a request.
fn assert_refused(requests: &[&[u8]]) {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    for request in requests {
        let shown = String::from_utf8_lossy(request);
        let mut client = rig.client();
        client.send(request);
        let response = client.response();
        assert_eq!(response.status, 400, "{shown:?}: {response:?}");
        client.assert_closed();
    }
    assert_eq!(upstream.heard(), [""; 0], "nothing reaches the upstream");
}

/// Whoever sends broken HTTP may mean something else by the bytes behind it.
#[test]
fn what_follows_a_malformed_request_is_never_read_as_one_and_what_follows_any_other_refusal_is() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let next = "GET /public/next HTTP/1.1\r\nHost: a\r\n\r\n";
    for malformed in [
        "GET /public HTTP/1.1\r\n\r\n",
        "GET /public HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET /public HTTP/1.1\r\nHost: a b\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /public/%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /public/../api HTTP/1.1\r\nHost: a\r\n\r\n",
        "HEAD /public HTTP/1.1\r\n\r\n",
    ] {
        for together in [true, false] {
            let mut client = rig.client();
            client.send(malformed);
            let response = if together {
                client.send(next);
                client.head()
            } else {
                let head = client.head();
                client.try_send(next);
                head
            };
            assert!(
                response.starts_with("http/1.1 400 ") && response.contains("\r\nconnection: close\r\n"),
                "{malformed:?}: {response}"
            );
            assert!(!client.rest().to_ascii_lowercase().contains("http/1.1 "), "{malformed:?}");
        }
    }
    assert_eq!(upstream.heard(), [""; 0]);
    for (refused, status) in [
        ("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /api HTTP/1.1\r\nHost: a\r\n\r\n", 401),
        ("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\n\r\n", 401),
        ("GET /written HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ] {
        let mut client = rig.client();
        client.send(format!("{refused}{next}"));
        let response = client.response();
        assert_eq!((response.status, response.field("connection")), (status, None), "{response:?}");
        assert_eq!(client.response().status, 200, "{refused:?}");
    }
}

#[test]
fn a_length_beside_a_transfer_coding_is_refused_in_either_order() {
    assert_refused(&[
        b"POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /public HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"POST /public HTTP/1.1\r\nHost: a\r\ncontent-LENGTH:5\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\r\nPOST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /public HTTP/1.1\nHost: a\nContent-Length: 5\nTransfer-Encoding: chunked\n\n0\r\n\r\n",
    ]);
}

#[test]
fn a_length_beside_a_transfer_coding_is_refused_in_pieces_and_pipelined_too() {
    let bad = "POST /public/bad HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let before = [
        "GET /public/1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /public/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "POST /public/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ];
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    for good in before {
        let both = format!("{good}{bad}");
        for cut in [0, good.len(), good.len() + 40, both.len() - 8] {
            let mut client = rig.client();
            client.send(&both[..cut]);
            if cut > 0 {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            client.send(&both[cut..]);
            assert_eq!(client.response().status, 200);
            let response = client.response();
            assert_eq!(response.status, 400, "{good:?} cut at {cut}: {response:?}");
            client.assert_closed();
        }
    }
    assert!(upstream.heard().iter().all(|request| !request.contains("/public/bad")));
}

#[test]
fn a_chunked_request_passes_after_others_on_the_same_connection() {
    let rig = Rig::start(Upstream::echo().address);
    let mut client = rig.client();
    for _ in 0..3 {
        client.send("POST /public HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        let response = client.response();
        assert_eq!(response.status, 200, "{response:?}");
        assert!(response.body.ends_with("3\r\nabc\r\n0\r\n\r\n"), "{response:?}");
        client.send("GET /public HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn transfer_codings_other_than_chunked_and_in_http_1_0_are_refused() {
    assert_refused(&[
        b"POST /public HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /public HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST /public HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        b"POST /public HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /public HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /public HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        b"POST /public HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n",
        b"POST /public HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]);
}

#[test]
fn lengths_that_are_not_one_number_are_refused() {
    assert_refused(&[
        b"POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
        b"POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nhello",
        b"POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        b"POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello",
        b"POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
        b"POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\nhello",
        b"POST /public HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhello",
        b"POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
    ]);
}

#[test]
fn fields_that_two_parsers_could_read_differently_are_refused() {
    assert_refused(&[
        b"GET /public HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n",
        b"GET /public HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /public HTTP/1.1\r\n X-A: b\r\nHost: a\r\n\r\n",
        b"GET /public HTTP/1.1\r\nHost: a\r\nX-A: b\rX-B: c\r\n\r\n",
        b"GET /public HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n",
        b"GET /public HTTP/1.1\r\nHost: a\r\nX\0A: b\r\n\r\n",
        b"GET /public HTTP/1.1\r\nHost: a\r\nX-A: b\r\n folded\r\n\r\n",
        b"GET /public HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\tfolded\r\n\r\n",
        b"GET /public HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET /public HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n",
        b"GET  /public HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /public HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET /public x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 garbage\r\n\r\n",
    ]);
}

/// The head is good, so the request is under way when the body turns out bad: the client gets 400, the upstream never a whole one.
#[test]
fn chunks_end_in_crlf_and_have_plain_sizes() {
    let bodies: [&[u8]; 9] = [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5;ext\nhello\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"-1\r\nhello\r\n0\r\n\r\n",
    ];
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    for body in bodies {
        let mut client = rig.client();
        client.send([b"POST /public HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat());
        let response = client.response();
        assert_eq!(response.status, 400, "{:?}: {response:?}", String::from_utf8_lossy(body));
        client.assert_closed();
    }
    assert_eq!(upstream.heard(), [""; 0], "no request reaches the upstream whole");
}

#[test]
fn a_body_that_breaks_off_never_reaches_the_upstream_whole() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    for request in [
        "POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello",
        "POST /public HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut client = rig.client();
        client.send(request);
        client.end_sending();
        let rest = client.rest();
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 400 "), "{rest}");
    }
    assert_eq!(upstream.heard(), [""; 0]);
}
