//! The nodes that share a store, as they know each other.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::lag::LagFigures;
use super::time::Timestamp;

/// One life of one gateway process: another one each time that it starts. Text form: 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u64);

impl NodeId {
    /// From eight random bytes.
    #[must_use]
    pub const fn new(entropy: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(entropy))
    }

    /// Reads the text form; `None` for anything that [`fmt::Display`] would not have written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_text_form = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if is_text_form { u64::from_str_radix(text, 16).ok().map(Self) } else { None }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a node id"))
    }
}

/// A node as it registers with each heartbeat.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    /// For people.
    pub name: String,
    pub started_at: Timestamp,
    /// Of the revocations on their way to this node, by its own clock.
    pub lag: LagFigures,
}

/// A mark in the revocation log: it ends nobody, and shows to those who see it that they have read the log up to there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Canary {
    /// Who wrote it.
    pub node: NodeId,
    /// Tells those of one node apart.
    pub number: u64,
    pub asks: Asks,
}

/// Who is to do something about a [`Canary`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Asks {
    /// Its writer alone, who takes the time until it comes back.
    Writer,
    /// Every node is to say that it has seen it.
    Everyone,
}

impl Canary {
    /// Reads the text form, `<node>-<number>` with a `!` behind it where it asks everyone.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (text, asks) = text.strip_suffix('!').map_or((text, Asks::Writer), |text| (text, Asks::Everyone));
        let (node, number) = text.split_once('-')?;
        Some(Self { node: NodeId::parse(node)?, number: number.parse().ok()?, asks })
    }
}

impl fmt::Display for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match self.asks {
            Asks::Writer => "",
            Asks::Everyone => "!",
        };
        write!(f, "{}-{}{end}", self.node, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canaries_are_read_as_they_were_written() {
        let node = NodeId::new([0, 1, 2, 3, 0xfc, 0xfd, 0xfe, 0xff]);
        for asks in [Asks::Writer, Asks::Everyone] {
            for number in [0, 1, u64::MAX] {
                let canary = Canary { node, number, asks };
                assert_eq!(Canary::parse(&canary.to_string()), Some(canary));
            }
        }
        for bad in ["", "-1", "00010203fcfdfeff", "00010203fcfdfeff-", "00010203FCFDFEFF-1", "+0010203fcfdfeff-1", "x-1!"] {
            assert_eq!(Canary::parse(bad), None, "{bad}");
        }
    }
}
