//! The one canonical form of a request's path: it decides the route, and it is what is forwarded.

use std::borrow::Cow;

/// A path and query, canonical: percent-encoding only where needed and in upper case, no dot segments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CanonicalTarget<'a> {
    path_and_query: Cow<'a, str>,
    path_len: usize,
    ambiguous: bool,
}

/// Why a path is refused: 400. The text is for the client and holds nothing of the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    #[error("The path does not begin with a slash.")]
    NotAbsolute,
    #[error("The path has a dot segment.")]
    DotSegment,
    #[error("The path has a malformed percent-encoding.")]
    BadEncoding,
    #[error("The path has a character that is not allowed in it.")]
    BadCharacter,
}

impl<'a> CanonicalTarget<'a> {
    /// Takes the origin-form of a request target (RFC 9112, section 3.2.1). Canonical input is borrowed.
    ///
    /// # Errors
    /// What no two readers can be trusted to read alike: dot segments in any disguise, broken percent-encodings, control
    /// characters, backslashes, `#`, bytes beyond ASCII.
    pub fn parse(path_and_query: &'a str) -> Result<Self, PathError> {
        let query_at = path_and_query.find('?').unwrap_or(path_and_query.len());
        let (path, query) = path_and_query.split_at(query_at);
        if !path.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }
        if query.bytes().any(|byte| byte <= b' ' || byte >= 0x7f || byte == b'#') {
            return Err(PathError::BadCharacter);
        }
        if path.bytes().all(is_plain) && !has_dot_segment(path) {
            let ambiguous = path.contains("//") || path.contains(';');
            return Ok(Self { path_and_query: Cow::Borrowed(path_and_query), path_len: path.len(), ambiguous });
        }
        let mut canonical = canonical_path(path)?;
        if has_dot_segment(&canonical) {
            return Err(PathError::DotSegment);
        }
        let ambiguous =
            canonical.contains("//") || canonical.contains(';') || canonical.contains("%2F") || canonical.contains("%5C");
        let path_len = canonical.len();
        canonical.push_str(query);
        Ok(Self { path_and_query: Cow::Owned(canonical), path_len, ambiguous })
    }

    pub fn path(&self) -> &str {
        &self.path_and_query[..self.path_len]
    }

    /// What is forwarded.
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// Whether an upstream may read the path as another one: it has an empty segment, a parameter (`;`), an encoded slash or an
    /// encoded backslash. Such a path is legal and in use, but must not decide between two rules.
    pub const fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }
}

/// Bytes that are canonical as they are: RFC 3986 `pchar` without `%`, and `/`.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b'!' | b'$' | b'&' | b'\''
        | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@')
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn canonical_path(path: &str) -> Result<String, PathError> {
    let bytes = path.as_bytes();
    let mut canonical = String::with_capacity(bytes.len() + 8);
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let decoded = bytes.get(at + 1..at + 3).and_then(decode).ok_or(PathError::BadEncoding)?;
                if decoded.is_ascii_control() {
                    return Err(PathError::BadCharacter);
                }
                if is_unreserved(decoded) {
                    canonical.push(char::from(decoded));
                } else {
                    encode(decoded, &mut canonical);
                }
                at += 3;
                continue;
            }
            byte if is_plain(byte) => canonical.push(char::from(byte)),
            // Harmless, but two spellings of one path must become one.
            byte @ (b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | b'[' | b']') => encode(byte, &mut canonical),
            _ => return Err(PathError::BadCharacter),
        }
        at += 1;
    }
    Ok(canonical)
}

fn decode(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    let value = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(value(*high)? * 16 + value(*low)?).ok()
}

fn encode(byte: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// Whether any reader could see `.` or `..` as a segment: also before a parameter, and between encoded slashes.
fn has_dot_segment(canonical: &str) -> bool {
    let mut rest = canonical;
    // Almost no path has a dot right behind a separator; look closer only at those.
    while let Some(at) = rest.find('.') {
        let before = &rest[..at];
        let after = rest[at..].trim_start_matches('.');
        let dots = rest.len() - at - after.len();
        let begins = before.ends_with('/') || before.ends_with("%2F") || before.ends_with("%5C");
        let ends = after.is_empty()
            || after.starts_with(['/', ';'])
            || after.starts_with("%2F")
            || after.starts_with("%5C")
            || after.starts_with("%3B");
        if begins && ends && dots <= 2 {
            return true;
        }
        // What was passed over still counts as "before" for what follows only if it ends in a separator, which dots do not.
        rest = after;
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(target: &str) -> Result<String, PathError> {
        CanonicalTarget::parse(target).map(|target| target.path_and_query().to_owned())
    }

    #[test]
    fn canonical_paths_are_borrowed() {
        for target in ["/", "/api/orders/42", "/a/b.c/d..e/...?x=%2f", "/a/", "/.well-known/jwks.json", "/a//b", "/a;b=c"] {
            let parsed = CanonicalTarget::parse(target).unwrap();
            assert!(matches!(parsed.path_and_query, Cow::Borrowed(_)), "{target}");
            assert_eq!(parsed.path_and_query(), target);
        }
    }

    #[test]
    fn spellings_of_one_path_become_one() {
        assert_eq!(canonical("/%61pi/%7euser"), Ok("/api/~user".to_owned()));
        assert_eq!(canonical("/a%3ab"), Ok("/a%3Ab".to_owned()));
        assert_eq!(canonical("/a|b"), canonical("/a%7cb"));
        assert_eq!(canonical("/caf%c3%a9?q=%C3%A9"), Ok("/caf%C3%A9?q=%C3%A9".to_owned()));
    }

    #[test]
    fn dot_segments_are_refused_in_every_disguise() {
        for target in [
            "/..",
            "/.",
            "/a/../b",
            "/a/./b",
            "/a/..",
            "/%2e%2e/a",
            "/a/.%2E",
            "/..;/a",
            "/a/..;x=1/b",
            "/a%2f..%2fb",
            "/a%5C..%5cb",
            "/x/..%3b/b",
            "/a/..?q",
        ] {
            assert_eq!(canonical(target), Err(PathError::DotSegment), "{target}");
        }
        for target in ["/...", "/a..", "/..a", "/.a", "/a./b", "/a/.../b"] {
            assert!(canonical(target).is_ok(), "{target}");
        }
    }

    #[test]
    fn what_nobody_reads_alike_is_refused() {
        for target in ["/a%", "/a%2", "/a%zz", "/a%00", "/a%0d%0a", "/a\\b", "/a#b", "/a?b#c", "/é", "/a b", "", "a", "*"] {
            assert!(canonical(target).is_err(), "{target}");
        }
    }

    #[test]
    fn what_an_upstream_may_read_differently_is_marked() {
        for target in ["/a//b", "//a", "/a;b", "/a%2Fb", "/a%5cb", "/%61%2fb"] {
            assert!(CanonicalTarget::parse(target).unwrap().is_ambiguous(), "{target}");
        }
        assert!(!CanonicalTarget::parse("/a/b/?c//d;e").unwrap().is_ambiguous());
    }

    proptest! {
        #[test]
        fn canonicalisation_is_idempotent(target in "/[ -~]{0,40}") {
            if let Ok(once) = canonical(&target) {
                prop_assert_eq!(canonical(&once), Ok(once.clone()));
            }
        }

        #[test]
        fn decoding_twice_never_reveals_a_dot_segment(target in "/([a.%2eEfF/;]|%2e|%2F){0,20}") {
            if let Ok(parsed) = CanonicalTarget::parse(&target) {
                prop_assert!(parsed.path().split('/').all(|segment| segment != "." && segment != ".."));
            }
        }
    }
}
