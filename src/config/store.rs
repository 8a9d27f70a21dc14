//! `[store]`: where sessions and revocations are kept.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use super::listeners::CertificateFiles;
use super::parse;
use super::reading::Reading;
use super::section::Section;
use super::setting::{Disclosure, FromFile, Setting, open_settings, write_debug};
use crate::domain::ids::Partitions;
use crate::domain::redis_url::{ADDRESSES_MAX, Address, RedisServers, RedisUrl, RedisUrlError};
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
    /// In one line or piece by piece; for its forms see `config/tokengate.toml`.
    pub place: RedisUrl,
    pub username: Option<String>,
    pub password: Option<FromFile<Secret<String>>>,
    pub key_prefix: String,
    /// Fixed for the life of the deployment: subjects are placed by it.
    pub partitions: Partitions,
    /// After this a call has failed.
    pub deadline: Duration,
    pub connect_timeout: Duration,
    /// PEM certificates to trust for TLS instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate chain and its key, PEM, for servers that ask for one: both or none.
    pub certificate_files: Option<CertificateFiles>,
    /// Of the sentinels, which know nothing of the servers' users.
    pub sentinel_username: Option<String>,
    pub sentinel_password: Option<FromFile<Secret<String>>>,
    /// How many replicas must have a logout before its response. 0: the primary suffices.
    pub wait_replicas: u8,
    pub wait_timeout: Duration,
}

/// A URL, and what it says. May hold a password.
#[derive(Clone, Debug)]
struct WrittenUrl {
    text: Secret<String>,
    url: RedisUrl,
}

impl Setting for WrittenUrl {
    const DISCLOSURE: Disclosure = Disclosure::Credentials;

    fn write_effective(&self, out: &mut String) {
        write_debug(self.text.expose(), out);
    }
}

#[derive(Clone, Copy, Debug)]
enum DeploymentKind {
    Standalone,
    Sentinel,
    Cluster,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Memory,
    Embedded,
    Redis,
}

open_settings!(Address, DeploymentKind, Kind);

impl Store {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let kinds = parse::choice(&[("embedded", Kind::Embedded), ("memory", Kind::Memory), ("redis", Kind::Redis)]);
        let kind = s.read("kind", kinds);
        let embedded = s.section("embedded", |s| Embedded { directory: s.read("directory", parse::path()) });
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
            place: place(s),
            username: s.optional("username", parse::filled_text()),
            password: s.secret_or_file("password", "password_file", parse::password()),
            key_prefix: s.read("key_prefix", key_prefix()),
            partitions: s.read("partitions", partitions()),
            deadline: s.read("deadline", parse::duration(second / 100, 30 * second)),
            connect_timeout: s.read("connect_timeout", parse::duration(second / 10, 60 * second)),
            ca_file: s.optional("ca_file", parse::path()),
            certificate_files: certificate_files(s),
            sentinel_username: s.optional("sentinel_username", parse::filled_text()),
            sentinel_password: s.secret_or_file("sentinel_password", "sentinel_password_file", parse::password()),
            wait_replicas: s.read("wait_replicas", parse::number_u8(0, u8::MAX)),
            wait_timeout: s.read("wait_timeout", parse::duration(second / 1000, 30 * second)),
        };
        if redis.password.is_some() && (redis.place.username.is_some() || redis.place.password.is_some()) {
            s.fault("password", "the URL holds a password too; allowed is one of the two");
        }
        for (key, is_given) in [("ca_file", redis.ca_file.is_some()), ("certificate_file", redis.certificate_files.is_some())] {
            if is_given && !redis.place.is_tls {
                s.fault(key, "has no meaning without TLS; allowed with \"rediss…://\", or with tls = true beside addresses");
            }
        }
        if !matches!(redis.place.servers, RedisServers::Sentinel { .. }) {
            for key in ["sentinel_username", "sentinel_password", "sentinel_password_file"] {
                if s.has_any(&[key]) {
                    s.fault(
                        key,
                        "has no meaning without sentinels; allowed with \"redis+sentinel://…\" or deployment = \"sentinel\"",
                    );
                }
            }
        }
        if redis.wait_replicas > 0 && redis.wait_timeout >= redis.deadline {
            s.fault("wait_timeout", "allowed is less than store.redis.deadline, within which a logout gets its response");
        }
        redis
    }
}

/// From the URL, or from `addresses` and the keys beside it.
fn place(s: &mut Section<'_>) -> RedisUrl {
    let url = s.read("url", redis_url()).url;
    let kinds = parse::choice(&[
        ("standalone", DeploymentKind::Standalone),
        ("sentinel", DeploymentKind::Sentinel),
        ("cluster", DeploymentKind::Cluster),
    ]);
    let kind = s.optional("deployment", kinds).unwrap_or(DeploymentKind::Standalone);
    let addresses = s.optional("addresses", parse::list(host_and_port()));
    let service = s.optional("service", parse::filled_text());
    let database = s.optional("database", parse::number_u8(0, u8::MAX));
    let tls = s.optional("tls", parse::flag());
    let Some(addresses) = addresses else {
        for key in ["deployment", "service", "database", "tls"] {
            if s.has_any(&[key]) && !s.has_any(&["addresses"]) {
                s.fault(key, "has no meaning without addresses; the URL says it otherwise");
            }
        }
        return url;
    };
    if !s.has_default("url") {
        s.fault("addresses", "the URL is given too; allowed is one of the two");
    }
    let with_service = matches!(kind, DeploymentKind::Sentinel);
    if with_service && !s.has_any(&["service"]) {
        s.fault("service", "is missing: what the sentinels call the primary, such as \"mymaster\"");
    } else if !with_service && service.is_some() {
        s.fault("service", "has no meaning without sentinels; allowed with deployment = \"sentinel\"");
    }
    if matches!(kind, DeploymentKind::Cluster) && database.is_some_and(|database| database > 0) {
        s.fault("database", "a Cluster has database 0 alone");
    }
    let servers = servers(s, kind, addresses, service.unwrap_or_default()).unwrap_or(url.servers);
    let (is_tls, database) = (tls.unwrap_or_default(), database.unwrap_or_default());
    RedisUrl { servers, is_tls, username: None, password: None, database }
}

/// `None` after a fault was noted.
fn servers(s: &Section<'_>, kind: DeploymentKind, addresses: Vec<Address>, service: String) -> Option<RedisServers> {
    let most = if matches!(kind, DeploymentKind::Standalone) { 1 } else { ADDRESSES_MAX };
    if addresses.is_empty() || addresses.len() > most {
        s.fault("addresses", format!("allowed are 1 to {most} for this deployment"));
        return None;
    }
    Some(match kind {
        DeploymentKind::Standalone => RedisServers::Standalone(addresses.into_iter().next()?),
        DeploymentKind::Sentinel => RedisServers::Sentinel { addresses, service },
        DeploymentKind::Cluster => RedisServers::Cluster(addresses),
    })
}

fn host_and_port() -> Reading<Address> {
    parse::filled_text().then(|text| {
        let is_sound = |authority: http::uri::Authority| {
            let has_port = authority.port_u16().is_some_and(|port| port > 0);
            has_port && !authority.host().is_empty() && !text.contains('@')
        };
        let is_sound = text.parse().is_ok_and(is_sound);
        Address::parse(&text).filter(|_| is_sound).ok_or_else(|| "allowed is \"host:port\"".to_owned())
    })
}

fn certificate_files(s: &mut Section<'_>) -> Option<CertificateFiles> {
    let certificate = s.optional("certificate_file", parse::path());
    let key = s.key_file("key_file");
    if certificate.is_some() != key.is_some() && s.has_any(&["certificate_file"]) != s.has_any(&["key_file"]) {
        let key = if certificate.is_some() { "certificate_file" } else { "key_file" };
        s.fault(key, "certificate_file and key_file are given together or not at all");
    }
    Some(CertificateFiles { certificate: certificate?, key: key? })
}

fn redis_url() -> Reading<WrittenUrl> {
    const ALLOWED: &str = "allowed is \"redis://host:port/database\", \"redis+sentinel://host:port,host:port/service/database\" or \
                           \"redis-cluster://host:port,host:port\", or rediss for TLS; user and password before the hosts are \
                           percent-encoded";
    parse::filled_text().then(|text| {
        let url = text.parse().map_err(|_: RedisUrlError| ALLOWED.to_owned())?;
        Ok(WrittenUrl { text: Secret::new(text), url })
    })
}

/// Braces would move keys to other hash slots.
fn key_prefix() -> Reading<String> {
    const KEY_PREFIX_BYTES_MAX: usize = 64;
    parse::text().then(|text| {
        let is_plain =
            text.len() <= KEY_PREFIX_BYTES_MAX && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b));
        if is_plain { Ok(text) } else { Err("allowed are up to 64 ASCII letters, digits and - _ . :".to_owned()) }
    })
}

fn partitions() -> Reading<Partitions> {
    parse::number(1, 1024).then(|count| {
        u16::try_from(count).ok().and_then(NonZeroU16::new).map(Partitions::new).ok_or_else(|| "allowed is 1 to 1024".to_owned())
    })
}
