//! Descriptions of what is served, and the pages that are made of them.

use super::*;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const OWN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json"));
const ADMIN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi-admin.json"));

fn openapi(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let said = tokengate(folder.path(), &[&["openapi"], arguments].concat(), &[]);
    assert!(said.status.success(), "{}", err(&said));
    out(&said).clone()
}

#[test]
fn the_pages_of_the_endpoints_are_what_the_program_says() {
    let everything = format!("{ROOT}/tests/descriptions/everything.toml");
    let mend = "is stale: cargo run -- openapi --config tests/descriptions/everything.toml > docs/openapi.json";
    assert!(openapi(&["--config", &everything]) == OWN, "docs/openapi.json {mend}");
    assert!(
        openapi(&["--admin"]) == ADMIN,
        "docs/openapi-admin.json is stale: cargo run -- openapi --admin > docs/openapi-admin.json"
    );
}

#[test]
fn paths_are_those_of_the_settings_and_no_two_operations_have_one_name() {
    let set = ["--set", "endpoints.prefix=/auth", "--set", "endpoints.login=/login,/api/login/", "--set", "endpoints.logout="];
    let said: serde_json::Value = serde_json::from_str(&openapi(&set)).unwrap();
    let paths = said["paths"].as_object().unwrap();
    for path in ["/auth/login", "/auth/api/login/", "/auth/refresh", "/auth/sessions/{id}", "/.well-known/jwks.json"] {
        assert!(paths.contains_key(path), "{path}: {:?}", paths.keys());
    }
    assert!(!paths.contains_key("/auth/logout") && !paths.contains_key("/oauth/introspect"));
    let mut names: Vec<&str> = paths
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
        .map(|one| one["operationId"].as_str().unwrap())
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn the_pages_are_sound_by_openapi_3_1() {
    let folder = Path::new(ROOT).join("tests/descriptions");
    let interpreter = folder.join("venv/bin/python");
    assert!(interpreter.exists(), "make the environment in {}, as tests/run does", folder.display());
    let said = Command::new(interpreter)
        .args(["openapi.py", "../../docs/openapi.json", "../../docs/openapi-admin.json"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(said.status.success() && out(&said).is_empty(), "{}{}", out(&said), err(&said));
}
