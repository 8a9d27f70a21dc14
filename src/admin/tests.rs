use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::*;
use crate::crypto::entropy::{SystemEntropy, draw};
use crate::domain::meters::Meters;
use crate::domain::node::{Asks, Canary, NodeId};
use crate::domain::stats::Counter;
use crate::domain::upstream_report::{AddressReport, AddressState, LastProbe, TargetReport, UpstreamReport};
use crate::sessions::health::UnfitTarget;
use crate::sessions::nodes::{NodeParts, NodeRules};
use crate::sessions::tests::Fault;
use crate::sessions::tests::world::{MINUTE, World};
use crate::store::{NodeRegistry as _, RevocationLog as _, SessionStore as _};

#[async_trait::async_trait]
impl Readiness for Vec<Dependency> {
    async fn dependencies(&self) -> Vec<Dependency> {
        self.clone()
    }
}

const TOKEN: &str = "a token of many characters";

fn named(name: &str) -> NodeRules {
    NodeRules { name: name.to_owned(), silence_max: MINUTE }
}

fn nodes(world: &World) -> Arc<Nodes> {
    Arc::new(Nodes::new(NodeParts {
        registry: Arc::clone(&world.store) as _,
        partitions: world.store.partitions(),
        clock: Arc::clone(&world.clock) as _,
        id: NodeId::new(draw(&SystemEntropy::new())),
    }))
}

fn admin_of(world: &World, dependencies: Vec<Dependency>, token: Option<&str>) -> Admin {
    admin_before(world, dependencies, token, Vec::new())
}

/// With these servers behind it.
fn admin_before(world: &World, dependencies: Vec<Dependency>, token: Option<&str>, upstreams: Vec<UpstreamReport>) -> Admin {
    let upkeep = world.upkeep();
    let rules = AdminRules {
        readiness: Arc::new(dependencies),
        token: token.map(|token| Secret::new(token.to_owned())),
        sessions: Arc::clone(&world.node.sessions),
        upstreams: Arc::new(upstreams),
        own_endpoints: Bytes::from_static(b"{}"),
    };
    let parts = AdminParts {
        nodes: nodes(world),
        replica: Arc::clone(&world.node.replica),
        clock: Arc::clone(&world.clock) as _,
        figures: upkeep.figures,
        meters: Meters::of_workers(1),
        sweeps: upkeep.sweeps,
        reload: reload::reload_channel().0,
    };
    Admin::new(parts, rules)
}

fn admin_with(dependencies: Vec<Dependency>) -> Admin {
    admin_of(&World::new(), dependencies, None)
}

async fn ask_with(token: Option<&str>, field: (&str, &str)) -> StatusCode {
    let admin = admin_of(&World::new(), Vec::new(), token);
    let request = Request::get("/nowhere").header(field.0, field.1).body(Bytes::new()).unwrap();
    admin.respond(&request, ([127, 0, 0, 1], 1).into()).await.status()
}

async fn call(admin: &Admin, method: Method, path: &str, body: &str) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(path).body(Bytes::from(body.to_owned())).unwrap();
    let (head, body) = admin.respond(&request, ([127, 0, 0, 1], 1).into()).await.into_parts();
    (head.status, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

async fn ask(admin: &Admin, method: Method, path: &str) -> (StatusCode, String) {
    call(admin, method, path, "").await
}

async fn json_of(admin: &Admin, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
    let (status, text) = call(admin, method, path, body).await;
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn with_a_token_set_only_its_bearer_gets_in() {
    assert_eq!(ask_with(Some(TOKEN), ("authorization", &format!("bearer {TOKEN}"))).await, StatusCode::NOT_FOUND);
    for wrong in [format!("Bearer {TOKEN}x"), "Bearer ".to_owned(), TOKEN.to_owned(), format!("Basic {TOKEN}")] {
        assert_eq!(ask_with(Some(TOKEN), ("authorization", &wrong)).await, StatusCode::UNAUTHORIZED, "{wrong}");
    }
}

#[tokio::test]
async fn without_a_token_a_web_page_gets_nothing() {
    for host in ["127.0.0.1:9090", "localhost:9090", "[::1]:9090", "LOCALHOST"] {
        assert_eq!(ask_with(None, ("host", host)).await, StatusCode::NOT_FOUND, "{host}");
    }
    for (name, value) in [("host", "rebound.example:9090"), ("host", "localhost.example"), ("origin", "http://localhost:3000")] {
        assert_eq!(ask_with(None, (name, value)).await, StatusCode::FORBIDDEN, "{name}: {value}");
    }
}

#[tokio::test]
async fn nothing_but_the_probes_is_for_strangers() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    let admin = admin_of(&world, Vec::new(), Some(TOKEN));
    let session = format!("/sessions/{}", pair.session);
    for (method, path) in [
        (Method::GET, "/sessions?subject=ada"),
        (Method::DELETE, &session),
        (Method::GET, "/revocations"),
        (Method::POST, "/revocations"),
        (Method::GET, "/nodes"),
        (Method::GET, "/upstreams"),
        (Method::POST, "/reload"),
    ] {
        let status = call(&admin, method, path, r#"{"subject":"ada"}"#).await.0;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert!(world.record(pair.session).await.is_some());
    assert_eq!(ask(&admin, Method::GET, "/healthz").await.0, StatusCode::OK);
}

fn dependency(name: &'static str, fault: Option<&'static str>) -> Dependency {
    Dependency { name, ready: fault.is_none(), detail: fault, alarms: Vec::new(), unfit: Vec::new() }
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let admin = admin_with(vec![dependency("revocations", None), dependency("store", Some("timed out"))]);
    let (status, body) = ask(&admin, Method::GET, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        body,
        r#"{"status":"unready","dependencies":[{"name":"store","ready":false,"detail":"timed out"},{"name":"revocations","ready":true}]}"#
    );
}

#[tokio::test]
async fn an_alarm_is_told_and_takes_no_node_out_of_service() {
    let store = Dependency { alarms: vec!["eviction"], ..dependency("store", None) };
    let (status, body) = ask(&admin_with(vec![store]), Method::GET, "/readyz").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body, r#"{"status":"ready","dependencies":[{"name":"store","ready":true,"alarms":["eviction"]}]}"#);
}

#[tokio::test]
async fn servers_that_are_not_fit_are_named() {
    let unfit = vec![UnfitTarget { target: "upstreams.api.urls[1]".to_owned(), addresses: 2, fit: 1 }];
    let upstreams = Dependency { alarms: vec!["targets_unfit"], unfit, ..dependency("upstreams", None) };
    let (status, body) = ask(&admin_with(vec![upstreams]), Method::GET, "/readyz").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        body,
        r#"{"status":"ready","dependencies":[{"name":"upstreams","ready":true,"alarms":["targets_unfit"],"unfit":[{"target":"upstreams.api.urls[1]","addresses":2,"fit":1}]}]}"#
    );
}

#[tokio::test]
async fn each_address_of_each_server_is_told_with_its_state_and_its_requests() {
    let world = World::new();
    let now = world.clock.now();
    let address = |last: u8, state, last_probe| AddressReport {
        address: Some(([192, 0, 2, last], 80).into()),
        state,
        takes_requests: last == 1,
        last_probe,
        requests: last.into(),
        connections: 7,
        idle: 3,
        waiting: 4,
    };
    let failed = LastProbe { ended_at: now, outcome: Err("responded with 500".into()) };
    let addresses = vec![
        address(1, AddressState::Returning, Some(LastProbe { ended_at: now, outcome: Ok(()) })),
        address(2, AddressState::Ejected { remaining: MINUTE }, None),
        address(3, AddressState::Unhealthy, Some(failed)),
    ];
    let target = TargetReport { key: "urls[0]".into(), place: "api.example:80".to_owned(), weight: 5, addresses };
    let report = UpstreamReport { name: "api".into(), targets: vec![target], meters: Arc::default() };
    let (status, body) = json_of(&admin_before(&world, Vec::new(), None, vec![report]), Method::GET, "/upstreams", "").await;
    assert_eq!(status, StatusCode::OK);
    let (at, later) = ("2026-09-21T14:13:20Z", "2026-09-21T14:14:20Z");
    let addresses = json!([
        {"address": "192.0.2.1:80", "state": "returning", "takesRequests": true, "lastProbe": {"at": at, "passed": true},
         "requests": 1, "connections": 7},
        {"address": "192.0.2.2:80", "state": "ejected", "ejectedUntil": later, "takesRequests": false, "lastProbe": null,
         "requests": 2, "connections": 7},
        {"address": "192.0.2.3:80", "state": "unhealthy", "takesRequests": false,
         "lastProbe": {"at": at, "passed": false, "cause": "responded with 500"}, "requests": 3, "connections": 7},
    ]);
    let target = json!({"key": "upstreams.api.urls[0]", "place": "api.example:80", "weight": 5, "addresses": addresses});
    assert_eq!(body, json!({"upstreams": [{"name": "api", "targets": [target]}]}));
}

#[tokio::test]
async fn a_live_process_is_healthy_whatever_it_waits_for() {
    let admin = admin_with(vec![dependency("store", Some("gone"))]);
    assert_eq!(ask(&admin, Method::GET, "/healthz").await, (StatusCode::OK, r#"{"status":"alive"}"#.to_owned()));
    assert_eq!(ask(&admin, Method::POST, "/healthz").await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(ask(&admin, Method::GET, "/nowhere").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_subjects_sessions_are_listed_with_what_is_known_of_them() {
    let world = World::new();
    let pair = world.log_in("ada@example.com").await;
    world.log_in("bob").await;
    let (status, body) =
        json_of(&admin_of(&world, Vec::new(), None), Method::GET, "/sessions?subject=ada%40example.com", "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        body,
        json!({"subject": "ada@example.com", "sessions": [{
            "id": pair.session.to_string(), "createdAt": "2026-09-21T14:13:20Z", "lastUsedAt": "2026-09-21T14:13:20Z",
            "expiresAt": "2026-09-28T14:13:20Z", "address": "192.0.2.1", "userAgent": "test",
        }]})
    );
}

#[tokio::test]
async fn a_long_list_is_told_page_by_page() {
    let world = World::new();
    for _ in 0..3 {
        world.log_in("ada").await;
    }
    let admin = admin_of(&world, Vec::new(), None);
    let mut path = "/sessions?subject=ada&limit=2".to_owned();
    let mut told = 0;
    loop {
        let (status, body) = json_of(&admin, Method::GET, &path, "").await;
        assert_eq!(status, StatusCode::OK);
        told += body["sessions"].as_array().unwrap().len();
        let Some(next) = body["next"].as_str() else { break };
        assert_eq!(told, 2);
        path = format!("/sessions?subject=ada&limit=2&after={next}");
    }
    assert_eq!(told, 3);
}

#[tokio::test]
async fn calls_that_say_too_little_or_too_much_end_nothing() {
    let world = World::new();
    let pair = world.log_in("ada").await;
    let admin = admin_of(&world, Vec::new(), None);
    for path in [
        "/sessions",
        "/sessions?subject=",
        "/sessions?subject=a&subject=b",
        "/sessions?subjct=a",
        "/sessions?subject=a&limit=0",
        "/sessions?subject=a&limit=201",
        "/sessions?subject=a&after=x",
        "/sessions?subject=a&after=__________________________8",
    ] {
        assert_eq!(ask(&admin, Method::GET, path).await.0, StatusCode::BAD_REQUEST, "{path}");
    }
    let session = format!("/sessions/{}?wait=some", pair.session);
    assert_eq!(ask(&admin, Method::DELETE, &session).await.0, StatusCode::BAD_REQUEST);
    for (path, body) in [
        ("/revocations", ""),
        ("/revocations", "{}"),
        ("/revocations", r#"{"subject":"ada","jti":"x"}"#),
        ("/revocations?wait=all&timeout=2h", r#"{"subject":"ada"}"#),
        ("/revocations", r#"{"subject":"ada","issuedBefore":"2999-01-01T00:00:00Z"}"#),
        ("/revocations", r#"{"everyone":true,"issuedBefore":"2999-01-01T00:00:00Z"}"#),
    ] {
        assert_eq!(call(&admin, Method::POST, path, body).await.0, StatusCode::BAD_REQUEST, "{path} {body}");
    }
    assert_eq!(ask(&admin, Method::DELETE, "/sessions/short").await.0, StatusCode::NOT_FOUND);
    assert!(world.record(pair.session).await.is_some());
}

#[tokio::test]
async fn a_session_a_subject_and_everybody_are_ended() {
    let world = World::new();
    let admin = admin_of(&world, Vec::new(), None);
    let [first, second, third] = [world.log_in("ada").await, world.log_in("ada").await, world.log_in("ada").await];
    let session = format!("/sessions/{}", first.session);
    assert_eq!(json_of(&admin, Method::DELETE, &session, "").await, (StatusCode::OK, json!({"ended": 1})));
    assert_eq!(json_of(&admin, Method::DELETE, &session, "").await, (StatusCode::OK, json!({"ended": 0})));
    assert_eq!(world.record(first.session).await, None);

    let subject = r#"{"subject":"ada"}"#;
    assert_eq!(json_of(&admin, Method::POST, "/revocations", subject).await, (StatusCode::OK, json!({"ended": 2})));
    for pair in [&second, &third] {
        assert!(world.node.replica.covers(&world.principal("ada", pair)).is_some());
    }

    let [old, also_old] = [world.log_in("bob").await, world.log_in("eve").await];
    world.clock.advance(MINUTE);
    let young = world.log_in("bob").await;
    let moment = world.now().secs();
    let everyone = format!(r#"{{"everyone":true,"issuedBefore":{moment}}}"#);
    assert_eq!(json_of(&admin, Method::POST, "/revocations", &everyone).await, (StatusCode::OK, json!({"ended": 2})));
    assert!(world.record(old.session).await.is_none() && world.record(also_old.session).await.is_none());
    assert!(world.record(young.session).await.is_some());
    assert_eq!(world.node.replica.covers(&world.principal("bob", &young)), None);
    assert!(world.node.replica.covers(&world.principal("eve", &also_old)).is_some());
    assert_eq!(world.count(Counter::RevocationsOfEveryone), 1);

    let (status, body) = json_of(&admin, Method::GET, "/revocations", "").await;
    assert_eq!((status, &body["counts"]), (StatusCode::OK, &json!({"sessions": 1, "subjects": 1, "tokens": 0, "everyone": 1})));
}

#[tokio::test]
async fn what_the_store_did_not_take_is_said_to_be_so() {
    let world = World::new();
    let admin = admin_of(&world, Vec::new(), None);
    world.store.fail(Fault::Refuses);
    let (status, body) = json_of(&admin, Method::POST, "/revocations?wait=all", r#"{"subject":"ada"}"#).await;
    assert_eq!((status, &body["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("store_unavailable")));
    assert_eq!(ask(&admin, Method::GET, "/sessions?subject=ada").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ask(&admin, Method::GET, "/nodes").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_call_that_waits_names_those_that_have_not_applied_it() {
    let world = World::new();
    let admin = admin_of(&world, Vec::new(), None);
    admin.nodes.announce(&named("here")).await.unwrap();
    let path = "/revocations?wait=all&timeout=100ms";
    let (status, body) = json_of(&admin, Method::POST, path, r#"{"jti":"x"}"#).await;
    assert_eq!((status, &body["nodes"]["applied"][0]["name"]), (StatusCode::OK, &json!("here")), "alone");

    let other = nodes(&world);
    other.announce(&named("there")).await.unwrap();
    let (status, body) = json_of(&admin, Method::POST, path, r#"{"jti":"y"}"#).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(body["nodes"]["pending"], json!([{"id": other.id().to_string(), "name": "there"}]));

    let reading = async {
        let mut cursor = None;
        loop {
            let batch = world.store.follow(cursor.as_ref(), Duration::from_secs(10)).await.unwrap();
            other.see(&batch.canaries).await.unwrap();
            cursor = Some(batch.cursor);
        }
    };
    let asking = json_of(&admin, Method::POST, "/revocations?wait=all&timeout=20s", r#"{"jti":"z"}"#);
    let (status, body) = tokio::select! {
        answered = asking => answered,
        () = reading => unreachable!("it reads on"),
    };
    assert_eq!((status, &body["nodes"]["pending"]), (StatusCode::OK, &json!([])));
    assert_eq!(body["nodes"]["applied"].as_array().unwrap().len(), 2);

    other.leave().await.unwrap();
    let (status, body) = json_of(&admin, Method::GET, "/nodes", "").await;
    assert_eq!((status, body["nodes"].as_array().unwrap().len()), (StatusCode::OK, 1));
}

#[tokio::test]
async fn a_node_that_leaves_is_waited_for_no_longer() {
    let world = World::new();
    let admin = admin_of(&world, Vec::new(), None);
    let other = nodes(&world);
    admin.nodes.announce(&named("here")).await.unwrap();
    other.announce(&named("there")).await.unwrap();
    let asking = json_of(&admin, Method::POST, "/revocations?wait=all&timeout=20s", r#"{"jti":"z"}"#);
    let leaving = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        other.leave().await.unwrap();
    };
    let ((status, body), ()) = tokio::join!(asking, leaving);
    assert_eq!((status, &body["nodes"]["pending"]), (StatusCode::OK, &json!([])));
}

#[tokio::test]
async fn a_receipt_is_given_once_for_each_canary_that_asks() {
    let world = World::new();
    let (asking, other) = (nodes(&world), nodes(&world));
    let for_all = Canary { node: asking.id(), number: 1, asks: Asks::Everyone };
    let for_writer = Canary { node: asking.id(), number: 2, asks: Asks::Writer };
    let before = world.store.calls();
    for _ in 0..3 {
        other.see(&[for_all, for_writer]).await.unwrap();
    }
    assert_eq!(world.store.calls() - before, 1);
    assert_eq!(world.store.receipts(for_all).await.unwrap(), [other.id()]);
}

#[tokio::test]
async fn the_lag_is_measured_by_canaries_that_come_back() {
    let world = World::new();
    let node = nodes(&world);
    for round in 1..=3_u64 {
        node.send_canary().await.unwrap();
        world.clock.advance(Duration::from_millis(10 * round));
        // The whole log each time: canaries of before must not count again.
        node.see(&world.store.follow(None, Duration::ZERO).await.unwrap().canaries).await.unwrap();
    }
    let lag = node.lag();
    assert_eq!((lag.samples, lag.p50_micros, lag.max_micros), (3, 20_000, 30_000));
    world.store.fail(Fault::Refuses);
    assert!(node.send_canary().await.is_err());
    world.clock.advance(MINUTE);
    assert_eq!(node.lag().max_micros, 30_000, "one that the store did not take is not on its way");
}

#[tokio::test]
async fn a_process_that_reads_no_settings_says_so() {
    let (status, body) = json_of(&admin_with(Vec::new()), Method::POST, "/reload", "").await;
    assert_eq!((status, &body["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("reload_unavailable")));
    assert_eq!(ask(&admin_with(Vec::new()), Method::GET, "/reload").await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_reload_is_answered_with_what_came_of_it() {
    let (sender, mut asked) = reload::reload_channel();
    let world = World::new();
    let admin = Admin { reload: sender, ..admin_of(&world, Vec::new(), None) };
    let done = reload::Reloaded { needs_restart: vec!["listen.address".to_owned()] };
    for (outcome, status) in
        [(Ok(done.clone()), StatusCode::OK), (Err("routes: two of one name".to_owned()), StatusCode::UNPROCESSABLE_ENTITY)]
    {
        let answering = async { asked.recv().await.unwrap().send(outcome.clone()).unwrap() };
        let (response, ()) = tokio::join!(json_of(&admin, Method::POST, "/reload", ""), answering);
        assert_eq!(response.0, status);
        match outcome {
            Err(cause) => assert_eq!(response.1["detail"], json!(cause)),
            Ok(_) => assert_eq!(response.1, json!({"status": "reloaded", "needsRestart": ["listen.address"]})),
        }
    }
}

#[tokio::test]
async fn what_is_described_is_there_by_these_methods_and_no_others() {
    let described = description();
    let admin = admin_with(Vec::new());
    for (path, operations) in described["paths"].as_object().unwrap() {
        let path = path.replace("{id}", &SessionId::from_bytes([7; 16]).to_string());
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
            if path == "/reload" && method == Method::POST {
                continue;
            }
            let (status, _) = call(&admin, method.clone(), &path, "").await;
            let is_described = operations.get(method.as_str().to_ascii_lowercase()).is_some();
            assert_eq!(status != StatusCode::METHOD_NOT_ALLOWED, is_described, "{method} {path}: {status}");
            assert_ne!(status, StatusCode::NOT_FOUND, "{method} {path}");
        }
    }
}
