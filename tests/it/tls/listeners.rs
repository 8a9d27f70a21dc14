//! Listeners with TLS that come, change and go while the process runs.

use std::fs;
use std::sync::Arc;
use std::thread;

use super::client::{ask, config, connect, shown};
use super::rig::{Rig, eventually, said};
use crate::support::gateway::lasting_address;
use crate::support::upstream::Upstream;

/// Puts other listeners in the place of those of the settings.
fn relisten(rig: &Rig, listeners: &str) {
    let (file, after) = (rig.path("tokengate.toml"), "[store]\nkind = \"memory\"");
    let settings = fs::read_to_string(&file).unwrap();
    let (_, rest) = settings.split_once(after).unwrap();
    fs::write(&file, format!("[listen]\nworkers = 2\n{listeners}\n{after}{rest}")).unwrap();
    let reloaded = rig.gateway.admin().call("POST", "/reload", None, None).expect(200).json();
    assert_eq!(reloaded, serde_json::json!({"status": "reloaded", "needsRestart": []}));
}

#[test]
fn an_address_changes_from_clear_text_to_tls_and_back_while_its_connections_go_on() {
    let upstream = Upstream::start();
    let rig = Rig::start(&upstream, |_, _| "[[listeners]]\naddress = '127.0.0.1:0'\n".to_owned());
    let mut plain = rig.gateway.client();
    plain.get("/public", None).expect(200);
    let ready = || rig.gateway.admin().get("/readyz", None).expect(200).text();
    assert!(!ready().contains("certificates"));

    let files = rig.authority.issue(rig.folder.path(), "server", &["localhost"]);
    let tls = format!("[[listeners]]\naddress = '127.0.0.1:0'\n[listeners.tls]\n{}", files.entry());
    relisten(&rig, &tls);
    assert!(ready().contains("certificates"), "they are looked after");
    let config = config(&rig);
    let mut secure = connect(&rig, &config);
    ask(&mut secure);
    plain.get("/public", None).expect(200);
    rig.authority.issue(rig.folder.path(), "server", &["localhost"]);
    let first = shown(&secure);
    eventually("the new certificate is shown", || {
        let mut stream = connect(&rig, &config);
        ask(&mut stream);
        shown(&stream) != first
    });

    relisten(&rig, "[[listeners]]\naddress = '127.0.0.1:0'\n");
    rig.gateway.client().get("/public", None).expect(200);
    ask(&mut secure);
    plain.get("/public", None).expect(200);
}

#[test]
fn versions_names_and_clients_change_with_a_reload_and_tickets_go_with_the_clients_alone() {
    let upstream = Upstream::start();
    let rig = Rig::tls(&upstream, "");
    let files = rig.authority.issue(rig.folder.path(), "server", &["localhost"]);
    let tls = |keys: &str| format!("[[listeners]]\naddress = '127.0.0.1:0'\n[listeners.tls]\n{keys}\n{}", files.entry());
    let old_version = ["-o", "/dev/null", "-w", "%{http_code}", "--tls-max", "1.2"];
    assert_eq!(rig.curl("/public", &old_version).stdout, b"200");

    let mut config = (*config(&rig)).clone();
    config.resumption = rustls::client::Resumption::default();
    let config = Arc::new(config);
    let resumed = || rig.metric("tls_handshakes_total{outcome=\"resumed\"}");
    let connects = || ask(&mut connect(&rig, &config));
    connects();
    let before = resumed();
    relisten(&rig, &tls("minimum_version = '1.3'"));
    assert_ne!(rig.curl("/public", &old_version).stdout, b"200");
    connects();
    assert_eq!(resumed(), before + 1, "nobody has to shake hands anew for that");

    let demanding = format!("client_ca_file = '{}'\nclient_certificates = 'required'", rig.authority_file.display());
    relisten(&rig, &tls(&demanding));
    let refused = rig.curl("/public", &[]);
    assert!(!refused.status.success(), "{}", said(&refused));
    relisten(&rig, &tls(""));
    let before = resumed();
    connects();
    assert_eq!(resumed(), before, "what was given before others decided on clients opens nothing");
}

#[test]
fn a_listener_with_http2_that_goes_says_so_and_finishes_its_streams() {
    let upstream = Upstream::start();
    let rig = Rig::tls(&upstream, "");
    let files = rig.authority.issue(rig.folder.path(), "server", &["localhost"]);
    let stays = format!("[[listeners]]\naddress = '127.0.0.1:0'\n[listeners.tls]\n{}", files.entry());
    let goes = lasting_address();
    relisten(&rig, &format!("{stays}[[listeners]]\naddress = '{goes}'\n[listeners.tls]\n{}", files.entry()));
    let url = format!("https://localhost:{}/api/held", goes.port());
    let (authority, resolve) = (rig.authority_file.display().to_string(), format!("localhost:{}:{}", goes.port(), goes.ip()));
    let login = serde_json::json!({"email": "ann", "password": crate::support::upstream::PASSWORD}).to_string();
    let logged_in = rig.curl("/login", &["--json", &login]);
    let tokens: serde_json::Value = serde_json::from_slice(&logged_in.stdout).unwrap_or_else(|_| panic!("{}", said(&logged_in)));
    let bearer = format!("Authorization: Bearer {}", tokens["accessToken"].as_str().unwrap());
    thread::scope(|scope| {
        let held = scope.spawn(|| {
            let mut curl = std::process::Command::new("curl");
            curl.args(["-sSv", "--http2", "--max-time", "20", "--cacert", &authority, "--resolve", &resolve, "-H", &bearer]);
            curl.arg(&url).output().unwrap()
        });
        upstream.await_held(1);
        relisten(&rig, &stays);
        eventually("new connections are refused", || std::net::TcpStream::connect(goes).is_err());
        assert!(!held.is_finished());
        upstream.release();
        let held = held.join().unwrap();
        assert!(said(&held).contains("HTTP/2 200"), "{}", said(&held));
    });
    assert_eq!(rig.curl("/public", &["-o", "/dev/null", "-w", "%{http_code}"]).stdout, b"200");
}
