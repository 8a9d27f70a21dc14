//! `[store]`: where sessions and revocations are kept.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use super::parse;
use super::section::{Parsed, Section};
use crate::domain::ids::Partitions;
use crate::domain::secret::Secret;

#[derive(Clone, Debug)]
pub enum Store {
    /// One node; gone with the process.
    Memory,
    Embedded(Embedded),
    Redis(Box<Redis>),
}

/// One node; durable in a folder of its own.
#[derive(Clone, Debug)]
pub struct Embedded {
    pub directory: PathBuf,
}

/// Shared by any number of nodes.
#[derive(Clone, Debug)]
pub struct Redis {
    /// `redis://`, `rediss://` (TLS), and with `-cluster` or `-sentinel` before the colon. May hold a password.
    pub url: Secret<String>,
    pub username: Option<String>,
    pub password: Option<Secret<String>>,
    pub key_prefix: String,
    /// Fixed for the life of the deployment: subjects are placed by it.
    pub partitions: Partitions,
    /// After this a call has failed.
    pub deadline: Duration,
    pub connect_timeout: Duration,
    pub connections: usize,
    /// Calls that may wait for an answer, for each connection.
    pub commands_max: usize,
    /// The longest pause between two tries to connect.
    pub reconnect_delay_max: Duration,
    /// PEM certificates to trust for TLS instead of the public ones.
    pub ca_file: Option<PathBuf>,
}

#[derive(Clone, Copy)]
enum Kind {
    Memory,
    Embedded,
    Redis,
}

impl Store {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let kinds = parse::choice(&[("embedded", Kind::Embedded), ("memory", Kind::Memory), ("redis", Kind::Redis)]);
        let kind = s.read("kind", kinds);
        let embedded = s.section("embedded", |s| Embedded { directory: s.read("directory", parse::path) });
        let redis = s.section("redis", Redis::read);
        match kind {
            Kind::Memory => Self::Memory,
            Kind::Embedded => Self::Embedded(embedded),
            Kind::Redis => Self::Redis(Box::new(redis)),
        }
    }

    /// Whether other nodes may stand beside this one, and must then hold the same keys and secrets.
    pub const fn is_shared(&self) -> bool {
        match self {
            Self::Memory | Self::Embedded(_) => false,
            Self::Redis(_) => true,
        }
    }
}

const REDIS_SCHEMES: [&str; 6] = ["redis", "rediss", "redis-cluster", "rediss-cluster", "redis-sentinel", "rediss-sentinel"];

impl Redis {
    fn read(s: &mut Section<'_>) -> Self {
        let second = Duration::from_secs(1);
        let redis = Self {
            url: s.read_secret("url", redis_url),
            username: s.optional("username", parse::filled_text),
            password: s.secret("password", "password_file", parse::password),
            key_prefix: s.read("key_prefix", key_prefix),
            partitions: s.read("partitions", partitions),
            deadline: s.read("deadline", parse::duration(second / 100, 30 * second)),
            connect_timeout: s.read("connect_timeout", parse::duration(second / 10, 60 * second)),
            connections: s.read("connections", parse::count(1, 64)),
            commands_max: s.read("commands_max", parse::count(16, 1_000_000)),
            reconnect_delay_max: s.read("reconnect_delay_max", parse::duration(second / 10, 60 * second)),
            ca_file: s.optional("ca_file", parse::path),
        };
        let url = redis.url.expose();
        if redis.password.is_some() && url.contains('@') {
            s.fault("password", "the URL holds a password too; allowed is one of the two");
        }
        if redis.ca_file.is_some() && !url.starts_with("rediss") {
            s.fault("ca_file", "has no meaning without TLS; allowed with \"rediss://…\" alone");
        }
        redis
    }
}

fn redis_url(value: &config::Value) -> Parsed<Secret<String>> {
    let text = parse::filled_text(value)?;
    let is_url = text.split_once("://").is_some_and(|(scheme, rest)| {
        REDIS_SCHEMES.contains(&scheme) && !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace)
    });
    if is_url {
        return Ok(Secret::new(text));
    }
    let schemes: Vec<String> = REDIS_SCHEMES.iter().map(|scheme| format!("{scheme}://")).collect();
    Err(format!("allowed is a URL such as \"redis://127.0.0.1:6379\", with one of {}", schemes.join(", ")))
}

/// Braces would move keys to other hash slots, colons would make one deployment's keys look like another's.
fn key_prefix(value: &config::Value) -> Parsed<String> {
    let text = parse::filled_text(value)?;
    let is_plain = text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if is_plain { Ok(text) } else { Err("allowed are up to 64 ASCII letters, digits and - _ .".to_owned()) }
}

fn partitions(value: &config::Value) -> Parsed<Partitions> {
    let count = parse::number(1, 1024)(value)?;
    u16::try_from(count).ok().and_then(NonZeroU16::new).map(Partitions::new).ok_or_else(|| "allowed is 1 to 1024".to_owned())
}
