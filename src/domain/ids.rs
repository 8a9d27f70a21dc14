//! The names of things: sessions, subjects, tokens, generations, partitions.

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::time::Timestamp;

/// The longest subject or token id that is accepted, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// One login on one device.
///
/// 16 bytes, big-endian: partition (2), creation in milliseconds since the epoch (6), entropy (8). It therefore tells where
/// its record lives and when it began without a look-up. Not a secret: whoever knows it can do nothing with it.
/// Text form: 22 characters of unpadded base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; 16]);

impl SessionId {
    pub const TEXT_LEN: usize = 22;

    /// Of a login. It names no [`TokenMaker`], whatever was drawn.
    #[must_use]
    pub fn new(partition: Partition, created_at: Timestamp, entropy: [u8; 8]) -> Self {
        let mut id = Self::of_parts(partition, created_at, entropy);
        if id.token_maker().is_some() {
            // No mark has this bit.
            id.0[8] ^= 0x80;
        }
        id
    }

    fn of_parts(partition: Partition, created_at: Timestamp, entropy: [u8; 8]) -> Self {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&partition.0.to_be_bytes());
        let millis = created_at.millis().clamp(0, MILLIS_MAX);
        bytes[2..8].copy_from_slice(&millis.to_be_bytes()[2..]);
        bytes[8..].copy_from_slice(&entropy);
        Self(bytes)
    }

    /// The session that a subject token belongs to, whether or not it was exchanged yet: the same for the same token on every node.
    /// `digest` is over the part of the token that is signed. Its creation is the token's (the epoch, if that does not tell), so
    /// that a revocation of the subject covers the one exactly when it covers the other.
    #[must_use]
    pub fn of_subject_token(maker: TokenMaker, partition: Partition, issued_at: Option<Timestamp>, digest: &[u8; 32]) -> Self {
        let mut entropy = [0; 8];
        entropy[..2].copy_from_slice(&maker.mark());
        entropy[2..].copy_from_slice(&digest[..6]);
        Self::of_parts(partition, issued_at.unwrap_or(Timestamp::from_millis(0)), entropy)
    }

    /// Who made the token of which [`SessionId::of_subject_token`] made it.
    #[must_use]
    pub fn token_maker(self) -> Option<TokenMaker> {
        [TokenMaker::Api, TokenMaker::Issuer].into_iter().find(|maker| self.0[8..10] == maker.mark())
    }

    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    #[must_use]
    pub const fn partition(self) -> Partition {
        Partition(u16::from_be_bytes([self.0[0], self.0[1]]))
    }

    #[must_use]
    pub fn created_at(self) -> Timestamp {
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&self.0[2..8]);
        Timestamp::from_millis(i64::from_be_bytes(millis))
    }

    /// Reads the text form; `None` for anything that [`fmt::Display`] would not have written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        use base64::Engine as _;
        let mut bytes = [0; 16];
        let written = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (text.len() == Self::TEXT_LEN && written == bytes.len()).then_some(Self(bytes))
    }
}

/// Who made a token that becomes a session of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenMaker {
    /// The API, before it had the gateway: a legacy token.
    Api,
    /// Another issuer.
    Issuer,
}

impl TokenMaker {
    /// What the last part of its session's id begins with. Revocations of such a session must be remembered for longer than others.
    const fn mark(self) -> [u8; 2] {
        match self {
            Self::Api => *b"ol",
            Self::Issuer => *b"is",
        }
    }
}

/// The largest creation time that fits into the six bytes of a [`SessionId`].
const MILLIS_MAX: i64 = (1 << 48) - 1;

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use base64::Engine as _;
        let mut text = [0; Self::TEXT_LEN];
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a session id"))
    }
}

/// Why a string is not a [`Subject`] or a [`TokenId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("is empty")]
    Empty,
    #[error("is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    #[error("contains a control character")]
    ControlCharacter,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(Arc<str>);

        impl $name {
            /// # Errors
            /// Empty, longer than [`NAME_BYTES_MAX`] bytes, or with a control character.
            pub fn new(text: &str) -> Result<Self, NameError> {
                if text.is_empty() {
                    return Err(NameError::Empty);
                }
                if text.len() > NAME_BYTES_MAX {
                    return Err(NameError::TooLong);
                }
                if text.chars().any(char::is_control) {
                    return Err(NameError::ControlCharacter);
                }
                Ok(Self(text.into()))
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type! {
    /// The user: the `sub` that the upstream chose. Non-empty, at most [`NAME_BYTES_MAX`] bytes, no control characters.
    Subject
}

name_type! {
    /// One token: its `jti`, under the same rules as [`Subject`].
    TokenId
}

/// Counts a session's refresh tokens: the first is 1, each rotation raises it by one. 0 is the parent of the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl Generation {
    pub const NONE: Self = Self(0);
    pub const FIRST: Self = Self(1);

    /// `None` once four billion rotations are spent; the session then ends like an expired one.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

/// The unit of placement in the store; all keys of one subject and its sessions share one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Partition(pub u16);

/// How many partitions the deployment has. Fixed for its life: subjects are placed by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Partitions(NonZeroU16);

impl Partitions {
    pub const ONE: Self = Self(NonZeroU16::MIN);

    #[must_use]
    pub const fn new(count: NonZeroU16) -> Self {
        Self(count)
    }

    #[must_use]
    pub const fn count(self) -> u16 {
        self.0.get()
    }

    /// The partition of a subject and of all its sessions.
    #[must_use]
    pub fn of(self, subject: &Subject) -> Partition {
        self.of_bytes(subject.as_str().as_bytes())
    }

    /// FNV-1a of the bytes, modulo the count. Stable across versions and machines.
    #[must_use]
    pub fn of_bytes(self, bytes: &[u8]) -> Partition {
        let hash = bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let slot = hash % u64::from(self.0.get());
        Partition(u16::try_from(slot).expect("a remainder by a u16 fits into one"))
    }

    pub fn iter(self) -> impl Iterator<Item = Partition> {
        (0..self.0.get()).map(Partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_tells_its_partition_and_creation() {
        let id = SessionId::new(Partition(513), Timestamp::from_millis(1_790_000_000_123), [7; 8]);
        assert_eq!(id.partition(), Partition(513));
        assert_eq!(id.created_at(), Timestamp::from_millis(1_790_000_000_123));
        assert_eq!(SessionId::parse(&id.to_string()), Some(id));
    }

    #[test]
    fn a_subject_token_has_one_session_id() {
        let issued_at = Timestamp::from_secs(1_700_000_000);
        for maker in [TokenMaker::Api, TokenMaker::Issuer] {
            let of = |issued_at, digest| SessionId::of_subject_token(maker, Partition(3), issued_at, digest);
            let id = of(Some(issued_at), &[5; 32]);
            assert_eq!((id.partition(), id.created_at(), id.token_maker()), (Partition(3), issued_at, Some(maker)));
            assert_eq!(id, of(Some(issued_at), &[5; 32]));
            assert_ne!(id, of(Some(issued_at), &[6; 32]));
            assert_eq!(of(None, &[5; 32]).created_at(), Timestamp::from_millis(0));
        }
        for drawn in [[7; 8], *b"is123456", *b"ol123456"] {
            assert_eq!(SessionId::new(Partition(3), issued_at, drawn).token_maker(), None, "a login is made of no token");
        }
    }

    #[test]
    fn only_the_canonical_text_of_a_session_id_is_read() {
        let text = SessionId::from_bytes([255; 16]).to_string();
        assert_eq!(text.len(), SessionId::TEXT_LEN);
        for bad in ["", "short", &format!("{text}A"), &text.replace('_', "/"), &format!("{}x", &text[..21])] {
            assert_eq!(SessionId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_refuse_what_could_confuse_a_log_or_a_header() {
        assert_eq!(Subject::new(""), Err(NameError::Empty));
        assert_eq!(Subject::new("a\nb"), Err(NameError::ControlCharacter));
        assert_eq!(Subject::new("a\u{85}b"), Err(NameError::ControlCharacter));
        assert_eq!(Subject::new(&"a".repeat(256)), Err(NameError::TooLong));
        assert!(Subject::new("zoë@example.com").is_ok());
    }

    #[test]
    fn placement_is_stable() {
        let partitions = Partitions::new(NonZeroU16::new(16).unwrap());
        let places: Vec<u16> = ["a", "user-1", "user-2"].iter().map(|s| partitions.of(&Subject::new(s).unwrap()).0).collect();
        assert_eq!(places, [12, 4, 13], "changing this moves every session of every deployment");
    }
}
