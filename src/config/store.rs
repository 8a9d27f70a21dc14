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
    /// `redis://` or `rediss://` (TLS) `[user[:password]@]host[:port][/database]`.
    pub url: Secret<String>,
    pub username: Option<String>,
    pub password: Option<Secret<String>>,
    pub key_prefix: String,
    /// Fixed for the life of the deployment: subjects are placed by it.
    pub partitions: Partitions,
    /// After this a call has failed.
    pub deadline: Duration,
    pub connect_timeout: Duration,
    /// PEM certificates to trust for TLS instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate chain and its key, PEM, for servers that ask for one: both or none.
    pub certificate_files: Option<(PathBuf, PathBuf)>,
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
            ca_file: s.optional("ca_file", parse::path),
            certificate_files: certificate_files(s),
        };
        let url = redis.url.expose();
        if redis.password.is_some() && url.contains('@') {
            s.fault("password", "the URL holds a password too; allowed is one of the two");
        }
        for (key, is_given) in [("ca_file", redis.ca_file.is_some()), ("certificate_file", redis.certificate_files.is_some())] {
            if is_given && !url.starts_with("rediss:") {
                s.fault(key, "has no meaning without TLS; allowed with \"rediss://…\" alone");
            }
        }
        redis
    }
}

fn certificate_files(s: &mut Section<'_>) -> Option<(PathBuf, PathBuf)> {
    let certificate = s.optional("certificate_file", parse::path);
    let key = s.optional("key_file", parse::path);
    if certificate.is_some() != key.is_some() && s.has_any(&["certificate_file"]) != s.has_any(&["key_file"]) {
        let key = if certificate.is_some() { "certificate_file" } else { "key_file" };
        s.fault(key, "certificate_file and key_file are given together or not at all");
    }
    certificate.zip(key)
}

fn redis_url(value: &config::Value) -> Parsed<Secret<String>> {
    const ALLOWED: &str = "allowed is \"redis://host:port/database\", or rediss:// for TLS; user and password before the host \
                           are percent-encoded";
    let text = parse::filled_text(value)?;
    let is_url = || {
        let rest = text.strip_prefix("redis://").or_else(|| text.strip_prefix("rediss://"))?;
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let authority: http::uri::Authority = authority.parse().ok()?;
        let is_database = database.is_empty() || database.parse::<u8>().is_ok();
        (parse::has_sound_port(&authority) && is_database).then_some(())
    };
    is_url().map(|()| Secret::new(text.clone())).ok_or_else(|| ALLOWED.to_owned())
}

/// Braces would move keys to other hash slots.
fn key_prefix(value: &config::Value) -> Parsed<String> {
    const KEY_PREFIX_BYTES_MAX: usize = 64;
    let text = parse::text(value)?;
    let is_plain = text.len() <= KEY_PREFIX_BYTES_MAX && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b));
    if is_plain { Ok(text) } else { Err("allowed are up to 64 ASCII letters, digits and - _ . :".to_owned()) }
}

fn partitions(value: &config::Value) -> Parsed<Partitions> {
    let count = parse::number(1, 1024)(value)?;
    u16::try_from(count).ok().and_then(NonZeroU16::new).map(Partitions::new).ok_or_else(|| "allowed is 1 to 1024".to_owned())
}
