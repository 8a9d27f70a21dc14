//! An example's API as it is, on a free port, and the gateway in front of it by the example's settings.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use crate::support::gateway::{Gateway, lasting_address};
use crate::support::http::Client;
use crate::support::leash::Leashed;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
const MODE_FOR_OWNER: u32 = 0o600;

/// How an API is started, as its README says it.
pub(super) trait Example {
    /// Under `examples/`.
    const FOLDER: &str;

    /// What is done once, before the first start.
    fn prepare(&self, _home: &Home) {}

    fn serve(&self, home: &Home, address: SocketAddr) -> Command;

    /// Makes a user an administrator.
    fn promote(&self, home: &Home, email: &str) -> Command;

    /// Where its dependencies are, by the README or by `tests/run`.
    fn source() -> PathBuf {
        Path::new(EXAMPLES).join(Self::FOLDER)
    }

    /// Python of the example's environment, in its folder.
    fn python() -> Command {
        let interpreter = Self::source().join("venv/bin/python");
        assert!(interpreter.exists(), "make the environment in examples/{}, as tests/run does", Self::FOLDER);
        let mut command = Command::new(interpreter);
        command.current_dir(Self::source()).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// What the API and the gateway write goes here, and nothing into the example's folder.
pub(super) struct Home {
    folder: TempDir,
    /// Where the gateway will be.
    pub(super) gateway: SocketAddr,
}

impl Home {
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The gateway signs with a secret that the API has too.
    pub(super) fn share_key(&self, name: &str, secret: &str) {
        fs::create_dir(self.file("keys")).unwrap();
        let mut file = fs::OpenOptions::new();
        file.write(true).create_new(true).mode(MODE_FOR_OWNER);
        let mut file = file.open(self.file(&format!("keys/{name}.secret"))).unwrap();
        file.write_all(STANDARD.encode(secret).as_bytes()).unwrap();
    }
}

pub(super) struct Stage<E> {
    example: E,
    home: Home,
    api: SocketAddr,
    gateway: Gateway,
    _process: Leashed,
}

impl<E: Example> Stage<E> {
    pub(super) fn set(example: E) -> Self {
        let home = Home { folder: tempfile::tempdir().unwrap(), gateway: lasting_address() };
        example.prepare(&home);
        let (process, api) = Leashed::listening(|address| example.serve(&home, address));
        let (listen, url) = (home.gateway.to_string(), format!("http://{api}"));
        let settings = [
            ("listen.address", listen.as_str()),
            ("admin.address", "127.0.0.1:0"),
            ("log.format", "json"),
            ("upstreams.api.url", &url),
            ("store.kind", "memory"),
        ];
        let gateway = Gateway::launch_file(home.folder.path(), &E::source().join("tokengate.toml"), &settings);
        gateway.await_ready();
        Self { example, home, api, gateway, _process: process }
    }

    /// Straight to the API, as without a gateway.
    pub(super) const fn api(&self) -> Client {
        Client::new(self.api)
    }
}

/// What scenarios need, whichever example it is.
pub(super) trait Site {
    fn client(&self) -> Client;

    fn promote(&self, email: &str);
}

impl<E: Example> Site for Stage<E> {
    fn client(&self) -> Client {
        self.gateway.client()
    }

    fn promote(&self, email: &str) {
        let promoted = self.example.promote(&self.home, email).output().unwrap();
        assert!(promoted.status.success(), "{}", String::from_utf8_lossy(&promoted.stderr));
    }
}
