//! Where Redis is, read from one line.

use std::fmt;
use std::str::FromStr;

use url::Host;

use super::secret::Secret;

const SERVER_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

/// Servers or sentinels that may be named.
pub const ADDRESSES_MAX: usize = 64;

/// What a URL of Redis says.
///
/// - `redis://[user[:password]@]host[:port][/database]`
/// - `redis+sentinel://[user[:password]@]host[:port],…/service[/database]`, hosts and ports being those of the sentinels
/// - `redis-cluster://[user[:password]@]host[:port],…`
///
/// or the same with `rediss` in place of `redis` for TLS. User and password are those of the servers, and may be percent-encoded; a
/// password alone is written `:password@`.
#[derive(Clone, Debug)]
pub struct RedisUrl {
    pub servers: RedisServers,
    pub is_tls: bool,
    pub username: Option<String>,
    pub password: Option<Secret<String>>,
    pub database: u8,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RedisServers {
    Standalone(Address),
    Sentinel { addresses: Vec<Address>, service: String },
    Cluster(Vec<Address>),
}

impl RedisServers {
    /// For people.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Standalone(_) => "standalone",
            Self::Sentinel { .. } => "sentinel",
            Self::Cluster(_) => "cluster",
        }
    }
}

/// A host (name or IP address) and a port.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    /// Reads `host:port`, an IPv6 host with or without brackets.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        (!host.is_empty()).then_some(Self { host: host.to_owned(), port: port.parse().ok()? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a URL is refused. Holds nothing of it: it may contain a password.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RedisUrlError {
    #[error(
        "not a URL of the form redis://[user[:password]@]host[:port][/database], redis+sentinel://…host,host/service[/database] \
         or redis-cluster://…host,host (rediss… for TLS)"
    )]
    Url,
    #[error("the scheme is none of redis://, redis+sentinel://, redis-cluster://, and the same with rediss for TLS")]
    Scheme,
    #[error("no host, one that is none, or more than {ADDRESSES_MAX}")]
    Host,
    #[error("no name of the service that the sentinels watch: …/service")]
    Service,
    #[error("the database is not a number from 0 to 255 (a Cluster has 0 alone)")]
    Database,
    #[error("user or password are not percent-encoded UTF-8")]
    Credentials,
    #[error("the query of the URL is not understood")]
    Query,
}

/// What the scheme says.
#[derive(Clone, Copy)]
enum Kind {
    Standalone,
    Sentinel,
    Cluster,
}

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(url: &str) -> Result<Self, RedisUrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(RedisUrlError::Url)?;
        let (kind, is_tls) = match scheme {
            "redis" => (Kind::Standalone, false),
            "rediss" => (Kind::Standalone, true),
            "redis+sentinel" => (Kind::Sentinel, false),
            "rediss+sentinel" => (Kind::Sentinel, true),
            "redis-cluster" => (Kind::Cluster, false),
            "rediss-cluster" => (Kind::Cluster, true),
            _ => return Err(RedisUrlError::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(RedisUrlError::Query);
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (username, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let (servers, database) = match kind {
            Kind::Standalone => match addresses(hosts, SERVER_PORT)?.as_slice() {
                [address] => (RedisServers::Standalone(address.clone()), path),
                _ => return Err(RedisUrlError::Host),
            },
            Kind::Sentinel => {
                let (service, database) = path.split_once('/').unwrap_or((path, ""));
                let service = decoded(service)?.ok_or(RedisUrlError::Service)?;
                (RedisServers::Sentinel { addresses: addresses(hosts, SENTINEL_PORT)?, service }, database)
            }
            Kind::Cluster => (RedisServers::Cluster(addresses(hosts, SERVER_PORT)?), path),
        };
        let database = if database.is_empty() { 0 } else { database.parse().map_err(|_| RedisUrlError::Database)? };
        if database != 0 && matches!(servers, RedisServers::Cluster(_)) {
            return Err(RedisUrlError::Database);
        }
        Ok(Self { servers, is_tls, username: decoded(username)?, password: decoded(password)?.map(Secret::new), database })
    }
}

fn addresses(hosts: &str, default_port: u16) -> Result<Vec<Address>, RedisUrlError> {
    let addresses: Vec<Address> = hosts
        .split(',')
        .take(ADDRESSES_MAX + 1)
        .map(|host| address(host, default_port).ok_or(RedisUrlError::Host))
        .collect::<Result<_, _>>()?;
    if addresses.len() > ADDRESSES_MAX { Err(RedisUrlError::Host) } else { Ok(addresses) }
}

fn address(text: &str, default_port: u16) -> Option<Address> {
    let end_of_host = text.rfind(']').map_or_else(|| text.find(':'), |bracket| Some(bracket + 1)).unwrap_or(text.len());
    let (host, port) = text.split_at(end_of_host);
    let host = match Host::parse(host).ok()? {
        Host::Domain(name) => name,
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    let port = if port.is_empty() { default_port } else { port.strip_prefix(':')?.parse().ok().filter(|port| *port > 0)? };
    Some(Address { host, port })
}

fn decoded(text: &str) -> Result<Option<String>, RedisUrlError> {
    let text = percent_encoding::percent_decode_str(text).decode_utf8().map_err(|_| RedisUrlError::Credentials)?;
    Ok((!text.is_empty()).then(|| text.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<RedisUrl, RedisUrlError> {
        url.parse()
    }

    /// The kind, then each address, then the service.
    fn place(url: &RedisUrl) -> String {
        let list = |addresses: &[Address]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        match &url.servers {
            RedisServers::Standalone(address) => format!("standalone {address}"),
            RedisServers::Sentinel { addresses, service } => format!("sentinel {} {service}", list(addresses)),
            RedisServers::Cluster(seeds) => format!("cluster {}", list(seeds)),
        }
    }

    #[test]
    fn a_url_may_name_everything() {
        let options = read("rediss://gate%40way:p%2Fw%3A%25@redis.example:6380/7").unwrap();
        assert_eq!(place(&options), "standalone redis.example:6380");
        assert_eq!((options.username.as_deref(), options.database), (Some("gate@way"), 7));
        assert_eq!(options.password.unwrap().expose(), "p/w:%");
        assert!(options.is_tls);
    }

    #[test]
    fn a_url_may_name_almost_nothing() {
        let options = read("redis://127.0.0.1").unwrap();
        assert_eq!(place(&options), "standalone 127.0.0.1:6379");
        assert!(options.username.is_none() && options.password.is_none() && !options.is_tls && options.database == 0);
        assert_eq!(place(&read("redis://:pw@[::1]:1/").unwrap()), "standalone [::1]:1");
    }

    #[test]
    fn sentinels_and_cluster_nodes_are_lists() {
        let sentinels = read("redis+sentinel://u:p@a,b:1,[::1]/my%20service/3").unwrap();
        assert_eq!(place(&sentinels), "sentinel a:26379 b:1 [::1]:26379 my service");
        assert_eq!((sentinels.username.as_deref(), sentinels.database), (Some("u"), 3));
        let cluster = read("rediss-cluster://:p@a:7000,b").unwrap();
        assert_eq!(place(&cluster), "cluster a:7000 b:6379");
        assert!(cluster.is_tls);
    }

    #[test]
    fn what_is_not_understood_is_refused_and_not_repeated() {
        for (url, error) in [
            ("", RedisUrlError::Url),
            ("hunter2", RedisUrlError::Url),
            ("http://:hunter2@a", RedisUrlError::Scheme),
            ("redis+cluster://:hunter2@a", RedisUrlError::Scheme),
            ("redis:///0", RedisUrlError::Host),
            ("redis://:hunter2@a,b", RedisUrlError::Host),
            ("redis://:hunter2@a b", RedisUrlError::Host),
            ("redis://:hunter2@a:x", RedisUrlError::Host),
            ("redis://:hunter2@a:0", RedisUrlError::Host),
            ("redis://:hunter2@a:", RedisUrlError::Host),
            ("redis-cluster://:hunter2@a,,b", RedisUrlError::Host),
            ("redis+sentinel://:hunter2@a", RedisUrlError::Service),
            ("redis+sentinel://:hunter2@a/s/x", RedisUrlError::Database),
            ("redis-cluster://:hunter2@a/1", RedisUrlError::Database),
            ("redis://:hunter2@a/b", RedisUrlError::Database),
            ("redis://:hunter2@a/256", RedisUrlError::Database),
            ("redis://:hunter2@a/1/2", RedisUrlError::Database),
            ("redis://:%ffhunter2@a", RedisUrlError::Credentials),
            ("redis://:hunter2@a?db=1", RedisUrlError::Query),
        ] {
            let refused = read(url).unwrap_err();
            assert_eq!(refused, error, "{url}");
            assert!(!refused.to_string().contains("hunter2"));
        }
        let many = format!("redis-cluster://{}", vec!["a"; ADDRESSES_MAX + 1].join(","));
        assert_eq!(read(&many).unwrap_err(), RedisUrlError::Host);
    }
}
