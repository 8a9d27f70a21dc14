//! Responses as they come: whole, broken off, late.

use super::*;

#[test]
fn a_truncated_response_is_never_taken_for_the_whole() {
    for wire in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ] {
        let (response, pooled) = answered_with(wire);
        let end = response.map_or_else(Some, |(_, body)| body.err());
        assert!(matches!(end, Some(ExchangeEnd::Upstream(UpstreamFault::Truncated(_)))), "{end:?}");
        assert_eq!(pooled, 0);
    }
}

#[test]
fn a_response_until_the_end_of_the_connection_is_whole_and_its_connection_is_not_kept() {
    let (response, pooled) = answered_with(b"HTTP/1.1 200 OK\r\n\r\nall of it");
    assert_eq!(response.unwrap().1.unwrap(), b"all of it");
    assert_eq!(pooled, 0);
}

#[test]
fn a_chunked_response_is_read_whole_and_its_connection_is_kept() {
    let (response, pooled) =
        answered_with(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
    assert_eq!(response.unwrap().1.unwrap(), b"hello world");
    assert_eq!(pooled, 1);
}

#[test]
fn interim_responses_are_no_responses_and_not_without_end() {
    let (response, pooled) = answered_with(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    assert_eq!(response.unwrap().0, StatusCode::OK);
    assert_eq!(pooled, 1);
    let endless: &'static [u8] = Box::leak("HTTP/1.1 102 Processing\r\n\r\n".repeat(40).into_bytes().into_boxed_slice());
    assert!(matches!(answered_with(endless).0, Err(ExchangeEnd::Upstream(UpstreamFault::Malformed(_)))));
}

#[test]
fn an_upstream_that_says_nothing_is_given_up_on() {
    run(async {
        let bench = Bench::new().await;
        let serve = async {
            let mut stream = bench.accept().await;
            head(&mut stream).await;
            for _ in 0..200 {
                bench.watchers.tick(|_| Verdict::Holds);
            }
            stream
        };
        let (failed, _stream) = tokio::join!(bench.ask(), serve);
        assert!(matches!(failed, Err(ExchangeEnd::Upstream(UpstreamFault::ResponseTimedOut))), "{failed:?}");
    });
}

#[test]
fn what_is_broken_before_anything_of_it_was_passed_on_is_no_response() {
    for (wire, is_whole) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"[..], false),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", false),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", false),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", true),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", true),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
    ] {
        let asked = run(async {
            let bench = Bench::new().await;
            let serve = async {
                let mut stream = bench.accept().await;
                // All of it is there, and the end, before the gateway looks.
                stream.write_all(wire).await.unwrap();
                stream.shutdown().await.unwrap();
                stream
            };
            tokio::join!(bench.ask(), serve).0
        });
        let ended = matches!(asked, Err(ExchangeEnd::Upstream(UpstreamFault::Truncated(_))));
        assert!(if is_whole { asked.is_ok_and(|(_, body)| body.is_ok()) } else { ended }, "{}", wire.escape_ascii());
    }
}

#[test]
fn an_upstream_that_dies_right_behind_its_last_byte_is_noticed_before_anything_is_passed_on() {
    for wire in
        [&b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"[..], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"]
    {
        let asked = run(async {
            let bench = Bench::new().await;
            let serve = async {
                let mut stream = bench.accept().await;
                head(&mut stream).await;
                stream.write_all(wire).await.unwrap();
                // Here the gateway looks for the first time.
                tokio::task::yield_now().await;
                drop(stream);
            };
            tokio::join!(bench.ask(), serve).0
        });
        assert!(matches!(asked, Err(ExchangeEnd::Upstream(UpstreamFault::Truncated(_)))), "{}", wire.escape_ascii());
    }
}

#[test]
fn an_upstream_that_takes_nothing_more_is_given_up_on() {
    run(async {
        let bench = Bench::new().await;
        let serve = async {
            let mut stream = bench.accept().await;
            head(&mut stream).await;
            for _ in 0..200 {
                bench.watchers.tick(|_| Verdict::Holds);
                tokio::task::yield_now().await;
            }
            stream
        };
        let much = Bytes::from(vec![b'x'; 64 << 20]);
        let (failed, _stream) = tokio::join!(bench.send(&Method::POST, RequestBody::Whole(much)), serve);
        assert!(matches!(failed, Err(ExchangeEnd::Upstream(UpstreamFault::WriteTimedOut))), "{failed:?}");
    });
}
