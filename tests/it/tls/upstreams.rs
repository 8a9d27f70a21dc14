//! TLS to upstreams: other people's servers behind the gateway.

use std::path::Path;
use std::process::{Command, Stdio};

use rcgen::date_time_ymd;

use super::rig::{Authority, Files, eventually, replace};
use crate::support::gateway::Gateway;
use crate::support::leash::{Leashed, program};
use crate::support::upstream::Upstream;

/// `openssl s_server`, which answers any GET with a page about the connection, and ends it.
fn s_server(folder: &Path, authority: &Authority, options: &[&str]) -> (Leashed, u16) {
    named_s_server(folder, authority, "localhost", options)
}

fn named_s_server(folder: &Path, authority: &Authority, name: &str, options: &[&str]) -> (Leashed, u16) {
    let files = authority.issue(folder, "upstream", &[name]);
    let (server, address) = Leashed::listening(|address| {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-www", "-accept", &address.to_string(), "-cert"]).arg(&files.certificate);
        command.arg("-key").arg(&files.key).args(options).stdout(Stdio::null()).stderr(Stdio::null());
        command
    });
    (server, address.port())
}

/// A route `/public` to an upstream at this port of localhost, with these keys.
fn gateway(login: &Upstream, port: u16, keys: &str) -> Gateway {
    let tables = format!(
        "[login]\nupstream = \"api\"\n[upstreams.secret]\nurl = 'https://localhost:{port}'\n{keys}\n\
         [[routes]]\nname = 'public'\nprefix = '/public'\naccess = 'public'\nupstream = 'secret'\n"
    );
    Gateway::of(login, &tables, &[])
}

fn probes(gateway: &Gateway, outcome: &str) -> u64 {
    let text = gateway.admin().get("/metrics", None).expect(200).text();
    let name = format!("tokengate_upstream_probes_total{{outcome=\"{outcome}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&*name)).unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

#[test]
fn probes_go_by_tls_and_trust_whom_requests_trust() {
    let (login, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let authority = Authority::new("Authority of the upstream");
    let (_server, port) = s_server(folder.path(), &authority, &[]);
    let health = "[upstreams.secret.health]\npath = '/'\ninterval = '500ms'\ntimeout = '500ms'\nunhealthy_after = 1";
    let trusting = gateway(&login, port, &format!("ca_file = '{}'\n{health}", authority.file(folder.path()).display()));
    eventually("probes pass", || probes(&trusting, "passed") > 3);
    assert!(!trusting.log().contains("fails its probes"), "{}", trusting.log());
    let distrusting = gateway(&login, port, health);
    distrusting.await_log("that probes fail", |log| log.contains("fails its probes") && log.contains("UnknownIssuer"));
    assert_eq!(probes(&distrusting, "passed"), 0);
}

/// The keys of an upstream that is shown this certificate.
fn showing(files: &Files) -> String {
    format!("client_certificate_file = '{}'\nclient_key_file = '{}'\n", files.certificate.display(), files.key.display())
}

#[test]
fn a_server_that_demands_a_certificate_is_shown_one_by_requests_and_probes() {
    let (login, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let authority = Authority::new("Authority of both");
    let ca_file = authority.file(folder.path()).display().to_string();
    let (_server, port) = s_server(folder.path(), &authority, &["-Verify", "1", "-verify_return_error", "-CAfile", &ca_file]);
    let trust = format!("ca_file = '{ca_file}'\n");
    let health = "[upstreams.secret.health]\npath = '/'\ninterval = '500ms'\ntimeout = '500ms'\n";
    let files = authority.issue(folder.path(), "gateway", &["gateway.example"]);
    let known = gateway(&login, port, &format!("{trust}{}{health}", showing(&files)));
    known.client().get("/public/x", None).expect(200);
    eventually("probes pass", || probes(&known, "passed") > 3);
    assert_eq!(probes(&known, "failed"), 0, "{}", known.log());
    let unknown = gateway(&login, port, &trust);
    unknown.client().get("/public/x", None).expect(502);
    let stranger = Authority::new("Another authority").issue(folder.path(), "stranger", &["gateway.example"]);
    let disbelieved = gateway(&login, port, &format!("{trust}{}", showing(&stranger)));
    disbelieved.client().get("/public/x", None).expect(502);
}

#[test]
fn a_certificate_may_name_another_host_than_the_url() {
    let (login, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let authority = Authority::new("Authority of the upstream");
    let (_server, port) = named_s_server(folder.path(), &authority, "api.internal", &[]);
    let trust = format!("ca_file = '{}'\n", authority.file(folder.path()).display());
    gateway(&login, port, &trust).client().get("/public/x", None).expect(502);
    gateway(&login, port, &format!("{trust}server_name = 'api.internal'\n")).client().get("/public/x", None).expect(200);
    gateway(&login, port, &format!("{trust}server_name = 'other.internal'\n")).client().get("/public/x", None).expect(502);
}

/// nginx, which demands a certificate of this authority, and answers with its serial number and the version of HTTP. Each request has a
/// connection of its own. `spoken` is `ssl` or `ssl http2`.
fn nginx(folder: &Path, authority: &Authority, spoken: &str) -> (Leashed, u16) {
    let files = authority.issue(folder, "nginx", &["localhost"]);
    let (ca_file, home) = (authority.file(folder), folder.display());
    let (server, address) = Leashed::listening(|address| {
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {home}/{kind};\n"))
            .concat();
        let text = format!(
            "daemon off; master_process off; pid {home}/pid; error_log stderr error;\nevents {{}}\n\
             http {{ access_log off; keepalive_timeout 0;\n{temporary}server {{ listen {address} {spoken};\n\
             ssl_certificate {}; ssl_certificate_key {}; ssl_client_certificate {}; ssl_verify_client on;\n\
             ssl_session_cache shared:sessions:1m; ssl_session_tickets on;\n\
             location / {{ return 200 \"$ssl_client_serial $server_protocol\"; }} }} }}\n",
            files.certificate.display(),
            files.key.display(),
            ca_file.display()
        );
        let path = folder.join("nginx.conf");
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(program("nginx"));
        command.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(path);
        command
    });
    (server, address.port())
}

#[test]
fn a_certificate_that_was_renewed_is_shown_without_a_restart_and_a_broken_one_changes_nothing() {
    let (login, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let authority = Authority::new("Authority of both");
    let (_server, port) = nginx(folder.path(), &authority, "ssl");
    let files = authority.issue(folder.path(), "gateway", &["gateway.example"]);
    let trust = format!("ca_file = '{}'\n", authority.file(folder.path()).display());
    let gateway = gateway(&login, port, &format!("{trust}{}", showing(&files)));
    let mut client = gateway.client();
    let mut serial = || client.get("/public/x", None).expect(200).text();
    let first = serial();
    assert_eq!(serial(), first);
    authority.issue(folder.path(), "gateway", &["gateway.example"]);
    let mut second = String::new();
    eventually("the new one is shown", || {
        second = serial();
        second != first
    });
    assert!(gateway.log().contains("the certificate that an upstream is shown has changed"), "{}", gateway.log());
    replace(&files.certificate, "what is no certificate");
    gateway.await_log("that it cannot be used", |log| {
        log.contains("a certificate cannot be used") && log.contains("upstreams.secret.client_certificate_file")
    });
    assert_eq!(serial(), second);
    eventually("an alarm", || alarms(&gateway) == ["unusable"]);
    // One that servers refuse does not take the place of one that they accept.
    authority.issue_with(folder.path(), "gateway", &["gateway.example"], |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    });
    gateway.await_log("the cause", |log| log.contains("has expired, while the one in use is still valid"));
    assert_eq!((serial(), alarms(&gateway)), (second.clone(), vec!["unusable".to_owned()]));
    // A reload takes a new one over at once.
    authority.issue(folder.path(), "gateway", &["gateway.example"]);
    gateway.reload(|settings| settings);
    let third = serial();
    assert!(third != first && third != second, "{third}");
    eventually("no alarm", || alarms(&gateway).is_empty());
    let metrics = gateway.admin().get("/metrics", None).expect(200).text();
    assert!(metrics.contains("\ntokengate_upstream_certificate_expiry_seconds "), "{metrics}");
}

fn alarms(gateway: &Gateway) -> Vec<String> {
    let ready = gateway.admin().get("/readyz", None).expect(200).json();
    let all = ready["dependencies"].as_array().unwrap();
    let certificates = all.iter().find(|one| one["name"] == "upstream_certificates").unwrap();
    certificates["alarms"].as_array().into_iter().flatten().map(|alarm| alarm.as_str().unwrap().to_owned()).collect()
}

#[test]
fn authorities_that_were_replaced_are_believed_without_a_reload_and_broken_ones_change_nothing() {
    let (login, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let (authority, other) = (Authority::new("Authority of the upstream"), Authority::new("Another authority"));
    let (_server, port) = s_server(folder.path(), &authority, &[]);
    let ca_file = authority.file(folder.path());
    let gateway = gateway(&login, port, &format!("ca_file = '{}'\n", ca_file.display()));
    let asked = || gateway.client().get("/public/x", None).status();
    assert_eq!(asked(), 200);
    replace(&ca_file, "no certificate");
    eventually("an alarm", || alarms(&gateway) == ["unusable"]);
    assert_eq!(asked(), 200);
    replace(&ca_file, other.pem());
    eventually("the server is not believed any more", || asked() == 502);
    assert!(alarms(&gateway).is_empty());
    replace(&ca_file, &(other.pem().to_owned() + authority.pem()));
    eventually("it is believed again", || asked() == 200);
}

#[test]
fn by_http_2_a_server_is_asked_only_if_it_agrees_to_that_in_its_handshake() {
    for (spoken, agrees) in [("ssl http2", true), ("ssl", false)] {
        let (login, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
        let authority = Authority::new("Authority of both");
        let (_server, port) = nginx(folder.path(), &authority, spoken);
        let files = authority.issue(folder.path(), "gateway", &["gateway.example"]);
        let trust = format!("ca_file = '{}'\nprotocol = 'http2'\n", authority.file(folder.path()).display());
        let gateway = gateway(&login, port, &format!("{trust}{}", showing(&files)));
        for _ in 0..3 {
            if agrees {
                let said = gateway.client().get("/public/x", None).expect(200).text();
                assert!(said.ends_with(" HTTP/2.0"), "{said}");
            } else {
                gateway.client().get("/public/x", None).expect(502);
            }
        }
        assert_eq!(gateway.log().contains("does not speak HTTP/2"), !agrees, "{}", gateway.log());
    }
}
