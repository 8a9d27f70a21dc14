//! What lenient upstreams may take a canonical path for.

use super::{PathError, decode};

/// The ways in which a path may be read. Of those that no route can tell apart, one stands for all; letter case is left to
/// whoever compares.
///
/// A reading is bytes, each segment with a slash before it, no empty segments, no slash at the end: the root is empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Readings<'a> {
    /// As it is, apart from slashes at the end.
    Plain(&'a [u8]),
    /// Decoded as often as it goes, backslashes as slashes, `;` and what follows it in a segment removed: before decoding, and
    /// after it.
    Lenient([Vec<u8>; 2]),
}

impl<'a> Readings<'a> {
    pub(super) fn of(path: &'a str, plain: bool) -> Self {
        if plain {
            return Self::Plain(path.strip_suffix('/').unwrap_or(path).as_bytes());
        }
        let without_parameters: Vec<&str> = path.split('/').map(before_parameter).collect();
        Self::Lenient([lenient(&without_parameters.join("/")), lenient(path)])
    }

    pub fn any(&self, mut fits: impl FnMut(&[u8]) -> bool) -> bool {
        match self {
            Self::Plain(reading) => fits(reading),
            Self::Lenient(readings) => readings.iter().any(|reading| fits(reading)),
        }
    }
}

fn before_parameter(segment: &str) -> &str {
    segment.split(';').next().unwrap_or(segment)
}

fn lenient(path: &str) -> Vec<u8> {
    let decoded = fully_decoded(path);
    let mut reading = Vec::with_capacity(decoded.len());
    for segment in segments(&decoded).filter(|segment| !segment.is_empty()) {
        reading.push(b'/');
        reading.extend_from_slice(segment);
    }
    reading
}

/// The segments of decoded bytes, without parameters.
fn segments(decoded: &[u8]) -> impl Iterator<Item = &[u8]> {
    decoded
        .split(|byte| matches!(byte, b'/' | b'\\'))
        .map(|segment| segment.split(|byte| *byte == b';').next().unwrap_or(segment))
}

/// Refuses what some reading of a canonical path makes dangerous on any route.
pub(super) fn check(canonical: &str) -> Result<(), PathError> {
    let decoded = fully_decoded(canonical);
    if segments(&decoded).any(|segment| matches!(segment, b"." | b"..")) {
        return Err(PathError::DotSegment);
    }
    // Overlong UTF-8 (RFC 3629, section 3) that a careless decoder takes for a dot, a slash or a backslash.
    let is_overlong = |pair: &[u8]| matches!(pair, [0xc0 | 0xc1, 0x80..=0xbf] | [0xe0, 0x80..=0x9f] | [0xf0, 0x80..=0x8f]);
    if decoded.windows(2).any(is_overlong) {
        return Err(PathError::BadEncoding);
    }
    // A further decoding must not reveal what the first may not.
    if decoded.iter().any(u8::is_ascii_control) {
        return Err(PathError::BadCharacter);
    }
    Ok(())
}

/// A path decoded until there is nothing left to decode. What was decoded may be part of a further encoding, with what stands beside
/// it: `%25%2532e` is `%%32e`, then `%2e`, then a dot. The order does not matter, for no two encodings share a byte; this one looks at
/// each byte a few times only.
fn fully_decoded(path: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    for byte in path.bytes() {
        decoded.push(byte);
        while let Some(byte) = decoded.last_chunk::<3>().and_then(|end| if end[0] == b'%' { decode(end, 1) } else { None }) {
            decoded.truncate(decoded.len() - 3);
            decoded.push(byte);
        }
    }
    decoded
}
