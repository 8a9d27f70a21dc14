//! Connections: kept, used again, waited for.

use super::*;

#[test]
fn a_connection_is_used_again() {
    run(async {
        let bench = Bench::new().await;
        let serve = async {
            let mut stream = bench.accept().await;
            for _ in 0..3 {
                assert!(head(&mut stream).await.starts_with("GET /a?b HTTP/1.1\r\nhost: example.com\r\n"));
                stream.write_all(OK).await.unwrap();
            }
        };
        let ask = async {
            for _ in 0..3 {
                let (status, body) = bench.ask().await.unwrap();
                assert_eq!((status, body.unwrap()), (StatusCode::OK, b"ok".to_vec()));
            }
            assert_eq!(bench.pooled(), 1);
        };
        tokio::join!(serve, ask);
    });
}

#[test]
fn a_connection_that_died_in_the_pool_costs_nothing() {
    run(async {
        let bench = Bench::new().await;
        let serve = async {
            for _ in 0..2 {
                let mut stream = bench.accept().await;
                head(&mut stream).await;
                stream.write_all(OK).await.unwrap();
            }
        };
        let ask = async {
            bench.ask().await.unwrap().1.unwrap();
            tokio::task::yield_now().await;
            bench.ask().await.unwrap().1.unwrap();
        };
        tokio::join!(serve, ask);
    });
}

#[test]
fn connections_idle_away_after_20_s_or_sooner_where_their_upstream_says_so() {
    for (says, ticks) in [("", 400), ("Keep-Alive: timeout=5, max=100\r\n", 80), ("Keep-Alive: timeout=60\r\n", 400)] {
        run(async {
            let bench = Bench::new().await;
            let serve = async {
                let mut stream = bench.accept().await;
                head(&mut stream).await;
                let response = format!("HTTP/1.1 200 OK\r\n{says}Content-Length: 0\r\n\r\n");
                stream.write_all(response.as_bytes()).await.unwrap();
                stream
            };
            let (_, _stream) = tokio::join!(bench.ask(), serve);
            for _ in 1..ticks {
                bench.watchers.tick(|_| Verdict::Holds);
            }
            bench.tick();
            assert_eq!(bench.pooled(), 1, "{says}");
            bench.watchers.tick(|_| Verdict::Holds);
            bench.tick();
            assert_eq!(bench.pooled(), 0, "{says}");
        });
    }
}

#[test]
fn bytes_behind_a_response_spoil_the_connection() {
    let wire = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let (response, pooled) = answered_in_pieces(wire, wire.len());
    assert_eq!(response.unwrap().1.unwrap(), b"ok");
    assert_eq!(pooled, 0);
}

#[test]
fn where_all_connections_are_in_use_a_request_waits_for_one_of_them_and_not_for_ever() {
    run(async {
        let bench = Bench::new().await;
        let options = UpstreamOptions { connections_max: Some(1), ..bench.upstream.options.clone() };
        let bench = Bench { upstream: bench.upstream.with(options), ..bench };
        let other = bench.watchers.exchange(&bench.watchers.connection(Seat::of_test()));
        let serve = async {
            let mut stream = bench.accept().await;
            for _ in 0..2 {
                head(&mut stream).await;
                tokio::task::yield_now().await;
                stream.write_all(OK).await.unwrap();
            }
            head(&mut stream).await;
            // While the third request is under way, the fourth runs out of time.
            for _ in 0..110 {
                bench.watchers.tick(|_| Verdict::Holds);
                bench.tick();
                tokio::task::yield_now().await;
            }
            stream.write_all(OK).await.unwrap();
            stream
        };
        let ask = async {
            let (one, two) = tokio::join!(bench.ask(), bench.ask_by(&other));
            assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
            let (one, two) = tokio::join!(bench.ask_patiently(), bench.ask_by(&other));
            assert!(one.is_ok(), "{one:?}");
            assert!(matches!(two, Err(ExchangeEnd::Upstream(UpstreamFault::Busy))), "{two:?}");
        };
        let (_stream, ()) = tokio::join!(serve, ask);
    });
}

/// A response longer than what is awaited whole, of which this much comes at first.
const BEGINNING: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nbeginning";

#[test]
fn of_a_backend_that_left_no_connection_is_kept_while_a_response_of_it_goes_on() {
    run(async {
        let (left, stays) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (first, second) = (left.local_addr().unwrap(), stays.local_addr().unwrap());
        let bench = Bench::of(left, vec![Place { target: Target::tcp("moves.example".to_owned(), 80, None), ..place(first) }]);
        let backends = Arc::clone(&bench.upstream.options.backends);
        assert!(backends.resolved(0, vec![first]));
        bench.tick();
        let serve = async {
            let mut long = bench.accept().await;
            head(&mut long).await;
            long.write_all(BEGINNING).await.unwrap();
            let mut idle = bench.accept().await;
            head(&mut idle).await;
            idle.write_all(OK).await.unwrap();
            (long, idle)
        };
        let ask = async {
            let long = bench.begin(&bench.watch, &Method::GET, RequestBody::Empty, Duration::from_secs(5)).await.unwrap();
            bench.ask().await.unwrap().1.unwrap();
            long
        };
        let ((mut long, mut idle), response) = tokio::join!(serve, ask);
        assert!(backends.resolved(0, vec![second]));
        bench.tick();
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0, "it is closed");
        long.write_all(&vec![b'x'; 100_000 - "beginning".len()]).await.unwrap();
        let whole = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(whole.len(), 100_000, "what was under way is finished");
    });
}

#[test]
fn of_a_backend_that_left_no_connection_by_http_2_is_kept_either() {
    run(async {
        let (left, stays) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (first, second) = (left.local_addr().unwrap(), stays.local_addr().unwrap());
        let target = Target::tcp("moves.example".to_owned(), 80, None).speaking(Protocol::Http2);
        let bench = Bench::of(left, vec![Place { target, ..place(first) }]);
        let backends = Arc::clone(&bench.upstream.options.backends);
        assert!(backends.resolved(0, vec![first]));
        bench.tick();
        let shake = async || {
            let mut builder = h2::server::Builder::new();
            builder.max_concurrent_streams(1);
            builder.handshake::<_, Bytes>(bench.accept().await).await.unwrap()
        };
        let serve = async {
            let mut long = shake().await;
            let (_, mut responding) = long.accept().await.unwrap().unwrap();
            let mut sending = responding.send_response(Response::new(()), false).unwrap();
            // Its task moves it from here on.
            let long = async { while long.accept().await.is_some() {} };
            let idle = async {
                let mut idle = shake().await;
                let (_, mut responding) = idle.accept().await.unwrap().unwrap();
                responding.send_response(Response::new(()), true).unwrap();
                assert!(idle.accept().await.is_none(), "it is closed");
                sending.send_data(Bytes::from_static(b"whole"), true).unwrap();
            };
            tokio::join!(long, idle);
        };
        let ask = async {
            let long = bench.begin(&bench.watch, &Method::GET, RequestBody::Empty, Duration::from_secs(5)).await.unwrap();
            bench.ask().await.unwrap().1.unwrap();
            assert!(backends.resolved(0, vec![second]));
            let whole = long.into_body().collect();
            let ticks = async {
                loop {
                    bench.watchers.tick(|_| Verdict::Holds);
                    bench.tick();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            let whole = tokio::select! { whole = whole => whole.unwrap(), () = ticks => unreachable!() };
            assert_eq!(whole.to_bytes(), "whole");
            // The last one closes with the response.
            for _ in 0..100 {
                bench.watchers.tick(|_| Verdict::Holds);
                bench.tick();
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(serve, ask);
    });
}
