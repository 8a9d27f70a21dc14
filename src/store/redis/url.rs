//! Reads where Redis is from one line.

use url::Host;

use super::options::{ADDRESSES_MAX, Address, Deployment, RedisOptions, RedisOptionsError, SentinelOptions, TlsOptions};
use crate::domain::ids::Partitions;
use crate::domain::secret::Secret;

const SERVER_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

/// What the scheme says.
#[derive(Clone, Copy)]
enum Kind {
    Standalone,
    Sentinel,
    Cluster,
}

impl RedisOptions {
    /// Reads one of
    ///
    /// - `redis://[user[:password]@]host[:port][/database]`
    /// - `redis+sentinel://[user[:password]@]host[:port],…/service[/database]`, hosts and ports being those of the sentinels
    /// - `redis-cluster://[user[:password]@]host[:port],…`
    ///
    /// or the same with `rediss` in place of `redis` for TLS. User and password are those of the servers, and may be
    /// percent-encoded; a password alone is written `:password@`.
    pub fn from_url(url: &str, partitions: Partitions) -> Result<Self, RedisOptionsError> {
        let (scheme, rest) = url.split_once("://").ok_or(RedisOptionsError::Url)?;
        let (kind, is_tls) = match scheme {
            "redis" => (Kind::Standalone, false),
            "rediss" => (Kind::Standalone, true),
            "redis+sentinel" => (Kind::Sentinel, false),
            "rediss+sentinel" => (Kind::Sentinel, true),
            "redis-cluster" => (Kind::Cluster, false),
            "rediss-cluster" => (Kind::Cluster, true),
            _ => return Err(RedisOptionsError::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(RedisOptionsError::Query);
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (username, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let (deployment, database) = match kind {
            Kind::Standalone => match addresses(hosts, SERVER_PORT)?.as_slice() {
                [address] => (Deployment::Standalone(address.clone()), path),
                _ => return Err(RedisOptionsError::Host),
            },
            Kind::Sentinel => {
                let (service, database) = path.split_once('/').unwrap_or((path, ""));
                let service = decoded(service)?.ok_or(RedisOptionsError::Service)?;
                let addresses = addresses(hosts, SENTINEL_PORT)?;
                (Deployment::Sentinel(SentinelOptions::new(addresses, service)), database)
            }
            Kind::Cluster => (Deployment::Cluster(addresses(hosts, SERVER_PORT)?), path),
        };
        let database = if database.is_empty() { 0 } else { database.parse().map_err(|_| RedisOptionsError::Database)? };
        let options = Self {
            tls: is_tls.then(TlsOptions::default),
            username: decoded(username)?,
            password: decoded(password)?.map(Secret::new),
            database,
            ..Self::new(deployment, partitions)
        };
        options.check().map(|()| options)
    }
}

fn addresses(hosts: &str, default_port: u16) -> Result<Vec<Address>, RedisOptionsError> {
    let addresses: Vec<Address> = hosts
        .split(',')
        .take(ADDRESSES_MAX + 1)
        .map(|host| address(host, default_port).ok_or(RedisOptionsError::Host))
        .collect::<Result<_, _>>()?;
    if addresses.len() > ADDRESSES_MAX { Err(RedisOptionsError::Host) } else { Ok(addresses) }
}

fn address(text: &str, default_port: u16) -> Option<Address> {
    let end_of_host = text.rfind(']').map_or_else(|| text.find(':'), |bracket| Some(bracket + 1)).unwrap_or(text.len());
    let (host, port) = text.split_at(end_of_host);
    let host = match Host::parse(host).ok()? {
        Host::Domain(name) => name,
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    let port = if port.is_empty() { default_port } else { port.strip_prefix(':')?.parse().ok()? };
    Some(Address { host, port })
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

    /// The kind, then each address, then the service.
    fn place(options: &RedisOptions) -> String {
        let list = |addresses: &[Address]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        match &options.deployment {
            Deployment::Standalone(address) => format!("standalone {address}"),
            Deployment::Sentinel(sentinel) => format!("sentinel {} {}", list(&sentinel.addresses), sentinel.service),
            Deployment::Cluster(seeds) => format!("cluster {}", list(seeds)),
        }
    }

    #[test]
    fn a_url_may_name_everything() {
        let options = read("rediss://gate%40way:p%2Fw%3A%25@redis.example:6380/7").unwrap();
        assert_eq!(place(&options), "standalone redis.example:6380");
        assert_eq!((options.username.as_deref(), options.database), (Some("gate@way"), 7));
        assert_eq!(options.password.unwrap().expose(), "p/w:%");
        assert!(options.tls.is_some());
    }

    #[test]
    fn a_url_may_name_almost_nothing() {
        let options = read("redis://127.0.0.1").unwrap();
        assert_eq!(place(&options), "standalone 127.0.0.1:6379");
        assert!(options.username.is_none() && options.password.is_none() && options.tls.is_none() && options.database == 0);
        assert_eq!(place(&read("redis://:pw@[::1]:1/").unwrap()), "standalone [::1]:1");
    }

    #[test]
    fn sentinels_and_cluster_nodes_are_lists() {
        let sentinels = read("redis+sentinel://u:p@a,b:1,[::1]/my%20service/3").unwrap();
        assert_eq!(place(&sentinels), "sentinel a:26379 b:1 [::1]:26379 my service");
        assert_eq!((sentinels.username.as_deref(), sentinels.database), (Some("u"), 3));
        let cluster = read("rediss-cluster://:p@a:7000,b").unwrap();
        assert_eq!(place(&cluster), "cluster a:7000 b:6379");
        assert!(cluster.tls.is_some());
    }

    #[test]
    fn what_is_not_understood_is_refused_and_not_repeated() {
        for (url, error) in [
            ("", RedisOptionsError::Url),
            ("hunter2", RedisOptionsError::Url),
            ("http://:hunter2@a", RedisOptionsError::Scheme),
            ("redis+cluster://:hunter2@a", RedisOptionsError::Scheme),
            ("redis:///0", RedisOptionsError::Host),
            ("redis://:hunter2@a,b", RedisOptionsError::Host),
            ("redis://:hunter2@a b", RedisOptionsError::Host),
            ("redis://:hunter2@a:x", RedisOptionsError::Host),
            ("redis-cluster://:hunter2@a,,b", RedisOptionsError::Host),
            ("redis+sentinel://:hunter2@a", RedisOptionsError::Service),
            ("redis+sentinel://:hunter2@a/s/x", RedisOptionsError::Database),
            ("redis-cluster://:hunter2@a/1", RedisOptionsError::Database),
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
        let many = format!("redis-cluster://{}", vec!["a"; ADDRESSES_MAX + 1].join(","));
        assert_eq!(read(&many).unwrap_err(), RedisOptionsError::Host);
    }
}
