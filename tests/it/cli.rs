//! The real binary: settings from all sides, keys, probes, exit codes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

const UPSTREAM: &str = "[upstreams.api]\nurl = \"http://127.0.0.1:3000\"\n";

/// The binary in a folder of its own, with nothing of our environment.
fn tokengate(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
    command.current_dir(folder).env_clear().args(args).envs(environment.iter().copied()).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn folder_with(file: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokengate.toml"), file).unwrap();
    folder
}

#[test]
fn valid_settings_are_summed_up() {
    let folder = folder_with(&format!(
        "{UPSTREAM}[[routes]]\nname = \"open\"\nprefix = \"/public\"\naccess = \"public\"\nmethods = [\"GET\"]\n\
         [claims_hook]\npath = \"/claims\"\n"
    ));
    let checked = tokengate(folder.path(), &["check", "--config", "tokengate.toml"], &[]);
    assert!(checked.status.success(), "{}", err(&checked));
    for line in [
        "the settings are valid",
        "127.0.0.1:8080",
        "GET /public/… → http://127.0.0.1:3000 for anyone",
        "asked on refresh at http://127.0.0.1:3000/claims",
    ] {
        assert!(out(&checked).contains(line), "{line}\n{}", out(&checked));
    }
    assert!(!folder.path().join("data").exists(), "a check leaves nothing behind");
}

#[test]
fn a_check_says_what_each_route_demands_and_does() {
    let routes = "[[routes]]\nname = \"a\"\nprefix = \"/a\"\nscopes = [\"x\"]\nclaims = { role = [\"admin\", \"owner\"] }\n\
                  max_login_age = \"10m\"\nstrip_prefix = true\nrequest_headers.set = { x-api-key = \"hunter2\" }\n\
                  [[routes]]\nname = \"b\"\nprefix = \"/b\"\naccess = \"public\"\nreplace_prefix = \"/v2\"\nallow = [\"10.0.0.0/8\"]\n\
                  deny = [\"10.9.0.0/16\"]\nlimit = \"100/1s burst 200\"\n\
                  [[routes]]\nname = \"c\"\nprefix = \"/c\"\naccess = \"public\"\nredirect.to = \"/new{rest}\"\n\
                  [[routes]]\nname = \"d\"\nprefix = \"/d\"\naccess = \"public\"\nrespond = { status = 404, body = \"gone\" }\n";
    let folder = folder_with(&format!("{UPSTREAM}{routes}"));
    let checked = tokengate(folder.path(), &["check", "--config", "tokengate.toml"], &[]);
    assert!(checked.status.success(), "{}", err(&checked));
    for line in [
        "/a/… → http://127.0.0.1:3000 without the prefix, request headers changed for a valid token with x, role = admin|owner, \
         a login within 600s\n",
        "/b/… → http://127.0.0.1:3000 with /v2 for the prefix for anyone, from 10.0.0.0/8, not from 10.9.0.0/16, 100/1s burst 200 \
         for each address\n",
        "/c/… → 308 to /new{rest} for anyone\n",
        "/d/… → 404 with 4 bytes for anyone\n",
    ] {
        assert!(out(&checked).contains(line), "{line}\n{}", out(&checked));
    }
    assert!(!out(&checked).contains("hunter2"));
}

#[test]
fn a_check_says_what_is_observed_and_which_legacy_tokens_cannot_be_verified() {
    let observed = format!(
        "{UPSTREAM}[[routes]]\nname = \"a\"\nmode = \"observe\"\n[[routes]]\nname = \"b\"\nprefix = \"/b\"\nenforce_share = 25\n"
    );
    let folder = folder_with(&observed);
    let checked = tokengate(folder.path(), &["check", "--config", "tokengate.toml"], &[]);
    assert!(checked.status.success(), "{}", err(&checked));
    for line in ["for a valid token, observed\n", "for a valid token, enforced for 25 %\n"] {
        assert!(out(&checked).contains(line), "{line}\n{}", out(&checked));
    }
    let old =
        "[[legacy]]\nname = \"old-api\"\nalgorithm = \"RS256\"\naccepted_until = 2027-03-31\npublic_key_file = \"old.pem\"\n";
    let folder = folder_with(&format!("{UPSTREAM}{old}"));
    let refused = || err(&tokengate(folder.path(), &["check", "--config", "tokengate.toml"], &[]));
    assert!(refused().contains("legacy old-api: public_key_file old.pem: cannot be read"), "{}", refused());
    std::fs::write(folder.path().join("old.pem"), "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").unwrap();
    assert!(refused().contains("legacy old-api: public_key_file old.pem: is not a key of a supported kind"), "{}", refused());
}

#[test]
fn faults_are_all_told_on_standard_error_with_exit_code_2() {
    let folder = folder_with(&format!("[listen]\nadress = \"x\"\nidle_timeout = \"soon\"\n{UPSTREAM}"));
    for command in ["check", "run", "print-config"] {
        let environment = [("TOKENGATE_CONFIG", "tokengate.toml"), ("TOKENGATE__TOKENS__LEEWAY", "2m")];
        let refused = tokengate(folder.path(), &[command, "--set", "log.level=loud"], &environment);
        assert_eq!(refused.status.code(), Some(2));
        assert!(out(&refused).is_empty());
        let text = err(&refused);
        for part in [
            "4 faults",
            "listen.adress (tokengate.toml, line 2): unknown key; did you mean `address`?",
            "listen.idle_timeout = \"soon\" (tokengate.toml, line 3)",
            "tokens.leeway = \"2m\" (TOKENGATE__TOKENS__LEEWAY)",
            "log.level = \"loud\" (--set)",
        ] {
            assert!(text.contains(part), "{command}: {part}\n{text}");
        }
    }
}

#[test]
fn print_config_shows_what_is_in_effect_and_from_where() {
    let folder = folder_with(&format!("[listen]\naddress = \"127.0.0.1:1\"\nworkers = 1\n[log]\nlevel = \"warn\"\n{UPSTREAM}"));
    std::fs::write(folder.path().join("secret"), "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA==\n").unwrap();
    let environment = [
        ("TOKENGATE__LISTEN__ADDRESS", "127.0.0.1:2"),
        ("TOKENGATE__LISTEN__WORKERS", "2"),
        ("TOKENGATE__REFRESH__SECRET_FILE", "secret"),
        ("TOKENGATE__ADMIN__TOKEN", "hunter2-hunter2-hunter2"),
    ];
    let args = ["print-config", "--config", "tokengate.toml", "--workers", "3", "--upstream", "http://127.0.0.1:4000"];
    let printed = tokengate(folder.path(), &args, &environment);
    assert!(printed.status.success(), "{}", err(&printed));
    let text = out(&printed);
    for (key, origin) in [
        ("address = \"127.0.0.1:2\"", "# TOKENGATE__LISTEN__ADDRESS"),
        ("workers = \"3\"", "# --workers"),
        ("level = \"warn\"", "# tokengate.toml, line 5"),
        ("lifetime = \"15m\"", "# default"),
        ("secret_file = \"secret\"", "# TOKENGATE__REFRESH__SECRET_FILE"),
        ("token = \"[redacted]\"", "# TOKENGATE__ADMIN__TOKEN"),
        ("url = \"http://127.0.0.1:4000\"", "# --upstream"),
    ] {
        assert!(text.lines().any(|line| line.starts_with(key) && line.ends_with(origin)), "{key} {origin}\n{text}");
    }
    assert!(!text.contains("hunter2"));
}

#[test]
fn every_key_is_printed_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let printed = tokengate(folder.path(), &["print-config", "--defaults"], &[]);
    assert_eq!(out(&printed), include_str!("../../config/tokengate.toml"));
}

#[test]
fn nothing_at_all_is_refused_with_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let refused = tokengate(folder.path(), &["run"], &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(err(&refused).contains("--upstream http://host:port"), "{}", err(&refused));
    let missing = tokengate(folder.path(), &["check", "--config", "nowhere.toml"], &[]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(err(&missing).contains("the settings file nowhere.toml cannot be read"), "{}", err(&missing));
    let mistyped = tokengate(folder.path(), &["check", "--listen", "here"], &[]);
    assert_eq!(mistyped.status.code(), Some(2));
}

#[test]
fn files_that_the_settings_name_must_be_there() {
    let issuer = "[[issuers]]\nissuer = \"i\"\naudiences = [\"a\"]\nalgorithms = [\"ES256\"]\njwks_file = \"nowhere.json\"\nshares_subjects = true\n";
    let folder = folder_with(&format!("{UPSTREAM}{issuer}[keys]\ndirectory = \"keys\"\nsigning = \"gone\"\n"));
    std::fs::create_dir(folder.path().join("keys")).unwrap();
    let refused = tokengate(folder.path(), &["check", "--config", "tokengate.toml"], &[]);
    assert_eq!(refused.status.code(), Some(2));
    let text = err(&refused);
    assert!(text.contains("issuers[0].jwks_file = \"nowhere.json\"") && text.contains("\"gone\""), "{text}");
}

#[test]
fn the_keys_of_other_issuers_are_read_beforehand() {
    let issuer = "[[issuers]]\nissuer = \"i\"\naudiences = [\"a\"]\nalgorithms = [\"HS256\"]\njwks_file = \"jwks.json\"\nsubject_prefix = \"i:\"\n";
    let folder = folder_with(&format!("{UPSTREAM}{issuer}"));
    let check = |keys: &str| {
        std::fs::write(folder.path().join("jwks.json"), format!("{{\"keys\":[{keys}]}}")).unwrap();
        tokengate(folder.path(), &["check", "--config", "tokengate.toml"], &[])
    };
    let key = "{\"kty\":\"oct\",\"kid\":\"shared\",\"alg\":\"HS256\",\"k\":\"c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA\"}";
    let good = check(&format!("{key},{{\"kty\":\"odd\",\"kid\":\"x\"}}"));
    assert!(good.status.success(), "{}", err(&good));
    assert!(out(&good).contains("issuer    i with shared (HS256); not used: key \"x\" is"), "{}", out(&good));
    let none = check("");
    assert_eq!(none.status.code(), Some(2));
    assert!(err(&none).contains("issuers[0].jwks_file = \"jwks.json\": the key set has no key"), "{}", err(&none));
}

/// What `run` would refuse, `check` refuses with the same words.
#[test]
fn whatever_a_start_would_refuse_in_a_file_is_named_beforehand() {
    let folder = folder_with("");
    let place = |name: &str| folder.path().join(name);
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(place("good.pem"), made.cert.pem()).unwrap();
    std::fs::write(place("good-key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(place("other-key.pem"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    std::fs::write(place("garbage.pem"), "what is no certificate").unwrap();
    std::fs::write(place("broken.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    std::fs::write(place("huge.pem"), vec![b'\n'; 5 << 20]).unwrap();
    assert!(Command::new("mkfifo").arg(place("pipe")).status().unwrap().success());
    std::fs::create_dir(place("keys")).unwrap();
    std::fs::write(place("keys/refresh-secret"), "short").unwrap();
    std::fs::create_dir(place("empty")).unwrap();

    let upstream = |file: &str| format!("[upstreams.api]\nurl = \"https://localhost:1\"\nca_file = \"{file}\"\n");
    let redis = |further: &str| {
        let store = "[store]\nkind = \"redis\"\n[store.redis]\nurl = \"rediss://127.0.0.1:1\"\n";
        let secret = "[refresh]\nsecret = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n";
        format!("{UPSTREAM}[keys]\ndirectory = \"signing\"\n{secret}{store}{further}\n")
    };
    assert!(tokengate(folder.path(), &["keys", "generate", "--directory", "signing"], &[]).status.success());
    let keys = |directory: &str| format!("{UPSTREAM}[keys]\ndirectory = \"{directory}\"\n");
    let faulty = [
        (upstream("gone.pem"), "upstreams.api.ca_file: gone.pem: cannot be read: No such file"),
        (upstream("garbage.pem"), "upstreams.api.ca_file: garbage.pem: holds no certificate"),
        (upstream("broken.pem"), "upstreams.api.ca_file: broken.pem: "),
        (upstream("pipe"), "upstreams.api.ca_file: pipe: cannot be read: no regular file"),
        (upstream("huge.pem"), "upstreams.api.ca_file: huge.pem: cannot be read: larger than 4194304 bytes"),
        (
            format!("{}client_certificate_file = \"good.pem\"\nclient_key_file = \"other-key.pem\"\n", upstream("good.pem")),
            "upstreams.api.client_key_file: other-key.pem: holds the key of another certificate",
        ),
        (
            format!("{}client_certificate_file = \"gone.pem\"\nclient_key_file = \"good-key.pem\"\n", upstream("good.pem")),
            "upstreams.api.client_certificate_file: gone.pem: cannot be read: No such file",
        ),
        (redis("ca_file = \"gone.pem\""), "store: gone.pem: No such file"),
        (redis("ca_file = \"garbage.pem\""), "store.redis: TLS: no certificate in the PEM text"),
        (redis("certificate_file = \"good.pem\"\nkey_file = \"garbage.pem\""), "store.redis: TLS: "),
        (redis("certificate_file = \"good.pem\"\nkey_file = \"other-key.pem\""), "store.redis: TLS: "),
        (keys("keys"), "refresh.secret: "),
        (keys("good.pem"), "keys.directory: "),
        (format!("{UPSTREAM}[store]\nkind = \"embedded\"\n[store.embedded]\ndirectory = \"good.pem\"\n"), "good.pem"),
    ];
    for (settings, fault) in &faulty {
        std::fs::write(place("tokengate.toml"), settings).unwrap();
        for command in ["check", "run"] {
            let refused = tokengate(folder.path(), &[command, "--config", "tokengate.toml"], &[]);
            assert!(!refused.status.success(), "{command}: {settings}");
            assert!(err(&refused).contains(fault), "{command}: {settings}: {}", err(&refused));
        }
    }
    let good = [
        upstream("good.pem"),
        format!("{}client_certificate_file = \"good.pem\"\nclient_key_file = \"good-key.pem\"\n", upstream("good.pem")),
        redis("ca_file = \"good.pem\"\ncertificate_file = \"good.pem\"\nkey_file = \"good-key.pem\""),
        keys("empty"),
        keys("to be made"),
    ];
    for settings in good {
        std::fs::write(place("tokengate.toml"), &settings).unwrap();
        let checked = tokengate(folder.path(), &["check", "--config", "tokengate.toml"], &[]);
        assert!(checked.status.success(), "{settings}: {}", err(&checked));
    }
    assert!(!place("to be made").exists() && place("empty").read_dir().unwrap().next().is_none(), "a check makes nothing");
}

#[test]
fn files_of_other_issuers_that_are_of_no_use_are_named_beforehand() {
    let issuer = "[[issuers]]\nissuer = \"i\"\naudiences = [\"a\"]\nalgorithms = [\"ES256\"]\nshares_subjects = true\n";
    let folder = folder_with("");
    assert!(Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
    std::fs::write(folder.path().join("empty.pem"), "").unwrap();
    for (keys, fault) in [
        ("jwks_file = \"pipe\"\n", "issuers[0].jwks_file = \"pipe\": cannot be read: no regular file"),
        ("jwks_url = \"https://h/\"\nca_file = \"gone.pem\"\n", "issuer i: ca_file gone.pem: cannot be read"),
        ("jwks_url = \"https://h/\"\nca_file = \"empty.pem\"\n", "issuer i: ca_file empty.pem: holds no certificate"),
    ] {
        std::fs::write(folder.path().join("tokengate.toml"), format!("{UPSTREAM}{issuer}{keys}")).unwrap();
        let checked = tokengate(folder.path(), &["check", "--config", "tokengate.toml"], &[]);
        assert_eq!(checked.status.code(), Some(2), "{keys}");
        assert!(err(&checked).contains(fault), "{keys}: {}", err(&checked));
    }
}

#[test]
fn keys_are_made_listed_and_never_mixed_up() {
    let folder = tempfile::tempdir().unwrap();
    let made = tokengate(folder.path(), &["keys", "generate", "--directory", "keys"], &[]);
    assert!(made.status.success(), "{}", err(&made));
    assert!(out(&made).starts_with("made ES256 key es256-"), "{}", out(&made));
    let listed = tokengate(folder.path(), &["keys", "list", "--directory", "keys"], &[]);
    assert!(out(&listed).starts_with("signs     ES256  es256-"), "{}", out(&listed));

    let second = tokengate(folder.path(), &["keys", "generate", "--directory", "keys", "--algorithm", "EdDSA"], &[]);
    assert!(out(&second).contains("this one signs once keys.signing = \"eddsa-"), "{}", out(&second));
    let unclear = tokengate(folder.path(), &["keys", "list", "--directory", "keys"], &[]);
    assert_eq!(unclear.status.code(), Some(1));
    assert!(err(&unclear).contains("several keys could sign"), "{}", err(&unclear));
    let kid = out(&listed).split_whitespace().nth(2).unwrap().to_owned();
    let clear = tokengate(folder.path(), &["keys", "list", "--directory", "keys", "--signing", &kid], &[]);
    assert!(
        out(&clear).contains(&format!("signs     ES256  {kid}")) && out(&clear).contains("waits     EdDSA"),
        "{}",
        out(&clear)
    );

    let by_openssl = tokengate(folder.path(), &["keys", "generate", "--directory", "keys", "--algorithm", "RS256"], &[]);
    assert_eq!(by_openssl.status.code(), Some(1));
    assert!(err(&by_openssl).contains("openssl genpkey"), "{}", err(&by_openssl));
    let unknown = tokengate(folder.path(), &["keys", "generate", "--directory", "keys", "--algorithm", "none"], &[]);
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn keys_go_where_the_settings_say() {
    let folder = folder_with(UPSTREAM);
    let made = tokengate(folder.path(), &["keys", "generate"], &[("TOKENGATE_CONFIG", "tokengate.toml")]);
    assert!(made.status.success(), "{}", err(&made));
    assert_eq!(std::fs::read_dir(folder.path().join("data/keys")).unwrap().count(), 1);
    let nowhere = tokengate(folder.path(), &["keys", "list", "--config", "tokengate.toml", "--set", "store.kind=memory"], &[]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(err(&nowhere).contains("--directory"), "{}", err(&nowhere));
}

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

#[test]
fn variables_that_nobody_reads_are_named_and_those_of_kubernetes_are_not() {
    let folder = folder_with(UPSTREAM);
    let environment = [
        ("TOKENGATE_CONFIG", "tokengate.toml"),
        ("TOKENGATE_LISTEN", "0.0.0.0:hunter2"),
        ("TOKENGATE_LOG_LEVEL", "hunter2"),
        ("TOKENGATE_SERVICE_HOST", "10.0.0.1"),
        ("TOKENGATE_PORT", "tcp://10.0.0.1:8080"),
        ("TOKENGATE_PORT_8080_TCP_ADDR", "10.0.0.1"),
    ];
    let checked = tokengate(folder.path(), &["check"], &environment);
    assert!(checked.status.success(), "{}", err(&checked));
    let printed = tokengate(folder.path(), &["print-config"], &environment);
    for text in [out(&checked), err(&printed)] {
        assert!(text.contains("TOKENGATE_LISTEN is not read; did you mean TOKENGATE__LISTEN__ADDRESS?"), "{text}");
        assert!(text.contains("TOKENGATE_LOG_LEVEL is not read; did you mean TOKENGATE__LOG__LEVEL?"), "{text}");
        assert_eq!(text.matches("is not read").count(), 2, "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_misspelled_key_or_command_is_answered_with_the_one_that_was_meant() {
    for (text, meant) in [
        ("[listen]\nheaderTimeout = '1s'\n", "did you mean `header_timeout`?"),
        ("[listen]\nheader-timeout = '1s'\n", "did you mean `header_timeout`?"),
        ("[lisen]\naddress = 'x'\n", "did you mean `listen`?"),
        ("listen_address = 'x'\n", "did you mean `listen.address`?"),
        ("[tokens]\nidle_lifetme = '1d'\n", "did you mean `refresh.idle_lifetime`?"),
        ("[tokens]\nabsolute_lifetime = '1d'\n", "it exists as refresh.absolute_lifetime"),
    ] {
        let folder = folder_with(&format!("{text}{UPSTREAM}"));
        let refused = tokengate(folder.path(), &["check", "--config", "tokengate.toml"], &[]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(err(&refused).contains(meant), "{text}: {}", err(&refused));
    }
    let folder = tempfile::tempdir().unwrap();
    for (typed, meant) in [(&["chek"][..], "'check'"), (&["run", "--lisen", "x"], "'--listen'"), (&["sesions"], "'sessions'")] {
        let refused = tokengate(folder.path(), typed, &[]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(err(&refused).contains(meant), "{typed:?}: {}", err(&refused));
    }
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

#[test]
fn keys_and_secrets_that_others_can_read_are_named_with_their_mode() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder_with(&format!("{UPSTREAM}[refresh]\nsecret_file = 'secret'\n[keys]\ndirectory = 'keys'\n"));
    let path = |name: &str| folder.path().join(name);
    let set_mode = |name: &str, mode| std::fs::set_permissions(path(name), PermissionsExt::from_mode(mode)).unwrap();
    std::fs::write(path("secret"), "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA==\n").unwrap();
    let made = tokengate(folder.path(), &["keys", "generate", "--directory", "keys"], &[]);
    assert!(made.status.success(), "{}", err(&made));
    let key = std::fs::read_dir(path("keys")).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    let check = || {
        let checked = tokengate(folder.path(), &["check", "--config", "tokengate.toml"], &[]);
        assert!(checked.status.success(), "{}", err(&checked));
        out(&checked)
    };
    set_mode("secret", 0o600);
    assert!(!check().contains("warning"), "{}", check());
    set_mode("secret", 0o644);
    set_mode(&format!("keys/{key}"), 0o640);
    let said = check();
    assert!(said.contains("warning: refresh.secret_file: secret has mode 0644"), "{said}");
    assert!(said.contains(&format!("warning: keys.directory: keys/{key} has mode 0640")), "{said}");

    // One that the settings file holds itself is a secret as well.
    let inline = folder_with(&format!("{UPSTREAM}[admin]\ntoken = '0123456789abcdef'\n"));
    std::fs::set_permissions(inline.path().join("tokengate.toml"), PermissionsExt::from_mode(0o644)).unwrap();
    let checked = tokengate(inline.path(), &["check", "--config", "tokengate.toml"], &[]);
    assert!(out(&checked).contains("warning: admin.token: tokengate.toml has mode 0644"), "{}", out(&checked));
    let arguments = ["check", "--config", "tokengate.toml", "--set", "admin.token=hunter2-hunter2-hunter2"];
    let checked = tokengate(inline.path(), &arguments, &[]);
    assert!(out(&checked).contains("warning: admin.token is given on the command line"), "{}", out(&checked));
    assert!(!out(&checked).contains("hunter2"));
}
