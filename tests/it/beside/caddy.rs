//! docs/beside/caddy.md

use std::fs;
use std::path::Path;
use std::process::Command;

use super::attacks;
use super::page::Page;
use super::rig::{Beside, Places};
use crate::support::leash::program;

fn caddy(places: &Places, folder: &Path) -> Command {
    let file = folder.join("Caddyfile");
    fs::write(&file, places.put_into(&Page::read("caddy.md").file("Caddyfile"))).unwrap();
    let mut command = Command::new(program("caddy"));
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
    // Where it keeps what it would know of certificates.
    command.env("HOME", folder).env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder).stderr(std::process::Stdio::null());
    command
}

fn beside() -> Beside {
    Beside::start(&Page::read("caddy.md"), caddy)
}

#[test]
fn caddy_lets_nobody_through_whom_the_gateway_does_not_know() {
    attacks::hold(&beside());
}

#[test]
fn caddy_hands_on_the_cookies_of_a_refresh_in_flight() {
    let beside = attacks::in_flight(|set| Beside::start_with(&Page::read("caddy.md"), set, caddy));
    attacks::cookies_are_handed_on(&beside, true);
}

#[test]
fn caddy_lets_nothing_through_without_the_gateway() {
    attacks::closed_without_a_gateway(beside());
}
