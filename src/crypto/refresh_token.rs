//! Refresh tokens: opaque strings that are derived, not drawn, so that every retry of a refresh yields the very same bytes.
//!
//! `tgr_` and 64 characters of base64url over 48 bytes: version (1), key id (4), session id (16), generation (4), parent (4),
//! MAC (19). The MAC is HMAC-SHA-256 over the 29 bytes before it, truncated to 152 bits. Its key and the key id are derived
//! from the deployment's secret by HKDF-SHA-256 (RFC 5869). 48 is a multiple of three, so the encoding has no spare bits.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{hkdf, hmac};
use subtle::ConstantTimeEq as _;

use super::deployment_secret::{DeploymentSecret, SecretError};
use super::ticket::Tickets;
use crate::domain::ids::{Generation, SessionId};
use crate::domain::rotation::Presented;
use crate::domain::secret::Secret;
use crate::domain::token_prefix;

/// What every refresh token begins with: secret scanners and people know it by that.
pub const PREFIX: &str = token_prefix::REFRESH_TOKEN;

/// The length of every refresh token, in characters.
pub const TOKEN_LEN: usize = PREFIX.len() + BODY_LEN / 3 * 4;

/// How many secrets may verify at once.
pub const SECRETS_MAX: usize = 8;

const VERSION: u8 = 1;
const KEY_ID_LEN: usize = 4;
const SESSION_AT: usize = 1 + KEY_ID_LEN;
const GENERATION_AT: usize = SESSION_AT + 16;
const PARENT_AT: usize = GENERATION_AT + 4;
const MAC_AT: usize = PARENT_AT + 4;
const MAC_LEN: usize = 19;
const BODY_LEN: usize = MAC_AT + MAC_LEN;

/// What a genuine refresh token says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RefreshToken {
    pub session: SessionId,
    pub presented: Presented,
}

/// Makes and reads refresh tokens. Immutable; a reload makes a new one.
#[derive(Clone, Debug)]
pub struct RefreshTokens {
    /// The first signs; all verify. Never empty.
    keys: Vec<MacKey>,
    /// By the same secrets.
    tickets: Tickets,
}

#[derive(Clone, Debug)]
struct MacKey {
    id: [u8; KEY_ID_LEN],
    key: hmac::Key,
}

impl RefreshTokens {
    /// The first secret makes new tokens, the others are read until they are taken out.
    ///
    /// # Errors
    /// No secret, more than [`SECRETS_MAX`], or two of the same key id (so also: the same secret twice).
    pub fn new(secrets: &[DeploymentSecret]) -> Result<Self, SecretError> {
        if secrets.is_empty() {
            return Err(SecretError::Missing);
        }
        if secrets.len() > SECRETS_MAX {
            return Err(SecretError::TooMany);
        }
        let mut keys: Vec<MacKey> = Vec::with_capacity(secrets.len());
        for secret in secrets {
            let key = MacKey::derive(secret);
            if keys.iter().any(|other| other.id == key.id) {
                return Err(SecretError::KeyIdTaken);
            }
            keys.push(key);
        }
        Ok(Self { keys, tickets: Tickets::new(secrets) })
    }

    /// Tickets by the same secrets.
    #[must_use]
    pub const fn tickets(&self) -> &Tickets {
        &self.tickets
    }

    /// The token for this place in the session's line: the same bytes for the same arguments, on every node.
    #[must_use]
    pub fn seal(&self, session: SessionId, presented: Presented) -> Secret<String> {
        let key = &self.keys[0];
        let mut body = [0; BODY_LEN];
        body[0] = VERSION;
        body[1..SESSION_AT].copy_from_slice(&key.id);
        body[SESSION_AT..GENERATION_AT].copy_from_slice(session.as_bytes());
        body[GENERATION_AT..PARENT_AT].copy_from_slice(&presented.generation.0.to_be_bytes());
        body[PARENT_AT..MAC_AT].copy_from_slice(&presented.parent.0.to_be_bytes());
        let mac = key.mac(&body[..MAC_AT]);
        body[MAC_AT..].copy_from_slice(&mac);

        let mut text = String::with_capacity(TOKEN_LEN);
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(body, &mut text);
        Secret::new(text)
    }

    /// Reads a token that [`RefreshTokens::seal`] made with any of the secrets; `None` for every other text. The MAC is compared
    /// in constant time, and nothing is asked of anyone.
    #[must_use]
    pub fn open(&self, text: &str) -> Option<RefreshToken> {
        if text.len() != TOKEN_LEN {
            return None;
        }
        let mut body = [0; BODY_LEN];
        let encoded = text.strip_prefix(PREFIX)?;
        let written = URL_SAFE_NO_PAD.decode_slice(encoded, &mut body).ok()?;
        if written != BODY_LEN || body[0] != VERSION {
            return None;
        }
        // The key id is no secret: it travels in the clear and names a key, it does not reveal it.
        let key = self.keys.iter().find(|key| key.id == body[1..SESSION_AT])?;
        let mac = key.mac(&body[..MAC_AT]);
        if !bool::from(mac.ct_eq(&body[MAC_AT..])) {
            return None;
        }
        Some(RefreshToken {
            session: SessionId::from_bytes(body[SESSION_AT..GENERATION_AT].try_into().ok()?),
            presented: Presented {
                generation: Generation(u32::from_be_bytes(body[GENERATION_AT..PARENT_AT].try_into().ok()?)),
                parent: Generation(u32::from_be_bytes(body[PARENT_AT..MAC_AT].try_into().ok()?)),
            },
        })
    }
}

impl MacKey {
    fn derive(secret: &DeploymentSecret) -> Self {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"tokengate");
        let root = salt.extract(secret.expose());
        let key = root.expand(&[b"refresh token v1: mac"], hmac::HMAC_SHA256).expect("32 bytes are within what HKDF yields");
        let mut id = [0; KEY_ID_LEN];
        root.expand(&[b"refresh token v1: key id"], KeyIdLen)
            .and_then(|id_key| id_key.fill(&mut id))
            .expect("4 bytes are within what HKDF yields");
        Self { id, key: hmac::Key::from(key) }
    }

    fn mac(&self, message: &[u8]) -> [u8; MAC_LEN] {
        let tag = hmac::sign(&self.key, message);
        let mut mac = [0; MAC_LEN];
        mac.copy_from_slice(&tag.as_ref()[..MAC_LEN]);
        mac
    }
}

struct KeyIdLen;

impl hkdf::KeyType for KeyIdLen {
    fn len(&self) -> usize {
        KEY_ID_LEN
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret(byte: u8) -> DeploymentSecret {
        DeploymentSecret::parse(&format!("{byte:02x}{:02x}", !byte).repeat(16)).unwrap()
    }

    fn tokens(bytes: &[u8]) -> RefreshTokens {
        RefreshTokens::new(&bytes.iter().map(|byte| secret(*byte)).collect::<Vec<_>>()).unwrap()
    }

    fn place(generation: u32, parent: u32) -> Presented {
        Presented { generation: Generation(generation), parent: Generation(parent) }
    }

    #[test]
    fn the_bytes_never_change_between_versions() {
        let token = tokens(&[7]).seal(SessionId::from_bytes([9; 16]), place(3, 2));
        assert_eq!(
            token.expose(),
            "tgr_AQGE_MsJCQkJCQkJCQkJCQkJCQkJAAAAAwAAAAIUmSgSnOG7_dMQ8YHVklkSLiSz",
            "computed apart from this code"
        );
    }

    #[test]
    fn a_secret_that_was_retired_from_signing_still_opens() {
        let old = tokens(&[1]).seal(SessionId::from_bytes([9; 16]), place(3, 2));
        let both = tokens(&[2, 1]);
        assert!(both.open(old.expose()).is_some());
        let new = both.seal(SessionId::from_bytes([9; 16]), place(3, 2));
        assert_ne!(old.expose(), new.expose());
        assert!(tokens(&[1]).open(new.expose()).is_none());
        assert!(tokens(&[2]).open(new.expose()).is_some());
    }

    #[test]
    fn a_list_of_secrets_must_be_usable() {
        assert_eq!(RefreshTokens::new(&[]).unwrap_err(), SecretError::Missing);
        assert_eq!(RefreshTokens::new(&[secret(1), secret(1)]).unwrap_err(), SecretError::KeyIdTaken);
        let many: Vec<_> = (1..10).map(secret).collect();
        assert_eq!(RefreshTokens::new(&many).unwrap_err(), SecretError::TooMany);
    }

    #[test]
    fn only_the_one_spelling_opens() {
        let tokens = tokens(&[1]);
        let token = tokens.seal(SessionId::from_bytes([250; 16]), place(1, 0));
        let good = token.expose();
        let bad = [
            String::new(),
            PREFIX.to_owned(),
            good.replacen(PREFIX, "TGR_", 1),
            good.replacen(PREFIX, "", 1),
            format!("{good}="),
            format!("{good}A"),
            format!(" {good}"),
            format!("{good}\n"),
            good[..good.len() - 1].to_owned(),
            good.replace('_', "/"),
            format!("{}é", &good[..good.len() - 2]),
        ];
        for text in bad {
            assert_eq!(tokens.open(&text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_to_the_same_and_seals_to_the_same_bytes(
            session: [u8; 16], generation: u32, parent: u32, key in 1..=255_u8,
        ) {
            let tokens = tokens(&[key]);
            let session = SessionId::from_bytes(session);
            let presented = place(generation, parent);
            let token = tokens.seal(session, presented);
            prop_assert_eq!(token.expose().len(), TOKEN_LEN);
            prop_assert_eq!(tokens.open(token.expose()), Some(RefreshToken { session, presented }));
            let again = tokens.seal(session, presented);
            prop_assert_eq!(again.expose(), token.expose());
        }

        #[test]
        fn no_other_byte_anywhere_opens(session: [u8; 16], generation: u32, at in 0..TOKEN_LEN, byte in 0..128_u8) {
            let tokens = tokens(&[1, 2]);
            let token = tokens.seal(SessionId::from_bytes(session), place(generation, 0));
            let mut bytes = token.expose().clone().into_bytes();
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            prop_assert_eq!(tokens.open(std::str::from_utf8(&bytes).unwrap()), None);
        }

        #[test]
        fn foreign_text_never_opens_and_never_panics(text in "(tgr_)?\\PC{0,80}") {
            prop_assert_eq!(tokens(&[1]).open(&text), None);
        }
    }
}
