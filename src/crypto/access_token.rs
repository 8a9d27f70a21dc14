//! Access tokens: minting ours.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::keyring::KeyRing;
use crate::domain::claims::RESERVED_CLAIMS;
use crate::domain::ids::{Generation, SessionId, Subject, TokenId};
use crate::domain::secret::Secret;
use crate::domain::session::Grant;
use crate::domain::time::Timestamp;

/// Everything that a new access token says.
#[derive(Clone, Copy, Debug)]
pub struct NewAccessToken<'a> {
    pub issuer: &'a str,
    pub subject: &'a Subject,
    pub audiences: &'a [String],
    pub session: SessionId,
    pub generation: Generation,
    pub token_id: &'a TokenId,
    /// Rounded down to the second, like `expires_at`.
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    /// Its claims never replace the registered ones: those names are passed over.
    pub grant: &'a Grant,
}

/// Why no token was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MintError {
    #[error("no key signs")]
    NoSigningKey,
    #[error("signing failed")]
    Signing,
}

/// Makes a signed JWT of type `at+jwt` (RFC 9068) with the claims `iss sub aud exp iat jti sid gen`, `scope` when there are scopes, and
/// the grant's.
pub fn mint(keys: &KeyRing, token: &NewAccessToken<'_>) -> Result<Secret<String>, MintError> {
    let signer = keys.signer().ok_or(MintError::NoSigningKey)?;
    let payload = serde_json::to_vec(&Payload(token)).map_err(|_| MintError::Signing)?;
    let mut text = String::with_capacity(signer.header.len() + payload.len() * 4 / 3 + 96);
    text.push_str(&signer.header);
    URL_SAFE_NO_PAD.encode_string(payload, &mut text);
    let signature = signer.sign(text.as_bytes()).map_err(|_| MintError::Signing)?;
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut text);
    Ok(Secret::new(text))
}

struct Payload<'a>(&'a NewAccessToken<'a>);

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let token = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("iss", token.issuer)?;
        map.serialize_entry("sub", token.subject)?;
        match token.audiences {
            [one] => map.serialize_entry("aud", one)?,
            many => map.serialize_entry("aud", many)?,
        }
        map.serialize_entry("exp", &token.expires_at.secs())?;
        map.serialize_entry("iat", &token.issued_at.secs())?;
        map.serialize_entry("jti", token.token_id)?;
        map.serialize_entry("sid", &token.session)?;
        map.serialize_entry("gen", &token.generation)?;
        if !token.grant.scopes.is_empty() {
            map.serialize_entry("scope", &token.grant.scopes.join(" "))?;
        }
        for (name, value) in &token.grant.claims {
            if !RESERVED_CLAIMS.contains(&name.as_str()) {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}
