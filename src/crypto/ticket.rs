//! Tickets: random values that stand for an access token, once, on one path.
//!
//! `tgt_` and 67 characters of base64url over 50 bytes: partition (2), random bytes (32), MAC (16). The MAC is HMAC-SHA-256 over the 34
//! bytes before it, truncated, by a key that is derived from the deployment's secret, so that no made-up text costs the store a call.
//! A store gets neither the ticket nor the token: the name under which it keeps the one, and the key by which the other is sealed, are
//! derived from the random bytes by HKDF-SHA-256, the name from the path as well.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::{digest, hkdf, hmac};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::deployment_secret::DeploymentSecret;
use super::entropy::Entropy;
use crate::domain::claims::Principal;
use crate::domain::ids::{Partition, Partitions};
use crate::domain::secret::Secret;
use crate::domain::ticket::{PREFIX, TEXT_LEN, TicketDigest, TicketOwner};

const RANDOM_AT: usize = 2;
const MAC_AT: usize = RANDOM_AT + 32;
const BODY_LEN: usize = MAC_AT + 16;

const _: () = assert!(TEXT_LEN == PREFIX.len() + (BODY_LEN * 4).div_ceil(3));

/// Makes and reads tickets.
#[derive(Clone, Debug)]
pub struct Tickets {
    /// The first signs; all verify. Never empty.
    keys: Vec<hmac::Key>,
}

/// In whose names a ticket is issued.
#[derive(Clone, Copy, Debug)]
pub struct Owners {
    /// Where all tickets of the subject lie.
    pub home: Partition,
    /// The session; where there is none, the subject.
    pub owner: TicketOwner,
    pub subject: TicketOwner,
}

/// A ticket that was made here, or on another node.
pub struct Ticket {
    body: Zeroizing<[u8; BODY_LEN]>,
}

impl Tickets {
    pub(super) fn new(secrets: &[DeploymentSecret]) -> Self {
        Self { keys: secrets.iter().map(mac_key).collect() }
    }

    /// A new one.
    pub fn draw(&self, home: Partition, entropy: &dyn Entropy) -> Ticket {
        let mut body = Zeroizing::new([0; BODY_LEN]);
        body[..RANDOM_AT].copy_from_slice(&home.0.to_be_bytes());
        entropy.fill(&mut body[RANDOM_AT..MAC_AT]);
        let tag = hmac::sign(&self.keys[0], &body[..MAC_AT]);
        body[MAC_AT..].copy_from_slice(&tag.as_ref()[..BODY_LEN - MAC_AT]);
        Ticket { body }
    }

    /// `None` for every text that [`Tickets::draw`] did not make with any of the secrets.
    #[must_use]
    pub fn read(&self, text: &str) -> Option<Ticket> {
        let encoded = text.strip_prefix(PREFIX).filter(|_| text.len() == TEXT_LEN)?;
        let mut body = Zeroizing::new([0; BODY_LEN]);
        let written = URL_SAFE_NO_PAD.decode_slice(encoded, body.as_mut_slice()).ok()?;
        let is_ours = |key| bool::from(hmac::sign(key, &body[..MAC_AT]).as_ref()[..BODY_LEN - MAC_AT].ct_eq(&body[MAC_AT..]));
        let is_good = written == BODY_LEN && self.keys.iter().any(is_ours);
        is_good.then_some(Ticket { body })
    }

    /// In whose name the caller gets tickets, and where they lie.
    #[must_use]
    pub fn owners(principal: &Principal, partitions: Partitions) -> Owners {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(principal.issuer.as_bytes());
        hash.update(&[0]);
        hash.update(principal.subject.as_str().as_bytes());
        let mut subject = [0; 16];
        subject.copy_from_slice(&hash.finish().as_ref()[..16]);
        let subject = TicketOwner(subject);
        match principal.session {
            Some(session) => Owners { home: session.partition(), owner: TicketOwner(*session.as_bytes()), subject },
            None => Owners { home: partitions.of(&principal.subject), owner: subject, subject },
        }
    }
}

fn mac_key(secret: &DeploymentSecret) -> hmac::Key {
    let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"tokengate").extract(secret.expose());
    let key = root.expand(&[b"ticket v1: mac"], hmac::HMAC_SHA256).expect("32 bytes are within what HKDF yields");
    hmac::Key::from(key)
}

/// 32 bytes, for whatever they are.
struct Bytes32;

impl hkdf::KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

impl Ticket {
    #[must_use]
    pub fn text(&self) -> Secret<String> {
        let mut text = String::with_capacity(TEXT_LEN);
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(self.body.as_slice(), &mut text);
        Secret::new(text)
    }

    #[must_use]
    pub fn home(&self) -> Partition {
        Partition(u16::from_be_bytes([self.body[0], self.body[1]]))
    }

    /// Its name on this path. On another it has another, so that nobody finds it there.
    #[must_use]
    pub fn digest(&self, path: &str) -> TicketDigest {
        TicketDigest::new(*self.derive(&[b"name:", path.as_bytes()]))
    }

    /// What a store keeps in the token's place.
    #[must_use]
    pub fn seal(&self, token: &str) -> Vec<u8> {
        let mut sealed = token.as_bytes().to_vec();
        self.key().seal_in_place_append_tag(nonce(), Aad::empty(), &mut sealed).expect("a token is short enough to be sealed");
        sealed
    }

    /// The token; `None`: it is not what [`Ticket::seal`] made.
    #[must_use]
    pub fn open(&self, mut sealed: Vec<u8>) -> Option<Secret<String>> {
        let token = self.key().open_in_place(nonce(), Aad::empty(), &mut sealed).ok()?;
        let token = std::str::from_utf8(token).ok().map(|token| Secret::new(token.to_owned()));
        zeroize::Zeroize::zeroize(&mut sealed);
        token
    }

    fn key(&self) -> LessSafeKey {
        let key = self.derive(&[b"key"]);
        LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key.as_slice()).expect("32 bytes are a key"))
    }

    fn derive(&self, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"tokengate ticket v1").extract(&self.body[RANDOM_AT..MAC_AT]);
        let mut bytes = Zeroizing::new([0; 32]);
        let made = root.expand(info, Bytes32).and_then(|made| made.fill(bytes.as_mut_slice()));
        made.expect("32 bytes are within what HKDF yields");
        bytes
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticket")
    }
}

/// Of each key one: it is made for one token.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::entropy::SystemEntropy;

    fn tickets(bytes: &[u8]) -> Tickets {
        let secret = |byte: &u8| DeploymentSecret::parse(&format!("{byte:02x}{:02x}", !byte).repeat(16)).unwrap();
        Tickets::new(&bytes.iter().map(secret).collect::<Vec<_>>())
    }

    fn drawn(tickets: &Tickets) -> Ticket {
        tickets.draw(Partition(9), &SystemEntropy::new())
    }

    #[test]
    fn what_one_node_makes_another_reads_by_any_of_its_secrets() {
        let ticket = drawn(&tickets(&[1]));
        let text = ticket.text();
        let read = tickets(&[2, 1]).read(text.expose()).unwrap();
        assert_eq!((text.expose().len(), read.home()), (TEXT_LEN, Partition(9)));
        assert_eq!(read.digest("/api/events"), ticket.digest("/api/events"));
        let sealed = ticket.seal("header.payload.signature");
        assert!(!sealed.windows(7).any(|window| window == b"payload"));
        assert_eq!(read.open(sealed).unwrap().expose(), "header.payload.signature");
        assert!(tickets(&[2]).read(text.expose()).is_none());
    }

    #[test]
    fn a_ticket_has_another_name_on_every_path_and_opens_nothing_of_anothers() {
        let tickets = tickets(&[1]);
        let (one, other) = (drawn(&tickets), drawn(&tickets));
        assert_ne!(one.digest("/a"), one.digest("/b"));
        assert_ne!(one.digest("/a"), other.digest("/a"));
        assert!(other.open(one.seal("token")).is_none());
        assert!(one.open(b"short".to_vec()).is_none());
        assert_eq!(format!("{one:?}"), "Ticket");
    }

    proptest! {
        #[test]
        fn no_other_text_is_one(at in 0..TEXT_LEN, byte in 0..128_u8, text in "(tgt_)?\\PC{0,80}") {
            let tickets = tickets(&[1, 2]);
            let mut bytes = drawn(&tickets).text().expose().clone().into_bytes();
            prop_assert!(tickets.read(std::str::from_utf8(&bytes).unwrap()).is_some());
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            prop_assert!(tickets.read(std::str::from_utf8(&bytes).unwrap()).is_none());
            prop_assert!(tickets.read(&text).is_none());
        }
    }
}
