//! What a running process takes over: issuers, the admin listener's place, the log's form, and all of it at one moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::drain::eventually;
use crate::support::gateway::{Gateway, lasting_address};
use crate::support::http::{Client, Message};
use crate::support::upstream::{PASSWORD, Turn, Upstream};

/// Another gateway plays the issuer; its keys are published by a server that can withhold them.
struct Issuer {
    gateway: Gateway,
    keys: Upstream,
    withholds: Arc<AtomicBool>,
    name: &'static str,
}

impl Issuer {
    fn start(api: &Upstream, name: &'static str) -> Self {
        let gateway = Gateway::start(api, &[("tokens.issuer", name)]);
        let set = gateway.client().get("/.well-known/jwks.json", None).expect(200).text();
        let withholds = Arc::new(AtomicBool::new(false));
        let withheld = Arc::clone(&withholds);
        let keys = Upstream::saying(move |_| {
            let (status, body) = if withheld.load(Ordering::Relaxed) { ("503 Later", "") } else { ("200 OK", set.as_str()) };
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
        });
        Self { gateway, keys, withholds, name }
    }

    fn accepted(&self, further: &str) -> String {
        let (name, url) = (self.name, self.keys.url());
        format!(
            "[[issuers]]\nissuer = \"{name}\"\naudiences = [\"tokengate\"]\nalgorithms = [\"ES256\"]\njwks_url = \"{url}/keys\"\n\
             subject_prefix = \"{name}:\"\n{further}\n"
        )
    }

    fn token(&self) -> String {
        self.gateway.client().log_in("ann").access
    }
}

#[test]
fn issuers_come_change_and_go_and_the_keys_of_those_that_stay_are_kept() {
    let (api, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let issuer = Issuer::start(&api, "https://one.example");
    let gateway = Gateway::start_in(folder.path(), &api, &[]);
    let (mut client, token) = (gateway.client(), issuer.token());
    client.get("/api/x", Some(&token)).expect(401);

    let accepted = issuer.accepted("");
    gateway.reload(|settings| settings + &accepted);
    client.get("/api/x", Some(&token)).expect(200);
    assert_eq!(issuer.keys.requests(), 1);

    // From now on nobody could get them again.
    issuer.withholds.store(true, Ordering::Relaxed);
    gateway.reload(|settings| settings.replacen("[limits.login]", "[tokens]\nlifetime = \"5m\"\n[limits.login]", 1));
    client.get("/api/x", Some(&token)).expect(200);
    let others = accepted.replace("\"tokengate\"", "\"others\"");
    gateway.reload(|settings| settings.replace(&accepted, &others));
    client.get("/api/x", Some(&token)).expect(401);
    let seldom = issuer.accepted("refresh_interval = \"1h\"");
    gateway.reload(|settings| settings.replace(&others, &seldom));
    client.get("/api/x", Some(&token)).expect(200);
    assert_eq!(issuer.keys.requests(), 1, "they are not fetched again");

    gateway.reload(|settings| settings.replace(&seldom, ""));
    client.get("/api/x", Some(&token)).expect(401);
    assert!(!gateway.admin().get("/readyz", None).expect(200).text().contains("issuer_keys"));
}

#[test]
fn the_keys_of_an_issuer_that_went_are_fetched_no_more() {
    let (api, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let (goes, stays) = (Issuer::start(&api, "https://one.example"), Issuer::start(&api, "https://two.example"));
    let often = "refresh_interval = \"1s\"\nminimum_interval = \"1s\"";
    let (going, staying) = (goes.accepted(often), stays.accepted(often));
    let gateway = Gateway::start_in(folder.path(), &api, &[]);
    gateway.reload(|settings| settings + &going + &staying);
    eventually("both are fetched time and again", || goes.keys.requests() > 1 && stays.keys.requests() > 1);
    gateway.reload(|settings| settings.replace(&going, ""));
    // One may have been under way.
    let (asked, until) = (goes.keys.requests() + 1, stays.keys.requests() + 3);
    eventually("the other goes on", || stays.keys.requests() >= until);
    assert!(goes.keys.requests() <= asked, "{} > {asked}", goes.keys.requests());
    gateway.client().get("/api/x", Some(&stays.token())).expect(200);
    gateway.client().get("/api/x", Some(&goes.token())).expect(401);
}

#[test]
fn a_login_ends_by_the_settings_that_it_began_with() {
    let (asked, answered) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (at_question, at_response) = (Arc::clone(&asked), Arc::clone(&answered));
    let holds = Arc::new(AtomicBool::new(true));
    let still_holds = Arc::clone(&holds);
    let api = Upstream::taking_turns(move |_, _| {
        if still_holds.swap(false, Ordering::Relaxed) {
            at_question.wait();
            at_response.wait();
        }
        let body = r#"{"user":{"id":"ann"}}"#;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
        Turn::Response(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
    });
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start_in(folder.path(), &api, &[]);
    let log_in = |client: &mut Client| client.post("/login", &json!({"email": "ann", "password": PASSWORD})).expect(200).json();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| log_in(&mut gateway.client()));
        asked.wait();
        let members = "[login.members]\naccess_token = \"newName\"\n[tokens]\nissuer = \"another\"\n";
        gateway.reload(|settings| settings.replacen("[limits.login]", &format!("{members}[limits.login]"), 1));
        let second = log_in(&mut gateway.client());
        answered.wait();
        let first = first.join().unwrap();
        let issuer = |token: &Value| claims(token.as_str().unwrap())["iss"].clone();
        assert_eq!(issuer(&first["accessToken"]), "tokengate", "{first}");
        assert_eq!(issuer(&second["newName"]), "another", "{second}");
        assert!(first["newName"].is_null() && second["accessToken"].is_null(), "{first} {second}");
    });
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[test]
fn the_admin_listener_moves_and_answers_the_call_that_moved_it() {
    let (api, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &api, &[]);
    let (here, there) = (gateway.admin_address(), lasting_address());
    let file = folder.path().join("tokengate.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let moved = settings.replace("[admin]\naddress = \"127.0.0.1:0\"", &format!("[admin]\naddress = \"{there}\""));
    assert_ne!(moved, settings);
    let reload = |address| Client::new(address).call("POST", "/reload", None, None);
    let ready = |address| Client::new(address).get("/readyz", None).expect(200);

    // Where somebody else is, it cannot go: nothing changes.
    let taken = std::net::TcpListener::bind(there).unwrap();
    std::fs::write(&file, moved.replace("[limits.login]", "[endpoints]\nhealth = \"/up\"\n[limits.login]")).unwrap();
    assert!(reload(here).expect(422).text().contains("admin.address"));
    gateway.client().get("/up", None).expect(401);
    ready(here);
    drop(taken);

    std::fs::write(&file, &moved).unwrap();
    assert_eq!(reload(here).expect(200).json(), json!({"status": "reloaded", "needsRestart": []}));
    ready(there);
    eventually("nobody listens at the former address", || std::net::TcpStream::connect(here).is_err());
    assert_eq!(reload(there).expect(200).json()["status"], "reloaded");
    ready(there);

    // The same place in other words is no move; from one address to all and back is one.
    let port = there.port();
    std::fs::write(&file, moved.replace(&there.to_string(), &format!("localhost:{port}"))).unwrap();
    reload(there).expect(200);
    let wider = format!("address = \"0.0.0.0:{port}\"\ntoken = \"0123456789abcdef\"");
    std::fs::write(&file, moved.replace(&format!("address = \"{there}\""), &wider)).unwrap();
    reload(there).expect(200);
    let elsewhere = std::net::SocketAddr::from(([127, 0, 0, 2], port));
    eventually("it listens at all addresses", || std::net::TcpStream::connect(elsewhere).is_ok());
    std::fs::write(&file, &moved).unwrap();
    Client::new(elsewhere).call("POST", "/reload", Some("0123456789abcdef"), None).expect(200);
    eventually("it listens at one address", || std::net::TcpStream::connect(elsewhere).is_err());
    ready(there);

    // Where a listener for clients stays, it cannot go, and nobody is sent to look for another process.
    std::fs::write(&file, moved.replace(&there.to_string(), &gateway.address().to_string())).unwrap();
    let refusal = reload(there).expect(422).text();
    assert!(refusal.contains("own listener for clients") && !refusal.contains("Another process"), "{refusal}");

    std::fs::write(&file, moved.replace(&there.to_string(), "")).unwrap();
    reload(there).expect(200);
    eventually("it is off", || std::net::TcpStream::connect(there).is_err());
    gateway.client().get("/public/x", None).expect(200);
}

#[test]
fn the_log_changes_its_form_and_a_node_its_name() {
    let (api, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &api, &[]);
    let is_json = |line: &str| serde_json::from_str::<Value>(line).is_ok();
    let named = |name: &str| {
        eventually("the node is called so", || {
            let nodes = gateway.admin().get("/nodes", None).expect(200).json();
            nodes["nodes"].as_array().unwrap().iter().any(|node| node["name"] == name)
        });
    };
    let other = "[node]\nname = \"other\"\n[limits.login]";
    gateway.reload(|settings| settings.replace("\"json\"", "\"text\"").replacen("[limits.login]", other, 1));
    named("other");
    let before = gateway.log().lines().filter(|line| !is_json(line)).count();
    assert!(before > 0, "{}", gateway.log());
    gateway.reload(|settings| settings.replace("\"text\"", "\"json\"").replace("\"other\"", "\"another\""));
    named("another");
    assert!(gateway.log().lines().last().is_some_and(is_json), "{}", gateway.log());
}

#[test]
fn another_algorithm_signs_from_now_on_and_tokens_of_before_stay_good() {
    let (api, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = Gateway::start_in(folder.path(), &api, &[]);
    let mut client = gateway.client();
    let algorithm = |token: &str| {
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        serde_json::from_slice::<Value>(&header).unwrap()["alg"].clone()
    };
    let before = client.log_in("ann");
    gateway.reload(|settings| settings.replacen("[limits.login]", "[tokens]\nalgorithm = \"EdDSA\"\n[limits.login]", 1));
    client.get("/api/x", Some(&before.access)).expect(200);
    let after: Message = client.refresh(&before.refresh).expect(200);
    let after = after.member("accessToken");
    client.get("/api/x", Some(&after)).expect(200);
    assert_eq!((algorithm(&before.access), algorithm(&after)), ("ES256".into(), "EdDSA".into()));
    let published = client.get("/.well-known/jwks.json", None).expect(200).json();
    assert_eq!(published["keys"].as_array().unwrap().len(), 2);
}
