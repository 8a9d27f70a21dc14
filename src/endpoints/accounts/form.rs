//! Forms and queries: `user[email]=…`, as PHP, Rails, qs and their kin read them.

use super::found::Found;
use crate::domain::spelling;

/// Follows all pairs. There is nothing that is no form: what has no names gives nothing.
pub(super) fn read(form: &[u8], found: &mut Found<'_>) {
    for pair in form.split(|byte| *byte == b'&') {
        read_pair(pair, found);
        // Some take a semicolon for an ampersand.
        if pair.contains(&b';') {
            pair.split(|byte| *byte == b';').for_each(|pair| read_pair(pair, found));
        }
    }
}

/// Whether nobody can take it for anything but a form: some APIs read JSON, XML or binary formats whatever type they are told.
pub(super) fn is_plain(form: &[u8]) -> bool {
    let form = form.trim_ascii();
    let begins_otherwise = form.first().is_none_or(|byte| matches!(byte, b'{' | b'[' | b'"' | b'\'' | b'<' | b'-' | 0x80..));
    let is_control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    !begins_otherwise && form.contains(&b'=') && !form.iter().any(is_control)
}

fn read_pair(pair: &[u8], found: &mut Found<'_>) {
    let Some(equals) = pair.iter().position(|byte| *byte == b'=') else { return };
    let has_old_escapes = pair.windows(2).any(|two| matches!(two, b"%u" | b"%U"));
    // Where it stands, one API decodes it and another takes it for text.
    for old_escapes in [true].into_iter().chain(has_old_escapes.then_some(false)) {
        let decode = |bytes| decoded(bytes, old_escapes);
        read_field(&decode(&pair[..equals]), &decode(&pair[equals + 1..]), found);
    }
}

/// A field of a form, decoded.
pub(super) fn read_field(name: &str, value: &str, found: &mut Found<'_>) {
    // PHP ends a name at a NUL, others do not.
    let ended = name.split('\0').next().unwrap_or_default();
    for name in [name, ended] {
        let path: Vec<String> = name.split(['[', ']', '.']).map(spelling::name).filter(|step| !step.is_empty()).collect();
        found.value(&path, value);
        // For PHP a dot is an underscore, elsewhere it leads inwards.
        found.value(&[spelling::name(name)], value);
    }
    // Some put JSON into a field.
    super::read_inner(&[spelling::name(ended)], value, found);
}

/// `%XX`, `+`, and if `old_escapes`, `%uXXXX`.
fn decoded(bytes: &[u8], old_escapes: bool) -> String {
    let hex = |digits: &[u8]| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    let digits = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_hexdigit);
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => out.push(b' '),
            b'%' if old_escapes && after.len() >= 5 && matches!(after[0], b'u' | b'U') && digits(&after[1..5]) => {
                let c = hex(&after[1..5]).and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &after[5..];
            }
            b'%' if after.len() >= 2 && digits(&after[..2]) => {
                out.extend(hex(&after[..2]).and_then(|byte| u8::try_from(byte).ok()));
                rest = &after[2..];
            }
            plain => out.push(plain),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
