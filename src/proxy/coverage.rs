//! Which connections a listener takes: those to its address, or to every address of a family or of both.

use std::net::{IpAddr, SocketAddr};

/// What a listener at an address takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Coverage {
    pub address: SocketAddr,
    /// Whether `[::]` takes connections over IPv4 too.
    pub takes_both_families: bool,
}

impl Coverage {
    /// Whether there are connections that both would take. A port that the system is to choose is nobody else's.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.address.port() != 0 && self.address.port() == other.address.port() && (self.contains(other) || other.contains(self))
    }

    fn contains(&self, other: &Self) -> bool {
        if self.address == other.address {
            return true;
        }
        match (self.address.ip(), other.address.ip()) {
            (own, other) if own.to_canonical() == other.to_canonical() => own.is_ipv4() || other.is_ipv4(),
            (IpAddr::V4(own), IpAddr::V4(_)) => own.is_unspecified(),
            (IpAddr::V6(own), IpAddr::V6(_)) => own.is_unspecified(),
            (IpAddr::V6(own), IpAddr::V4(_)) => own.is_unspecified() && self.takes_both_families,
            (IpAddr::V4(own), IpAddr::V6(other)) => own.is_unspecified() && other.to_ipv4_mapped().is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage(address: &str, takes_both_families: bool) -> Coverage {
        Coverage { address: address.parse().unwrap(), takes_both_families }
    }

    #[test]
    fn addresses_overlap_where_a_connection_could_go_to_either() {
        for (one, other) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("127.0.0.1:80", "0.0.0.0:80"),
            ("0.0.0.0:80", "[::]:80"),
            ("127.0.0.1:80", "[::]:80"),
            ("[::1]:80", "[::]:80"),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
            ("[::ffff:127.0.0.1]:80", "0.0.0.0:80"),
        ] {
            let (one, other) = (coverage(one, true), coverage(other, true));
            assert!(one.overlaps(&other) && other.overlaps(&one), "{one:?} {other:?}");
        }
        for (one, other) in [
            ("127.0.0.1:80", "127.0.0.1:81"),
            ("127.0.0.1:80", "127.0.0.2:80"),
            ("127.0.0.1:80", "[::1]:80"),
            ("0.0.0.0:80", "[::1]:80"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[fe80::1%2]:80", "[fe80::1%3]:80"),
        ] {
            let (one, other) = (coverage(one, true), coverage(other, true));
            assert!(!one.overlaps(&other) && !other.overlaps(&one), "{one:?} {other:?}");
        }
        assert!(!coverage("[::]:80", false).overlaps(&coverage("0.0.0.0:80", false)), "each has its family");
    }
}
