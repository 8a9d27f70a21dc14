//! What it takes to reach a Redis.

use std::time::Duration;

use url::Url;

use crate::domain::ids::Partitions;
use crate::domain::secret::Secret;

/// Where Redis is and how to talk to it. [`RedisOptions::from_url`] gives the defaults, the fields may be changed afterwards.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    pub deployment: Deployment,
    /// `None`: plain TCP.
    pub tls: Option<TlsOptions>,
    /// An ACL user; `None` is Redis' `default`.
    pub username: Option<String>,
    pub password: Option<Secret<String>>,
    pub database: u8,
    /// Stands before every key. At most [`KEY_PREFIX_BYTES_MAX`] bytes, without braces, spaces and control characters.
    pub key_prefix: String,
    /// Fixed for the life of the data: subjects are placed by it.
    pub partitions: Partitions,
    /// Every call of the store ends within this, with an answer or with [`crate::store::StoreError::Unavailable`].
    pub call_timeout: Duration,
    /// For TCP and TLS together.
    pub connect_timeout: Duration,
}

/// How the servers are arranged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deployment {
    Standalone { host: String, port: u16 },
}

/// Whom to trust, and as whom to appear.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// The only authorities to trust, PEM; `None`: the well-known public ones.
    pub authorities_pem: Option<String>,
    /// Our certificate chain and its key, PEM, for servers that ask for one.
    pub identity_pem: Option<(String, Secret<String>)>,
}

pub const KEY_PREFIX_DEFAULT: &str = "tg:";
pub const KEY_PREFIX_BYTES_MAX: usize = 64;
pub const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_millis(500);
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
const PORT_DEFAULT: u16 = 6379;

/// Why options are refused. Holds nothing of the URL: it may contain a password.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RedisOptionsError {
    #[error("not a URL of the form redis://[user[:password]@]host[:port][/database] (rediss:// for TLS)")]
    Url,
    #[error("the scheme is neither redis:// nor rediss://")]
    Scheme,
    #[error("no host")]
    Host,
    #[error("the database is not a number from 0 to 255")]
    Database,
    #[error("user or password are not percent-encoded UTF-8")]
    Credentials,
    #[error("the query of the URL is not understood")]
    Query,
    #[error("the key prefix is longer than {KEY_PREFIX_BYTES_MAX} bytes, or has a brace, a space or a control character")]
    KeyPrefix,
    #[error("a timeout is zero")]
    Timeout,
    #[error("TLS: {0}")]
    Tls(String),
}

impl RedisOptions {
    /// Reads `redis://[user[:password]@]host[:port][/database]`, or `rediss://` for TLS. User and password may be
    /// percent-encoded; a password alone is written `:password@`.
    pub fn from_url(url: &str, partitions: Partitions) -> Result<Self, RedisOptionsError> {
        let url = Url::parse(url).map_err(|_| RedisOptionsError::Url)?;
        let tls = match url.scheme() {
            "redis" => None,
            "rediss" => Some(TlsOptions::default()),
            _ => return Err(RedisOptionsError::Scheme),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(RedisOptionsError::Query);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(RedisOptionsError::Host)?;
        let database = match url.path() {
            "" | "/" => 0,
            path => path[1..].parse().map_err(|_| RedisOptionsError::Database)?,
        };
        Ok(Self {
            deployment: Deployment::Standalone {
                host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
                port: url.port().unwrap_or(PORT_DEFAULT),
            },
            tls,
            username: decoded(url.username())?,
            password: url.password().map(decoded).transpose()?.flatten().map(Secret::new),
            database,
            key_prefix: KEY_PREFIX_DEFAULT.to_owned(),
            partitions,
            call_timeout: CALL_TIMEOUT_DEFAULT,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
        })
    }

    /// What [`RedisOptions::from_url`] cannot have checked.
    pub(super) fn check(&self) -> Result<(), RedisOptionsError> {
        let prefix = &self.key_prefix;
        let odd = |c: char| matches!(c, '{' | '}') || c.is_whitespace() || c.is_control();
        if prefix.len() > KEY_PREFIX_BYTES_MAX || prefix.contains(odd) {
            return Err(RedisOptionsError::KeyPrefix);
        }
        if self.call_timeout.is_zero() || self.connect_timeout.is_zero() {
            return Err(RedisOptionsError::Timeout);
        }
        Ok(())
    }
}

fn decoded(text: &str) -> Result<Option<String>, RedisOptionsError> {
    let text = percent_encoding::percent_decode_str(text).decode_utf8().map_err(|_| RedisOptionsError::Credentials)?;
    Ok((!text.is_empty()).then(|| text.into_owned()))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;

    fn read(url: &str) -> Result<RedisOptions, RedisOptionsError> {
        RedisOptions::from_url(url, Partitions::new(NonZeroU16::MIN))
    }

    fn server(options: &RedisOptions) -> (&str, u16) {
        match &options.deployment {
            Deployment::Standalone { host, port } => (host, *port),
        }
    }

    #[test]
    fn a_url_may_name_everything() {
        let options = read("rediss://gate%40way:p%2Fw%3A%25@redis.example:6380/7").unwrap();
        assert_eq!(server(&options), ("redis.example", 6380));
        assert_eq!((options.username.as_deref(), options.database), (Some("gate@way"), 7));
        assert_eq!(options.password.unwrap().expose(), "p/w:%");
        assert!(options.tls.is_some());
    }

    #[test]
    fn a_url_may_name_almost_nothing() {
        let options = read("redis://127.0.0.1").unwrap();
        assert_eq!(server(&options), ("127.0.0.1", 6379));
        assert!(options.username.is_none() && options.password.is_none() && options.tls.is_none() && options.database == 0);
        assert_eq!(server(&read("redis://:pw@[::1]:1/").unwrap()), ("::1", 1));
    }

    #[test]
    fn what_is_not_understood_is_refused_and_not_repeated() {
        for (url, error) in [
            ("", RedisOptionsError::Url),
            ("hunter2", RedisOptionsError::Url),
            ("http://:hunter2@a", RedisOptionsError::Scheme),
            ("redis-cluster://:hunter2@a", RedisOptionsError::Scheme),
            ("redis:///0", RedisOptionsError::Host),
            ("redis://:hunter2@a/b", RedisOptionsError::Database),
            ("redis://:hunter2@a/256", RedisOptionsError::Database),
            ("redis://:hunter2@a/1/2", RedisOptionsError::Database),
            ("redis://:%ffhunter2@a", RedisOptionsError::Credentials),
            ("redis://:hunter2@a?db=1", RedisOptionsError::Query),
        ] {
            let refused = read(url).unwrap_err();
            assert_eq!(refused, error, "{url}");
            assert!(!refused.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn the_password_is_not_printed() {
        assert!(!format!("{:?}", read("redis://:hunter2@a").unwrap()).contains("hunter2"));
    }

    #[test]
    fn a_prefix_cannot_move_the_hash_tag() {
        let mut options = read("redis://a").unwrap();
        assert_eq!(options.check(), Ok(()));
        options.key_prefix = "{a}:".into();
        assert_eq!(options.check(), Err(RedisOptionsError::KeyPrefix));
    }
}
