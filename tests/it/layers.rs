//! Imports flow downwards only. Every path in `src/` is read by a parser, macros and attributes included, and held against
//! the table of layers.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{ItemMod, ItemUse, UseTree};

/// What a layer may import beside itself. An entry with `::` allows that module alone. `None`: everything.
const LAYERS: &[(&str, Option<&[&str]>)] = &[
    ("main", None),
    ("lib", None),
    ("app", None),
    // Neither in the library nor in the binary: compiled for tests and for the fuzzer alone.
    ("fuzzing", None),
    ("cli", None),
    ("admin", Some(&["sessions", "store", "crypto", "config", "domain"])),
    ("endpoints", Some(&["sessions", "store", "crypto", "config", "domain", "proxy::reply", "proxy::body", "proxy::control"])),
    ("tasks", Some(&["sessions", "store", "crypto", "config", "domain"])),
    ("proxy", Some(&["crypto", "domain"])),
    ("sessions", Some(&["store", "crypto", "domain"])),
    ("store", Some(&["domain"])),
    ("crypto", Some(&["domain"])),
    ("config", Some(&["domain"])),
    ("domain", Some(&[])),
];

/// Crates that have one home, and the modules that are it.
const CONFINED: &[(&str, &[&str])] = &[
    ("hyper", &["proxy", "endpoints", "admin"]),
    ("hyper_util", &["proxy", "endpoints", "admin"]),
    ("fred", &["store::redis"]),
    ("redb", &["store::embedded"]),
    ("jsonwebtoken", &["crypto"]),
    ("ring", &["crypto"]),
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
    let violations = check_tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
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

fn check_tree(src: &Path) -> Vec<Violation> {
    let mut files = Vec::new();
    collect_rust_files(src, &mut files);
    assert!(files.len() > 20, "only {} files below {}", files.len(), src.display());
    files.sort();
    let crates = dependencies();
    files
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            check_source(&module_of(file.strip_prefix(src).unwrap()), &text, &crates)
        })
        .collect()
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
    let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", module.join("::")));
    let mut names = LocalNames::default();
    names.visit_file(&file);
    let root = matches!(module, [only] if only == "main" || only == "lib");
    let mut reader = Reader {
        layer: module[0].clone(),
        module: if root { Vec::new() } else { module.to_vec() },
        label: module.join("::"),
        // A file of tests is declared under cfg(test) by the module above it.
        in_tests: usize::from(module.iter().skip(1).any(|segment| segment == "tests")),
        local_names: names.0,
        crates,
        violations: Vec::new(),
    };
    reader.visit_file(&file);
    reader.violations
}

/// The names that a file brings into scope: they hide crates of the same name (`use crate::config; config::load()`).
#[derive(Default)]
struct LocalNames(BTreeSet<String>);

impl LocalNames {
    fn collect(&mut self, tree: &UseTree, crate_itself: bool) {
        match tree {
            UseTree::Path(path) => self.collect(&path.tree, false),
            UseTree::Name(name) if !crate_itself => drop(self.0.insert(name.ident.to_string())),
            UseTree::Rename(rename) => drop(self.0.insert(rename.rename.to_string())),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.collect(item, crate_itself)),
            UseTree::Name(_) | UseTree::Glob(_) => {}
        }
    }
}

impl<'ast> Visit<'ast> for LocalNames {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.collect(&item.tree, true);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.0.insert(item.ident.to_string());
        visit::visit_item_mod(self, item);
    }
}

/// What a string among tokens can be: attributes may name paths in strings, `#[serde(with = "crate::domain::time")]`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Literals {
    MayBePaths,
    AreText,
}

struct Reader<'a> {
    layer: String,
    /// Where the reader is, inline modules included; empty at the crate's root.
    module: Vec<String>,
    label: String,
    /// How many `#[cfg(test)]` items are open.
    in_tests: usize,
    local_names: BTreeSet<String>,
    crates: &'a BTreeSet<String>,
    violations: Vec<Violation>,
}

impl Reader<'_> {
    fn refuse(&mut self, line: usize, what: String) {
        let violation = Violation { module: self.label.clone(), line, what };
        if !self.violations.contains(&violation) {
            self.violations.push(violation);
        }
    }

    /// Judges one path. `imported`: it stands in a `use`, so that its first segment cannot be a local variable.
    fn judge(&mut self, segments: &[String], line: usize, imported: bool) {
        let Some(first) = segments.first() else { return };
        match first.as_str() {
            "crate" | "tokengate" => self.judge_internal(&segments[1..], line),
            "self" | "super" => {
                let ups = segments.iter().take_while(|segment| *segment == "super").count();
                let skipped = ups.max(usize::from(first == "self"));
                let Some(kept) = self.module.len().checked_sub(ups) else {
                    return self.refuse(line, format!("{} leads out of the crate", segments.join("::")));
                };
                if segments.len() > skipped {
                    let absolute = [&self.module[..kept], &segments[skipped..]].concat();
                    self.judge_internal(&absolute, line);
                }
            }
            _ if !imported && (segments.len() == 1 || self.local_names.contains(first)) => {}
            _ if self.crates.contains(first) => self.judge_external(segments, line),
            _ => {}
        }
    }

    fn judge_internal(&mut self, absolute: &[String], line: usize) {
        let Some(target) = absolute.first() else { return };
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == self.layer) else {
            let layer = self.layer.clone();
            return self.refuse(line, format!("{layer} is not in the table of layers"));
        };
        let Some(allowed) = allowed else { return };
        if !LAYERS.iter().any(|(layer, _)| layer == target) {
            return self.refuse(line, format!("crate::{target} is not a layer"));
        }
        let path = absolute.join("::");
        if *target != self.layer && !allowed.iter().any(|entry| is_at_or_below(&path, entry)) {
            let layer = self.layer.clone();
            self.refuse(line, format!("{layer} may not import crate::{path}"));
        }
    }

    fn judge_external(&mut self, segments: &[String], line: usize) {
        let name = segments[0].as_str();
        if let Some((_, homes)) = CONFINED.iter().find(|(confined, _)| *confined == name) {
            let here = self.module.join("::");
            if !homes.iter().any(|home| is_at_or_below(&here, home)) {
                self.refuse(line, format!("{name} may be used in {} alone", homes.join(", ")));
            }
        }
        if self.layer == "domain" && self.in_tests == 0 {
            let path = segments.join("::");
            if !DOMAIN_CRATES.contains(&name) {
                self.refuse(line, format!("the domain may not use {name}"));
            } else if DOMAIN_STD_BANNED.iter().any(|banned| is_at_or_below(&path, banned)) {
                self.refuse(line, format!("the domain is pure and may not use {path}"));
            }
        }
    }

    fn refuse_async(&mut self, line: usize) {
        if self.layer == "domain" && self.in_tests == 0 {
            self.refuse(line, "the domain is not async".to_owned());
        }
    }

    fn judge_use(&mut self, tree: &UseTree, prefix: &[String]) {
        let with = |ident: &syn::Ident| [prefix, &[ident.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.judge_use(&path.tree, &with(&path.ident)),
            UseTree::Name(name) if name.ident == "self" => self.judge(prefix, name.ident.span().start().line, true),
            UseTree::Name(name) => self.judge(&with(&name.ident), name.ident.span().start().line, true),
            UseTree::Rename(rename) => self.judge(&with(&rename.ident), rename.ident.span().start().line, true),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.judge_use(item, prefix)),
            UseTree::Glob(glob) => {
                let line = glob.star_token.spans[0].start().line;
                let everything = prefix == ["crate"] || prefix == ["tokengate"];
                if everything && LAYERS.iter().any(|(layer, allowed)| *layer == self.layer && allowed.is_some()) {
                    self.refuse(line, "a glob of the whole crate hides what is imported".to_owned());
                }
                self.judge(prefix, line, true);
            }
        }
    }

    /// Reads the paths in tokens that no parser has looked into: the inside of macros and attributes.
    fn judge_tokens(&mut self, tokens: TokenStream, literals: Literals) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if !path.is_empty() && colons == 2 => {
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Ident(ident) => {
                    self.judge(&path, line, false);
                    line = ident.span().start().line;
                    path = vec![ident.to_string()];
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && colons < 2 => colons += 1,
                // `$crate::store`: the dollar says nothing about where the path leads.
                TokenTree::Punct(_) => {
                    self.judge(&path, line, false);
                    path.clear();
                    colons = 0;
                }
                TokenTree::Group(group) => {
                    self.judge(&path, line, false);
                    path.clear();
                    colons = 0;
                    self.judge_tokens(group.stream(), literals);
                }
                TokenTree::Literal(literal) => {
                    self.judge(&path, line, false);
                    path.clear();
                    colons = 0;
                    if literals == Literals::MayBePaths {
                        self.judge_literal(&literal);
                    }
                }
            }
        }
        self.judge(&path, line, false);
    }

    fn judge_literal(&mut self, literal: &proc_macro2::Literal) {
        let Ok(syn::Lit::Str(text)) = syn::parse_str::<syn::Lit>(&literal.to_string()) else { return };
        let Ok(path) = syn::parse_str::<syn::Path>(&text.value()) else { return };
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.judge(&segments, literal.span().start().line, false);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let tests = usize::from(is_test_only(item));
        self.in_tests += tests;
        visit::visit_item(self, item);
        self.in_tests -= tests;
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.judge_use(&item.tree, &[]);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.judge(&[item.ident.to_string()], item.ident.span().start().line, true);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // `::hyper::…` can be nothing but a crate.
        let line = path.segments.first().map_or(0, |segment| segment.ident.span().start().line);
        self.judge(&segments, line, path.leading_colon.is_some());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.judge_tokens(mac.tokens.clone(), Literals::AreText);
        visit::visit_macro(self, mac);
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.judge_tokens(list.tokens.clone(), Literals::MayBePaths);
        visit::visit_meta_list(self, list);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if let Some(keyword) = &signature.asyncness {
            self.refuse_async(keyword.span.start().line);
        }
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, block: &'ast syn::ExprAsync) {
        self.refuse_async(block.async_token.span.start().line);
        visit::visit_expr_async(self, block);
    }
}

fn is_test_only(item: &syn::Item) -> bool {
    let (syn::Item::Mod(ItemMod { attrs, .. }) | syn::Item::Fn(syn::ItemFn { attrs, .. })) = item else { return false };
    attrs.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
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
        accepted("main", "fn main() { tokengate::cli::run(); }");
        accepted("domain::ids", "use super::time::Timestamp; use std::time::Duration; use serde::Serialize;");
    }

    #[test]
    fn an_allowed_module_does_not_open_its_neighbours() {
        refused("endpoints::login", "use crate::proxy::gateway::Gateway;", "endpoints may not import crate::proxy::gateway");
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
