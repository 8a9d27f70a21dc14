//! The one canonical form of a request's path: it decides the route, and it is what is forwarded.
//!
//! Canonical is one spelling, not one meaning: upstreams differ in what they take `//`, `;x`, `%2F`, `%2540`, `x.json` or `ſ` for.
//! Where every reading is an attack, the path is refused here. Elsewhere the other [`Readings`] are told to the route table, which
//! refuses what they would open.

use std::borrow::Cow;

mod reading;

pub use reading::{Place, Readings};

/// A path and query, canonical: percent-encoding only where needed and in upper case, no dot segments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CanonicalTarget<'a> {
    path_and_query: Cow<'a, str>,
    path_len: usize,
    /// Nobody reads it as another path, apart from letter case and what stands behind a dot in its last segment.
    plain: bool,
}

/// Why a path is refused: 400. The text is for the client and holds nothing of the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    #[error("The path does not begin with a slash.")]
    NotAbsolute,
    /// Many URL parsers take what follows for a host.
    #[error("The path begins with two slashes.")]
    LooksLikeHost,
    #[error("The path has a dot segment.")]
    DotSegment,
    #[error("The path has a malformed percent-encoding.")]
    BadEncoding,
    #[error("The path has a character that is not allowed in it.")]
    BadCharacter,
}

impl<'a> CanonicalTarget<'a> {
    /// Takes the origin-form of a request target (RFC 9112, section 3.2.1). Canonical input is borrowed. The query is passed on
    /// as it is.
    ///
    /// # Errors
    /// What no two readers can be trusted to read alike: dot segments in any disguise, broken or overlong percent-encodings,
    /// control characters, backslashes, `#`, bytes beyond ASCII.
    pub fn parse(path_and_query: &'a str) -> Result<Self, PathError> {
        if !path_and_query.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }
        let Scan { path_len, canonical, plain } = Scan::of(path_and_query.as_bytes());
        let (path, query) = path_and_query.split_at(path_len);
        if query.bytes().any(|byte| byte <= b' ' || byte >= 0x7f || byte == b'#') {
            return Err(PathError::BadCharacter);
        }
        if canonical {
            return Ok(Self { path_and_query: Cow::Borrowed(path_and_query), path_len, plain });
        }
        let canonical = canonical_path(path)?;
        reading::check(&canonical)?;
        let Scan { path_len, plain, .. } = Scan::of(canonical.as_bytes());
        let path_and_query = match canonical {
            Cow::Borrowed(_) => Cow::Borrowed(path_and_query),
            Cow::Owned(canonical) => Cow::Owned(canonical + query),
        };
        Ok(Self { path_and_query, path_len, plain })
    }

    pub fn path(&self) -> &str {
        &self.path_and_query[..self.path_len]
    }

    /// With its question mark; empty where there is none.
    pub fn query(&self) -> &str {
        &self.path_and_query[self.path_len..]
    }

    /// The target with another beginning of its path: both are canonical, and end where a segment does. A slash at the end of `other`
    /// does not count.
    ///
    /// # Errors
    /// Two slashes would be at the beginning. Nothing else can go wrong between canonical parts, but it is looked at anew all the same.
    pub fn with_prefix(&self, prefix: &str, other: &str) -> Result<CanonicalTarget<'static>, PathError> {
        let rest = self.path().strip_prefix(prefix).ok_or(PathError::NotAbsolute)?;
        let other = other.strip_suffix('/').unwrap_or(other);
        let root = if rest.is_empty() && other.is_empty() { "/" } else { "" };
        let text = [other, rest, root, self.query()].concat();
        let CanonicalTarget { path_and_query, path_len, plain } = CanonicalTarget::parse(&text)?;
        Ok(CanonicalTarget { path_and_query: Cow::Owned(path_and_query.into_owned()), path_len, plain })
    }

    /// The same path with another query, which is made of parts of its own.
    #[must_use]
    pub fn with_query(&self, query: &str) -> CanonicalTarget<'static> {
        let path_and_query = Cow::Owned([self.path(), query].concat());
        CanonicalTarget { path_and_query, path_len: self.path_len, plain: self.plain }
    }

    /// Whether a page that sends a browser there, and decodes the path before, as often as it likes, sends it to no other host.
    pub fn stays_on_host(&self) -> bool {
        reading::names_no_host(self.path())
    }

    /// What is forwarded.
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// Whether nobody reads the path as another one, apart from letter case and an extension.
    pub const fn is_plain(&self) -> bool {
        self.plain
    }

    /// What upstreams may take the path for. Costs nothing for a plain path; else ask for it only where it matters.
    pub fn readings(&self) -> Readings<'_> {
        Readings::of(self.path(), self.plain)
    }
}

/// What one look at a target tells.
struct Scan {
    path_len: usize,
    /// Beyond doubt. A dot behind a slash leaves doubt, and all that is encoded.
    canonical: bool,
    plain: bool,
}

impl Scan {
    fn of(path_and_query: &[u8]) -> Self {
        let (mut canonical, mut plain) = (true, true);
        let mut path_len = path_and_query.len();
        let (mut previous, mut dot_at) = (0, None);
        for (at, &byte) in path_and_query.iter().enumerate() {
            match byte {
                _ if SAYS_NOTHING[usize::from(byte)] => {}
                b'?' => {
                    path_len = at;
                    break;
                }
                b'/' => {
                    canonical &= previous != b'/';
                    let is_script = dot_at.take().is_some_and(|dot| reading::is_of_script(&path_and_query[dot..at]));
                    plain &= !matches!(previous, b'/' | b'.') && !is_script;
                }
                b'.' => {
                    canonical &= previous != b'/';
                    dot_at = Some(at + 1);
                }
                b'+' => plain = false,
                b':' | b'$' => plain &= previous != b':',
                _ if is_plain(byte) => {}
                _ => (canonical, plain) = (false, false),
            }
            previous = byte;
        }
        Self { path_len, canonical, plain: plain && previous != b'.' }
    }
}

/// The bytes that mean themselves wherever they stand, which most of a path is made of.
const SAYS_NOTHING: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    // Beyond ASCII nothing does.
    while byte < 128 {
        table[byte as usize] = is_plain(byte) && !matches!(byte, b'/' | b'.' | b'+' | b':' | b'$');
        byte += 1;
    }
    table
};

/// RFC 3986 `pchar` without `%` and `;`, and `/`.
const fn is_plain(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(byte, b'/' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@')
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Decodes what need not be encoded (RFC 3986, section 6.2.2.2), puts the rest into upper case, encodes what must be.
fn canonical_path(path: &str) -> Result<Cow<'_, str>, PathError> {
    if path.starts_with("//") {
        return Err(PathError::LooksLikeHost);
    }
    let bytes = path.as_bytes();
    let mut canonical = String::with_capacity(bytes.len() + 8);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'%' => {
                let decoded = decode(bytes, at).ok_or(PathError::BadEncoding)?;
                at += 2;
                if decoded.is_ascii_control() {
                    return Err(PathError::BadCharacter);
                }
                if is_unreserved(decoded) {
                    canonical.push(char::from(decoded));
                } else {
                    encode(decoded, &mut canonical);
                }
            }
            byte if is_plain(byte) || byte == b';' => canonical.push(char::from(byte)),
            // Harmless, but two spellings of one path must become one.
            b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | b'[' | b']' => encode(byte, &mut canonical),
            _ => return Err(PathError::BadCharacter),
        }
    }
    Ok(if canonical == path { Cow::Borrowed(path) } else { Cow::Owned(canonical) })
}

/// The byte that the two hexadecimal digits at `at` stand for.
fn decode(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| bytes.get(at).and_then(|digit| char::from(*digit).to_digit(16));
    u8::try_from(digit(at)? * 16 + digit(at + 1)?).ok()
}

fn encode(byte: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

#[cfg(test)]
mod tests;
