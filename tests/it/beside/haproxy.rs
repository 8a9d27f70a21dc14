//! docs/beside/haproxy.md

use std::fs;
use std::path::Path;
use std::process::Command;

use super::attacks;
use super::page::Page;
use super::rig::{Beside, Places};
use crate::support::leash::program;

fn haproxy(places: &Places, folder: &Path) -> Command {
    haproxy_by(&Page::read("haproxy.md").file("haproxy.cfg"), places, folder)
}

fn haproxy_by(configuration: &str, places: &Places, folder: &Path) -> Command {
    let script = Page::read("haproxy.md").file("decision.lua");
    for (name, text) in [("haproxy.cfg", configuration), ("decision.lua", &script)] {
        fs::write(folder.join(name), places.put_into(text)).unwrap();
    }
    let mut command = Command::new(program("haproxy"));
    command.args(["-q", "-db", "-f", "haproxy.cfg"]).current_dir(folder);
    command
}

fn beside() -> Beside {
    Beside::start(&Page::read("haproxy.md"), haproxy)
}

#[test]
fn haproxy_lets_nobody_through_whom_the_gateway_does_not_know() {
    attacks::hold(&beside());
}

#[test]
fn haproxy_hands_on_the_cookies_of_a_refresh_in_flight() {
    let beside = attacks::in_flight(|set| Beside::start_with(&Page::read("haproxy.md"), set, haproxy));
    attacks::cookies_are_handed_on(&beside, true);
}

#[test]
fn haproxy_leaves_out_cookies_that_come_late() {
    let page = Page::read("haproxy.md");
    let all_are_late = attacks::replaced(&page.file("haproxy.cfg"), "-m int ge 10", "-m int ge 0", 1);
    let start = |set: &[(&str, &str)]| Beside::start_with(&page, set, |places, folder| haproxy_by(&all_are_late, places, folder));
    attacks::late_cookies_are_left_out(&attacks::in_flight(start));
}

#[test]
fn haproxy_lets_nothing_through_without_the_gateway() {
    attacks::closed_without_a_gateway(beside());
}
