//! Imports flow downwards only, and no file depends on itself by way of others. Every path in `src/` is read by a parser, macros
//! and attributes included, and held against the table of layers.

mod circles;
mod paths;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use paths::Target;

/// What a layer may import beside itself. An entry with `::` allows that module alone. `None`: everything.
const LAYERS: &[(&str, Option<&[&str]>)] = &[
    ("main", None),
    ("lib", None),
    (
        "app",
        Some(&[
            "bounded",
            "files",
            "admin",
            "endpoints",
            "tasks",
            "openapi",
            "outbound",
            "proxy",
            "sessions",
            "store",
            "crypto",
            "config",
            "domain",
        ]),
    ),
    // Neither in the library nor in the binary: compiled for tests and for the fuzzer alone.
    ("fuzzing", None),
    ("cli", None),
    ("admin", Some(&["bounded", "openapi", "sessions", "store", "crypto", "config", "domain"])),
    (
        "endpoints",
        Some(&["bounded", "sessions", "store", "crypto", "config", "domain", "proxy::reply", "proxy::control", "proxy::limiter"]),
    ),
    ("openapi", Some(&["config", "domain"])),
    ("tasks", Some(&["sessions", "store", "crypto", "config", "domain"])),
    ("outbound", Some(&["proxy::upstream::connect", "proxy::upstream::backends", "crypto", "domain"])),
    ("proxy", Some(&["crypto", "domain"])),
    ("sessions", Some(&["store", "crypto", "domain"])),
    ("store", Some(&["files", "domain"])),
    ("crypto", Some(&["files", "domain"])),
    ("config", Some(&["files", "domain"])),
    ("bounded", Some(&[])),
    ("files", Some(&[])),
    ("domain", Some(&[])),
];

/// Crates that have one home, and the modules that are it.
const CONFINED: &[(&str, &[&str])] = &[
    ("hyper", &["proxy", "outbound", "endpoints", "admin"]),
    ("hyper_util", &["proxy", "outbound", "endpoints", "admin"]),
    ("tower", &["bounded", "outbound", "proxy::upstream"]),
    ("fred", &["store::redis"]),
    ("redb", &["store::embedded"]),
    ("jsonwebtoken", &["crypto"]),
    ("ring", &["crypto"]),
    ("prost", &["proxy::request::ext_authz"]),
];

/// The crates that the domain may use outside its tests: plain data and pure functions.
const DOMAIN_CRATES: &[&str] = &[
    "std",
    "core",
    "http",
    "bytes",
    "serde",
    "serde_json",
    "base64",
    "thiserror",
    "zeroize",
    "subtle",
    "ipnet",
    "unicode_normalization",
    "url",
    "percent_encoding",
    "hashbrown",
    "foldhash",
];

/// Parts of std that reach outside the process or read the time.
const DOMAIN_STD_BANNED: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

#[test]
fn imports_flow_downwards_only() {
    let (sources, crates) = (sources(), dependencies());
    let violations = sources.iter().flat_map(|(module, text)| check_source(module, text, &crates));
    let lines: Vec<String> = violations.map(|violation| violation.to_string()).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

/// One import that the table forbids.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    module: String,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}: {}", self.module, self.line, self.what)
    }
}

/// Every file of `src/`, as its module, with its text.
fn sources() -> Vec<(Vec<String>, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect_rust_files(&src, &mut files);
    assert!(files.len() > 20, "only {} files below {}", files.len(), src.display());
    files.sort();
    files.iter().map(|file| (module_of(file.strip_prefix(&src).unwrap()), std::fs::read_to_string(file).unwrap())).collect()
}

fn collect_rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// `proxy/mod.rs` and `proxy.rs` are module `proxy`; `main.rs` and `lib.rs` name themselves.
fn module_of(relative: &Path) -> Vec<String> {
    let mut segments: Vec<String> = relative.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if segments.len() > 1 && segments.last().is_some_and(|last| last == "mod") {
        segments.pop();
    }
    segments
}

/// The crates that this package may name: its dependencies as they are spelled in paths.
fn dependencies() -> BTreeSet<String> {
    let manifest: toml::Table =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap().parse().unwrap();
    let mut crates = BTreeSet::from(["std", "core", "alloc"].map(str::to_owned));
    for table in ["dependencies", "dev-dependencies"] {
        crates.extend(manifest[table].as_table().unwrap().keys().map(|name| name.replace('-', "_")));
    }
    crates
}

fn check_source(module: &[String], text: &str, crates: &BTreeSet<String>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for reference in paths::read(module, text, crates).references {
        if let Some(what) = verdict(module, &reference.target, reference.in_tests) {
            violations.push(Violation { module: module.join("::"), line: reference.line, what });
        }
    }
    violations.dedup();
    violations
}

/// Why a module may not name this.
fn verdict(module: &[String], target: &Target, in_tests: bool) -> Option<String> {
    let layer = module[0].as_str();
    match target {
        Target::Internal(path) => internal(layer, path),
        Target::External(path) => external(module, path, in_tests),
        Target::OutOfCrate(path) => Some(format!("{path} leads out of the crate")),
        Target::WholeCrate => {
            let is_bound = LAYERS.iter().any(|(name, allowed)| *name == layer && allowed.is_some());
            is_bound.then(|| "a glob of the whole crate hides what is imported".to_owned())
        }
        Target::Async => (layer == "domain" && !in_tests).then(|| "the domain is not async".to_owned()),
    }
}

fn internal(layer: &str, absolute: &[String]) -> Option<String> {
    let target = absolute.first()?;
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
        return Some(format!("{layer} is not in the table of layers"));
    };
    let allowed = (*allowed)?;
    if !LAYERS.iter().any(|(name, _)| name == target) {
        return Some(format!("crate::{target} is not a layer"));
    }
    let path = absolute.join("::");
    let is_allowed = target == layer || allowed.iter().any(|entry| is_at_or_below(&path, entry));
    (!is_allowed).then(|| format!("{layer} may not import crate::{path}"))
}

fn external(module: &[String], segments: &[String], in_tests: bool) -> Option<String> {
    let (name, path, here) = (segments[0].as_str(), segments.join("::"), module.join("::"));
    if let Some((_, homes)) = CONFINED.iter().find(|(confined, _)| *confined == name)
        && !homes.iter().any(|home| is_at_or_below(&here, home))
    {
        return Some(format!("{name} may be used in {} alone", homes.join(", ")));
    }
    if module[0] != "domain" || in_tests {
        return None;
    }
    if !DOMAIN_CRATES.contains(&name) {
        return Some(format!("the domain may not use {name}"));
    }
    let is_banned = DOMAIN_STD_BANNED.iter().any(|banned| is_at_or_below(&path, banned));
    is_banned.then(|| format!("the domain is pure and may not use {path}"))
}

fn is_at_or_below(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

mod tests {
    use super::*;

    fn verdicts(module: &str, source: &str) -> Vec<String> {
        let module: Vec<String> = module.split("::").map(str::to_owned).collect();
        check_source(&module, source, &dependencies()).into_iter().map(|violation| violation.what).collect()
    }

    #[track_caller]
    fn refused(module: &str, source: &str, what: &str) {
        let verdicts = verdicts(module, source);
        assert!(verdicts.iter().any(|verdict| verdict.contains(what)), "{module}: {source}\nverdicts: {verdicts:?}");
    }

    #[track_caller]
    fn accepted(module: &str, source: &str) {
        assert_eq!(verdicts(module, source), [""; 0], "{module}: {source}");
    }

    #[test]
    fn an_upward_import_is_found_however_it_is_written() {
        for source in [
            "use crate::store::Store;",
            "use crate::{domain::ids, store::Store};",
            "use crate::store as s;",
            "use crate::store;",
            "use crate::store::{self};",
            "pub use crate::store::*;",
            "use super::super::store::Store;",
            "mod deep { use super::super::super::store::Store; }",
            "fn f(_: &dyn crate::store::Store) {}",
            "fn f() { crate::store::open(); }",
            "fn f() { let _ = vec![crate::store::open()]; }",
            "fn f() { tokio::select! { x = crate::store::open() => { x } } }",
            "macro_rules! m { () => { $crate::store::open() } }",
            r#"#[serde(with = "crate::store::codec")] struct S;"#,
            "impl crate::store::Store for u8 {}",
            "struct S<T: crate::store::Store>(T);",
            "#[cfg(test)] mod tests { use crate::store::Store; }",
        ] {
            refused("proxy::gateway", source, "proxy may not import crate::store");
        }
    }

    #[test]
    fn what_the_table_allows_is_accepted() {
        accepted("proxy::gateway", "use crate::domain::{ids, route::Route}; use super::reply; use crate::crypto;");
        accepted("sessions::refresh", "use super::issue; use crate::store::Store; use crate::crypto::keyring;");
        accepted("endpoints::login", "use crate::proxy::reply::Reply; use crate::proxy::control::ControlPlane;");
        accepted("app", "use crate::{proxy::gateway, tasks, store::redis};");
        refused("app", "use crate::cli::demo;", "app may not import crate::cli");
        accepted("main", "fn main() { tokengate::cli::run(); }");
        accepted("domain::ids", "use super::time::Timestamp; use std::time::Duration; use serde::Serialize;");
    }

    #[test]
    fn an_allowed_module_does_not_open_its_neighbours() {
        refused(
            "endpoints::login",
            "use crate::proxy::request::gateway::Gateway;",
            "endpoints may not import crate::proxy::request::gateway",
        );
        refused("endpoints::login", "use crate::proxy;", "endpoints may not import crate::proxy");
        refused("endpoints::login", "use crate::proxy::reply_and_more;", "endpoints may not import");
    }

    #[test]
    fn a_confined_crate_is_found_outside_its_home() {
        refused("cli::demo", "use hyper::Request;", "hyper may be used in");
        refused("app", "fn f() { hyper_util::rt::TokioIo::new(()); }", "hyper_util may be used in");
        refused("cli", "fn f() { ::ring::rand::SystemRandom::new(); }", "ring may be used in");
        refused("store::embedded", "use fred::prelude::*;", "fred may be used in store::redis");
        refused("store::redis_like", "extern crate fred;", "fred may be used in store::redis");
        refused("sessions", "fn f() { matches!(e, jsonwebtoken::errors::ErrorKind::Base64(_)); }", "jsonwebtoken may be used in");
        accepted("store::redis::client", "use fred::prelude::*;");
        accepted("crypto::provider", "use ring::hmac; use jsonwebtoken::Algorithm;");
    }

    #[test]
    fn a_local_name_is_no_crate() {
        accepted("cli", "fn f(ring: u8) -> u8 { ring }");
        accepted("app", "use crate::crypto::ring; fn f() { ring::g(); }");
        refused("app", "use ring; fn f() { ring::digest::digest(); }", "ring may be used in");
    }

    #[test]
    fn the_domain_is_pure() {
        refused("domain::ids", "use tokio::sync::Mutex;", "the domain may not use tokio");
        refused("domain::ids", "use std::time::{Duration, SystemTime};", "may not use std::time::SystemTime");
        refused("domain::ids", "fn f() { std::thread::sleep(D); }", "may not use std::thread::sleep");
        refused("domain::ids", "async fn f() {}", "not async");
        refused("domain::ids", "fn f() { let _ = async {}; }", "not async");
        accepted("domain::ids", "#[cfg(test)] mod tests { use proptest::prelude::*; }");
        refused("domain::ids", "#[cfg(not(test))] mod tests { use proptest::prelude::*; }", "may not use proptest");
    }

    #[test]
    fn what_is_not_in_the_table_has_no_place() {
        refused("utils", "use crate::domain::ids;", "utils is not in the table");
        refused("proxy", "use crate::Gateway;", "crate::Gateway is not a layer");
        refused("proxy", "use crate::*;", "glob of the whole crate");
        refused("proxy", "use super::super::x;", "leads out of the crate");
    }
}
