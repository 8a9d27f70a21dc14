//! What settings files, variables and flags come to. Tests of single values stand beside their readers.

mod browser;
mod callers;
mod decision;
mod errors;
mod health;
mod layers;
mod login;
mod routes;
mod schema;
mod secrets;
mod store;
mod targets;
mod tokens;

use super::{Flag, Inputs, SettingsFile, load};

const MINIMAL: &str = "[upstreams.api]\nurl = \"http://127.0.0.1:3000\"\n";

fn inputs(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Inputs {
    Inputs {
        file: Some(SettingsFile { name: "tokengate.toml".to_owned(), text: file.to_owned() }),
        environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        flags: flags
            .iter()
            .map(|(key, value)| Flag { name: "--set".to_owned(), key: (*key).to_owned(), value: (*value).to_owned() })
            .collect(),
    }
}

fn faults(file: &str) -> Vec<String> {
    faults_of(&inputs(file, &[], &[]))
}

fn faults_of(inputs: &Inputs) -> Vec<String> {
    load(inputs).map(|_| ()).unwrap_err().0.iter().map(ToString::to_string).collect()
}

fn minimal_and(file: &str) -> String {
    format!("{file}\n{MINIMAL}")
}

/// Asserts that the settings are refused for one reason, whose text holds every part.
fn assert_one_fault(file: &str, parts: &[&str]) {
    let faults = faults(&minimal_and(file));
    assert_eq!(faults.len(), 1, "{file}: {faults:#?}");
    for part in parts {
        assert!(faults[0].contains(part), "`{part}` is missing from: {}", faults[0]);
    }
}
