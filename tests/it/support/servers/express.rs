//! The Express application in `tests/express`.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};

use super::Server;
use crate::support::leash::Leashed;

const APPLICATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/express");

/// Answers with what `req` says and with every field as it came, which [`crate::support::http::Message::upstream_saw`] reads. Takes
/// every login, as the `email` that it names.
pub(crate) struct Express {
    _process: Leashed,
    address: SocketAddr,
}

impl Express {
    pub(crate) fn start() -> Self {
        assert!(Path::new(APPLICATION).join("node_modules").exists(), "run npm ci in tests/express, as tests/run does");
        let mut node = Command::new("node");
        let mut process = Leashed::spawn(node.arg("server.js").current_dir(APPLICATION).stdout(Stdio::piped()));
        let mut lines = BufReader::new(process.process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port: Option<u16> = lines.find_map(|line| line.strip_prefix("listening on port ")?.parse().ok());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.expect("the application says where it listens")));
        Self { _process: process, address }
    }
}

impl Server for Express {
    fn address(&self) -> SocketAddr {
        self.address
    }
}
