//! A gateway, an API and a proxy that asks the one about requests for the other.

use std::fs;
use std::io::{BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::page::Page;
use crate::support::gateway::Gateway;
use crate::support::http::{Client, Message, connect};
use crate::support::leash::Leashed;
use crate::support::upstream::Upstream;

/// The ports at which the pages have the proxy, the gateway, its decisions, and the API. All are on one machine.
const PROXY: u16 = 8000;
const GATEWAY: u16 = 8080;
const DECISION: u16 = 8081;
const API: u16 = 3000;

/// A file of a page, and where its proxy listens in this test.
pub(super) struct Places {
    proxy: SocketAddr,
    gateway: SocketAddr,
    decision: SocketAddr,
    api: SocketAddr,
}

impl Places {
    /// The same file with the addresses of the test.
    pub(super) fn put_into(&self, file: &str) -> String {
        let mut text = file.to_owned();
        for (of_page, of_test) in [(PROXY, self.proxy), (GATEWAY, self.gateway), (DECISION, self.decision), (API, self.api)] {
            for before in [":", "port_value: "] {
                text = text.replace(&format!("{before}{of_page}"), &format!("{before}{}", of_test.port()));
            }
        }
        text
    }
}

pub(super) struct Beside {
    pub(super) gateway: Gateway,
    pub(super) api: Upstream,
    pub(super) proxy: SocketAddr,
    _process: Leashed,
    _folder: TempDir,
}

impl Beside {
    /// By the page's `tokengate.toml`. `prepare` writes the proxy's files into the folder, and says how to start it.
    pub(super) fn start(page: &Page, prepare: impl Fn(&Places, &Path) -> Command) -> Self {
        Self::start_with(page, &[], prepare)
    }

    /// With further settings, as for `--set`.
    pub(super) fn start_with(page: &Page, set: &[(&str, &str)], prepare: impl Fn(&Places, &Path) -> Command) -> Self {
        let (api, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
        let file = folder.path().join("tokengate.toml");
        fs::write(&file, page.file("tokengate.toml").replace(&format!(":{API}"), &format!(":{}", api.address().port()))).unwrap();
        let of_test = [
            ("listen.address", "127.0.0.1:0"),
            ("decision.address", "127.0.0.1:0"),
            ("admin.address", "127.0.0.1:0"),
            ("store.kind", "memory"),
            ("log.format", "json"),
        ];
        let all: Vec<_> = of_test.iter().chain(set).copied().collect();
        let gateway = Gateway::launch_file(folder.path(), &file, &all);
        gateway.await_ready();
        let (process, proxy) = Leashed::listening(|proxy| {
            let places = Places { proxy, gateway: gateway.address(), decision: gateway.decision_address(), api: api.address() };
            prepare(&places, folder.path())
        });
        Self { gateway, api, proxy, _process: process, _folder: folder }
    }

    /// Through the proxy.
    pub(super) fn client(&self) -> Client {
        Client::new(self.proxy)
    }

    /// Without a body. Each of the `fields` ends its line.
    pub(super) fn ask(&self, method: &str, target: &str, fields: &str) -> Message {
        self.say(format!("{method} {target} HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n{fields}\r\n"))
    }

    /// The answer to one request, as it is written, on a connection of its own.
    pub(super) fn say(&self, request: impl AsRef<[u8]>) -> Message {
        let mut stream = connect(self.proxy).unwrap();
        stream.write_all(request.as_ref()).unwrap();
        Message::read(&mut BufReader::new(stream), |_| false).unwrap().expect("an answer")
    }
}
