//! `tokengate import refresh-tokens`, from a file to refreshes at running gateways.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tokio::time::Instant;

use crate::store::rig::now;
use crate::support::gateway::{Gateway, Pair, Tokens};
use crate::support::upstream::Upstream;

mod rows;

const BINARY: &str = env!("CARGO_BIN_EXE_tokengate");
const UNTIL: (&str, &str) = ("refresh.imported_until", "2099-01-01");
const DAY_MILLIS: i64 = 86_400_000;

/// Of tokens that a reader of the test can tell apart, and so shorter than what is taken by default.
fn import(arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .args(["import", "refresh-tokens", "--token-bytes-min", "7"])
        .args(arguments)
        .env_clear()
        .output()
        .unwrap()
}

/// What the summary says of one kind of row.
fn count(output: &Output, kind: &str) -> u64 {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix(kind)).unwrap_or_else(|| panic!("no {kind}: {text}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A row as a database's COPY writes it.
fn row(number: u64, user: &str, token: &str, expires_in: i64, revoked: bool) -> String {
    let at = |offset: i64| now().millis() + offset;
    let (revoked, revoked_at) = if revoked { ("t", at(-1000).to_string()) } else { ("f", String::new()) };
    format!("{number},{user},{token},{},{revoked},{revoked_at},{},\n", at(expires_in), at(-DAY_MILLIS))
}

const HEADER: &str = "id,user_id,token,expires_at,revoked,revoked_at,created_at,last_used_at\n";

/// The settings of the pair, as far as an import asks.
fn redis(pair: &Pair) -> Vec<String> {
    let settings = [
        "upstreams.api.url=http://127.0.0.1:1".to_owned(),
        "store.kind=redis".to_owned(),
        format!("store.redis.url={}", pair.redis.url()),
        format!("keys.directory={}", pair.keys().display()),
        "refresh.secret=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned(),
        format!("{}={}", UNTIL.0, UNTIL.1),
    ];
    settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]).collect()
}

fn with<'a>(file: &'a Path, settings: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec![file.to_str().unwrap()];
    arguments.extend(settings.iter().map(String::as_str));
    arguments.extend(more);
    arguments
}

#[test]
fn imported_tokens_refresh_at_every_node_and_the_dead_stay_dead() {
    let pair = Pair::start(&[UNTIL]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.csv");
    let mut table = HEADER.to_owned();
    table.push_str(&row(1, "ann", "live-token-of-ann", DAY_MILLIS, false));
    table.push_str(&row(2, "ann", "expired-token", -1000, false));
    table.push_str(&row(3, "bob", "revoked-token", DAY_MILLIS, true));
    table.push_str(&row(4, "bob", "live-token-of-bob", DAY_MILLIS, false));
    fs::write(&file, &table).unwrap();
    let settings = redis(&pair);
    let done = import(&with(&file, &settings, &[]));
    assert!(done.status.success(), "{}", err(&done));
    let counts = ["rows", "imported", "already there", "expired", "revoked", "set aside"].map(|kind| count(&done, kind));
    assert_eq!(counts, [4, 2, 0, 1, 1, 0]);

    let (mut a, mut b) = (pair.a.client(), pair.b.client());
    let first = Tokens::of(&a.refresh("live-token-of-ann").expect(200));
    assert_eq!(Tokens::of(&b.refresh("live-token-of-ann").expect(200)).refresh, first.refresh, "one successor on all nodes");
    assert_eq!(b.get("/api/me", Some(&first.access)).expect(200).upstream_saw("x-auth-subject"), ["ann"]);
    b.refresh(&first.refresh).expect(200);
    for dead in ["expired-token", "revoked-token", "a-token-that-never-was"] {
        a.refresh(dead).expect(401);
    }
    // What the store holds makes no token.
    assert!(!pair.redis.cli(&["--scan"]).contains("live-token"));

    // Bob logs out with the token that he has; a second import does not log him in again.
    let logout = a.post("/logout", &json!({"refreshToken": "live-token-of-bob"})).expect(200);
    assert_eq!(logout.json()["ended"], 1);
    let again = import(&with(&file, &settings, &[]));
    assert_eq!(["imported", "already there"].map(|kind| count(&again, kind)), [0, 2]);
    b.refresh("live-token-of-bob").expect(401);

    // Ann's row is revoked by the service that made it: what became of it here ends.
    fs::write(&file, format!("{HEADER}{}", row(1, "ann", "live-token-of-ann", DAY_MILLIS, true))).unwrap();
    let revoked = import(&with(&file, &settings, &[]));
    assert!(String::from_utf8_lossy(&revoked.stdout).contains("1 sessions of an earlier import ended"));
    let deadline = Instant::now() + Duration::from_secs(10);
    while a.get("/api/me", Some(&first.access)).status() != 401 {
        assert!(Instant::now() < deadline, "the access token lives on");
    }
    a.refresh(&first.refresh).expect(401);
}

#[test]
fn bad_rows_are_named_and_set_aside_and_can_be_mended() {
    let pair = Pair::start(&[UNTIL]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.csv");
    let mut table = HEADER.to_owned();
    table.push_str(&row(1, "ann", "token-of-ann", DAY_MILLIS, false));
    table.push_str("2,,token-of-nobody,1,f,,1,\n");
    table.push_str("3,bob,s3cret-of-bob,soon,f,,1795500000,\n");
    table.push_str("4,\"two\nlines\",a-token,1795500000,f,,1795500000,\n5,too,few\n");
    table.push_str(&row(6, "cid", "token-of-cid", DAY_MILLIS, false));
    fs::write(&file, &table).unwrap();
    let settings = redis(&pair);

    let judged = import(&with(&file, &settings, &["--dry-run"]));
    assert_eq!(judged.status.code(), Some(1));
    assert_eq!(["rows", "to import", "set aside"].map(|kind| count(&judged, kind)), [6, 2, 4]);
    assert!(!folder.path().join("tokens.csv.rejects").exists());
    pair.a.client().refresh("token-of-ann").expect(401);

    let done = import(&with(&file, &settings, &[]));
    assert_eq!(done.status.code(), Some(1), "not every row was taken");
    let named = err(&done);
    for line in [
        "line 3 (id 2): user_id: is missing",
        "line 4 (id 3): expires_at: is no moment",
        "line 5 (id 4): user_id: contains a control character",
        "line 7: has 3 columns where the header has 8",
    ] {
        assert!(named.contains(line), "{line}\n{named}");
    }
    assert!(!named.contains("s3cret"));
    let rejects = folder.path().join("tokens.csv.rejects");
    assert_eq!(fs::metadata(&rejects).unwrap().permissions().mode() & 0o777, 0o600);
    let mended = fs::read_to_string(&rejects).unwrap();
    assert!(mended.starts_with(HEADER) && mended.contains("4,\"two\nlines\",a-token"), "{mended}");
    assert!(mended.contains("\"# tokengate import: line 4 (id 3): expires_at: is no moment"), "{mended}");
    pair.a.client().refresh("token-of-cid").expect(200);

    let mended = mended.replace("soon", &(now().millis() + DAY_MILLIS).to_string());
    fs::write(folder.path().join("mended.csv"), mended).unwrap();
    let again = import(&with(&folder.path().join("mended.csv"), &settings, &[]));
    assert_eq!(["imported", "set aside"].map(|kind| count(&again, kind)), [1, 3]);
    pair.b.client().refresh("s3cret-of-bob").expect(200);
}

#[test]
fn an_import_that_is_killed_goes_on_where_it_was() {
    const ROWS: u64 = 60_000;
    let pair = Pair::start(&[UNTIL]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.ndjson");
    let (expires_at, created_at) = (now().millis() + DAY_MILLIS, now().millis() - DAY_MILLIS);
    let mut table = String::new();
    for n in 0..ROWS {
        let _ = writeln!(
            table,
            r#"{{"id":{n},"userId":{},"token":"token-{n}","expiresAt":{expires_at},"revoked":false,"createdAt":{created_at}}}"#,
            n / 3
        );
    }
    fs::write(&file, &table).unwrap();
    let settings = redis(&pair);
    let mut broken = Command::new(BINARY)
        .args(["import", "refresh-tokens", "--token-bytes-min", "7"])
        .args(with(&file, &settings, &[]))
        .env_clear()
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while pair.redis.cli(&["DBSIZE"]).parse::<u64>().unwrap() < 20_000 {
        assert!(Instant::now() < deadline, "nothing arrives");
    }
    broken.kill().unwrap();
    broken.wait().unwrap();

    let done = import(&with(&file, &settings, &[]));
    assert!(done.status.success(), "{}", err(&done));
    let [rows, imported, present] = ["rows", "imported", "already there"].map(|kind| count(&done, kind));
    assert_eq!((rows, imported + present), (ROWS, ROWS));
    assert!(present > 0, "what was taken before the end is not taken twice");
    let mut client = pair.a.client();
    for n in (0..ROWS).step_by(3001) {
        client.refresh(&format!("token-{n}")).expect(200);
    }
    let tail = import(&with(&file, &settings, &["--from-line", "59001"]));
    assert_eq!(["rows", "already there"].map(|kind| count(&tail, kind)), [1000, 1000]);
}

#[test]
fn the_embedded_store_takes_tokens_while_no_gateway_runs() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let embedded = [("store.kind", "embedded"), UNTIL];
    let file = folder.path().join("tokens.csv");
    let digest = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
    fs::write(&file, row(1, "ann", digest, DAY_MILLIS, false)).unwrap();
    let arguments = ["--set", "store.embedded.directory=data", "--tokens", "sha256", "--header"];
    let arguments: Vec<&str> = arguments.into_iter().chain([HEADER.trim_end()]).collect();
    let run = || {
        Command::new(BINARY)
            .args(["import", "refresh-tokens", "tokens.csv"])
            .args(&arguments)
            .current_dir(folder.path())
            .env_clear()
            .output()
            .unwrap()
    };
    let gateway = Gateway::start_in(folder.path(), &upstream, &embedded);
    let refused = run();
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("in use by another process"), "{}", err(&refused));
    gateway.client().refresh("password").expect(401);
    drop(gateway);

    let done = run();
    assert!(done.status.success(), "{}", err(&done));
    assert_eq!(count(&done, "imported"), 1);
    assert!(String::from_utf8_lossy(&done.stdout).contains("refresh.imported_until is not set"), "a hint");
    let gateway = Gateway::start_in(folder.path(), &upstream, &embedded);
    let first = Tokens::of(&gateway.client().refresh("password").expect(200));
    gateway.kill();
    let gateway = Gateway::start_in(folder.path(), &upstream, &embedded);
    assert_eq!(Tokens::of(&gateway.client().refresh("password").expect(200)).refresh, first.refresh);
}

#[test]
fn a_call_that_cannot_work_is_refused_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.csv");
    fs::write(&file, "id,user_id,expires_at,created_at\n").unwrap();
    let file = file.to_str().unwrap();
    let cases: [(&[&str], &str); 6] = [
        (&[file, "--set", "store.kind=memory"], "would end with this call"),
        (&[file, "--dry-run"], "there is no column `token`"),
        (&[file, "--dry-run", "--column", "tokne=x"], "tokne"),
        (&[file, "--dry-run", "--claim", "sub=x"], "the gateway sets this claim itself"),
        (&["/nowhere.csv", "--dry-run"], "cannot be opened"),
        (&["/dev/null", "--dry-run"], "the file is empty"),
    ];
    for (arguments, message) in cases {
        let refused = import(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(err(&refused).contains(message), "{message}: {}", err(&refused));
    }
}

#[test]
fn whoever_tries_tokens_that_might_be_imported_is_slowed_down() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[UNTIL, ("limits.refresh.imported_per_address", "5/1m")]);
    let mut client = gateway.client();
    for n in 0..5 {
        client.refresh(&format!("guess-{n}")).expect(401);
    }
    let limited = client.refresh("guess-5").expect(429);
    assert!(limited.header("retry-after").is_some());
    client.post("/logout", &json!({"refreshToken": "guess-6"})).expect(429);
    let own = client.log_in("ann");
    client.refresh(&own.refresh).expect(200);
}
