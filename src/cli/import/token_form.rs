//! How a table holds its tokens, and which texts are none.

use crate::crypto::imported_token;
use crate::domain::imported::ImportedDigest;

/// How the table holds its tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum TokenForm {
    /// The tokens themselves.
    Clear,
    /// Their SHA-256, in hex or base64.
    Sha256,
}

impl TokenForm {
    /// The digest by which a token is found when its client presents it. Tokens in clear of fewer bytes than `token_bytes_min` are
    /// refused: whoever has one can guess others. The error shows nothing of the token.
    pub(super) fn digest(self, token: &str, token_bytes_min: usize) -> Result<ImportedDigest, String> {
        match self {
            Self::Clear if token.len() < token_bytes_min => {
                Err(format!("token: has {} bytes; allowed are {} or more (--token-bytes-min)", token.len(), token_bytes_min))
            }
            Self::Clear if token.contains(|c: char| c.is_whitespace() || c.is_control()) => {
                Err("token: has spaces or control characters within".to_owned())
            }
            Self::Clear if is_password_hash(token) => {
                Err("token: is the hash of one, made as for passwords; nobody can present the token that it was made of"
                    .to_owned())
            }
            Self::Clear if !is_varied(token) => Err("token: repeats a few characters, as a placeholder does".to_owned()),
            Self::Clear => imported_token::digest_of(token).ok_or_else(|| {
                format!("token: is longer than {} bytes, or one of the gateway's own", imported_token::TOKEN_BYTES_MAX)
            }),
            Self::Sha256 => {
                let digest = imported_token::read_digest(token).ok_or("token: is no SHA-256 in hex or base64")?;
                let is_of_nothing = imported_token::is_of_nothing(&digest);
                if is_of_nothing { Err("token: is the digest of an empty one, or of none".to_owned()) } else { Ok(digest) }
            }
        }
    }
}

/// `$2b$…`, `$argon2id$…`, `$scrypt$…`, `pbkdf2_sha256$…`: what a table holds that hashes its tokens like passwords.
fn is_password_hash(token: &str) -> bool {
    let modular = token.strip_prefix('$').and_then(|rest| rest.split_once('$')).is_some_and(|(scheme, _)| {
        scheme.starts_with('2')
            || ["argon2", "scrypt", "pbkdf2", "1", "5", "6", "y"].iter().any(|known| scheme.starts_with(known))
    });
    modular || token.starts_with("pbkdf2") || token.starts_with("bcrypt")
}

/// A token of chance never has so few different bytes; zeros, stars and the empty UUID do.
fn is_varied(token: &str) -> bool {
    const DISTINCT_MIN: usize = 4;
    let mut distinct: Vec<u8> = Vec::with_capacity(DISTINCT_MIN);
    for byte in token.bytes() {
        if !distinct.contains(&byte) {
            distinct.push(byte);
        }
        if distinct.len() == DISTINCT_MIN {
            return true;
        }
    }
    false
}
