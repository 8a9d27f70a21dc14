//! The schema of the settings, and the page that is made of it.

use super::*;

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tokengate.schema.json"));

#[test]
fn the_page_of_the_schema_is_what_the_program_says() {
    let folder = tempfile::tempdir().unwrap();
    let said = tokengate(folder.path(), &["schema"], &[]);
    assert!(said.status.success(), "{}", err(&said));
    assert!(out(&said) == PAGE, "docs/tokengate.schema.json is stale: cargo run -- schema > docs/tokengate.schema.json");
}

#[test]
fn the_reference_names_the_schema_for_editors() {
    let folder = tempfile::tempdir().unwrap();
    let said = tokengate(folder.path(), &["print-config", "--defaults"], &[]);
    assert_eq!(out(&said).lines().next(), Some("#:schema ../docs/tokengate.schema.json"));
}
