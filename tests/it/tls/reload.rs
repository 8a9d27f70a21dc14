//! Certificates that change while the gateway runs.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rcgen::{CertificateParams, date_time_ymd};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::client::{ask, config, connect, shown};
use super::rig::{Authority, Rig, eventually, replace};
use crate::support::upstream::Upstream;

#[test]
fn certificates_are_renewed_under_load_without_a_lost_request() {
    const RENEWALS: usize = 8;
    let upstream = Upstream::start();
    let rig = Rig::tls(&upstream, "");
    let config = config(&rig);
    let (stop, requests) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut old = connect(&rig, &config);
    ask(&mut old);
    let first = shown(&old);
    thread::scope(|scope| {
        for worker in 0..4 {
            let (rig, config, stop, requests) = (&rig, &config, &stop, &requests);
            scope.spawn(move || {
                let mut stream = connect(rig, config);
                while !stop.load(Ordering::Relaxed) {
                    // Half of them come anew each time.
                    if worker % 2 == 0 {
                        stream = connect(rig, config);
                    }
                    ask(&mut stream);
                    requests.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..RENEWALS {
            let files = rig.authority.issue(rig.folder.path(), "server", &["localhost"]);
            let renewed = CertificateDer::from_pem_file(&files.certificate).unwrap();
            eventually("the new certificate is shown", || {
                let mut stream = connect(&rig, &config);
                ask(&mut stream);
                shown(&stream) == renewed
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    ask(&mut old);
    assert_eq!(shown(&old), first, "the connection is the old one");
    assert!(requests.load(Ordering::Relaxed) > 100);
    assert_eq!(rig.metric("tls_handshakes_total{outcome=\"failed\"}"), 0);
}

fn alarms(rig: &Rig) -> Vec<String> {
    let ready = rig.gateway.admin().get("/readyz", None).expect(200).json();
    let certificates =
        ready["dependencies"].as_array().unwrap().iter().find(|one| one["name"] == "certificates").unwrap().clone();
    assert_eq!(certificates["ready"], true);
    certificates["alarms"].as_array().into_iter().flatten().map(|alarm| alarm.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_pair_that_does_not_fit_is_refused_with_an_alarm_and_the_old_one_goes_on() {
    let upstream = Upstream::start();
    let rig = Rig::tls(&upstream, "");
    let config = config(&rig);
    let mut stream = connect(&rig, &config);
    ask(&mut stream);
    let first = shown(&stream);
    assert!(alarms(&rig).is_empty());
    let other = rig.authority.issue(rig.folder.path(), "other", &["localhost"]);
    let (certificate, key) = (rig.path("server.pem"), rig.path("server.key"));
    for (file, content) in
        [(&key, fs::read_to_string(&other.key).unwrap()), (&key, "no key".into()), (&certificate, "nothing".into())]
    {
        let before = fs::read_to_string(file).unwrap();
        replace(file, &content);
        eventually("an alarm", || alarms(&rig) == ["unusable"]);
        let mut stream = connect(&rig, &config);
        ask(&mut stream);
        assert_eq!(shown(&stream), first);
        replace(file, &before);
        eventually("no alarm", || alarms(&rig).is_empty());
    }
    fs::remove_file(&key).unwrap();
    eventually("an alarm", || alarms(&rig) == ["unusable"]);
    rig.gateway.await_log("the cause with its file", |log| {
        log.contains("a certificate cannot be used")
            && log.contains("server.key")
            && log.contains("the key of another certificate")
    });
    replace(&certificate, &fs::read_to_string(&other.certificate).unwrap());
    replace(&key, &fs::read_to_string(&other.key).unwrap());
    eventually("the new one is shown", || shown_now(&rig, &config) != first);
    let secret = fs::read_to_string(&key).unwrap();
    assert!(!rig.gateway.log().contains(secret.lines().nth(1).unwrap()), "no key is told of");
}

#[test]
fn a_broken_pair_holds_back_neither_other_pairs_nor_the_removal_of_an_authority() {
    let upstream = Upstream::start();
    let other = Authority::new("Another authority");
    let rig = Rig::start(&upstream, |folder, authority| {
        let clients = folder.join("clients.pem");
        replace(&clients, &(authority.pem().to_owned() + other.pem()));
        let first = authority.issue(folder, "server", &["localhost"]).entry();
        let second = authority.issue(folder, "second", &["second.example"]).entry();
        format!(
            "[[listeners]]\naddress = '127.0.0.1:0'\n[listeners.tls]\nclient_ca_file = '{}'\nclient_certificates = 'optional'\n{first}{second}",
            clients.display()
        )
    });
    let shows = |authority: &Authority, name: &str| {
        let files = authority.issue(rig.folder.path(), name, &[]);
        let shown = ["--cert", files.certificate.to_str().unwrap(), "--key", files.key.to_str().unwrap()];
        rig.curl("/public/a", &shown).status.success()
    };
    assert!(shows(&other, "theirs") && shows(&rig.authority, "ours"));
    let config = config(&rig);
    let first = shown_now(&rig, &config);
    fs::remove_file(rig.path("second.pem")).unwrap();
    eventually("an alarm", || alarms(&rig) == ["unusable"]);
    rig.authority.issue(rig.folder.path(), "server", &["localhost"]);
    eventually("the new one is shown", || shown_now(&rig, &config) != first);
    replace(&rig.path("clients.pem"), rig.authority.pem());
    eventually("the authority is not taken any more", || !shows(&other, "theirs"));
    assert!(shows(&rig.authority, "ours"));
    assert_eq!(alarms(&rig), ["unusable"]);
}

fn shown_now(rig: &Rig, config: &Arc<ClientConfig>) -> CertificateDer<'static> {
    let mut stream = connect(rig, config);
    ask(&mut stream);
    shown(&stream)
}

fn expired(params: &mut CertificateParams) {
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
}

fn not_yet_valid(params: &mut CertificateParams) {
    (params.not_before, params.not_after) = (date_time_ymd(3000, 1, 1), date_time_ymd(3001, 1, 1));
}

type Change = fn(&mut CertificateParams);

#[test]
fn a_pair_that_clients_refuse_never_takes_the_place_of_a_good_one() {
    let upstream = Upstream::start();
    let rig = Rig::tls(&upstream, "");
    let config = config(&rig);
    let first = shown_now(&rig, &config);
    let reload = || rig.gateway.admin().call("POST", "/reload", None, None);
    let bad: [(Change, &str); 2] = [(expired, "has expired"), (not_yet_valid, "is not valid yet")];
    for (change, cause) in bad {
        rig.authority.issue_with(rig.folder.path(), "server", &["localhost"], change);
        eventually("an alarm", || alarms(&rig) == ["unusable"]);
        rig.gateway.await_log("the cause with its file", |log| log.contains("server.pem") && log.contains(cause));
        assert_eq!(shown_now(&rig, &config), first);
        let refused = reload().expect(422).json();
        let said = refused["detail"].as_str().unwrap();
        assert!(said.contains("listeners[0].tls.certificates[0].certificate_file") && said.contains(cause), "{said}");
        assert_eq!(shown_now(&rig, &config), first);
    }
    rig.authority.issue(rig.folder.path(), "server", &["localhost"]);
    eventually("no alarm", || alarms(&rig).is_empty());
    assert_ne!(shown_now(&rig, &config), first);
    reload().expect(200);
}

#[test]
fn the_end_of_a_certificate_is_told_before_it_comes() {
    let upstream = Upstream::start();
    let rig = Rig::start(&upstream, |folder, authority| {
        let files = authority.issue_with(folder, "server", &["localhost"], expired);
        format!("[[listeners]]\naddress = '127.0.0.1:0'\n[listeners.tls]\n{}", files.entry())
    });
    eventually("an alarm", || alarms(&rig) == ["expired"]);
    eventually("the metric", || rig.metric("certificate_expiry_seconds") == 1_609_459_200);
    rig.gateway
        .await_log("a warning", |log| log.contains("a certificate needs attention") && log.contains("(localhost) has expired"));
    rig.authority.issue(rig.folder.path(), "server", &["localhost"]);
    eventually("no alarm", || alarms(&rig).is_empty());
}

#[test]
fn a_reload_names_the_certificates_that_cannot_be_used_and_changes_nothing() {
    let upstream = Upstream::start();
    let rig = Rig::tls(&upstream, "");
    let config = config(&rig);
    let first = shown_now(&rig, &config);
    let reload = || rig.gateway.admin().call("POST", "/reload", None, None);
    reload().expect(200);
    assert_eq!(shown_now(&rig, &config), first);

    let (file, key) = (rig.path("tokengate.toml"), rig.path("server.key"));
    let before = fs::read_to_string(&key).unwrap();
    replace(&key, "no key");
    let settings = fs::read_to_string(&file).unwrap();
    fs::write(&file, settings.replace("access = \"public\"", "access = \"token\"")).unwrap();
    let refused = reload().expect(422).json();
    let said = refused["detail"].as_str().unwrap();
    assert!(said.contains("listeners[0].tls.certificates[0].key_file") && said.contains("server.key"), "{said}");
    rig.gateway.await_log("it is not told as done", |log| log.contains("settings not reloaded") && log.contains("server.key"));
    assert_eq!(shown_now(&rig, &config), first, "the certificate and the routes are as before");

    // Programs that renew certificates write one file after the other: a reload between the two waits for the second.
    thread::scope(|scope| {
        let reloading = scope.spawn(reload);
        thread::sleep(std::time::Duration::from_millis(300));
        replace(&key, &before);
        reloading.join().unwrap().expect(200);
    });
    assert_eq!(rig.curl("/public/a", &["-o", "/dev/null", "-w", "%{http_code}"]).stdout, b"401", "the routes are the new ones");
}
