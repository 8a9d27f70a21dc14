//! What tables really hold, and in what forms they come.

use super::*;

/// Runs the import of a file or of standard input into an embedded store of its own.
fn import_into(folder: &Path, arguments: &[&str], input: Option<&str>) -> Output {
    let mut process = Command::new(BINARY)
        .args(["import", "refresh-tokens", "--set", "store.embedded.directory=data"])
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(input.unwrap_or_default().as_bytes()).unwrap();
    process.wait_with_output().unwrap()
}

const LIVES: &str = "live-and-well-q8Zk2vXo";
const SHARED: &str = "shared-by-many-5rT1uWy7";
const REVOKED: &str = "revoked-elsewhere-BcDe3";

/// Rows as a table has them after years: what stands for no token, one token of two users, one that is live in one row and revoked
/// in another.
fn worn_table() -> String {
    let at = |offset: i64| (now().millis() + offset) * 1000;
    let row = |id: u64, user: &str, token: &str, revoked_at: &str| {
        format!("{id},{user},{token},{},f,{revoked_at},{},NULL\n", at(DAY_MILLIS), at(-DAY_MILLIS))
    };
    let mut table = HEADER.to_owned();
    for (id, nothing) in ["NULL", "\\N", "null", "None", "-", "undefined", ""].into_iter().enumerate() {
        table.push_str(&row(100 + id as u64, &format!("user-{id}"), nothing, "NULL"));
    }
    table.push_str(&row(1, "ann", LIVES, "NULL"));
    table.push_str(&row(2, "bob", SHARED, "NULL"));
    table.push_str(&row(3, "cid", REVOKED, "NULL"));
    table.push_str(&row(4, "dan", SHARED, "NULL"));
    table.push_str(&row(5, "cid", REVOKED, &at(-1000).to_string()));
    table.push_str(&row(6, "eve", "short", "NULL"));
    table
}

#[test]
fn what_is_nobodys_token_opens_no_session_and_good_rows_do() {
    for is_piped in [false, true] {
        let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
        let table = worn_table();
        fs::write(folder.path().join("tokens.csv"), &table).unwrap();
        let done = if is_piped {
            import_into(folder.path(), &["-", "--rejects", "tokens.csv.rejects"], Some(&table))
        } else {
            import_into(folder.path(), &["tokens.csv"], None)
        };
        assert_eq!(done.status.code(), Some(1), "{}", err(&done));
        assert_eq!(count(&done, "rows"), 13);
        // Of a stream the first row of each was taken before the second came.
        let aside = if is_piped { 9 } else { 11 };
        assert_eq!(count(&done, "set aside"), aside, "{}", err(&done));
        let rejects = fs::read_to_string(folder.path().join("tokens.csv.rejects")).unwrap();
        assert!(rejects.contains("line 2 (id 100): token: is missing") && rejects.contains("has 5 bytes"), "{rejects}");
        assert!(rejects.contains("(id 4): token: rows of other users hold the same one"), "{rejects}");
        assert!(!err(&done).contains(SHARED) && !err(&done).contains(LIVES));

        let gateway = Gateway::start_in(folder.path(), &upstream, &[("store.kind", "embedded"), UNTIL]);
        let mut client = gateway.client();
        client.refresh(LIVES).expect(200);
        for dead in [SHARED, REVOKED, "NULL", "\\N", "None", "-", "short"] {
            assert_eq!(client.refresh(dead).status() / 100, 4, "{dead}");
        }
    }
}

#[test]
fn a_copy_of_the_store_yields_no_token() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    fs::write(folder.path().join("tokens.csv"), format!("{HEADER}{}", row(1, "ann", LIVES, DAY_MILLIS, false))).unwrap();
    assert!(import_into(folder.path(), &["tokens.csv"], None).status.success());
    let gateway = Gateway::start_in(folder.path(), &upstream, &[("store.kind", "embedded"), UNTIL]);
    let mut client = gateway.client();
    let first = client.log_in("bob");
    let second = Tokens::of(&client.refresh(&first.refresh).expect(200));
    let imported = Tokens::of(&client.refresh(LIVES).expect(200));
    drop(gateway);

    let store = fs::read(folder.path().join("data/tokengate.redb")).unwrap();
    let holds = |bytes: &[u8]| memchr::memmem::find(&store, bytes).is_some();
    assert!(holds(b"bob"), "what it holds can be read");
    assert!(!holds(LIVES.as_bytes()));
    for Tokens { access, refresh } in [first, second, imported] {
        assert!(!holds(access.as_bytes()) && !holds(refresh.as_bytes()));
        // What nobody else can make.
        for made in [access.rsplit('.').next().unwrap(), refresh.trim_start_matches("tgr_")] {
            let bytes = URL_SAFE_NO_PAD.decode(made).unwrap();
            assert!(!holds(made.as_bytes()) && !holds(&bytes[bytes.len() - 16..]));
        }
    }
    let keys = fs::read_dir(folder.path().join("data/keys")).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    for key in keys {
        assert!(!holds(key.trim_ascii()));
    }
}

#[test]
fn rows_of_mongodb_become_sessions() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let (expires_at, created_at) = (now().millis() + DAY_MILLIS, now().millis() - DAY_MILLIS);
    let row = format!(
        r#"{{"_id":{{"$oid":"65f1c0ffee65f1c0ffee0001"}},"userId":{{"$oid":"65f1c0ffee65f1c0ffee0002"}},"token":"{LIVES}","expiresAt":{{"$date":{{"$numberLong":"{expires_at}"}}}},"createdAt":{{"$date":{{"$numberLong":"{created_at}"}}}},"isRevoked":false}}"#
    );
    fs::write(folder.path().join("tokens.ndjson"), row).unwrap();
    let done = import_into(folder.path(), &["tokens.ndjson"], None);
    assert!(done.status.success(), "{}", err(&done));
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.contains("not read: isRevoked") && said.contains("--column revoked_at=isRevoked"), "{said}");
    let gateway = Gateway::start_in(folder.path(), &upstream, &[("store.kind", "embedded"), UNTIL]);
    let tokens = Tokens::of(&gateway.client().refresh(LIVES).expect(200));
    let seen = gateway.client().get("/api/me", Some(&tokens.access)).expect(200);
    assert_eq!(seen.upstream_saw("x-auth-subject"), ["65f1c0ffee65f1c0ffee0002"]);
}

/// As `mongoexport --jsonArray`, `json_agg` and the exports of most tools have it.
#[test]
fn a_list_of_objects_is_read_however_it_is_laid_out_and_what_is_set_aside_can_be_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (expires_at, created_at) = (now().millis() + DAY_MILLIS, now().millis() - DAY_MILLIS);
    let object = |n: u32| serde_json::json!({"userId": format!("u{n}"), "token": format!("{LIVES}{n}"), "expiresAt": expires_at, "createdAt": created_at});
    let rows = serde_json::json!([object(1), {"userId": "u", "token": "short"}, object(2), object(3)]);
    for (name, table) in [("flat.json", rows.to_string()), ("laid-out.json", format!("\u{feff}{rows:#}\n"))] {
        fs::write(folder.path().join(name), table).unwrap();
        let done = import_into(folder.path(), &[name], None);
        assert_eq!(
            [count(&done, "imported") + count(&done, "already there"), count(&done, "set aside")],
            [3, 1],
            "{}",
            err(&done)
        );
        let again = import_into(folder.path(), &[&format!("{name}.rejects"), "--dry-run"], None);
        assert_eq!(count(&again, "rows"), 1, "{}", err(&again));
    }
}

#[test]
fn columns_may_stand_between_something_else_than_commas() {
    let folder = tempfile::tempdir().unwrap();
    let table = |between: &str| {
        let table = format!("{HEADER}{}", row(1, "ann", LIVES, DAY_MILLIS, false));
        table.replace(',', between)
    };
    for (name, between, further) in [
        ("a.csv", ";", &["--delimiter", ";"][..]),
        ("b.csv", "|", &["--delimiter", "|"]),
        ("c.txt", "\t", &["--delimiter", "tab"]),
        ("d.tsv", "\t", &[]),
        ("e.csv", ",", &[]),
    ] {
        fs::write(folder.path().join(name), table(between)).unwrap();
        let done = import_into(folder.path(), &[&[name, "--dry-run"], further].concat(), None);
        assert_eq!(count(&done, "to import"), 1, "{name}: {}", err(&done));
    }
    fs::write(folder.path().join("f.csv"), table(";")).unwrap();
    let refused = import_into(folder.path(), &["f.csv", "--dry-run"], None);
    assert_eq!(refused.status.code(), Some(2));
    assert!(err(&refused).contains("say what stands between them: --delimiter ';'"), "{}", err(&refused));
    for odd in ["", "\"", "ab", "\n", "a", "é"] {
        assert_eq!(
            import_into(folder.path(), &["e.csv", "--dry-run", "--delimiter", odd], None).status.code(),
            Some(2),
            "{odd:?}"
        );
    }
}

/// The word of databases for it, and the last day that many tables know.
#[test]
fn a_token_that_never_expires_lives_as_long_as_sessions_do_and_one_that_is_never_revoked_lives() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let created_at = now().millis() - 200 * DAY_MILLIS;
    let row = |n: u32, expires_at: &str, revoked_at: &str| format!("u{n},{LIVES}{n},{expires_at},{revoked_at},{created_at}\n");
    let table = [
        row(1, "infinity", ""),
        row(2, "infinity", "infinity"),
        row(3, "9999-12-31 23:59:59", "9999-12-31 23:59:59"),
        row(4, "-infinity", ""),
        row(5, "infinity", "-infinity"),
    ];
    let table = format!("user_id,token,expires_at,revoked_at,created_at\n{}", table.concat());
    fs::write(folder.path().join("tokens.csv"), table).unwrap();
    let done = import_into(folder.path(), &["tokens.csv"], None);
    assert_eq!(["imported", "expired", "revoked"].map(|kind| count(&done, kind)), [3, 1, 1], "{}", err(&done));
    let gateway =
        Gateway::start_in(folder.path(), &upstream, &[("store.kind", "embedded"), ("refresh.absolute_lifetime", "90d"), UNTIL]);
    for n in 1..=3 {
        gateway.client().refresh(&format!("{LIVES}{n}")).expect(200);
    }
    let sessions = gateway.admin().get("/sessions?subject=u1", None).expect(200).json();
    let ends_at = sessions["sessions"][0]["expiresAt"].as_str().unwrap_or_else(|| panic!("{sessions}")).to_owned();
    assert!(!ends_at.starts_with("9999"), "{ends_at}");
}

#[test]
fn a_member_that_only_dead_tokens_have_is_named_wherever_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let (expires_at, created_at) = (now().millis() + DAY_MILLIS, now().millis() - DAY_MILLIS);
    let rows =
        [("", "0"), (r#","deletedAt":"2026-11-02T00:00:00Z""#, "1"), (r#","used_at":1,"deletedAt":1"#, "2")].map(|(dead, n)| {
            format!(r#"{{"userId":"u{n}","token":"{LIVES}{n}","expiresAt":{expires_at},"createdAt":{created_at}{dead}}}"#)
        });
    fs::write(folder.path().join("tokens.ndjson"), rows.join("\n")).unwrap();
    let done = import_into(folder.path(), &["tokens.ndjson", "--dry-run"], None);
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.contains("not read: deletedAt, used_at."), "{said}");
}

#[test]
fn rows_that_were_set_aside_are_read_again_without_their_causes() {
    let folder = tempfile::tempdir().unwrap();
    for (name, table) in [
        ("tokens.csv", worn_table()),
        ("tokens.ndjson", "{\"userId\":\"ann\",\"token\":\"short\"}\n{\"a\":1}\nno json\n".to_owned()),
    ] {
        fs::write(folder.path().join(name), table).unwrap();
        let first = import_into(folder.path(), &[name], None);
        let aside = format!("{name}.rejects");
        let format = if name.ends_with("csv") { "csv" } else { "ndjson" };
        let again = import_into(folder.path(), &[&aside, "--format", format, "--dry-run"], None);
        assert_eq!(count(&again, "rows"), count(&first, "set aside"), "{}", err(&again));
    }
}
