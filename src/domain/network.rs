//! Whose addresses count as one caller's, and when a silent peer counts as gone.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// How long a TCP connection is silent before its peer is asked whether it is still there, …
pub const KEEPALIVE_TIME: Duration = Duration::from_secs(60);

/// … how long until it is asked again, …
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// … and how often it may be without a reply.
pub const KEEPALIVE_RETRIES: u32 = 4;

/// After this a silent peer is gone.
pub const KEEPALIVE_TIMEOUT: Duration = KEEPALIVE_TIME.saturating_add(KEEPALIVE_INTERVAL.saturating_mul(KEEPALIVE_RETRIES));

/// An IPv4 address is one caller; of an IPv6 address, so many leading bits are.
#[must_use]
pub fn network(address: IpAddr, ipv6_prefix: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(ipv6_prefix.min(128))).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_addresses_count_singly_and_ipv6_addresses_by_network() {
        let of = |text: &str| network(text.parse().unwrap(), 64);
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2::"));
        assert_ne!(of("2001:db8:1:2::"), of("2001:db8:1:3::"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_eq!(network("2001:db8::1".parse().unwrap(), 128), "2001:db8::1".parse::<IpAddr>().unwrap());
    }
}
