//! What a node of a Cluster says of all of them.

use super::Claim;
use crate::store::redis::options::Address;

/// A primary as a node knows it: where it is, and its slots.
#[derive(PartialEq, Eq, Debug)]
struct Primary {
    claim: Claim,
    /// First and last.
    slots: Vec<(u16, u16)>,
}

/// What one node says of itself and the others.
#[derive(PartialEq, Eq, Debug, Default)]
pub(in super::super) struct Account {
    primaries: Vec<Primary>,
    /// The address of each server that goes by a name, primary or not, and the same with the name.
    names: Vec<(Address, Address)>,
}

impl Account {
    /// Reads the reply of `CLUSTER NODES`. `asked` is who gave it: a node that was never reached by another does not know its own
    /// address. What cannot be read is passed over.
    pub(in super::super) fn read(reply: &str, asked: &Address) -> Self {
        let mut account = Self::default();
        for line in reply.lines() {
            account.note(line, asked);
        }
        account
    }

    pub(in super::super) fn primaries(&self) -> impl Iterator<Item = &Address> {
        self.primaries.iter().map(|primary| &primary.claim.primary)
    }

    pub(in super::super) fn names(&self) -> impl Iterator<Item = &(Address, Address)> {
        self.names.iter()
    }

    /// `<id> <ip:port@bus[,hostname]> <flags> <primary> <ping> <pong> <epoch> <link> <slot or range or [migration]>…`
    fn note(&mut self, line: &str, asked: &Address) -> Option<()> {
        let mut fields = line.split(' ');
        let (place, flags) = (fields.nth(1)?, fields.next()?);
        let epoch = fields.nth(3)?.parse().ok()?;
        if flags.split(',').any(|flag| matches!(flag, "noaddr" | "handshake")) {
            return None;
        }
        let (place, name) = place.split_once(',').map_or((place, None), |(place, rest)| (place, rest.split(',').next()));
        let (host, port) = place.split('@').next()?.rsplit_once(':')?;
        let host = if host.is_empty() { asked.host.as_str() } else { host };
        let mut address = Address { host: host.to_owned(), port: port.parse().ok()? };
        if let Some(name) = name.filter(|name| !name.is_empty() && !name.contains('=')) {
            let named = Address { host: name.to_owned(), ..address };
            self.names.push((address, named.clone()));
            address = named;
        }
        if flags.split(',').any(|flag| flag == "master") {
            let slots = fields.skip(1).filter_map(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                Some((first.parse().ok()?, last.parse().ok()?))
            });
            self.primaries.push(Primary { claim: Claim { epoch, primary: address }, slots: slots.collect() });
        }
        Some(())
    }
}

/// Of all that was said, the claim to a slot that counts.
pub(in super::super) fn owner(of_all: &[Account], slot: u16) -> Option<Claim> {
    let claims_slot = |primary: &&Primary| primary.slots.iter().any(|&(first, last)| (first..=last).contains(&slot));
    let primaries = of_all.iter().flat_map(|account| &account.primaries);
    primaries.filter(claims_slot).map(|primary| primary.claim.clone()).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
07c37dfe 127.0.0.1:30004@31004 slave e7d1eecc 0 1426238317239 4 connected
67ed2db8 127.0.0.1:30002@31002,redis-2.example,shard-id=1 master - 0 1426238316232 2 connected 5461-10922
292f8b36 127.0.0.1:30003@31003,,shard-id=69b master,fail? - 0 1426238318243 3 connected 10923-16383 [7->-67ed2db8]
e7d1eecc :30001@31001 myself,master - 0 0 1 connected 0-5459 5460
824fe116 :0@0 master,noaddr - 1426238316232 1426238315232 9 disconnected 0-16383
aaaaaaaa ::1:30009@31009 master - 0 1426238316232 0 connected
";

    fn asked() -> Address {
        Address::parse("seed:1").unwrap()
    }

    #[test]
    fn primaries_are_told_with_their_slots() {
        let account = Account::read(NODES, &asked());
        let places: Vec<String> = account.primaries().map(ToString::to_string).collect();
        assert_eq!(places, ["redis-2.example:30002", "127.0.0.1:30003", "seed:30001", "[::1]:30009"]);
        assert_eq!(account.primaries[2].slots, [(0, 5459), (5460, 5460)]);
        assert_eq!(account.primaries[1].slots, [(10923, 16383)], "a slot on its way is still where it is");
    }

    #[test]
    fn names_are_told_of_replicas_too() {
        let account = Account::read(&NODES.replace("@31004", "@31004,redis-4.example"), &asked());
        let names: Vec<String> = account.names().map(|(address, named)| format!("{address} {named}")).collect();
        assert_eq!(names, ["127.0.0.1:30004 redis-4.example:30004", "127.0.0.1:30002 redis-2.example:30002"]);
    }

    #[test]
    fn the_later_promotion_owns_the_slot_whoever_says_so() {
        let before = Account::read(NODES, &asked());
        let after = "07c37dfe 127.0.0.1:30004@31004 master - 0 0 12 connected 0-5460\ngarbage\n a b c";
        let said = [before, Account::read(after, &asked())];
        let owner = |slot| owner(&said, slot).unwrap().primary.to_string();
        assert_eq!((owner(5460), owner(5461)), ("127.0.0.1:30004".to_owned(), "redis-2.example:30002".to_owned()));
        assert_eq!(super::owner(&[], 1), None);
    }
}
