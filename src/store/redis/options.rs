//! What it takes to reach a Redis.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::sign::CertifiedKey;

use crate::domain::ids::Partitions;
pub use crate::domain::redis_url::{ADDRESSES_MAX, Address};
use crate::domain::redis_url::{RedisServers, RedisUrl, RedisUrlError};
use crate::domain::secret::Secret;

/// Where Redis is and how to talk to it. [`RedisOptions::from_url`] gives the defaults, the fields may be changed afterwards.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    pub deployment: Deployment,
    /// `None`: plain TCP. Holds for sentinels too.
    pub tls: Option<TlsOptions>,
    /// An ACL user; `None` is Redis' `default`.
    pub username: Option<String>,
    pub password: Option<Secret<String>>,
    /// Where the password was read from. It is read again for each connection, so that one that was replaced is used.
    pub password_file: Option<PathBuf>,
    /// A Cluster has 0 alone.
    pub database: u8,
    /// Stands before every key. At most [`KEY_PREFIX_BYTES_MAX`] bytes, without braces, spaces and control characters.
    pub key_prefix: String,
    /// Fixed for the life of the data: subjects are placed by it.
    pub partitions: Partitions,
    /// Every call of the store ends within this, with a response or with an error.
    pub call_timeout: Duration,
    /// For TCP and TLS together.
    pub connect_timeout: Duration,
    /// Whether a revocation waits for replicas.
    pub replication: Option<Replication>,
}

/// How the servers are arranged.
#[derive(Clone, Debug)]
pub enum Deployment {
    Standalone(Address),
    Sentinel(SentinelOptions),
    /// Any of its nodes will do; the more are named, the more of them may be away when the gateway starts.
    Cluster(Vec<Address>),
}

/// Sentinels tell which server is the primary.
#[derive(Clone, Debug)]
pub struct SentinelOptions {
    pub addresses: Vec<Address>,
    /// What the sentinels call the primary and its replicas.
    pub service: String,
    /// Of the sentinels themselves, which know nothing of the servers' users.
    pub username: Option<String>,
    pub password: Option<Secret<String>>,
    pub password_file: Option<PathBuf>,
}

impl SentinelOptions {
    /// Of sentinels that ask nobody who they are.
    #[must_use]
    pub const fn new(addresses: Vec<Address>, service: String) -> Self {
        Self { addresses, service, username: None, password: None, password_file: None }
    }
}

/// A revocation counts as made once so many replicas have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replication {
    pub replicas: u8,
    /// How long to wait for them. Shorter than the call timeout.
    pub timeout: Duration,
}

/// Whom to trust, and as whom to appear.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// The only authorities to trust; `None`: the well-known public ones.
    pub authorities: Option<Arc<RootCertStore>>,
    /// Our certificate with its key, for servers that ask for one.
    pub identity: Option<Arc<CertifiedKey>>,
}

pub const KEY_PREFIX_DEFAULT: &str = "tg:";
pub const KEY_PREFIX_BYTES_MAX: usize = 64;
pub const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_millis(500);
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);

/// Why options are refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RedisOptionsError {
    #[error(transparent)]
    Place(#[from] RedisUrlError),
    #[error("the key prefix is longer than {KEY_PREFIX_BYTES_MAX} bytes, or has a brace, a space or a control character")]
    KeyPrefix,
    #[error("a timeout is zero")]
    Timeout,
    #[error("replicas are to be waited for as long as the call itself may take, or longer")]
    Replication,
    #[error("TLS: {0}")]
    Tls(String),
}

impl RedisOptions {
    /// With the defaults for everything but the place.
    #[must_use]
    pub fn new(deployment: Deployment, partitions: Partitions) -> Self {
        Self {
            deployment,
            tls: None,
            username: None,
            password: None,
            password_file: None,
            database: 0,
            key_prefix: KEY_PREFIX_DEFAULT.to_owned(),
            partitions,
            call_timeout: CALL_TIMEOUT_DEFAULT,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            replication: None,
        }
    }

    /// At the place that the URL names, with the defaults for everything else.
    #[must_use]
    pub fn at(url: RedisUrl, partitions: Partitions) -> Self {
        let RedisUrl { servers, is_tls, username, password, database } = url;
        let deployment = match servers {
            RedisServers::Standalone(address) => Deployment::Standalone(address),
            RedisServers::Sentinel { addresses, service } => Deployment::Sentinel(SentinelOptions::new(addresses, service)),
            RedisServers::Cluster(seeds) => Deployment::Cluster(seeds),
        };
        Self { tls: is_tls.then(TlsOptions::default), username, password, database, ..Self::new(deployment, partitions) }
    }

    /// The same for a URL as text.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn from_url(url: &str, partitions: Partitions) -> Result<Self, RedisUrlError> {
        Ok(Self::at(url.parse()?, partitions))
    }

    /// Faults that no single field has, or that [`RedisOptions::from_url`] cannot have seen.
    pub(super) fn check(&self) -> Result<(), RedisOptionsError> {
        let prefix = &self.key_prefix;
        let odd = |c: char| matches!(c, '{' | '}') || c.is_whitespace() || c.is_control();
        if prefix.len() > KEY_PREFIX_BYTES_MAX || prefix.contains(odd) {
            return Err(RedisOptionsError::KeyPrefix);
        }
        if self.call_timeout.is_zero() || self.connect_timeout.is_zero() {
            return Err(RedisOptionsError::Timeout);
        }
        if self.replication.is_some_and(|replication| replication.timeout.is_zero() || replication.timeout >= self.call_timeout) {
            return Err(RedisOptionsError::Replication);
        }
        let named = |addresses: &[Address]| (1..=ADDRESSES_MAX).contains(&addresses.len());
        match &self.deployment {
            Deployment::Sentinel(sentinel) if !named(&sentinel.addresses) => Err(RedisUrlError::Host.into()),
            Deployment::Sentinel(sentinel) if sentinel.service.is_empty() => Err(RedisUrlError::Service.into()),
            Deployment::Cluster(seeds) if !named(seeds) => Err(RedisUrlError::Host.into()),
            Deployment::Cluster(_) if self.database != 0 => Err(RedisUrlError::Database.into()),
            Deployment::Standalone(_) | Deployment::Sentinel(_) | Deployment::Cluster(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;

    fn options(url: &str) -> RedisOptions {
        RedisOptions::from_url(url, Partitions::new(NonZeroU16::MIN)).unwrap()
    }

    #[test]
    fn the_password_is_not_printed() {
        assert!(!format!("{:?}", options("redis://:hunter2@a")).contains("hunter2"));
    }

    #[test]
    fn a_prefix_cannot_move_the_hash_tag() {
        let mut options = options("redis://a");
        assert_eq!(options.check(), Ok(()));
        options.key_prefix = "{a}:".into();
        assert_eq!(options.check(), Err(RedisOptionsError::KeyPrefix));
    }

    #[test]
    fn waiting_for_replicas_ends_before_the_call_does() {
        let mut options = options("redis://a");
        let waiting = |timeout| Some(Replication { replicas: 1, timeout });
        options.replication = waiting(options.call_timeout / 2);
        assert_eq!(options.check(), Ok(()));
        for timeout in [options.call_timeout, Duration::ZERO] {
            options.replication = waiting(timeout);
            assert_eq!(options.check(), Err(RedisOptionsError::Replication));
        }
    }

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for text in ["a.example:6379", "127.0.0.1:1", "[::1]:6379"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Address::parse("::1:6379").unwrap().to_string(), "[::1]:6379");
        for text in ["", ":1", "a", "a:", "a:65536", "a:-1"] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }
}
