//! The schema of the settings beside what reads them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use config::{Value, ValueKind};
use serde_json::{Value as Json, json};

use crate::config::layers::Layers;
use crate::config::notes::Notes;
use crate::config::problem::Problem;
use crate::config::{Settings, layers, schema};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/descriptions")
}

/// What `settings.py` prints.
fn judged(arguments: &[&str]) -> Vec<String> {
    let interpreter = folder().join("venv/bin/python");
    assert!(interpreter.exists(), "make the environment in {}, as tests/run does", folder().display());
    let said = Command::new(interpreter).arg("settings.py").args(arguments).current_dir(folder()).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn every_settings_file_and_every_block_of_the_pages_has_the_form_that_the_schema_says() {
    assert_eq!(judged(&["files"]), Vec::<String>::new());
}

#[test]
fn every_key_has_its_text_and_its_default() {
    fn walk(path: &str, schema: &Json, bare: &mut Vec<String>) {
        for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            let inner = [schema, &schema["items"], &schema["additionalProperties"]]
                .into_iter()
                .find(|inner| inner["properties"].is_object());
            if let Some(inner) = inner {
                walk(&path, inner, bare);
            } else if schema["description"].as_str().is_none_or(str::is_empty) {
                bare.push(path);
            }
        }
    }
    let mut bare = Vec::new();
    walk("", &schema().unwrap(), &mut bare);
    assert_eq!(bare, Vec::<String>::new());
}

/// One of each kind.
fn corpus() -> Vec<Json> {
    let texts =
        ["", " ", "x", "a b", "\u{1}", "ü", "/", "/a", "1", "-1", "999999999999", "true", "1s", "1m1h", "512B", "1KiB/s", "20%"];
    let others =
        ["http://127.0.0.1:1", "127.0.0.1:1", "10.0.0.0/8", "10/1m", "2027-03-31", "*", "GET", "get", "ES256", "a,b", "client:"];
    let kinds = [json!(true), json!(0), json!(1), json!(64), json!(200), json!(-1), json!(99_999_999_999_u64), json!(1.5)];
    let nested = [
        json!([]),
        json!(["x"]),
        json!([1]),
        json!([true]),
        json!([{}]),
        json!([["x"]]),
        json!({}),
        json!({ "a": "x" }),
        json!({ "a": 1 }),
    ];
    texts.into_iter().chain(others).map(|text| json!(text)).chain(kinds).chain(nested).collect()
}

fn value_of(json: &Json) -> Value {
    Value::new(
        None,
        match json {
            Json::Null => ValueKind::Nil,
            Json::Bool(flag) => ValueKind::Boolean(*flag),
            Json::Number(number) => number.as_i64().map_or_else(|| ValueKind::Float(number.as_f64().unwrap()), ValueKind::I64),
            Json::String(text) => ValueKind::String(text.clone()),
            Json::Array(items) => ValueKind::Array(items.iter().map(value_of).collect()),
            Json::Object(table) => ValueKind::Table(table.iter().map(|(key, value)| (key.clone(), value_of(value))).collect()),
        },
    )
}

/// Where `routes[].prefix` is, in the first entry.
fn place<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Value {
    let Some((key, rest)) = path.split_first() else { return value };
    let ValueKind::Table(table) = &mut value.kind else { panic!("{path:?}") };
    let is_list = key.ends_with("[]");
    let value = table.get_mut(key.trim_end_matches("[]")).unwrap();
    if !is_list {
        return place(value, rest);
    }
    let ValueKind::Array(entries) = &mut value.kind else { panic!("{path:?}") };
    place(&mut entries[0], rest)
}

fn faults(layers: &Layers) -> Vec<Problem> {
    let notes = Notes::default();
    let _ = Settings::read(layers, &notes);
    notes.finish().problems
}

/// Of what is no text, all that readers refuse and the schema lets pass: lists that must not be empty or whose items have a grammar of
/// their own, and values that do not fit to others of the reference.
const UNSAID: &[&str] = &[
    r#"clients[].secrets = ["x"]"#,
    "issuers[].algorithms = []",
    "issuers[].audience_claims = []",
    "issuers[].audiences = []",
    r#"issuers[].exchange_audiences = ["x"]"#,
    "issuers[].exchange_audiences = []",
    r#"issuers[].exchange_claims = {"a":"x"}"#,
    r#"issuers[].exchange_scopes = ["x"]"#,
    "issuers[].required = true",
    "legacy[].subject_claims = []",
    "listeners[].redirect_port = 1",
    "listeners[].redirect_port = 200",
    "listeners[].redirect_port = 64",
    "login.members.access_token = []",
    "log.access.fields = []",
    r#"login.members.expires_in = ["x"]"#,
    r#"login.members.generation = ["x"]"#,
    r#"login.members.refresh_token = ["x"]"#,
    r#"login.members.token = ["x"]"#,
    r#"login.members.token_type = ["x"]"#,
    r#"login.requires = ["x"]"#,
    "login.statuses = []",
    "login.subject = []",
    "refresh.secret = []",
    r#"refresh.secret = ["x"]"#,
    r#"routes[].request_headers.add = {"a":"x"}"#,
    r#"routes[].response_headers.add = {"a":"x"}"#,
    "routes[].strip_prefix = true",
    "store.redis.addresses = []",
    r#"store.redis.addresses = ["x"]"#,
    "tickets.per_session_max = 1",
    "tickets.per_session_max = 200",
    "tickets.per_session_max = 64",
    "tokens.audience = []",
    "upstreams.NAME.health.statuses = []",
    "upstreams.NAME.http2.streams_max = 1",
    "upstreams.NAME.http2.streams_max = 200",
    "upstreams.NAME.http2.streams_max = 64",
    "upstreams.NAME.urls = []",
];

#[test]
fn what_a_reader_takes_has_the_form_and_what_is_of_another_kind_has_not() {
    let reference = layers::reference().unwrap();
    let notes = Notes::default();
    let _ = Settings::read(&reference, &notes);
    let noted = notes.finish();
    let mut cases = String::new();
    // The same value at every key at once: what is read of one does not depend on the others, and a fault names its key.
    for value in corpus() {
        let mut layers = reference.clone();
        for pattern in noted.leaves.keys() {
            // Beside the secret itself, neither would be read.
            let is_beside = pattern.strip_suffix("_file").is_some_and(|secret| noted.leaves.contains_key(secret));
            let value = if is_beside { json!("") } else { value.clone() };
            *place(&mut layers.merged, &pattern.split('.').collect::<Vec<_>>()) = value_of(&value);
        }
        let faults = faults(&layers);
        for (pattern, leaf) in &noted.leaves {
            let is_taken = !faults.iter().any(|fault| is_of(pattern, fault));
            // It has no place beside what else the reference has, and may not have been read.
            let is_misplaced = noted.problems.iter().any(|fault| is_of(pattern, fault));
            let is_beside = pattern.strip_suffix("_file").is_some_and(|secret| noted.leaves.contains_key(secret));
            let says_something = !(is_taken && is_misplaced);
            if says_something && !is_beside {
                let case = json!({ "key": pattern, "value": value, "taken": is_taken, "form": format!("{:?}", leaf.form) });
                let _ = writeln!(cases, "{case}");
            }
        }
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), cases).unwrap();
    let (mut contradicted, mut unsaid) = (Vec::new(), BTreeSet::new());
    for line in judged(&["values", file.path().to_str().unwrap()]) {
        let case: Json = serde_json::from_str(&line).unwrap();
        if case["taken"] == true {
            contradicted.push(line);
        } else if !case["value"].is_string() {
            unsaid.insert(format!("{} = {}", case["key"].as_str().unwrap(), case["value"]));
        }
    }
    assert!(contradicted.is_empty(), "the gateway takes these, and the schema does not: {contradicted:#?}");
    let listed: BTreeSet<String> = UNSAID.iter().map(|case| (*case).to_owned()).collect();
    let difference: Vec<&String> = unsaid.symmetric_difference(&listed).collect();
    assert!(difference.is_empty(), "only the gateway, or only UNSAID, refuses these: {difference:#?}");
}

/// Whether it is of a value of this key, or of one in its list or table.
fn is_of(pattern: &str, fault: &Problem) -> bool {
    let key = pattern.replace("[]", "[0]");
    fault.key == key || fault.key.starts_with(&format!("{key}."))
}
