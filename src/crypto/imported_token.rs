//! Refresh tokens that someone else made: their digest, from the token or from a text that holds it.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use ring::digest;

use super::refresh_token;
use crate::domain::imported::{ImportedDigest, stands_for_nothing};

/// The longest token that is imported or looked up, in bytes.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// The digest of a token; `None` for what cannot have been imported: it stands for none, is too long, or looks like one of ours.
#[must_use]
pub fn digest_of(token: &str) -> Option<ImportedDigest> {
    if stands_for_nothing(token) || token.len() > TOKEN_BYTES_MAX || token.starts_with(refresh_token::PREFIX) {
        return None;
    }
    Some(sha256(token))
}

fn sha256(text: &str) -> ImportedDigest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    ImportedDigest::from_bytes(bytes)
}

/// What a table of digests holds in the place of tokens that were none, as programs write it.
const HASHED_NOTHING: [&str; 12] =
    ["", "null", "NULL", "Null", "undefined", "None", "none", "nil", "\\N", "-", "NaN", "[object Object]"];

/// Whether a digest is one of nothing, or of one byte throughout: nobody's token has it.
#[must_use]
pub fn is_of_nothing(digest: &ImportedDigest) -> bool {
    static OF_NOTHING: LazyLock<[ImportedDigest; HASHED_NOTHING.len()]> = LazyLock::new(|| HASHED_NOTHING.map(sha256));
    let bytes = digest.as_bytes();
    bytes.iter().all(|byte| *byte == bytes[0]) || OF_NOTHING.contains(digest)
}

/// Reads a digest in hex (also as databases print bytes, `\x…`) or base64 of either alphabet.
#[must_use]
pub fn read_digest(text: &str) -> Option<ImportedDigest> {
    let text = text.strip_prefix("\\x").unwrap_or(text);
    let bytes = match text.len() {
        64 => hex(text),
        43 | 44 => [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].iter().find_map(|engine| engine.decode(text).ok()),
        _ => None,
    };
    bytes.and_then(|bytes| bytes.try_into().ok()).map(ImportedDigest::from_bytes)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect::<Option<_>>()?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_digest_is_read_as_databases_print_it() {
        let digest = digest_of("abc").unwrap();
        let base64 = STANDARD.encode(digest.as_bytes());
        for text in [ABC, &ABC.to_uppercase(), &format!("\\x{ABC}"), &base64, base64.trim_end_matches('=')] {
            assert_eq!(read_digest(text), Some(digest), "{text}");
        }
        for text in ["", "abc", &ABC[1..], &ABC.replace('b', "g"), &"é".repeat(32)] {
            assert_eq!(read_digest(text), None, "{text}");
        }
    }

    #[test]
    fn the_digest_of_nothing_is_nobodys() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in [empty, &"00".repeat(32), &"ff".repeat(32)] {
            assert!(is_of_nothing(&read_digest(text).unwrap()), "{text}");
        }
        assert!(is_of_nothing(&sha256("NULL")) && !is_of_nothing(&read_digest(ABC).unwrap()));
    }

    #[test]
    fn what_cannot_have_been_imported_has_no_digest() {
        for token in ["", "NULL", "None", "-", "\\N", "tgr_abc", &"a".repeat(TOKEN_BYTES_MAX + 1)] {
            assert_eq!(digest_of(token), None);
        }
        assert!(digest_of(&"a".repeat(TOKEN_BYTES_MAX)).is_some());
    }
}
