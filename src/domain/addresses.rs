//! From which addresses a route may be used.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

/// Networks that may, and networks that may not. What is in both may not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AddressRule {
    /// Empty: all that are not denied.
    allowed: Box<[IpNet]>,
    denied: Box<[IpNet]>,
}

/// Nobody could use the route.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("every network that is allowed is denied too: nobody could use the route")]
pub struct NobodyAdmitted;

impl AddressRule {
    /// An IPv4 address is one network of its own, however it is written.
    ///
    /// # Errors
    /// All that is allowed is denied.
    pub fn new(allowed: Vec<IpNet>, denied: Vec<IpNet>) -> Result<Self, NobodyAdmitted> {
        let canonical = |nets: Vec<IpNet>| nets.into_iter().map(canonical).collect::<Box<[IpNet]>>();
        let rule = Self { allowed: canonical(allowed), denied: canonical(denied) };
        let everything = [IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0), IpNet::V6(ipnet::Ipv6Net::default())];
        let admitted = if rule.allowed.is_empty() { &everything[..] } else { &rule.allowed };
        // Two halves are denied as the whole is.
        let denied = IpNet::aggregate(&rule.denied.to_vec());
        let is_denied = |net: &IpNet| denied.iter().any(|denied| denied.contains(net));
        if admitted.iter().all(is_denied) { Err(NobodyAdmitted) } else { Ok(rule) }
    }

    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_in = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
        !is_in(&self.denied) && (self.allowed.is_empty() || is_in(&self.allowed))
    }

    /// Whether every address that this one admits is known to be admitted by `other`.
    #[must_use]
    pub fn is_as_strict_as(&self, other: &Self) -> bool {
        let is_within = |net: &IpNet, nets: &[IpNet]| nets.iter().any(|outer| outer.contains(net));
        let within_allowed =
            other.allowed.is_empty() || !self.allowed.is_empty() && self.allowed.iter().all(|net| is_within(net, &other.allowed));
        let is_out_of_reach = |denied: &IpNet| {
            let meets = |net: &IpNet| net.contains(denied) || denied.contains(net);
            is_within(denied, &self.denied) || !self.allowed.is_empty() && !self.allowed.iter().any(meets)
        };
        within_allowed && other.denied.iter().all(is_out_of_reach)
    }

    #[must_use]
    pub fn allowed(&self) -> &[IpNet] {
        &self.allowed
    }

    #[must_use]
    pub fn denied(&self) -> &[IpNet] {
        &self.denied
    }
}

/// IPv4 addresses that are written as IPv6 (`::ffff:10.0.0.0/104`) are IPv4 addresses.
fn canonical(net: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let IpNet::V6(v6) = net else { return net.trunc() };
    match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(MAPPED_BITS)) {
        (Some(v4), Some(bits)) => Ipv4Net::new_assert(v4, bits).trunc().into(),
        (None, _) | (_, None) => net.trunc(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn rule(allowed: &[&str], denied: &[&str]) -> AddressRule {
        AddressRule::new(nets(allowed), nets(denied)).unwrap()
    }

    fn admits(rule: &AddressRule, address: &str) -> bool {
        rule.admits(address.parse().unwrap())
    }

    #[test]
    fn denied_is_denied_and_an_empty_list_allows_all() {
        let office = rule(&["10.0.0.0/8", "2001:db8::/32"], &["10.9.0.0/16"]);
        for (address, admitted) in [
            ("10.1.2.3", true),
            ("10.9.2.3", false),
            ("11.0.0.1", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
            ("::1", false),
        ] {
            assert_eq!(admits(&office, address), admitted, "{address}");
        }
        let all_but_one = rule(&[], &["192.0.2.1/32"]);
        assert!(admits(&all_but_one, "192.0.2.2") && admits(&all_but_one, "::1") && !admits(&all_but_one, "192.0.2.1"));
        assert!(admits(&AddressRule::default(), "192.0.2.1"));
    }

    #[test]
    fn an_ipv4_address_is_one_however_it_is_written() {
        for written in [rule(&["10.0.0.0/8"], &[]), rule(&["::ffff:10.0.0.0/104"], &[])] {
            assert!(admits(&written, "10.1.2.3") && admits(&written, "::ffff:10.1.2.3"), "{written:?}");
            assert!(!admits(&written, "::ffff:11.1.2.3"), "{written:?}");
        }
        let denied = rule(&[], &["::ffff:10.0.0.1/128"]);
        assert!(!admits(&denied, "10.0.0.1") && !admits(&denied, "::ffff:10.0.0.1") && admits(&denied, "10.0.0.2"));
    }

    #[test]
    fn a_rule_that_admits_nobody_is_none() {
        let made = |allowed: &[&str], denied: &[&str]| AddressRule::new(nets(allowed), nets(denied));
        assert_eq!(made(&["10.0.0.0/8"], &["0.0.0.0/0"]), Err(NobodyAdmitted));
        assert_eq!(made(&["10.0.0.0/8", "::1/128"], &["10.0.0.0/7", "::/0"]), Err(NobodyAdmitted));
        assert_eq!(made(&[], &["0.0.0.0/0", "::/0"]), Err(NobodyAdmitted));
        assert_eq!(made(&[], &["128.0.0.0/1", "::/1", "0.0.0.0/1", "8000::/1"]), Err(NobodyAdmitted));
        assert_eq!(made(&["10.0.0.0/24"], &["10.0.0.0/25", "10.0.0.128/26", "10.0.0.192/26"]), Err(NobodyAdmitted));
        assert!(made(&["10.0.0.0/24"], &["10.0.0.0/25", "10.0.0.128/26", "10.0.0.192/27"]).is_ok());
        assert!(made(&["10.0.0.0/8"], &["10.0.0.0/9"]).is_ok() && made(&[], &["0.0.0.0/0"]).is_ok());
    }

    #[test]
    fn strictness_is_containment() {
        let (all, office, floor) = (AddressRule::default(), rule(&["10.0.0.0/8"], &[]), rule(&["10.1.0.0/16"], &[]));
        let but = |denied: &str| rule(&[], &[denied]);
        assert!(floor.is_as_strict_as(&office) && office.is_as_strict_as(&all));
        assert!(!office.is_as_strict_as(&floor) && !all.is_as_strict_as(&office));
        assert!(but("10.0.0.0/8").is_as_strict_as(&but("10.1.0.0/16")));
        assert!(!but("10.1.0.0/16").is_as_strict_as(&but("10.0.0.0/8")) && !all.is_as_strict_as(&but("10.0.0.0/8")));
        assert!(floor.is_as_strict_as(&but("10.2.0.0/16")) && !floor.is_as_strict_as(&but("10.1.5.0/24")));
    }

    proptest! {
        #[test]
        fn whom_the_stricter_rule_admits_the_other_does(
            lists in prop::collection::vec(prop::collection::vec((any::<u8>(), 5..=8_u8), 0..3), 4),
            address in any::<u8>(),
        ) {
            // All within the last byte, so that networks meet often.
            let nets = |list: &[(u8, u8)]| {
                list.iter().map(|(last, bits)| format!("10.0.0.{last}/{}", 24 + bits).parse::<IpNet>().unwrap()).collect::<Vec<_>>()
            };
            let rule = |allowed: usize, denied: usize| AddressRule::new(nets(&lists[allowed]), nets(&lists[denied]));
            if let (Ok(own), Ok(other)) = (rule(0, 1), rule(2, 3)) {
                let address = IpAddr::from([10, 0, 0, address]);
                prop_assert!(own.is_as_strict_as(&own));
                if own.is_as_strict_as(&other) && own.admits(address) {
                    prop_assert!(other.admits(address));
                }
            }
        }
    }
}
