//! Calls that ask a running server.

use super::*;

/// A listener that gives one caller this response, and then goes away.
fn answering(response: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::Builder::new()
        .spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1:"));
            stream.write_all(response.as_bytes()).unwrap();
        })
        .unwrap();
    address
}

#[test]
fn a_health_check_answers_with_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let ask =
        |address: SocketAddr| tokengate(folder.path(), &["healthcheck", "--url", &format!("http://{address}/healthz")], &[]);
    let alive = ask(answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"));
    assert!(alive.status.success(), "{}", err(&alive));
    let unready = ask(answering("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"status\":\"unready\"}"));
    assert_eq!(unready.status.code(), Some(1));
    assert!(err(&unready).contains("503") && err(&unready).contains("unready"));
    let silent = ask(answering(""));
    assert_eq!(silent.status.code(), Some(1));
    let gone = answering("HTTP/1.1 200 OK\r\n\r\n");
    assert!(ask(gone).status.success());
    assert_eq!(ask(gone).status.code(), Some(1), "nobody listens there any more");
}

#[test]
fn a_health_check_finds_the_admin_listener_by_itself() {
    let folder = folder_with(UPSTREAM);
    let address = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").to_string();
    let environment = [("TOKENGATE_CONFIG", "tokengate.toml"), ("TOKENGATE__ADMIN__ADDRESS", address.as_str())];
    let alive = tokengate(folder.path(), &["healthcheck"], &environment);
    assert!(alive.status.success(), "{}", err(&alive));
}

#[test]
fn a_health_check_needs_no_upstream() {
    let folder = tempfile::tempdir().unwrap();
    let address = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").to_string();
    let alive = tokengate(folder.path(), &["healthcheck"], &[("TOKENGATE__ADMIN__ADDRESS", address.as_str())]);
    assert!(alive.status.success(), "{}", err(&alive));
    let faulty = tokengate(folder.path(), &["healthcheck"], &[("TOKENGATE__ADMIN__ADDRESS", "here")]);
    assert_eq!(faulty.status.code(), Some(2));
    assert!(err(&faulty).contains("admin.address = \"here\""), "{}", err(&faulty));
}

/// An entry of `[[issuers]]` whose key set is fetched from there.
fn issuer_at(url: &str) -> String {
    format!("[[issuers]]\nissuer = 'i'\naudiences = ['a']\nalgorithms = ['ES256']\njwks_url = '{url}'\nshares_subjects = true\n")
}

#[test]
fn a_key_in_the_query_of_a_url_is_shown_nowhere() {
    let url = "https://keys.example/jwks?code=hunter2#hunter2";
    let folder = folder_with(&format!("{UPSTREAM}{}", issuer_at(url)));
    let with = |command: &str, more: &[&str]| {
        let arguments = [&[command, "--config", "tokengate.toml"], more].concat();
        let output = tokengate(folder.path(), &arguments, &[]);
        format!("{}{}", out(&output), err(&output))
    };
    let bad = ["--set", "upstreams.api.url=https://u:hunter2@h/?hunter2", "--set", "issuers.0.jwks_url=http://h/?code=hunter2"];
    for (text, shown) in [
        (with("check", &[]), "keys from https://keys.example/jwks?[redacted]"),
        (with("print-config", &[]), "jwks_url = \"https://keys.example/jwks?[redacted]\""),
        (with("check", &bad), "upstreams.api.url = \"https://[redacted]@h/?[redacted]\""),
        (with("check", &bad), "issuers[0].jwks_url = \"http://h/?[redacted]\""),
    ] {
        assert!(text.contains(shown) && !text.contains("hunter2"), "{shown}\n{text}");
    }
}

#[test]
fn a_check_online_asks_upstreams_and_key_sets_and_names_all_that_do_not_answer() {
    let there = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let lives = upstream.local_addr().unwrap();
    let settings = format!(
        "[upstreams.default]\nurl = 'http://{lives}'\n[upstreams.gone]\nurl = 'http://{there}'\n\
         [upstreams.tls]\nurl = 'https://{lives}'\nconnect_timeout = '300ms'\n\
         [upstreams.some]\nurls = ['http://{there}', 'http://{lives}']\n\
         [upstreams.ill]\nurl = 'http://{lives}'\nhealth = {{ path = '/healthz', timeout = '300ms' }}\n{}",
        issuer_at(&format!("http://{there}/jwks?code=hunter2"))
    );
    let folder = folder_with(&settings);
    let checked = tokengate(folder.path(), &["check", "--config", "tokengate.toml", "--online"], &[]);
    assert_eq!(checked.status.code(), Some(1), "{}", out(&checked));
    assert!(out(&checked).contains("upstreams.default.url: connects\n"), "{}", out(&checked));
    let unfit = err(&checked);
    assert!(out(&checked).contains("upstreams.some.urls[1]: connects\n"), "{}", out(&checked));
    for part in [
        "upstreams.some.urls[0]: cannot connect",
        "upstreams.ill.url: no complete response within 300ms",
        "upstreams.gone.url: cannot connect",
        "upstreams.tls.url: no connection within 300ms",
        "issuers[0].jwks_url: ",
    ] {
        assert!(unfit.contains(part), "{part}\n{unfit}");
    }
    assert!(!unfit.contains("hunter2") && !unfit.contains("upstreams.default") && !unfit.contains("urls[1]"), "{unfit}");
    let offline = tokengate(folder.path(), &["check", "--config", "tokengate.toml"], &[]);
    assert!(offline.status.success(), "{}", err(&offline));
}

#[test]
fn a_check_online_of_what_answers_is_good() {
    let body = "{\"keys\":[{\"kty\":\"EC\",\"kid\":\"k\",\"alg\":\"ES256\",\"crv\":\"P-256\",\
                \"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\",\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\"}]}";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The upstream and the key set are one server here: whoever sends nothing is let go.
    thread::Builder::new()
        .spawn(move || {
            for stream in listener.incoming().take(3) {
                let mut stream = stream.unwrap();
                let mut request = [0; 1024];
                if stream.read(&mut request).unwrap_or_default() > 0 {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
                }
            }
        })
        .unwrap();
    let settings = format!(
        "[upstreams.default]\nurl = 'http://{address}'\n[upstreams.probed]\nurl = 'http://{address}'\nhealth = {{ path = '/healthz' }}\n{}",
        issuer_at(&format!("http://{address}/jwks"))
    );
    let folder = folder_with(&settings);
    let checked = tokengate(folder.path(), &["check", "--config", "tokengate.toml", "--online"], &[]);
    assert!(checked.status.success(), "{}", err(&checked));
    assert!(out(&checked).contains("upstreams.probed.url: passes its probe /healthz\n"), "{}", out(&checked));
    assert!(out(&checked).contains("issuers[0].jwks_url: holds keys that can be used: 1\n"), "{}", out(&checked));
}
