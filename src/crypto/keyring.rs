//! Our own keys: one signs, any number verify, one may be published before it signs.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use jsonwebtoken::Header;
use serde::Serialize;
use serde_json::json;

use super::entropy::Entropy;
use super::key::{SigningFailed, SigningKey, VerifyingKey};
use super::key_files::{self, KeyError, KeyFile, KeyProblem};
use crate::domain::algorithm::Algorithm;

/// The `typ` of our access tokens (RFC 9068, section 2.1).
const TOKEN_TYPE: &str = "at+jwt";

/// How many keys verify on that are kept nowhere and sign no more. Tokens live for minutes, and reloads that change the algorithm are rare.
const FORMER_KEPT_MAX: usize = 4;

/// An immutable snapshot of our own keys; a reload makes a new one.
#[derive(Debug)]
pub struct KeyRing {
    signer: Option<Signer>,
    keys: Vec<RingKey>,
    jwks: String,
}

/// A key of the ring, as it verifies.
#[derive(Clone, Debug)]
pub struct RingKey {
    pub kid: Arc<str>,
    pub key: Arc<VerifyingKey>,
    /// What the key does now.
    pub role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// New tokens carry its signature.
    Signs,
    /// Its private half is here, but another key signs: published ahead of its time, or retired.
    Waits,
    /// Its public half alone is here.
    Verifies,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signs => "signs",
            Self::Waits => "waits",
            Self::Verifies => "verifies",
        })
    }
}

/// The one key that signs, with the header that its tokens carry.
#[derive(Debug)]
pub(super) struct Signer {
    key: SigningKey,
    header: Header,
}

impl KeyRing {
    /// No key at all: mints nothing and verifies nothing of our own.
    #[must_use]
    pub fn empty() -> Self {
        Self { signer: None, keys: Vec::new(), jwks: json!({"keys": []}).to_string() }
    }

    /// Reads every `*.pem` and `*.secret` of the folder. A file's name without its ending is the `kid`, so `2026-11.pem` is the key
    /// `2026-11`; `NAME.pub.pem` may lie beside `NAME.pem`. `signing` names the key that signs; it may be left out when there
    /// is one private key only. Other files are passed over.
    ///
    /// # Errors
    /// Everything that is wrong in the folder at once, each with its file.
    pub fn load(dir: &Path, signing: Option<&str>) -> Result<Self, KeyError> {
        Self::assemble(dir, key_files::read_folder(dir)?, signing)
    }

    /// A ring of one new key that is kept nowhere: tokens die with the process.
    ///
    /// # Errors
    /// An algorithm for which no key is generated here.
    pub fn ephemeral(algorithm: Algorithm, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let file = key_files::ephemeral(algorithm, entropy)?;
        let kid = Arc::clone(&file.kid);
        Ok(Self::from_files(vec![file], Some(&kid)))
    }

    /// This ring with a new key that is kept nowhere and signs from now on. The others verify the tokens that they have signed; of those
    /// that were followed in this way before, the latest.
    ///
    /// # Errors
    /// An algorithm for which no key is generated here.
    pub fn followed_by_ephemeral(&self, algorithm: Algorithm, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let Self { signer, mut keys, .. } = Self::ephemeral(algorithm, entropy)?;
        let former = self.keys.iter().map(|key| RingKey { role: Role::Verifies, ..key.clone() });
        keys.extend(former.take(FORMER_KEPT_MAX));
        Ok(Self { jwks: jwks(&keys), signer, keys })
    }

    /// The algorithm of the key that signs.
    #[must_use]
    pub fn signs_by(&self) -> Option<Algorithm> {
        self.keys.iter().find(|key| key.role == Role::Signs).map(|key| key.key.algorithm())
    }

    /// A ring of one HMAC or PKCS#8 key that signs, for tests and demonstrations.
    #[must_use]
    pub fn single(kid: &str, signing: SigningKey, verifying: VerifyingKey) -> Self {
        let file = KeyFile { kid: kid.into(), verifying, signing: Some(signing) };
        Self::from_files(vec![file], Some(kid))
    }

    fn assemble(dir: &Path, files: Vec<KeyFile>, signing: Option<&str>) -> Result<Self, KeyError> {
        let private: Vec<&str> = files.iter().filter(|file| file.signing.is_some()).map(|file| &*file.kid).collect();
        let chosen = match (signing, private.as_slice()) {
            (Some(kid), _) if private.contains(&kid) => kid.to_owned(),
            (Some(kid), _) => return Err(KeyProblem::NoSuchSigningKey { dir: dir.into(), kid: kid.into() }.into()),
            (None, [kid]) => (*kid).to_owned(),
            (None, []) => return Err(KeyProblem::NothingSigns { dir: dir.into() }.into()),
            (None, many) => return Err(KeyProblem::SigningKeyNotNamed { dir: dir.into(), kids: many.join(", ") }.into()),
        };
        Ok(Self::from_files(files, Some(&chosen)))
    }

    fn from_files(files: Vec<KeyFile>, signing: Option<&str>) -> Self {
        let mut signer = None;
        let mut keys = Vec::with_capacity(files.len());
        for file in files {
            let signs = signing == Some(&*file.kid);
            let role = match (&file.signing, signs) {
                (Some(_), true) => Role::Signs,
                (Some(_), false) => Role::Waits,
                (None, _) => Role::Verifies,
            };
            if let (Some(key), true) = (file.signing, signs) {
                signer = Some(Signer { header: key.header(TOKEN_TYPE, &file.kid), key });
            }
            keys.push(RingKey { kid: file.kid, key: Arc::new(file.verifying), role });
        }
        Self { jwks: jwks(&keys), signer, keys }
    }

    /// Every key, by file name.
    #[must_use]
    pub fn keys(&self) -> &[RingKey] {
        &self.keys
    }

    /// The public keys as a JWK Set (RFC 7517, section 5), those that wait included; never an HMAC key.
    #[must_use]
    pub fn jwks(&self) -> &str {
        &self.jwks
    }

    pub(super) const fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }
}

fn jwks(keys: &[RingKey]) -> String {
    let public: Vec<_> = keys.iter().filter_map(|entry| entry.key.jwk(&entry.kid)).collect();
    json!({"keys": public}).to_string()
}

impl Signer {
    /// A JWT with these claims.
    pub(super) fn encode(&self, claims: &impl Serialize) -> Result<String, SigningFailed> {
        self.key.encode(&self.header, claims)
    }
}
