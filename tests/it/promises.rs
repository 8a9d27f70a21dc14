//! Pages that name the tests which show them name tests that are there.

use std::fs;
use std::path::{Path, PathBuf};

/// The file and the tests that the last column of a table names: `` `tests/it/a.rs`: `one_test`, `another` ``.
fn named(cell: &str) -> Vec<(PathBuf, Vec<&str>)> {
    let mut files: Vec<(PathBuf, Vec<&str>)> = Vec::new();
    for quoted in cell.split('`').skip(1).step_by(2) {
        if quoted.contains('/') {
            files.push((Path::new(env!("CARGO_MANIFEST_DIR")).join(quoted), Vec::new()));
        } else {
            files.last_mut().unwrap_or_else(|| panic!("no file before {quoted}: {cell}")).1.push(quoted);
        }
    }
    files
}

#[test]
fn every_line_on_attacks_names_tests_that_are_there() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md")).unwrap();
    let is_head = |row: &str| row.starts_with("| attack") || row.starts_with("| ---");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with('|') && !is_head(line)).collect();
    assert!(rows.len() > 50, "{}", rows.len());
    let mut missing = Vec::new();
    for row in rows {
        let cell = row.trim_end_matches(['|', ' ']).rsplit(" | ").next().unwrap();
        let files = named(cell);
        assert!(!files.is_empty(), "nothing shows it: {row}");
        for (file, tests) in files {
            let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let is_there = |test: &&str| text.contains(&format!("fn {test}("));
            missing.extend(tests.into_iter().filter(|test| !is_there(test)).map(|test| format!("{}: {test}", file.display())));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
