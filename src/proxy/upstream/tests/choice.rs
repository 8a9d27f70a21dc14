//! One of several backends: which, and which next.

use super::*;

/// Two backends, of which the one at the bench's listener is asked first.
async fn pair() -> (Bench, TcpListener, Lease) {
    let (first, second) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let places = [&first, &second].map(|listener| place(listener.local_addr().unwrap())).to_vec();
    let bench = Bench::of(first, places);
    let busier = Lease::new(&bench.upstream.links.borrow().list[1], 0);
    (bench, second, busier)
}

#[test]
fn requests_go_where_fewer_are_under_way_and_follow_a_name_that_moves() {
    run(async {
        let (busy, other) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (first, second) = (busy.local_addr().unwrap(), other.local_addr().unwrap());
        let named = Target::tcp("moves.example".to_owned(), 80, None);
        let bench = Bench::of(busy, vec![Place { target: named, ..place(first) }]);
        let backends = Arc::clone(&bench.upstream.options.backends);
        assert!(backends.resolved(0, vec![first]));
        bench.tick();
        let ask_twice = async {
            bench.ask().await.unwrap().1.unwrap();
            assert!(backends.resolved(0, vec![first, second]));
            bench.tick();
            assert_eq!(bench.pooled(), 1, "the connection to the address that stayed is kept");
            let held =
                Lease::new(&bench.upstream.links.borrow().list.iter().find(|link| link.pool.idle() == 1).cloned().unwrap(), 0);
            for _ in 0..5 {
                bench.ask().await.unwrap().1.unwrap();
            }
            drop(held);
            assert!(backends.resolved(0, vec![second]));
            bench.tick();
            assert_eq!(bench.pooled(), 1, "the connection to the address that is gone is closed");
            bench.ask().await.unwrap().1.unwrap();
        };
        let serve_first = async {
            let mut stream = bench.accept().await;
            head(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "nothing more is asked, and it is closed");
        };
        let serve_second = async {
            let mut stream = other.accept().await.unwrap().0;
            for _ in 0..6 {
                head(&mut stream).await;
                stream.write_all(OK).await.unwrap();
            }
            stream
        };
        tokio::join!(ask_twice, serve_first, serve_second);
    });
}

#[test]
fn a_harmless_request_that_is_lost_with_its_backend_is_sent_to_another_and_any_other_is_not() {
    for (method, is_repeated) in [(Method::GET, true), (Method::DELETE, true), (Method::POST, false)] {
        run(async {
            let (bench, other, _busier) = pair().await;
            let lose = async {
                let mut stream = bench.accept().await;
                head(&mut stream).await;
            };
            let serve = async {
                let mut stream = other.accept().await.unwrap().0;
                head(&mut stream).await;
                stream.write_all(OK).await.unwrap();
                std::future::pending::<()>().await;
            };
            let ask = async { tokio::join!(bench.send(&method, RequestBody::Empty), lose).0 };
            let outcome = tokio::select! {
                outcome = ask => outcome,
                () = serve => unreachable!("it never ends"),
            };
            let is_served = outcome.as_ref().is_ok_and(|(status, _)| *status == StatusCode::OK);
            let is_lost = matches!(outcome, Err(ExchangeEnd::Upstream(UpstreamFault::Lost(_))));
            assert!(if is_repeated { is_served } else { is_lost }, "{method}: {outcome:?}");
        });
    }
}

#[test]
fn repeats_end_with_their_budget() {
    run(async {
        let (bench, other, _busier) = pair().await;
        // One that is left out would end them earlier.
        let rules = BackendRules { ejection: EjectionRules { failures: 0, ..RULES.ejection }, ..RULES };
        let places = [&bench.listener, &other].map(|listener| place(listener.local_addr().unwrap())).to_vec();
        let options =
            UpstreamOptions { backends: Backends::new(places, rules, standing_clock(), None), ..bench.upstream.options.clone() };
        let bench = Bench { upstream: bench.upstream.with(options), ..bench };
        let lose = async |listener: &TcpListener| loop {
            let mut stream = listener.accept().await.unwrap().0;
            head(&mut stream).await;
        };
        let ask = async {
            let mut lost = 0;
            for _ in 0..30 {
                assert!(bench.ask().await.is_err());
                lost += 1;
            }
            lost
        };
        let lost = tokio::select! {
            lost = ask => lost,
            () = async { tokio::join!(lose(&bench.listener), lose(&other)); } => unreachable!("they never end"),
        };
        let repeats = bench
            .upstream
            .counters
            .snapshot()
            .iter()
            .find(|(counter, _)| *counter == Counter::UpstreamRetries)
            .map_or(0, |(_, count)| count);
        // One a second for ten seconds, and a fifth of the requests.
        assert!(lost == 30 && (10..=17).contains(&repeats), "{repeats} repeats");
    });
}

#[test]
fn a_server_to_which_two_names_lead_goes_on_getting_requests() {
    run(async {
        let (shared, other) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (first, second) = (shared.local_addr().unwrap(), other.local_addr().unwrap());
        let named = |name: &str| Place { target: Target::tcp(name.to_owned(), 80, None), ..place(first) };
        let bench = Bench::of(shared, vec![named("a.example"), named("b.example")]);
        let backends = Arc::clone(&bench.upstream.options.backends);
        let weights = || bench.upstream.links.borrow().list.iter().map(|link| link.candidate().weight).collect::<Vec<_>>();
        assert!(backends.resolved(0, vec![first]));
        bench.tick();
        for _ in 0..2 {
            assert!(backends.resolved(1, vec![first, second]));
            bench.tick();
            assert_eq!(weights().len(), 2);
            assert!(weights().iter().all(|weight| *weight > 0), "{:?}", weights());
            assert!(backends.resolved(1, vec![first]));
            bench.tick();
        }
    });
}
