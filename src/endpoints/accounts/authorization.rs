//! The user in the Authorization field: of HTTP Basic (RFC 7617) and Digest (RFC 7616), read as leniently as APIs do.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::content_type::unquoted;

/// Without padding or with it, and whatever the last bits are.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How many times one field may say its user.
const USERS_MAX: usize = 4;

/// None for other schemes. Several where readers may find it at different places.
pub(super) fn users(field: &[u8]) -> Vec<String> {
    let field = field.trim_ascii();
    let end = field.iter().position(u8::is_ascii_whitespace).unwrap_or(field.len());
    let (scheme, credentials) = field.split_at(end);
    if scheme.eq_ignore_ascii_case(b"Basic") {
        basic(credentials).into_iter().collect()
    } else if scheme.eq_ignore_ascii_case(b"Digest") {
        digest(&String::from_utf8_lossy(credentials))
    } else {
        Vec::new()
    }
}

/// Characters that do not belong there are passed over, and those of the alphabet for URLs are taken for their kin.
fn basic(encoded: &[u8]) -> Option<String> {
    let mut plain: Vec<u8> = encoded
        .iter()
        .filter_map(|byte| match byte {
            b'-' => Some(b'+'),
            b'_' => Some(b'/'),
            b'+' | b'/' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => Some(*byte),
            _ => None,
        })
        .collect();
    if plain.len() % 4 == 1 {
        // Six bits are no byte.
        plain.pop();
    }
    let bytes = LENIENT.decode(plain).ok()?;
    let user = bytes.split(|byte| *byte == b':').next().unwrap_or_default();
    Some(String::from_utf8_lossy(user).into_owned())
}

/// `username="ada"`, or `username*=UTF-8''ada` where it is no ASCII; also where it only seems to stand, within another parameter.
fn digest(parameters: &str) -> Vec<String> {
    let lower = parameters.to_ascii_lowercase();
    let begins_a_word = |at: &usize| !lower[..*at].ends_with(|c: char| c.is_ascii_alphanumeric());
    let names = lower.match_indices(USERNAME).map(|(at, _)| at).filter(begins_a_word);
    names.filter_map(|at| digest_user(parameters[at + USERNAME.len()..].trim_start())).take(USERS_MAX).collect()
}

const USERNAME: &str = "username";

fn digest_user(after_name: &str) -> Option<String> {
    let is_extended = after_name.starts_with('*');
    let value = after_name.trim_start_matches('*').trim_start().strip_prefix('=')?.trim_start();
    if !is_extended && value.starts_with('"') {
        return Some(unquoted(value));
    }
    let value = value.split(',').next()?.trim();
    if !is_extended {
        return Some(value.to_owned());
    }
    let encoded = value.trim_matches('"').splitn(3, '\'').last()?;
    Some(percent_encoding::percent_decode_str(encoded).decode_utf8_lossy().into_owned())
}
