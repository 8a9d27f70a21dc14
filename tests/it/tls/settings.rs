//! Listeners in the settings: what is refused, and in which words.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::rig::{Authority, said};

/// What `tokengate check` says of these listeners.
fn check(folder: &Path, text: &str) -> (Option<i32>, String) {
    told("check", folder, text)
}

fn told(command: &str, folder: &Path, text: &str) -> (Option<i32>, String) {
    let file = folder.join("tokengate.toml");
    fs::write(&file, format!("store.kind = 'memory'\nupstreams.api.url = 'http://127.0.0.1:1'\n{text}")).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_tokengate")).args([command, "--config"]).arg(&file).env_clear().output().unwrap();
    (output.status.code(), said(&output))
}

#[test]
fn a_pair_that_cannot_be_used_is_named_with_its_key_its_file_and_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("a");
    let (one, other) = (authority.issue(folder.path(), "one", &["a"]), authority.issue(folder.path(), "other", &["b"]));
    let entry = |certificate: &Path, key: &Path| {
        format!(
            "[[listeners]]\naddress = '127.0.0.1:0'\n[[listeners.tls.certificates]]\ncertificate_file = '{}'\nkey_file = '{}'\n",
            certificate.display(),
            key.display()
        )
    };
    let gone = folder.path().join("gone.pem");
    for (text, parts) in [
        (entry(&one.certificate, &other.key), ["certificates[0].key_file", "other.key", "the key of another certificate"]),
        (entry(&gone, &one.key), ["certificates[0].certificate_file", "gone.pem", "cannot be read"]),
        (entry(&one.certificate, &gone), ["certificates[0].key_file", "gone.pem", "cannot be read"]),
        (entry(&one.key, &one.key), ["certificates[0].certificate_file", "one.key", "no CERTIFICATE"]),
    ] {
        let (code, said) = check(folder.path(), &text);
        assert_eq!(code, Some(2), "{said}");
        assert!(parts.iter().all(|part| said.contains(part)) && said.contains("listeners[0].tls."), "{parts:?}: {said}");
    }
    let (code, said) = told("run", folder.path(), &entry(&one.certificate, &other.key));
    assert!(code != Some(0) && said.contains("certificates[0].key_file") && said.contains("other.key"), "{code:?} {said}");
    let (code, said) = check(folder.path(), &entry(&one.certificate, &one.key));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("127.0.0.1:0, TLS\n"), "{said}");
    // Keys that others can read are told of, as for other keys.
    assert!(said.contains("one.key has mode"), "{said}");
    for demand in ["required", "optional"] {
        let asking =
            format!("client_ca_file = '{}'\nclient_certificates = '{demand}'\n", authority.file(folder.path()).display());
        let text = entry(&one.certificate, &one.key).replacen(
            "[[listeners.tls",
            &format!("[listeners.tls]\n{asking}[[listeners.tls"),
            1,
        );
        let (code, said) = check(folder.path(), &text);
        assert!(code == Some(0) && said.contains(&format!("TLS, client certificates are {demand}")), "{said}");
    }
    // Whoever reaches the port from outside does not come to the listener itself.
    let (code, said) = check(folder.path(), "[[listeners]]\naddress = '127.0.0.1:2'\nredirect = 'https'\n");
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn listeners_that_can_never_work_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (text, part) in [
        ("listen.address = '127.0.0.1:1'\n[[listeners]]\naddress = '127.0.0.1:2'\n", "short form"),
        ("[[listeners]]\naddress = '127.0.0.1:2'\n[[listeners]]\naddress = '127.0.0.1:2'\n", "listeners[1].address"),
        ("[[listeners]]\naddress = '127.0.0.1:9180'\n", "admin.address"),
        ("[[listeners]]\n", "listeners[0].address"),
        ("[[listeners]]\naddress = '127.0.0.1:2'\nproxy_protocol = true\n", "needs listen.trusted_peers"),
        ("[[listeners]]\naddress = '127.0.0.1:2'\nredirect = 'http'\n", "allowed: \"https\""),
        ("[[listeners]]\naddress = '127.0.0.1:2'\nredirect_port = 443\n", "without redirect"),
        ("[[listeners]]\naddress = '127.0.0.1:443'\nredirect = 'https'\n", "listeners[0] speaks no TLS"),
        (
            "[[listeners]]\naddress = '127.0.0.1:2'\n[[listeners]]\naddress = '127.0.0.2:3'\nredirect = 'https'\nredirect_port = 2\n",
            "listeners[0] speaks no TLS",
        ),
        ("[[listeners]]\naddress = '224.0.0.1:2'\n", "listeners[0].address"),
        ("[[listeners]]\naddress = '127.0.0.1:2'\n[listeners.tls]\nminimum_version = '1.2'\n", "certificates"),
        ("[[listeners]]\naddress = '127.0.0.1:2'\n[listeners.tls]\nminimum_version = '1.1'\n", "\"1.2\", \"1.3\""),
        (
            "[[listeners]]\naddress = '127.0.0.1:2'\nredirect = 'https'\n[[listeners.tls.certificates]]\n\
             certificate_file = 'a'\nkey_file = 'b'\n",
            "has come by https",
        ),
    ] {
        let (code, said) = check(folder.path(), text);
        assert!(code == Some(2) && said.contains(part), "{text}: {code:?} {said}");
    }
}

#[test]
fn what_is_printed_of_listeners_can_be_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("a");
    let (one, other) = (authority.issue(folder.path(), "one", &["a"]), authority.issue(folder.path(), "other", &["b"]));
    let asking = format!("client_ca_file = '{}'\n", authority.file(folder.path()).display());
    let listener = |port: u16, more: &str| {
        format!("[[listeners]]\naddress = '127.0.0.1:{port}'\n[listeners.tls]\n{more}{}{}", one.entry(), other.entry())
    };
    let targets = "[upstreams.several]\n[[upstreams.several.targets]]\nurl = 'http://127.0.0.1:2'\nweight = 3\n";
    let routes = "[[routes]]\nname = 'all'\nupstream = 'several'\n";
    let text = format!("login.upstream = 'api'\n{}{}{targets}{routes}", listener(4430, ""), listener(4431, &asking));
    let (code, printed) = told("print-config", folder.path(), &text);
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(printed.matches("client_certificates").count(), 1, "of the listener that asks: {printed}");
    let file = folder.path().join("printed.toml");
    fs::write(&file, &printed).unwrap();
    let again = |command: &str| {
        Command::new(env!("CARGO_BIN_EXE_tokengate")).args([command, "--config"]).arg(&file).env_clear().output().unwrap()
    };
    assert!(again("check").status.success(), "{}", said(&again("check")));
    let values = |text: &str| text.lines().map(|line| line.split(" # ").next().unwrap().trim().to_owned()).collect::<Vec<_>>();
    assert_eq!(values(&said(&again("print-config"))), values(&printed));
}

#[test]
fn one_address_in_two_spellings_is_refused_at_the_start_also_where_ports_are_shared() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        "listen.share_port = true\nadmin.address = ''\n[[listeners]]\naddress = 'localhost:{port}'\n\
         [[listeners]]\naddress = '127.0.0.1:{port}'\n"
    );
    let (code, said) = told("run", folder.path(), &text);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("listeners[1].address") && said.contains("is where listeners[0].address listens"), "{said}");
}
