//! An authenticator app: codes of RFC 6238, with its usual parameters.

use std::time::{SystemTime, UNIX_EPOCH};

use ring::hmac;

const STEP_SECONDS: u64 = 30;
const CODES: u32 = 1_000_000;
const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

pub(super) struct Authenticator {
    key: hmac::Key,
    last_step: u64,
}

impl Authenticator {
    /// From a secret in base32.
    pub(super) fn of(secret: &str) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &from_base32(secret)), last_step: 0 }
    }

    /// A code that was not shown before. Servers take none twice, but those of one step before and after now: three can be had at once.
    #[expect(clippy::disallowed_methods, reason = "the API looks at a real clock too")]
    pub(super) fn code(&mut self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / STEP_SECONDS;
        self.last_step = (now - 1).max(self.last_step + 1);
        code_of(&self.key, self.last_step)
    }
}

fn code_of(key: &hmac::Key, step: u64) -> String {
    let tag = hmac::sign(key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag[tag.len() - 1] & 0xf);
    let word = u32::from_be_bytes(tag[offset..offset + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", word % CODES)
}

fn from_base32(text: &str) -> Vec<u8> {
    let values = text.trim_end_matches('=').bytes().map(|byte| ALPHABET.iter().position(|letter| *letter == byte).unwrap());
    let bits: Vec<bool> = values.flat_map(|value| (0..5).rev().map(move |bit| value >> bit & 1 == 1)).collect();
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |value, bit| value << 1 | u8::from(*bit))).collect()
}

#[test]
fn codes_are_those_of_the_standard() {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"12345678901234567890");
    assert_eq!(from_base32("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"), b"12345678901234567890");
    for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
        assert_eq!(code_of(&key, seconds / STEP_SECONDS), code);
    }
}
