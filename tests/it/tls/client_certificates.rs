//! Clients that show a certificate.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{DnType, SanType};
use tokio::time::Instant;

use super::rig::{Authority, Files, Rig, eventually, said, upstream_saw};
use crate::support::upstream::Upstream;

/// A listener that asks clients for certificates by its own authority.
fn asking(upstream: &Upstream, demand: &str) -> Rig {
    Rig::start(upstream, |folder, authority| {
        let mut text = "[[listeners]]\naddress = '127.0.0.1:0'\n[listeners.tls]\n".to_owned();
        let _ = writeln!(text, "client_ca_file = '{}'\n{demand}", authority.file(folder).display());
        text + &authority.issue(folder, "server", &["localhost"]).entry()
    })
}

fn client(authority: &Authority, folder: &Path, name: &str) -> Files {
    authority.issue_with(folder, name, &[], |params| {
        params.distinguished_name.push(DnType::OrganizationName, "Example, Inc.");
        params.subject_alt_names = vec![
            SanType::DnsName("billing.example".try_into().unwrap()),
            SanType::URI("spiffe://example/billing%20team,eu".try_into().unwrap()),
        ];
    })
}

fn with<'a>(files: &'a Files, further: &[&'a str]) -> Vec<&'a str> {
    let shown = ["--cert", files.certificate.to_str().unwrap(), "--key", files.key.to_str().unwrap()];
    [&shown, further].concat()
}

const SUBJECT: &str = "x-auth-certificate-subject";
const NAMES: &str = "x-auth-certificate-names";

#[test]
fn upstreams_are_told_whose_certificate_it_is() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let log = folder.path().join("access.log");
    let access = format!("[log.access]\nmode = 'on'\nto = '{}'\nfields = ['scheme', 'certificate_subject']\n", log.display());
    let rig = asking(&upstream, &access);
    let files = client(&rig.authority, rig.folder.path(), "billing");
    for version in ["--tlsv1.3", "--tls-max=1.2"] {
        let version: Vec<&str> = version.split('=').collect();
        let response = rig.curl("/public/a", &with(&files, &version));
        assert!(response.status.success(), "{}", said(&response));
        assert_eq!(upstream_saw(&response.stdout, SUBJECT), ["O=Example\\, Inc.,CN=billing"]);
        assert_eq!(upstream_saw(&response.stdout, NAMES), ["DNS:billing.example,URI:spiffe://example/billing%20team%2Ceu"]);
    }
    let line = r#"{"scheme":"https","certificate_subject":"O=Example\\, Inc.,CN=billing"}"#;
    eventually("both have a line", || fs::read_to_string(&log).unwrap().lines().filter(|there| *there == line).count() == 2);
}

#[test]
fn where_it_is_required_nobody_is_served_without_and_elsewhere_there_is_no_field() {
    let upstream = Upstream::start();
    let (required, optional, off) =
        (asking(&upstream, ""), asking(&upstream, "client_certificates = 'optional'"), Rig::tls(&upstream, ""));
    let refused = required.curl("/public/a", &[]);
    assert!(!refused.status.success(), "{}", said(&refused));
    let spoofed =
        ["X-Auth-Certificate-Subject: CN=admin", "x_auth_certificate_names: DNS:admin", "X.Auth.Certificate.Subject: CN=admin"];
    let spoofed: Vec<&str> = spoofed.iter().flat_map(|field| ["--header", field]).collect();
    for rig in [&optional, &off] {
        let response = rig.curl("/public/a", &spoofed);
        assert!(response.status.success(), "{}", said(&response));
        assert!(!String::from_utf8_lossy(&response.stdout).contains("admin"), "{}", said(&response));
    }
    let files = client(&optional.authority, optional.folder.path(), "billing");
    let response = optional.curl("/public/a", &with(&files, &spoofed));
    assert_eq!(upstream_saw(&response.stdout, SUBJECT), ["O=Example\\, Inc.,CN=billing"]);
    assert!(!String::from_utf8_lossy(&response.stdout).contains("admin"), "{}", said(&response));
}

#[test]
fn one_that_nobody_vouches_for_is_refused_even_where_none_is_needed() {
    let upstream = Upstream::start();
    let stranger = Authority::new("A stranger");
    for demand in ["", "client_certificates = 'optional'"] {
        let rig = asking(&upstream, demand);
        let files = client(&stranger, rig.folder.path(), "billing");
        for version in [&["--tlsv1.3"][..], &["--tls-max", "1.2"]] {
            let response = rig.curl("/public/a", &with(&files, version));
            assert!(!response.status.success(), "{}", said(&response));
        }
        eventually("both are counted", || rig.metric("tls_handshakes_total{outcome=\"failed\"}") == 2);
    }
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn a_session_that_is_resumed_keeps_its_certificate_and_one_of_another_listener_opens_nothing() {
    let upstream = Upstream::start();
    let rig = Rig::start(&upstream, |folder, authority| {
        let files = authority.issue(folder, "server", &["localhost"]).entry();
        let ca = authority.file(folder);
        format!(
            "[[listeners]]\naddress = '127.0.0.1:0'\n[listeners.tls]\n{files}\
             [[listeners]]\naddress = '127.0.0.1:0'\n[listeners.tls]\nclient_ca_file = '{}'\n{files}",
            ca.display()
        )
    });
    let client = client(&rig.authority, rig.folder.path(), "billing");
    let shown = ["-cert", client.certificate.to_str().unwrap(), "-key", client.key.to_str().unwrap()];
    let request = "GET /public/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let asking = rig.addresses[1].to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let ticket = rig.path(version);
        let ticket = ticket.to_str().unwrap();
        let first = rig.s_client(&[&[version, "-connect", &asking, "-sess_out", ticket], &shown[..]].concat(), request);
        assert!(said(&first).contains("CN=billing"), "{}", said(&first));
        let again = rig.s_client(&[version, "-connect", &asking, "-sess_in", ticket], request);
        assert!(said(&again).contains("Reused, ") && said(&again).contains("CN=billing"), "{}", said(&again));
        // A ticket of the listener that asks nobody.
        let open = rig.s_client(&[version, "-sess_out", ticket], request);
        assert!(said(&open).contains("200 OK"), "{}", said(&open));
        let refused = rig.s_client(&[version, "-connect", &asking, "-sess_in", ticket], request);
        assert!(!said(&refused).contains("200 OK"), "{}", said(&refused));
    }
}

/// A certificate that lives for so many seconds yet.
#[expect(clippy::disallowed_methods, reason = "the gateway that is tested reads the system's clock")]
fn short_lived(authority: &Authority, folder: &Path, seconds: u64) -> Files {
    authority.issue_with(folder, "brief", &[], |params| {
        params.not_after = (SystemTime::now() + Duration::from_secs(seconds)).into();
    })
}

/// Whole seconds stand in a certificate, and the last one counts.
fn await_end_of(issued: Instant, seconds: u64) {
    std::thread::sleep((issued + Duration::from_secs(seconds + 1)).saturating_duration_since(Instant::now()));
}

#[test]
fn no_session_is_resumed_with_a_certificate_that_has_expired_since() {
    let upstream = Upstream::start();
    for demand in ["", "client_certificates = 'optional'"] {
        let rig = asking(&upstream, demand);
        let (issued, brief) = (Instant::now(), short_lived(&rig.authority, rig.folder.path(), 3));
        let shown = ["-cert", brief.certificate.to_str().unwrap(), "-key", brief.key.to_str().unwrap()];
        let request = "GET /public/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let versions = ["-tls1_2", "-tls1_3"];
        let ticket = |version: &str| rig.path(version).to_str().unwrap().to_owned();
        for version in versions {
            let first = rig.s_client(&[&[version, "-sess_out", &ticket(version)], &shown[..]].concat(), request);
            assert!(said(&first).contains("CN=brief"), "{}", said(&first));
            let again = rig.s_client(&[version, "-sess_in", &ticket(version)], request);
            assert!(said(&again).contains("Reused, ") && said(&again).contains("CN=brief"), "{}", said(&again));
        }
        await_end_of(issued, 3);
        for version in versions {
            let late = rig.s_client(&[version, "-sess_in", &ticket(version)], request);
            assert!(!said(&late).contains("200 OK"), "{demand} {version}: {}", said(&late));
        }
    }
}

#[test]
fn a_connection_ends_with_the_certificate_that_was_shown_on_it() {
    let upstream = Upstream::start();
    let rig = asking(&upstream, "");
    let brief = short_lived(&rig.authority, rig.folder.path(), 2);
    let shown = ["-tls1_3", "-cert", brief.certificate.to_str().unwrap(), "-key", brief.key.to_str().unwrap()];
    let begun = Instant::now();
    // Kept open by both: nobody asks for its end.
    let kept = rig.s_client(&shown, "GET /public/a HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(said(&kept).contains("200 OK"), "{}", said(&kept));
    assert!(!said(&kept).contains("unexpected eof"), "in order: {}", said(&kept));
    assert!(begun.elapsed() < Duration::from_secs(10), "long before the connection was idle for too long");
    assert!(kept.status.success(), "before its time was up: {}", said(&kept));
}
