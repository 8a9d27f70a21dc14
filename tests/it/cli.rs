//! The real binary: settings from all sides, keys, probes, exit codes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

mod explain;
mod files;
mod openapi;
mod pages;
mod probes;
mod schema;

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
