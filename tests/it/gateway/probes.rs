//! Active probes of the servers of upstreams.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use super::balancing::{closed, tables};
use super::drain::eventually;
use crate::support::gateway::Gateway;
use crate::support::http::Message;
use crate::support::upstream::{Turn, Upstream};

/// A server that serves every request, and answers its probes as it is told.
struct Probed {
    upstream: Upstream,
    is_well: Arc<AtomicBool>,
    probes: Arc<AtomicU64>,
    /// Requests of clients that reached it.
    served: Arc<AtomicU64>,
}

impl Probed {
    fn start() -> Self {
        let (is_well, probes, served) =
            (Arc::new(AtomicBool::new(true)), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (told, probed, asked) = (Arc::clone(&is_well), Arc::clone(&probes), Arc::clone(&served));
        let upstream = Upstream::taking_turns(move |request, _| {
            let is_probe = request.target() == "/healthz";
            if is_probe { &probed } else { &asked }.fetch_add(1, Ordering::SeqCst);
            let status = if is_probe && !told.load(Ordering::SeqCst) { 500 } else { 200 };
            Turn::Response(format!("HTTP/1.1 {status} Told\r\ncontent-length: 2\r\n\r\n{{}}").into_bytes())
        });
        Self { upstream, is_well, probes, served }
    }

    fn be(&self, is_well: bool) {
        self.is_well.store(is_well, Ordering::SeqCst);
    }

    fn probes(&self) -> u64 {
        self.probes.load(Ordering::SeqCst)
    }

    fn served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }
}

const HEALTH: &str = "[upstreams.many.health]\npath = '/healthz'\ninterval = '100ms'\ntimeout = '100ms'\n";

/// With one worker: once no request reaches a server any more, every worker knows.
fn gateway(login: &Upstream, servers: [&Probed; 2], keys: &str) -> Gateway {
    of_workers("1", login, servers, keys)
}

fn of_workers(workers: &str, login: &Upstream, servers: [&Probed; 2], keys: &str) -> Gateway {
    let urls = servers.map(|server| format!("\"{}\"", server.upstream.url())).join(", ");
    Gateway::of(login, &tables(&format!("urls = [{urls}]\nslow_start = '0s'\n{HEALTH}{keys}")), &[("listen.workers", workers)])
}

fn ask(gateway: &Gateway, times: u32) {
    let mut client = gateway.client();
    for _ in 0..times {
        client.get("/public/x", None).expect(200);
    }
}

#[test]
fn a_server_that_fails_its_probes_gets_no_requests_until_it_passes_them_again() {
    let (login, ill, well) = (Upstream::start(), Probed::start(), Probed::start());
    let gateway = gateway(&login, [&ill, &well], "unhealthy_after = 2\nhealthy_after = 2\n");
    ask(&gateway, 40);
    assert!(ill.served() > 0 && well.served() > 0, "one that is healthy gets requests from the start");
    ill.be(false);
    gateway.await_log("that it fails its probes", |log| log.contains("fails its probes"));
    // The worker follows with its next tick.
    eventually("nothing reaches it", || {
        let before = ill.served();
        ask(&gateway, 20);
        ill.served() == before
    });
    let (before, probes) = (ill.served(), ill.probes());
    eventually("it is probed on and on", || {
        ask(&gateway, 5);
        ill.probes() > probes + 5
    });
    assert_eq!(ill.served(), before);
    ill.be(true);
    eventually("it gets requests again", || {
        ask(&gateway, 20);
        ill.served() > before
    });
    let log = gateway.log();
    assert_eq!(log.matches("fails its probes: it gets no requests").count(), 1, "{log}");
    assert_eq!(log.matches("passes its probes again").count(), 1, "{log}");
    assert!(log.contains("responded with 500"), "{log}");
    let metrics = gateway.admin().get("/metrics", None).expect(200).text();
    for outcome in ["passed", "failed"] {
        let counted = format!("tokengate_upstream_probes_total{{outcome=\"{outcome}\"}} ");
        assert!(metrics.contains(&counted) && !metrics.contains(&format!("{counted}0\n")), "{metrics}");
    }
}

#[test]
fn one_process_probes_a_server_once_in_each_interval_however_many_workers_there_are() {
    let (login, one, other) = (Upstream::start(), Probed::start(), Probed::start());
    let gateway = of_workers("3", &login, [&one, &other], "");
    let began = (tokio::time::Instant::now(), one.probes());
    eventually("there are probes", || one.probes() >= began.1 + 10);
    let intervals = began.0.elapsed().as_millis() / 100;
    assert!(intervals + 1 >= 10, "10 probes within {intervals} intervals");
    drop(gateway);
}

#[test]
fn where_no_server_passes_its_probes_all_get_requests() {
    let (login, one, other) = (Upstream::start(), Probed::start(), Probed::start());
    one.be(false);
    other.be(false);
    let gateway = of_workers("2", &login, [&one, &other], "unhealthy_after = 1\n");
    gateway.await_log("that none passes", |log| log.contains("no server of an upstream passes its probes"));
    let before = (one.served(), other.served());
    eventually("both are asked", || {
        ask(&gateway, 20);
        one.served() > before.0 && other.served() > before.1
    });
}

#[test]
fn a_reload_does_not_forget_who_failed() {
    let (login, ill, well) = (Upstream::start(), Probed::start(), Probed::start());
    ill.be(false);
    let gateway = gateway(&login, [&ill, &well], "unhealthy_after = 1\n");
    gateway.await_log("that it fails its probes", |log| log.contains("fails its probes"));
    // From here on nobody asks it for an hour.
    gateway.reload(|settings| settings.replace("interval = '100ms'", "interval = '1h'"));
    eventually("the worker goes by the new settings", || {
        let before = ill.served();
        ask(&gateway, 20);
        ill.served() == before
    });
    let before = ill.served();
    ask(&gateway, 100);
    assert_eq!(ill.served(), before);
    // Without probes, what they found does not count.
    gateway.reload(|settings| {
        let (keys, routes) = settings.split_once("[upstreams.many.health]").unwrap();
        format!("{keys}{}", routes.split_once("[[routes]]").map(|(_, routes)| format!("[[routes]]{routes}")).unwrap())
    });
    eventually("it gets requests", || {
        ask(&gateway, 20);
        ill.served() > before
    });
}

/// Of the servers of the upstream `many`, in order: state, and whether it takes requests.
fn states(gateway: &Gateway) -> Vec<(String, bool)> {
    let told = gateway.admin().get("/upstreams", None).expect(200).json();
    let many = told["upstreams"].as_array().unwrap().iter().find(|upstream| upstream["name"] == "many").unwrap().clone();
    let targets = many["targets"].as_array().unwrap().iter();
    let address = targets.map(|target| target["addresses"][0].clone());
    address.map(|one| (one["state"].as_str().unwrap().to_owned(), one["takesRequests"].as_bool().unwrap())).collect()
}

#[test]
fn operators_are_told_of_each_server_and_clients_of_none() {
    let (login, ill, well) = (Upstream::start(), Probed::start(), Probed::start());
    let gateway = gateway(&login, [&ill, &well], "unhealthy_after = 1\n");
    assert_eq!(states(&gateway), [("healthy".to_owned(), true), ("healthy".to_owned(), true)]);
    ill.be(false);
    eventually("it is unhealthy", || states(&gateway) == [("unhealthy".to_owned(), false), ("healthy".to_owned(), true)]);
    let told = gateway.admin().get("/upstreams", None).expect(200).json();
    let many = told["upstreams"].as_array().unwrap().iter().find(|upstream| upstream["name"] == "many").unwrap();
    assert_eq!(many["targets"][0]["key"], "upstreams.many.urls[0]");
    assert_eq!(many["targets"][0]["addresses"][0]["lastProbe"]["cause"], "responded with 500");
    assert_eq!(many["targets"][1]["addresses"][0]["address"], well.upstream.address().to_string());
    let of_upstreams = |ready: &Message| {
        let dependencies = ready.json()["dependencies"].as_array().unwrap().clone();
        dependencies.into_iter().find(|dependency| dependency["name"] == "upstreams").unwrap()
    };
    let (operators, clients) = (gateway.admin().get("/readyz", None), gateway.client().get("/readyz", None));
    let unfit = json!([{"target": "upstreams.many.urls[0]", "addresses": 1, "fit": 0}]);
    assert_eq!(of_upstreams(&operators.expect(200))["unfit"], unfit);
    assert_eq!(of_upstreams(&clients.expect(200)), json!({"name": "upstreams", "ready": true, "alarms": ["targets_unfit"]}));
    well.be(false);
    eventually("the alarm rises", || {
        let alarms = of_upstreams(&gateway.admin().get("/readyz", None).expect(200))["alarms"].clone();
        alarms == json!(["no_target_fit", "targets_unfit"])
    });
    assert_eq!(states(&gateway), [("unhealthy".to_owned(), true), ("unhealthy".to_owned(), true)]);
}

#[test]
fn requests_under_way_are_counted_over_all_workers_and_an_ejection_is_told_with_its_end() {
    let (login, held) = (Upstream::start(), Upstream::start());
    let keys = format!("urls = [\"{}\", \"http://{}\"]\neject_after = 1\neject_for = '1h'", held.url(), closed());
    let tables = tables(&keys).replace("'/public'", "'/api'").replace("\"/public\"", "\"/api\"");
    let gateway = Gateway::of(&login, &tables, &[]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| gateway.client().get("/api/held", None).expect(200));
        }
        held.await_held(4);
        let many = || {
            let told = gateway.admin().get("/upstreams", None).expect(200).json();
            told["upstreams"].as_array().unwrap().iter().find(|upstream| upstream["name"] == "many").unwrap().clone()
        };
        let address = |index: usize| many()["targets"][index]["addresses"][0].clone();
        assert_eq!((&address(0)["requests"], &address(0)["connections"]), (&json!(4), &json!(4)));
        eventually("the other is ejected", || {
            gateway.client().get("/api/x", None).expect(200);
            address(1)["state"] == "ejected"
        });
        assert!(address(1)["ejectedUntil"].as_str().is_some_and(|until| until.ends_with('Z')), "{}", address(1));
        held.release();
    });
    let metrics = gateway.admin().get("/metrics", None).expect(200).text();
    for line in [
        "tokengate_upstream_ejections_total 1",
        "tokengate_upstream_targets{upstream=\"many\",state=\"ejected\"} 1",
        "tokengate_upstream_targets{upstream=\"many\",state=\"healthy\"} 1",
    ] {
        assert!(metrics.lines().any(|there| there == line), "{line}\n{metrics}");
    }
}

#[test]
fn the_claims_hook_asks_no_server_that_fails_its_probes() {
    let (login, ill, well) = (Upstream::start(), Probed::start(), Probed::start());
    ill.be(false);
    let hook = "[claims_hook]\nupstream = 'many'\npath = '/claims'\non_failure = 'refuse'\n";
    let gateway = gateway(&login, [&ill, &well], &format!("unhealthy_after = 1\n{hook}"));
    gateway.await_log("that it fails its probes", |log| log.contains("fails its probes"));
    let mut client = gateway.client();
    for number in 0..20 {
        let tokens = client.log_in(&format!("user-{number}@example.com"));
        client.refresh(&tokens.refresh).expect(200);
    }
    assert_eq!((ill.served(), well.served()), (0, 20));
}

/// Of each user, which of the two servers serves the requests.
fn homes(gateway: &Gateway, servers: [&Probed; 2], tokens: &[String]) -> Vec<usize> {
    let home = |token: &String| {
        let before = servers.map(Probed::served);
        for _ in 0..3 {
            gateway.client().get("/api/x", Some(token)).expect(200);
        }
        let served = [0, 1].map(|index| servers[index].served() - before[index]);
        served.iter().position(|count| *count == 3).unwrap_or(usize::MAX)
    };
    tokens.iter().map(home).collect()
}

#[test]
fn callers_of_a_server_that_fails_its_probes_go_elsewhere_and_return_and_no_others_move() {
    let (login, ill, well) = (Upstream::start(), Probed::start(), Probed::start());
    let api = "[[routes]]\nname = 'api'\nprefix = '/api'\nupstream = 'many'\n";
    let urls = [&ill, &well].map(|server| format!("\"{}\"", server.upstream.url())).join(", ");
    let keys = format!("urls = [{urls}]\nslow_start = '0s'\nbalance = 'hash'\n{HEALTH}unhealthy_after = 1\nhealthy_after = 1\n");
    let gateway = Gateway::of(&login, &format!("{}{api}", tables(&keys)), &[]);
    let mut client = gateway.client();
    let tokens: Vec<String> = (0..12).map(|number| client.log_in(&format!("user-{number}@example.com")).access).collect();
    let at_first = homes(&gateway, [&ill, &well], &tokens);
    assert!(at_first.contains(&0) && at_first.contains(&1), "{at_first:?}");
    ill.be(false);
    eventually("all are at the other", || homes(&gateway, [&ill, &well], &tokens) == vec![1; tokens.len()]);
    ill.be(true);
    eventually("all are where they were", || homes(&gateway, [&ill, &well], &tokens) == at_first);
}
