//! The example's API as it is, on a database of its own, and the gateway in front of it by the example's settings.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tempfile::TempDir;

use crate::support::gateway::Gateway;
use crate::support::http::{Client, Message};
use crate::support::leash::Leashed;
use crate::support::postgres::Postgres;
use crate::support::redis::RedisServer;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/express-api");
const JWT_SECRET: &str = "the-secret-that-was-always-in-the-environment";
const REFRESH_SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
pub(crate) const PASSWORD: &str = "correct horse";

/// `node src/server.js`.
pub(crate) struct Api {
    _process: Leashed,
    address: SocketAddr,
}

impl Api {
    fn start(postgres: &Postgres, access_token_ttl: &str) -> Self {
        assert!(Path::new(EXAMPLE).join("node_modules").exists(), "run npm ci in examples/express-api, as tests/run does");
        let mut node = Command::new("node");
        node.arg("src/server.js")
            .current_dir(EXAMPLE)
            .env("DATABASE_URL", postgres.url())
            .env("JWT_SECRET", JWT_SECRET)
            .env("ACCESS_TOKEN_TTL", access_token_ttl)
            .env("BCRYPT_ROUNDS", "4")
            .env("PORT", "0")
            .stdout(Stdio::piped());
        let mut leashed = Leashed::spawn(&mut node);
        let mut lines = BufReader::new(leashed.process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.find_map(|line| line.strip_prefix("API listening on port ")?.parse().ok());
        let address = SocketAddr::from(([127, 0, 0, 1], port.expect("the API says where it listens")));
        Self { _process: leashed, address }
    }

    /// Straight to it, as before there was a gateway.
    pub(crate) const fn client(&self) -> Client {
        Client::new(self.address)
    }
}

pub(crate) struct Stage {
    pub(crate) api: Api,
    pub(crate) postgres: Postgres,
    redis: RedisServer,
    folder: TempDir,
}

impl Stage {
    pub(crate) fn set() -> Self {
        let (postgres, redis, folder) = (Postgres::start(), RedisServer::start(), tempfile::tempdir().unwrap());
        postgres.sql(&fs::read_to_string(Path::new(EXAMPLE).join("schema.sql")).unwrap());
        let api = Api::start(&postgres, "15m");
        fs::create_dir(folder.path().join("keys")).unwrap();
        fs::write(folder.path().join("keys/shared.secret"), STANDARD.encode(JWT_SECRET)).unwrap();
        fs::write(folder.path().join("jwt-secret"), JWT_SECRET).unwrap();
        fs::copy(Path::new(EXAMPLE).join("tokengate.toml"), folder.path().join("tokengate.toml")).unwrap();
        Self { api, postgres, redis, folder }
    }

    /// The same API, whose access tokens have run out when they are made.
    pub(crate) fn api_of_the_past(&self) -> Api {
        Api::start(&self.postgres, "-10s")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Changes a line of the settings file for a later start or reload.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let file = self.file("tokengate.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from}\n{text}");
        fs::write(file, text.replacen(from, to, 1)).unwrap();
    }

    /// By the example's settings, but for addresses, dates that pass, limits, and the store: one that can be shared.
    pub(crate) fn gateway(&self, set: &[(&str, &str)]) -> Gateway {
        let settings = self.settings();
        let mut all: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
        all.extend_from_slice(set);
        let gateway = Gateway::launch_file(self.folder.path(), &self.file("tokengate.toml"), &all);
        gateway.await_ready();
        gateway
    }

    pub(crate) fn import(&self, file: &str, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tokengate"))
            .args(["import", "refresh-tokens", file, "--config", "tokengate.toml"])
            .args(self.settings().iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]))
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .output()
            .unwrap()
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let api = format!("http://{}", self.api.address);
        let settings = [
            ("listen.address", "127.0.0.1:0"),
            ("admin.address", "127.0.0.1:0"),
            ("log.format", "json"),
            ("upstreams.api.url", &api),
            ("legacy.0.accepted_until", "2099-01-01"),
            ("refresh.imported_until", "2099-01-01"),
            ("refresh.secret", REFRESH_SECRET),
            ("limits.login.per_address", ""),
            ("limits.refresh.per_address", ""),
            ("limits.refresh.imported_per_address", ""),
            ("store.kind", "redis"),
            ("store.redis.url", &self.redis.url()),
            ("store.redis.deadline", "10s"),
        ];
        settings.map(|(key, value)| (key, value.to_owned())).into()
    }
}

impl Client {
    pub(crate) fn sign_in(&mut self, email: &str) -> Message {
        self.post("/login", &json!({"email": email, "password": PASSWORD})).expect(200)
    }

    pub(crate) fn sign_up(&mut self, email: &str) -> Message {
        self.post("/register", &json!({"email": email, "password": PASSWORD, "name": email})).expect(201)
    }
}
