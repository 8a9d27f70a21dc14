//! What a WebSocket's handshake asks for to be sure that the other side speaks the protocol (RFC 6455, section 4). It keeps no secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The key of a client.
pub fn key_of(nonce: [u8; 16]) -> String {
    STANDARD.encode(nonce)
}

/// What a server says to that key.
pub fn accept_of(key: impl AsRef<[u8]>) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_ref(), GUID.as_bytes()].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 1.3.
    #[test]
    fn the_example_of_the_rfc() {
        let key = key_of(*b"the sample nonce");
        assert_eq!(key, "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept_of(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
