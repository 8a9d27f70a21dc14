//! Where a listener is to be found.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use super::setting::open_settings;

/// An IP address, or a name that becomes one when the listener starts; and a port. Or a socket that is open already.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListenAddress {
    Ip(SocketAddr),
    Name {
        /// In lower case.
        host: String,
        port: u16,
    },
    /// A socket that the service manager passes to the process under this name.
    Passed {
        name: String,
    },
}

open_settings!(ListenAddress);

/// The longest name (RFC 1035, section 2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// What stands before the name of a socket that is passed.
const PASSED: &str = "systemd:";

/// The longest name of one (`sd_listen_fds(3)`).
const PASSED_NAME_BYTES_MAX: usize = 255;

impl ListenAddress {
    /// 0: known once the listener has started.
    pub const fn port(&self) -> u16 {
        match self {
            Self::Ip(address) => address.port(),
            Self::Name { port, .. } => *port,
            Self::Passed { .. } => 0,
        }
    }

    /// Whether it is no other listener's, by the text alone.
    pub fn is_distinct_from(&self, other: &Self) -> bool {
        self != other || (self.port() == 0 && !matches!(self, Self::Passed { .. }))
    }

    /// Whether there is an address to connect to, by the text alone.
    pub const fn is_known(&self) -> bool {
        !matches!(self, Self::Passed { .. })
    }

    /// Whether only this machine can reach it, judged by the text. Of names, `localhost` is such (RFC 6761, section 6.3).
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(address) => address.ip().is_loopback(),
            Self::Name { host, .. } => host == "localhost" || host.ends_with(".localhost"),
            Self::Passed { .. } => false,
        }
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl FromStr for ListenAddress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if is_of_many(address.ip()) { Err(()) } else { Ok(Self::Ip(address)) };
        }
        if let Some(name) = text.strip_prefix(PASSED) {
            let is_name =
                (1..=PASSED_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
            return if is_name { Ok(Self::Passed { name: name.to_owned() }) } else { Err(()) };
        }
        let (host, port) = text.rsplit_once(':').ok_or(())?;
        let is_label = |label: &str| {
            let is_inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(is_inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // What ends in a number is an address, if anything: resolvers read "127.1" and "1" as such.
        let is_numeric = host.rsplit('.').next().is_some_and(|label| label.starts_with(|c: char| c.is_ascii_digit()));
        let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        if host.len() > NAME_BYTES_MAX || is_numeric || !is_port || !host.split('.').all(is_label) {
            return Err(());
        }
        Ok(Self::Name { host: host.to_ascii_lowercase(), port: port.parse().map_err(|_| ())? })
    }
}

/// Nobody connects to several at once.
fn is_of_many(address: IpAddr) -> bool {
    address.is_multicast() || address.to_canonical() == IpAddr::V4(Ipv4Addr::BROADCAST)
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Passed { name } => write!(f, "{PASSED}{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_a_name_is_taken_and_nothing_that_is_neither() {
        for (text, is_loopback) in [
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("[::]:0", false),
            ("localhost:8080", true),
            ("gateway.localhost:1", true),
            ("gateway-1.internal:8080", false),
            ("localhost.example.com:8080", false),
            ("systemd:web", false),
            ("systemd:tokengate.socket", false),
        ] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), address.is_loopback()), (text, is_loopback));
        }
        assert_eq!("LOCALHOST:1".parse::<ListenAddress>().unwrap().to_string(), "localhost:1");
        for text in [
            "",
            "8080",
            ":8080",
            "localhost",
            "localhost:",
            "localhost:http",
            "localhost:+80",
            "localhost:65536",
            "localhost.:80",
            "a..b:80",
            "-a:80",
            "a b:80",
            "http://localhost:80",
            "localhost:80/",
            "::1:80",
            "127.1:80",
            "1:80",
            "256.0.0.1:80",
            "255.255.255.255:80",
            "224.0.0.1:80",
            "[ff02::1]:80",
            "[::ffff:255.255.255.255]:80",
            "*:80",
            "systemd:",
            "systemd:a:b",
            "systemd:a b",
        ] {
            assert_eq!(text.parse::<ListenAddress>(), Err(()), "{text}");
        }
    }
}
