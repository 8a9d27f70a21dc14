//! Machines that get tokens for themselves: over two nodes and Redis, on one node with the embedded store, and by other people's client.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::until_refused;
use crate::support::gateway::{Gateway, Pair};
use crate::support::http::{Client, Message};
use crate::support::python::python;
use crate::support::upstream::Upstream;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const TOKEN: (&str, &str) = ("endpoints.token", "/oauth/token");
const ISSUER: (&str, &str) = ("tokens.issuer", "https://auth.example.com");

fn tokengate(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tokengate")).args(arguments).current_dir(folder).env_clear().output().unwrap()
}

/// What the command says, once it has done what it was asked.
#[track_caller]
fn said(folder: &Path, arguments: &[&str]) -> String {
    let output = tokengate(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// A file of clients, with a machine whose secret it returns.
fn machine(folder: &Path) -> (String, String) {
    let file = folder.join("clients.toml").display().to_string();
    let secret = said(folder, &["clients", "add", "reports", "--file", &file, "--scope", "read", "--scope", "write"]);
    (file, secret)
}

fn ask(client: &mut Client, id: &str, secret: &str, further: &str) -> Message {
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}{further}");
    client.send("POST", "/oauth/token", &[FORM], Some(form.as_bytes())).unwrap()
}

fn token(client: &mut Client, secret: &str) -> String {
    ask(client, "reports", secret, "").expect(200).member("access_token")
}

#[test]
fn a_machine_gets_a_token_which_every_node_takes_and_its_revocation_reaches_every_node() {
    let folder = tempfile::tempdir().unwrap();
    let (file, secret) = machine(folder.path());
    let pair = Pair::start(&[TOKEN, ("oauth.clients_file", &file)]);
    let (mut a, mut b) = (pair.a.client(), pair.b.client());
    let given = ask(&mut a, "reports", &secret, "&scope=read").expect(200);
    assert_eq!((given.header("cache-control"), given.header("pragma")), (Some("no-store"), Some("no-cache")));
    assert_eq!(
        (given.member("token_type"), given.member("scope"), given.json()["expires_in"].as_u64()),
        ("Bearer".into(), "read".into(), Some(900))
    );
    assert!(given.json().get("refresh_token").is_none(), "RFC 6749, section 4.4.3");
    let first = given.member("access_token");
    for client in [&mut a, &mut b] {
        let seen = client.get("/api/me", Some(&first)).expect(200);
        assert_eq!(
            (seen.upstream_saw("x-auth-subject"), seen.upstream_saw("x-auth-scopes")),
            (vec!["client:reports".into()], vec!["read".into()])
        );
        assert!(seen.upstream_saw("x-auth-session").concat().is_empty(), "it has no session");
    }

    // One token alone (RFC 7009).
    let second = token(&mut b, &secret);
    a.send("POST", "/oauth/revoke", &[FORM], Some(format!("token={first}").as_bytes())).unwrap().expect(200);
    a.get("/api/me", Some(&first)).expect(401);
    until_refused(&mut b, &first);
    b.get("/api/me", Some(&second)).expect(200);

    // All of the client's.
    let url = format!("http://{}", pair.a.admin_address());
    said(folder.path(), &["revoke", "--client", "reports", "--wait", "--url", &url, "--upstream", "http://127.0.0.1:1"]);
    for client in [&mut a, &mut b] {
        assert_eq!(client.get("/api/me", Some(&second)).expect(401).member("code"), "token_revoked");
        let barred = ask(client, "reports", &secret, "").expect(503);
        assert_eq!((barred.member("error"), barred.member("code")), ("temporarily_unavailable".into(), "subject_barred".into()));
        let wait: u64 = barred.header("retry-after").unwrap().parse().unwrap();
        assert!((50..=61).contains(&wait), "{wait}");
    }
    // A user of that name never was, and the others are not concerned.
    let ann = a.log_in("ann");
    a.get("/api/me", Some(&ann.access)).expect(200);
}

#[test]
fn the_store_is_not_needed_for_the_token_of_a_machine() {
    let folder = tempfile::tempdir().unwrap();
    let (file, secret) = machine(folder.path());
    let pair = Pair::start(&[TOKEN, ("oauth.clients_file", &file)]);
    let mut client = pair.a.client();
    pair.redis.freeze();
    let given = token(&mut client, &secret);
    client.get("/api/me", Some(&given)).expect(200);
    pair.redis.thaw();
}

#[test]
fn secrets_are_rotated_and_clients_disabled_while_the_gateway_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (file, first) = machine(folder.path());
    assert!(!std::fs::read_to_string(&file).unwrap().contains(&first), "the file has no secret");
    let upstream = Upstream::start();
    let embedded = [("store.kind", "embedded"), TOKEN, ("oauth.clients_file", file.as_str())];
    let gateway = Gateway::start(&upstream, &embedded);
    let mut client = gateway.client();
    let is_known = |client: &mut Client, secret: &str| match ask(client, "reports", secret, "").status() {
        200 => true,
        // The latter where no machine is left.
        401 | 400 => false,
        other => panic!("{other}"),
    };
    let rotate = |how: &[&str]| {
        let told = said(folder.path(), &[&["clients", "rotate", "reports", "--file", &file], how].concat());
        gateway.reload(|settings| settings);
        told
    };
    let second = rotate(&[]);
    assert!(is_known(&mut client, &first) && is_known(&mut client, &second), "both for the time of the change");
    let third = rotate(&[]);
    assert!(!is_known(&mut client, &first) && is_known(&mut client, &second) && is_known(&mut client, &third), "never three");
    rotate(&["--finish"]);
    assert!(!is_known(&mut client, &second) && is_known(&mut client, &third));
    let fourth = rotate(&["--at-once"]);
    assert!(!is_known(&mut client, &third) && is_known(&mut client, &fourth));

    let given = token(&mut client, &fourth);
    client.get("/api/me", Some(&given)).expect(200);
    let url = format!("http://{}", gateway.admin_address());
    said(folder.path(), &["clients", "disable", "reports", "--file", &file, "--url", &url, "--upstream", "http://127.0.0.1:1"]);
    until_refused(&mut client, &given);
    assert!(!is_known(&mut client, &fourth));
    let list = said(folder.path(), &["clients", "list", "--file", &file]);
    assert!(list.starts_with("disabled 1 secret") && list.contains("reports") && list.contains("[read write]"), "{list}");
}

#[test]
fn a_secret_that_somebody_wrote_into_the_entry_ends_as_others_do() {
    let plain = "0123456789abcdef0123456789abcdef";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.toml").display().to_string();
    std::fs::write(folder.path().join("secret"), plain).unwrap();
    let inline = format!("secret = '{plain}'");
    let in_file = format!("secret_file = '{}'", folder.path().join("secret").display());
    let upstream = Upstream::start();
    let entry = |line: &str| format!("[[clients]]\nid = 'reports'\n{line}\ngrants = ['client_credentials']\n");
    std::fs::write(&file, entry(&inline)).unwrap();
    let gateway = Gateway::start(&upstream, &[TOKEN, ("oauth.clients_file", file.as_str())]);
    let mut client = gateway.client();
    for line in [&inline, &in_file] {
        let mut goods = |rotations: &[&[&str]]| {
            std::fs::write(&file, entry(line)).unwrap();
            let made = rotations
                .iter()
                .map(|how| said(folder.path(), &[&["clients", "rotate", "reports", "--file", &file], *how].concat()));
            let made: Vec<String> = made.collect();
            gateway.reload(|settings| settings);
            let secrets = [plain].into_iter().chain(made.iter().map(String::as_str).filter(|told| !told.contains(' ')));
            secrets.map(|secret| ask(&mut client, "reports", secret, "").status() == 200).collect::<Vec<_>>()
        };
        assert_eq!(goods(&[]), [true]);
        assert_eq!(goods(&[&[]]), [true, true], "for the time of the change: {line}");
        assert_eq!(goods(&[&[], &[]]), [false, true, true], "never three: {line}");
        assert_eq!(goods(&[&[], &["--finish"]]), [false, true], "{line}");
        assert_eq!(goods(&[&["--at-once"]]), [false, true], "{line}");
        assert_eq!(goods(&[&["--finish"]]), [true], "it is the newest: {line}");
    }
}

#[test]
fn of_changes_that_are_made_at_once_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = machine(folder.path());
    let add = |number: usize| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
        command.args(["clients", "add", &format!("c{number}"), "--file", &file]).env_clear();
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let calls: Vec<_> = (0..12).map(add).collect();
    let mut disable = Command::new(env!("CARGO_BIN_EXE_tokengate"));
    let disable = disable.args(["clients", "disable", "reports", "--file-only", "--file", &file]).env_clear().output().unwrap();
    let done = calls.into_iter().enumerate().filter_map(|(number, call)| {
        let output = call.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() || told.contains("another call"), "{told}");
        output.status.success().then_some(number)
    });
    let done: Vec<usize> = done.collect();
    let list = said(folder.path(), &["clients", "list", "--file", &file]);
    for number in &done {
        assert!(list.contains(&format!(" c{number} ")), "{number}: {list}");
    }
    assert_eq!(list.lines().count(), done.len() + 1, "{list}");
    assert_eq!(list.contains("disabled"), disable.status.success(), "{list}");
    assert!(!Path::new(&format!("{file}.draft")).exists());
}

#[test]
fn a_client_is_added_as_the_settings_would_take_it() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = machine(folder.path());
    let before = std::fs::read_to_string(&file).unwrap();
    let settings = folder.path().join("tokengate.toml");
    let text = format!(
        "upstreams.default.url = 'http://127.0.0.1:1'\nendpoints.token = '/oauth/token'\ntokens.audience = ['api']\n\
         oauth.clients_file = '{file}'\n"
    );
    std::fs::write(&settings, text).unwrap();
    let settings = settings.display().to_string();
    let long = "x".repeat(250);
    for (arguments, part) in [
        (&["b", "--file", &file, "--scope", "a b"][..], "clients[1].scopes"),
        (&["b", "--file", &file, "--scope", "ä"], "clients[1].scopes"),
        (&[&long, "--file", &file], "clients[1].id"),
        (&["b", "--config", &settings, "--audience", "elsewhere"], "none of tokens.audience"),
        (&[" b", "--file", &file], "spaces"),
    ] {
        let output = tokengate(folder.path(), &[&["clients", "add"], arguments].concat());
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && told.contains(part), "{arguments:?}: {told}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    }
    said(folder.path(), &["clients", "add", "b", "--config", &settings, "--audience", "api", "--scope", "a"]);
    said(folder.path(), &["clients", "add", "c", "--file", &file, "--audience", "elsewhere \" ' or here"]);
}

#[test]
fn a_client_that_is_disabled_at_one_node_is_refused_at_another_that_has_not_reloaded() {
    let folder = tempfile::tempdir().unwrap();
    let (file, secret) = machine(folder.path());
    // Not as the settings of the call have it: what a machine is called is the gateway's to know.
    let pair =
        Pair::start(&[TOKEN, ("oauth.clients_file", &file), ("oauth.subject_prefix", "robot:"), ("reload.watch", "false")]);
    let (mut a, mut b) = (pair.a.client(), pair.b.client());
    let tokens = [token(&mut a, &secret), token(&mut b, &secret)];
    for given in &tokens {
        assert_eq!(b.get("/api/me", Some(given)).expect(200).upstream_saw("x-auth-subject"), ["robot:reports"]);
    }
    let url = format!("http://{}", pair.a.admin_address());
    said(folder.path(), &["clients", "disable", "reports", "--file", &file, "--url", &url, "--upstream", "http://127.0.0.1:1"]);
    for given in &tokens {
        until_refused(&mut b, given);
        a.get("/api/me", Some(given)).expect(401);
    }
    assert_eq!(ask(&mut a, "reports", &secret, "").expect(400).member("error"), "unsupported_grant_type");
    assert_eq!(ask(&mut b, "reports", &secret, "").expect(503).member("code"), "subject_barred", "it has not reloaded");
}

#[test]
fn tokens_of_a_client_end_though_its_file_cannot_be_written_or_the_gateway_does_not_reload() {
    // Another call was killed; something else in the file is wrong.
    let locked = |file: &str| std::fs::write(format!("{file}.draft"), "").unwrap();
    let wrong = |file: &str| {
        let text = std::fs::read_to_string(file).unwrap();
        std::fs::write(file, format!("{text}\n[[clients]]\nid = \"b\"\n")).unwrap();
    };
    for (hinder, why) in [(&locked as &dyn Fn(&str), ".draft"), (&wrong, "clients[1]")] {
        let folder = tempfile::tempdir().unwrap();
        let (file, secret) = machine(folder.path());
        let upstream = Upstream::start();
        let gateway = Gateway::start(&upstream, &[TOKEN, ("oauth.clients_file", file.as_str()), ("reload.watch", "false")]);
        let mut client = gateway.client();
        let given = token(&mut client, &secret);
        client.get("/api/me", Some(&given)).expect(200);
        hinder(&file);
        let url = format!("http://{}", gateway.admin_address());
        let disable = || {
            let arguments = ["clients", "disable", "reports", "--file", &file, "--url", &url, "--upstream", "http://127.0.0.1:1"];
            let output = tokengate(folder.path(), &arguments);
            assert_eq!(output.status.code(), Some(1));
            String::from_utf8(output.stderr).unwrap()
        };
        let told = disable();
        assert!(told.contains("are revoked, but") && told.contains(why), "{told}");
        client.get("/api/me", Some(&given)).expect(401);
        gateway.kill();
        let told = disable();
        assert!(told.contains("nor are its tokens known to be revoked"), "{told}");
    }
}

#[test]
fn what_cannot_be_done_to_the_file_of_clients_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = machine(folder.path());
    let before = std::fs::read_to_string(&file).unwrap();
    for (arguments, code, part) in [
        (&["clients", "add", "reports", "--file", &file][..], 2, "there already"),
        (&["clients", "rotate", "nobody", "--file", &file], 2, "no client nobody"),
        (&["clients", "disable", "nobody", "--file-only", "--file", &file], 2, "no client nobody"),
        (&["clients", "add", "ü", "--file", &file], 2, "visible ASCII"),
        (&["clients", "list", "--file", "elsewhere.toml"], 1, "elsewhere.toml"),
        (&["clients", "list", "--upstream", "http://127.0.0.1:1"], 2, "--file"),
    ] {
        let output = tokengate(folder.path(), arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && told.contains(part), "{arguments:?}: {:?} {told}", output.status);
    }
    std::fs::write(format!("{file}.draft"), "").unwrap();
    let output = tokengate(folder.path(), &["clients", "rotate", "reports", "--file", &file]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("another call"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
}

#[test]
fn other_peoples_client_finds_the_endpoint_and_gets_its_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let (file, secret) = machine(folder.path());
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[TOKEN, ISSUER, ("oauth.clients_file", file.as_str())]);
    let refresh = gateway.client().log_in("ann").refresh;
    let url = format!("http://{}", gateway.address());
    let (_process, mut lines) = python("oauth", "client.py", &[&url, "reports", &secret, &refresh]);
    let told: Value = serde_json::from_str(&lines.next().expect("it ends with a line").unwrap()).unwrap();
    assert_eq!(told["grants"], serde_json::json!(["refresh_token", "client_credentials"]));
    for method in ["client_secret_basic", "client_secret_post"] {
        let by = &told[method];
        assert_eq!((&by["token_type"], &by["scope"], &by["status"]), (&"Bearer".into(), &"read".into(), &200.into()), "{told}");
        assert_eq!(by["has_refresh_token"], false);
        assert!(by["seen"].to_string().contains("client:reports"), "{by}");
    }
    assert_eq!((&told["refreshed"], &told["refused"]), (&200.into(), &"invalid_client".into()));
}
