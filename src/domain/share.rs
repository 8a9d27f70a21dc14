//! A part of all callers, the same ones on every node and after every restart.

use std::net::IpAddr;

use super::stable_hash::stable_hash;

/// How many of a hundred callers something holds for. Whoever is within a share is within every larger one: a share that grows and
/// shrinks again moves nobody else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Share(u8);

/// Leading bits of an IPv6 address that stay while a machine changes the others.
const IPV6_NETWORK_BITS: u32 = 64;

impl Share {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(100);

    /// `None` beyond a hundred.
    #[must_use]
    pub const fn new(percent: u8) -> Option<Self> {
        if percent <= Self::ALL.0 { Some(Self(percent)) } else { None }
    }

    #[must_use]
    pub const fn percent(self) -> u8 {
        self.0
    }

    #[must_use]
    pub const fn is_all(self) -> bool {
        self.0 == Self::ALL.0
    }

    /// Whether a caller is within the share, by what tells callers apart: a subject.
    #[must_use]
    pub fn includes(self, caller: &[u8]) -> bool {
        self.is_all() || place(caller) < u64::from(self.0)
    }

    /// For callers of whom nothing but the address is known.
    #[must_use]
    pub fn includes_address(self, address: IpAddr) -> bool {
        self.is_all()
            || match address.to_canonical() {
                IpAddr::V4(address) => self.includes(&address.octets()),
                IpAddr::V6(address) => self.includes(&(address.to_bits() >> (u128::BITS - IPV6_NETWORK_BITS)).to_be_bytes()),
            }
    }
}

/// One of a hundred places.
fn place(caller: &[u8]) -> u64 {
    stable_hash(caller) % u64::from(Share::ALL.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn share(percent: u8) -> Share {
        Share::new(percent).unwrap()
    }

    #[test]
    fn a_percentage_of_subjects_is_within_and_nobody_or_everybody_at_the_ends() {
        let within = |percent| (0..10_000).filter(|id| share(percent).includes(format!("user-{id}").as_bytes())).count();
        assert_eq!((within(0), within(100)), (0, 10_000));
        for (percent, about) in [(1, 100), (25, 2_500), (50, 5_000), (99, 9_900)] {
            assert!(within(percent).abs_diff(about) < 150, "{percent} %: {}", within(percent));
        }
        assert_eq!(Share::new(101), None);
    }

    #[test]
    fn the_places_are_those_of_every_node_and_version() {
        let places: Vec<u64> = ["1", "42", "ann", "bob@example.com"].iter().map(|id| place(id.as_bytes())).collect();
        assert_eq!(places, [82, 76, 83, 1], "changing this moves people in and out in the middle of a ramp");
    }

    #[test]
    fn a_machine_that_changes_its_ipv6_address_stays_where_it_is() {
        let place = |text: &str| (0..=100).find(|percent| share(*percent).includes_address(text.parse().unwrap()));
        assert_eq!(place("2001:db8:1:2:3::4"), place("2001:db8:1:2::ffff"));
        assert_eq!(place("::ffff:192.0.2.1"), place("192.0.2.1"));
    }

    proptest! {
        #[test]
        fn a_larger_share_keeps_everyone_of_a_smaller_one(caller: Vec<u8>, small in 0..=100_u8, more in 0..=100_u8) {
            let large = small.saturating_add(more).min(100);
            prop_assert!(!share(small).includes(&caller) || share(large).includes(&caller));
        }
    }
}
