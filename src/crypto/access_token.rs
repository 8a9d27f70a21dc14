//! Access tokens: minting ours.

use std::fmt;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::keyring::KeyRing;
use crate::domain::access_claims::{AccessClaims, ClaimError, LOGIN_CLAIM};
use crate::domain::claims::{CLIENT_CLAIM, is_mappable};
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
    pub holder: Holder<'a>,
    pub token_id: &'a TokenId,
    /// Rounded down to the second, like `expires_at`.
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    /// Its claims never replace the registered ones: those names are passed over.
    pub grant: &'a Grant,
    /// What clients can send and the verifier looks at.
    pub bytes_max: usize,
}

/// To whom a token belongs.
#[derive(Clone, Copy, Debug)]
pub enum Holder<'a> {
    Session {
        id: SessionId,
        generation: Generation,
    },
    /// An OAuth client, which got it for itself.
    Machine {
        client: &'a str,
    },
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

/// Makes a signed JWT of type `at+jwt` (RFC 9068) with the claims `iss sub aud exp iat jti`, `sid` and `gen` of a session or the `client_id`
/// of a machine, `auth_time` where the login is known,
/// `scope` when there are scopes, and the grant's. None that could not be used: too large, or one that our own verifier would not read.
pub fn mint(keys: &KeyRing, token: &NewAccessToken<'_>) -> Result<Secret<String>, MintError> {
    let signer = keys.signer().ok_or(MintError::NoSigningKey)?;
    let payload = serde_json::to_vec(&Payload(token)).map_err(|_| MintError::Signing)?;
    let too_large = |bytes| MintError::TooLarge(TooLarge::of(token, bytes));
    // What is far too large is not signed first.
    let payload_chars = payload.len().div_ceil(3) * 4;
    if payload_chars > token.bytes_max {
        return Err(too_large(payload_chars));
    }
    AccessClaims::parse(&payload).map_err(MintError::Unusable)?;
    let text = signer.encode(&Payload(token)).map_err(|_| MintError::Signing)?;
    if text.len() > token.bytes_max { Err(too_large(text.len())) } else { Ok(Secret::new(text)) }
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
        match &token.holder {
            Holder::Session { id, generation } => {
                map.serialize_entry("sid", id)?;
                map.serialize_entry("gen", generation)?;
            }
            Holder::Machine { client } => map.serialize_entry(CLIENT_CLAIM, client)?,
        }
        if let Some(logged_in_at) = token.grant.logged_in_at {
            map.serialize_entry(LOGIN_CLAIM, &logged_in_at.secs())?;
        }
        if !token.grant.scopes.is_empty() {
            map.serialize_entry("scope", &token.grant.scopes.join(" "))?;
        }
        for (name, value) in &token.grant.claims {
            if is_mappable(name) {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Map, json};

    use super::*;
    use crate::crypto::testing::{self, KID};
    use crate::domain::algorithm::Algorithm;

    fn minted(algorithm: Algorithm, bytes_max: usize) -> Result<String, MintError> {
        let claims = [("plan", json!("gold")), ("sub", json!("mallory")), ("auth_time", json!(2_000_000_000))];
        let claims: Map<_, _> = claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let logged_in_at = Some(Timestamp::from_millis(1_699_999_000_999));
        let new = NewAccessToken {
            issuer: "https://gate.example",
            subject: &Subject::new("user-1").unwrap(),
            audiences: &["api".to_owned()],
            holder: Holder::Session { id: SessionId::from_bytes([3; 16]), generation: Generation(2) },
            token_id: &TokenId::new("t1").unwrap(),
            issued_at: Timestamp::from_millis(1_700_000_000_999),
            expires_at: Timestamp::from_millis(1_700_000_900_999),
            grant: &Grant { scopes: vec!["read".to_owned(), "write".to_owned()], claims, logged_in_at },
            bytes_max,
        };
        mint(&testing::ring(algorithm), &new).map(|token| token.expose().clone())
    }

    fn decoded(part: &str) -> String {
        String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn every_byte_of_a_token_is_decided_by_what_it_says() {
        let token = minted(Algorithm::Hs256, 4096).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!(decoded(parts[0]), format!(r#"{{"typ":"at+jwt","alg":"HS256","kid":"{KID}"}}"#));
        let session = SessionId::from_bytes([3; 16]);
        let said = format!(
            r#"{{"iss":"https://gate.example","sub":"user-1","aud":"api","exp":1700000900,"iat":1700000000,"jti":"t1","sid":"{session}","#
        );
        assert_eq!(decoded(parts[1]), said + r#""gen":2,"auth_time":1699999000,"scope":"read write","plan":"gold"}"#);
        assert_eq!(minted(Algorithm::Hs256, 4096).unwrap(), token);
        for algorithm in Algorithm::ALL {
            let token = minted(algorithm, 4096).unwrap();
            assert!(decoded(token.split('.').next().unwrap()).contains(algorithm.name()), "{algorithm}");
        }
    }

    #[test]
    fn a_token_may_have_as_many_bytes_as_are_allowed_and_no_more() {
        let bytes = minted(Algorithm::Es256, 4096).unwrap().len();
        assert!(minted(Algorithm::Es256, bytes).is_ok());
        for few in [0, 100, bytes - 100, bytes - 1] {
            assert!(matches!(minted(Algorithm::Es256, few), Err(MintError::TooLarge(_))), "{few}");
        }
    }
}
