//! What the codes of refusals mean, in the terminal and on the page that is made of it.

use super::*;

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md"));
const REFERENCE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/tokengate.toml"));

fn explain(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    tokengate(folder.path(), &[&["explain"], arguments].concat(), &[])
}

#[test]
fn the_page_of_errors_is_what_the_program_says() {
    let said = explain(&[]);
    assert!(said.status.success(), "{}", err(&said));
    assert!(out(&said) == PAGE, "docs/errors.md is stale: cargo run -- explain > docs/errors.md");
}

#[test]
fn one_code_is_explained_and_a_typo_is_met_with_what_was_meant() {
    let said = explain(&["refresh_token_invalid"]);
    assert!(said.status.success(), "{}", err(&said));
    let lines: Vec<String> = out(&said).lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "refresh_token_invalid (401, 400)");
    for (line, row) in lines[2..].iter().zip(["when ", "client ", "operator "]) {
        assert!(line.starts_with(row) && PAGE.contains(line[row.len()..].trim()), "{line}");
    }
    let refused = explain(&["token_expird"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(err(&refused).contains("'token_expired'"), "{}", err(&refused));
}

#[test]
fn every_key_that_the_page_names_is_a_setting() {
    let keys: Vec<&str> = PAGE.split('`').skip(1).step_by(2).filter_map(key).collect();
    assert!(keys.len() > 40, "{keys:?}");
    for key in keys {
        let name = key.rsplit('.').next().unwrap();
        let line = |line: &str| line.trim_start_matches('#').trim_start().starts_with(&format!("{name} ="));
        let is_there = REFERENCE.lines().any(line) || REFERENCE.contains(&format!("[[{key}]]"));
        assert!(is_there, "{key}");
    }
}

/// `routes.when_stale = "serve"` names a key; `Retry-After`, `401` and `scope` do not.
fn key(quoted: &str) -> Option<&str> {
    let path = quoted.split(" =").next()?;
    let is_path = path.contains('.') && path.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, '.' | '_'));
    is_path.then_some(path)
}
