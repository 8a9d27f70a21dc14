//! Access tokens: minting ours.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::keyring::KeyRing;
use crate::domain::access_claims::{AccessClaims, ClaimError};
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
    /// What clients can send and the verifier looks at.
    pub bytes_max: usize,
}

/// Why no token was made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MintError {
    #[error("no key signs")]
    NoSigningKey,
    #[error("signing failed")]
    Signing,
    #[error("{0}")]
    TooLarge(TooLarge),
    /// It would be refused as soon as it came back.
    #[error("the access token could not be used: {0}")]
    Unusable(ClaimError),
}

/// A token that nobody could send, and what makes it so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TooLarge {
    bytes: usize,
    bytes_max: usize,
    /// Names and bytes, the heaviest first.
    claims: Vec<(String, usize)>,
}

/// How many claims are told of.
const CLAIMS_TOLD_MAX: usize = 8;

impl TooLarge {
    fn of(token: &NewAccessToken<'_>, bytes: usize) -> Self {
        let own = [("aud", size(token.audiences)), ("iss", size(token.issuer)), ("sub", size(token.subject))];
        let scope = ("scope", token.grant.scopes.iter().map(|scope| scope.len() + 1).sum());
        let granted = token.grant.claims.iter().map(|(name, value)| (name.as_str(), size(value)));
        let mut claims: Vec<(String, usize)> =
            own.into_iter().chain([scope]).chain(granted).map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        claims.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        claims.truncate(CLAIMS_TOLD_MAX);
        Self { bytes, bytes_max: token.bytes_max, claims }
    }
}

/// Of a value as JSON.
fn size(value: &(impl Serialize + ?Sized)) -> usize {
    serde_json::to_vec(value).map_or(0, |json| json.len())
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the access token would have {} bytes; allowed are {}; its claims weigh", self.bytes, self.bytes_max)?;
        for (position, (name, bytes)) in self.claims.iter().enumerate() {
            write!(f, "{} {name:?} {bytes}", if position == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Makes a signed JWT of type `at+jwt` (RFC 9068) with the claims `iss sub aud exp iat jti sid gen`, `scope` when there are scopes, and
/// the grant's. None that could not be used: too large, or one that our own verifier would not read.
pub fn mint(keys: &KeyRing, token: &NewAccessToken<'_>) -> Result<Secret<String>, MintError> {
    let signer = keys.signer().ok_or(MintError::NoSigningKey)?;
    let payload = serde_json::to_vec(&Payload(token)).map_err(|_| MintError::Signing)?;
    // What is far too large is not signed first.
    let unsigned = signer.header.len() + payload.len().div_ceil(3) * 4;
    if unsigned > token.bytes_max {
        return Err(MintError::TooLarge(TooLarge::of(token, unsigned)));
    }
    AccessClaims::parse(&payload).map_err(MintError::Unusable)?;
    let mut text = String::with_capacity(signer.header.len() + payload.len() * 4 / 3 + 96);
    text.push_str(&signer.header);
    URL_SAFE_NO_PAD.encode_string(payload, &mut text);
    let signature = signer.sign(text.as_bytes()).map_err(|_| MintError::Signing)?;
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut text);
    if text.len() > token.bytes_max {
        return Err(MintError::TooLarge(TooLarge::of(token, text.len())));
    }
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
