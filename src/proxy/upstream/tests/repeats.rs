//! What is sent again to the same backend, and what is not.

use super::*;

async fn die_under_the_second_request(bench: &Bench) {
    let mut connection = bench.accept().await;
    head(&mut connection).await;
    connection.write_all(OK).await.unwrap();
    head(&mut connection).await;
}

#[test]
fn an_idempotent_request_is_repeated_once_when_a_reused_connection_dies_under_it() {
    run(async {
        let bench = Bench::new().await;
        let serve = async {
            die_under_the_second_request(&bench).await;
            let mut second = bench.accept().await;
            head(&mut second).await;
            second.write_all(OK).await.unwrap();
        };
        let ask = async {
            bench.ask().await.unwrap().1.unwrap();
            bench.ask().await.unwrap().1.unwrap();
        };
        tokio::join!(serve, ask);
    });
}

#[test]
fn a_post_that_may_have_happened_is_not_repeated() {
    run(async {
        let bench = Bench::new().await;
        let serve = die_under_the_second_request(&bench);
        let ask = async {
            bench.ask().await.unwrap().1.unwrap();
            let failed = bench.send(&Method::POST, RequestBody::Empty).await;
            assert!(matches!(failed, Err(ExchangeEnd::Upstream(UpstreamFault::Lost(_)))), "{failed:?}");
        };
        tokio::join!(serve, ask);
    });
}

#[test]
fn a_fresh_connection_that_dies_is_not_tried_again() {
    run(async {
        let bench = Bench::new().await;
        let serve = async {
            let mut stream = bench.accept().await;
            head(&mut stream).await;
        };
        let (failed, ()) = tokio::join!(bench.ask(), serve);
        assert!(matches!(failed, Err(ExchangeEnd::Upstream(UpstreamFault::Lost(_)))), "{failed:?}");
    });
}

#[test]
fn a_repeated_request_has_no_more_time_than_one_that_is_not() {
    run(async {
        let bench = Bench::new().await;
        let wait = || (0..60).for_each(|_| bench.watchers.tick(|_| Verdict::Holds));
        let serve = async {
            let mut first = bench.accept().await;
            head(&mut first).await;
            first.write_all(OK).await.unwrap();
            head(&mut first).await;
            wait();
            drop(first);
            let mut second = bench.accept().await;
            head(&mut second).await;
            // Of 100 ticks, which are 5 s, 60 are gone.
            wait();
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        };
        let ask = async {
            bench.ask().await.unwrap().1.unwrap();
            bench.ask().await
        };
        let ((), failed) = tokio::join!(serve, ask);
        assert!(matches!(failed, Err(ExchangeEnd::Upstream(UpstreamFault::ResponseTimedOut))), "{failed:?}");
    });
}
