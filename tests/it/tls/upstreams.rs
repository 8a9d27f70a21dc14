//! TLS to upstreams: other people's servers behind the gateway.

use std::path::Path;
use std::process::{Command, Stdio};

use super::rig::{Authority, eventually};
use crate::support::gateway::Gateway;
use crate::support::leash::Leashed;
use crate::support::upstream::Upstream;

/// `openssl s_server`, which answers any GET with a page about the connection, and ends it.
fn s_server(folder: &Path, authority: &Authority, options: &[&str]) -> (Leashed, u16) {
    let files = authority.issue(folder, "upstream", &["localhost"]);
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
    let health = "[upstreams.secret.health]\npath = '/'\ninterval = '100ms'\ntimeout = '100ms'\nunhealthy_after = 1";
    let trusting = gateway(&login, port, &format!("ca_file = '{}'\n{health}", authority.file(folder.path()).display()));
    eventually("probes pass", || probes(&trusting, "passed") > 3);
    assert!(!trusting.log().contains("fails its probes"), "{}", trusting.log());
    let distrusting = gateway(&login, port, health);
    distrusting.await_log("that probes fail", |log| log.contains("fails its probes") && log.contains("UnknownIssuer"));
    assert_eq!(probes(&distrusting, "passed"), 0);
}
