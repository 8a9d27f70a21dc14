//! docs/beside/nginx.md

use std::fs;
use std::path::Path;
use std::process::Command;

use super::attacks;
use super::page::Page;
use super::rig::{Beside, Places};
use crate::support::leash::program;

fn nginx(places: &Places, folder: &Path) -> Command {
    nginx_by(&Page::read("nginx.md").file("nginx.conf"), places, folder)
}

fn nginx_by(configuration: &str, places: &Places, folder: &Path) -> Command {
    let conf = folder.join("nginx.conf");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", folder.display()))
        .concat();
    // Where an ordinary user may write.
    let text = places.put_into(configuration);
    fs::write(&conf, text.replacen("http {\n", &format!("http {{\naccess_log off;\n{temporary}"), 1)).unwrap();
    let mut command = Command::new(program("nginx"));
    command.args(["-e", "stderr", "-g", "daemon off; master_process off; pid nginx.pid; error_log stderr error;", "-p"]);
    command.arg(folder).arg("-c").arg(conf);
    command
}

fn beside() -> Beside {
    Beside::start(&Page::read("nginx.md"), nginx)
}

#[test]
fn nginx_lets_nobody_through_whom_the_gateway_does_not_know() {
    attacks::hold(&beside());
}

#[test]
fn nginx_tells_clients_what_the_gateway_said() {
    let beside = beside();
    for (method, target, status) in
        [("GET", "/public/../api", 400), ("POST", "/login.json", 400), ("GET", "/healthz", 421), ("GET", "/decision", 404)]
    {
        let answer = beside.ask(method, target, "");
        assert_eq!(answer.status(), status, "{method} {target}: {}", answer.text());
    }
    let moved = beside.ask("GET", "/old/x?y", "");
    assert_eq!((moved.status(), moved.header("location")), (308, Some("/public/x?y")), "{}", moved.text());
}

#[test]
fn nginx_hands_on_the_cookies_of_a_refresh_in_flight() {
    let beside = attacks::in_flight(|set| Beside::start_with(&Page::read("nginx.md"), set, nginx));
    attacks::cookies_are_handed_on(&beside, true);
}

#[test]
fn nginx_leaves_out_cookies_that_come_late() {
    let page = Page::read("nginx.md");
    let all_are_late = attacks::replaced(&page.file("nginx.conf"), "~^[0-9]\\.", "~^never", 2);
    let start = |set: &[(&str, &str)]| Beside::start_with(&page, set, |places, folder| nginx_by(&all_are_late, places, folder));
    attacks::late_cookies_are_left_out(&attacks::in_flight(start));
}

#[test]
fn nginx_lets_nothing_through_without_the_gateway() {
    attacks::closed_without_a_gateway(beside());
}
