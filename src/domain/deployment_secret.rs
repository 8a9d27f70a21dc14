//! The secret that all nodes of a deployment share and from which refresh-token keys are derived.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::secret::Secret;

/// The least that a secret must hold, in bytes after decoding.
pub const SECRET_BYTES_MIN: usize = 32;

/// The most that is read, in characters.
pub const SECRET_CHARS_MAX: usize = 4096;

/// At least [`SECRET_BYTES_MIN`] bytes that only the deployment's nodes know.
#[derive(Clone, Debug)]
pub struct DeploymentSecret(Secret<Vec<u8>>);

/// Why a text is not a usable secret; says how to make one, and nothing of the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SecretError {
    #[error("is neither hex nor base64; make one with: openssl rand -base64 32")]
    Encoding,
    #[error("holds {bytes} bytes, at least {SECRET_BYTES_MIN} are needed; make one with: openssl rand -base64 32")]
    TooShort { bytes: usize },
    #[error("is longer than {SECRET_CHARS_MAX} characters; make one with: openssl rand -base64 32")]
    TooLong,
    #[error("repeats one byte, so anyone can guess it; make one with: openssl rand -base64 32")]
    Constant,
    #[error("is missing; make one with: openssl rand -base64 32")]
    Missing,
    #[error("has the same key id as another secret in the list; make another with: openssl rand -base64 32")]
    KeyIdTaken,
    #[error("is one of too many: take out those whose tokens have run out")]
    TooMany,
}

impl DeploymentSecret {
    /// Reads hex or base64 (either alphabet, padded or not); white space around it is ignored. A text of an even number of
    /// hex digits is hex, though it might be base64 too.
    ///
    /// # Errors
    /// In another encoding, too short or too long, or one byte repeated.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        decode(text).map(|bytes| Self(Secret::new(bytes)))
    }

    /// The one way to the bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

/// The bytes of a secret in hex or base64, at least [`SECRET_BYTES_MIN`] of them.
///
/// # Errors
/// See [`DeploymentSecret::parse`].
pub fn decode(text: &str) -> Result<Vec<u8>, SecretError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(SecretError::Missing);
    }
    if text.len() > SECRET_CHARS_MAX {
        return Err(SecretError::TooLong);
    }
    let bytes = decode_hex(text)
        .or_else(|| [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].iter().find_map(|engine| engine.decode(text).ok()))
        .ok_or(SecretError::Encoding)?;
    if bytes.len() < SECRET_BYTES_MIN {
        return Err(SecretError::TooShort { bytes: bytes.len() });
    }
    if bytes.iter().all(|byte| *byte == bytes[0]) {
        return Err(SecretError::Constant);
    }
    Ok(bytes)
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.bytes().map(|b| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = Zeroizing::new(digits?);
    digits.len().is_multiple_of(2).then(|| digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_common_encoding_is_read() {
        let bytes: Vec<u8> = (200..=240).collect();
        let hex = bytes.iter().fold(String::new(), |hex, b| format!("{hex}{b:02x}"));
        let texts = [
            STANDARD.encode(&bytes),
            STANDARD_NO_PAD.encode(&bytes),
            URL_SAFE.encode(&bytes),
            URL_SAFE_NO_PAD.encode(&bytes),
            hex.to_uppercase(),
            format!("  {hex}\n"),
        ];
        for text in texts {
            assert_eq!(decode(&text).as_deref(), Ok(bytes.as_slice()), "{text}");
        }
    }

    #[test]
    fn weak_secrets_are_refused_with_the_command_that_mends_it() {
        let refused = [
            ("", SecretError::Missing),
            (" \n", SecretError::Missing),
            ("correct horse battery staple", SecretError::Encoding),
            ("c2hvcnQ=", SecretError::TooShort { bytes: 5 }),
            (&"00".repeat(32), SecretError::Constant),
            (&"a".repeat(5000), SecretError::TooLong),
        ];
        for (text, error) in refused {
            assert_eq!(DeploymentSecret::parse(text).unwrap_err(), error, "{text}");
            assert!(error.to_string().contains("openssl rand -base64 32"));
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let text = "0123456789abcdef".repeat(4);
        let shown = format!("{:?}", DeploymentSecret::parse(&text).unwrap());
        assert!(shown.contains("redacted") && !shown.contains("0123"));
    }
}
