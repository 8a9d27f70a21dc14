//! Hosts in their one canonical form: it decides the route, it is compared with origins, and it is what is passed on.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use http::HeaderValue;

/// The longest host that is read, port included.
const HOST_BYTES_MAX: usize = 300;

/// A host with or without a port, canonical: in lower case, without a dot at the end, IPv6 in brackets and in its shortest form, a
/// port from 1 to 65535 without leading zeros, and no colon without one.
///
/// Names are what the DNS and container networks have: letters, digits, `-` and `_`, in labels that are not empty. A name whose last
/// label is a number is an IPv4 address of four decimal parts, or refused: `127.1` and `0x7f.0.0.1` mean `127.0.0.1` to some alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    field: HeaderValue,
    name_len: usize,
    port: Option<u16>,
}

/// The host that was read last on a connection: most clients name the same one there time and again.
#[derive(Debug, Default)]
pub struct LastHost(RefCell<Option<Host>>);

/// Neither a host nor a host and a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("The host is not valid.")]
pub struct HostError;

impl Host {
    /// # Errors
    /// For all that is not `uri-host [":" port]` (RFC 9110, section 7.2), and for percent-encoding and zones in it.
    pub fn parse(bytes: &[u8]) -> Result<Self, HostError> {
        let parts = Parts::parse(bytes)?;
        Self::written(&parts)
    }

    /// As [`Host::parse`]; a field that is canonical already is shared, not copied.
    ///
    /// # Errors
    /// As [`Host::parse`].
    pub fn of_field(field: &HeaderValue) -> Result<Self, HostError> {
        let parts = Parts::parse(field.as_bytes())?;
        match parts.canonical_name_len() {
            Some(name_len) => Ok(Self { field: field.clone(), name_len, port: parts.port }),
            None => Self::written(&parts),
        }
    }

    fn written(parts: &Parts<'_>) -> Result<Self, HostError> {
        let mut text = match parts.name {
            Name::Text(name) => name.to_ascii_lowercase(),
            Name::V6(address) => format!("[{address}]"),
        };
        let name_len = text.len();
        if let Some(port) = parts.port {
            write!(text, ":{port}").map_err(|_| HostError)?;
        }
        let field = HeaderValue::try_from(text).map_err(|_| HostError)?;
        Ok(Self { field, name_len, port: parts.port })
    }

    /// As it is passed on.
    pub const fn field(&self) -> &HeaderValue {
        &self.field
    }

    /// Without the port.
    pub fn name(&self) -> &str {
        self.field.to_str().map_or("", |text| &text[..self.name_len])
    }

    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The own machine, or an address: no name that somebody else could own.
    pub fn is_local_or_address(&self) -> bool {
        let name = self.name();
        name == "localhost" || name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok()
    }
}

impl LastHost {
    /// As [`Host::parse`].
    ///
    /// # Errors
    /// As [`Host::parse`].
    pub fn parse(&self, bytes: &[u8]) -> Result<Host, HostError> {
        let mut last = self.0.borrow_mut();
        // What is canonical is what it is parsed to.
        if let Some(host) = last.as_ref().filter(|host| host.field.as_bytes() == bytes) {
            return Ok(host.clone());
        }
        let host = Host::parse(bytes)?;
        *last = Some(host.clone());
        Ok(host)
    }
}

enum Name<'a> {
    /// Without a dot at the end, in any case.
    Text(&'a str),
    V6(Ipv6Addr),
}

struct Parts<'a> {
    name: Name<'a>,
    port: Option<u16>,
    is_canonical: bool,
}

impl<'a> Parts<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, HostError> {
        if bytes.len() > HOST_BYTES_MAX {
            return Err(HostError);
        }
        match bytes.strip_prefix(b"[") {
            Some(rest) => Self::bracketed(rest),
            None => Self::named(bytes),
        }
    }

    fn bracketed(rest: &[u8]) -> Result<Self, HostError> {
        let rest = std::str::from_utf8(rest).map_err(|_| HostError)?;
        let (address, after) = rest.split_once(']').ok_or(HostError)?;
        let address = address.parse().map_err(|_| HostError)?;
        Ok(Self { name: Name::V6(address), port: port(after.as_bytes())?, is_canonical: false })
    }

    fn named(bytes: &'a [u8]) -> Result<Self, HostError> {
        let (mut has_capitals, mut label_at, mut label_before_at) = (false, 0, 0);
        let mut end = bytes.len();
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
                b'A'..=b'Z' => has_capitals = true,
                b'.' if at == label_at => return Err(HostError),
                b'.' => (label_before_at, label_at) = (label_at, at + 1),
                b':' => {
                    end = at;
                    break;
                }
                _ => return Err(HostError),
            }
        }
        let ends_in_a_dot = label_at == end;
        let (name_end, last_label_at) = if ends_in_a_dot { (end.saturating_sub(1), label_before_at) } else { (end, label_at) };
        if name_end == 0 {
            return Err(HostError);
        }
        let name = std::str::from_utf8(&bytes[..name_end]).map_err(|_| HostError)?;
        if is_number(&bytes[last_label_at..name_end]) && name.parse::<Ipv4Addr>().is_err() {
            return Err(HostError);
        }
        let after = &bytes[end..];
        let is_canonical = !has_capitals && !ends_in_a_dot && after != b":" && !after.starts_with(b":0");
        Ok(Self { name: Name::Text(name), port: port(after)?, is_canonical })
    }

    /// The length of the name, if the whole is canonical.
    fn canonical_name_len(&self) -> Option<usize> {
        match self.name {
            Name::Text(name) if self.is_canonical => Some(name.len()),
            Name::Text(_) | Name::V6(_) => None,
        }
    }
}

/// What follows a name: nothing, a colon, or a colon and a port.
fn port(after: &[u8]) -> Result<Option<u16>, HostError> {
    match after {
        [] | [b':'] => Ok(None),
        [b':', digits @ ..] => {
            let add = |sum: u16, digit: &u8| {
                let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
                sum.checked_mul(10)?.checked_add(digit)
            };
            digits.iter().try_fold(0, add).filter(|port| *port != 0).map(Some).ok_or(HostError)
        }
        _ => Err(HostError),
    }
}

/// Whether some reader takes a name whose last label this is for an IPv4 address (WHATWG URL, "ends in a number").
fn is_number(label: &[u8]) -> bool {
    match label {
        [b'0', b'x' | b'X', hex @ ..] => hex.iter().all(u8::is_ascii_hexdigit),
        digits => digits.iter().all(u8::is_ascii_digit),
    }
}

/// One host, or all names below one: `*.example.com` stands for one or more labels before `.example.com`, and not for that itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostPattern {
    /// Canonical; with its dot in front where names below it are meant.
    text: String,
}

/// A pattern that no host could match.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("allowed is a host name without port, such as \"api.example.com\", or \"*.example.com\" for all names below one")]
pub struct HostPatternError;

impl HostPattern {
    /// `name` as [`Host::name`] has it.
    pub fn matches(&self, name: &str) -> bool {
        if self.text.starts_with('.') { is_below(name, &self.text) } else { self.text == name }
    }

    /// With its dot in front where names below it are meant.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// An exact name goes before all names below one, and a longer one of those before a shorter one.
    pub(crate) fn rank(&self) -> (bool, usize) {
        (!self.text.starts_with('.'), self.text.len())
    }
}

/// Whether there is more in `name` than `place`, which begins with a dot.
fn is_below(name: &str, place: &str) -> bool {
    name.len() > place.len() && name.ends_with(place)
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        let (place, name) = match text.strip_prefix("*.") {
            Some(name) => (".", name),
            None => ("", text),
        };
        let host = Host::parse(name.as_bytes()).map_err(|_| HostPatternError)?;
        let is_bare = host.name_len == host.field.len() && !name.ends_with(':');
        let has_names_below = host.name() == "localhost" || !host.is_local_or_address();
        if is_bare && (place.is_empty() || has_names_below) {
            return Ok(Self { text: format!("{place}{}", host.name()) });
        }
        Err(HostPatternError)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = if self.text.starts_with('.') { "*" } else { "" };
        write!(f, "{before}{}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> Option<String> {
        let host = Host::parse(text.as_bytes()).ok()?;
        let of_field = HeaderValue::from_str(text).ok().map(|field| Host::of_field(&field).unwrap());
        assert!(of_field.is_none_or(|of_field| of_field == host), "{text}");
        Some(host.field().to_str().unwrap().to_owned())
    }

    #[test]
    fn every_spelling_of_a_host_becomes_one() {
        for (spelling, expected) in [
            ("admin.example.com", "admin.example.com"),
            ("admin.example.com.", "admin.example.com"),
            ("ADMIN.example.COM.:8080", "admin.example.com:8080"),
            ("a:", "a"),
            ("a.:", "a"),
            ("a:0080", "a:80"),
            ("a:443", "a:443"),
            ("localhost:8080", "localhost:8080"),
            ("api_1:3000", "api_1:3000"),
            ("_dmarc.example.com", "_dmarc.example.com"),
            ("xn--BCHER-kva.example", "xn--bcher-kva.example"),
            ("127.0.0.1.", "127.0.0.1"),
            ("1.2.3.example", "1.2.3.example"),
            ("[::0001]:080", "[::1]:80"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("[2001:DB8::A]", "[2001:db8::a]"),
            ("[::ffff:127.0.0.1]", "[::ffff:127.0.0.1]"),
        ] {
            assert_eq!(canonical(spelling).as_deref(), Some(expected), "{spelling}");
        }
    }

    #[test]
    fn what_is_no_host_or_several_to_different_readers_is_refused() {
        for text in [
            "",
            ".",
            "..",
            ":80",
            "a..",
            ".a",
            "a..b",
            "a b",
            "a/b",
            "a@b",
            "a,b",
            "a%41",
            "a;b",
            "bücher.example",
            "a:0",
            "a:99999",
            "a:+80",
            "a:b",
            "a:80:80",
            "a: 80",
            "::1",
            "[::1",
            "[::1]a",
            "[::1]:x",
            "[::1].",
            "[fe80::1%25eth0]",
            "[fe80::1%eth0]",
            "[127.0.0.1]",
            "[]",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "127.0.0.01",
            "256.0.0.1",
            "a.1.2.3.4",
            "a.0x",
        ] {
            assert_eq!(canonical(text), None, "{text}");
        }
        assert_eq!(canonical(&"a".repeat(301)), None);
    }

    #[test]
    fn a_canonical_field_is_shared() {
        let field = HeaderValue::from_static("api.example.com:8080");
        let host = Host::of_field(&field).unwrap();
        assert_eq!(host.field().as_bytes().as_ptr(), field.as_bytes().as_ptr());
        assert_eq!((host.name(), host.port()), ("api.example.com", Some(8080)));
    }

    #[test]
    fn the_last_host_is_read_as_the_first_was() {
        let last = LastHost::default();
        let spellings =
            ["a.example", "a.example", "A.example", "a.example.", "b.example:80", "a.example", "[::1]:80", "[::1]:80", "a:0080"];
        for spelling in spellings {
            for _ in 0..2 {
                assert_eq!(last.parse(spelling.as_bytes()), Host::parse(spelling.as_bytes()), "{spelling}");
                assert_eq!(last.parse(b"127.1"), Err(HostError));
            }
        }
    }

    #[test]
    fn a_pattern_means_one_host_or_all_names_below_it() {
        let matches = |pattern: &str, name: &str| pattern.parse::<HostPattern>().unwrap().matches(name);
        for (pattern, name) in [
            ("Example.COM.", "example.com"),
            ("api_1", "api_1"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::0001]", "[::1]"),
            ("*.example.com", "a.example.com"),
            ("*.Example.com.", "a.b.example.com"),
            ("*.localhost", "a.localhost"),
            ("*.com", "a.com"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("example.com", "a.example.com"),
            ("*.example.com", "example.com"),
            ("*.example.com", "aexample.com"),
            ("*.example.com", "a.example.com.evil.example"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_that_no_host_could_match_is_none() {
        for text in [
            "",
            "*",
            "*.",
            "*example.com",
            "a.*.com",
            "*.*.com",
            "**.com",
            "a*",
            "example.*",
            "*.127.0.0.1",
            "*.[::1]",
            "a:80",
            "a:",
            "*.a:80",
            "a/",
            "https://a",
            "a b",
            "a..b",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn canonical_is_canonical(text in "[a-zA-Z0-9._\\[\\]:-]{1,24}") {
            if let Some(once) = canonical(&text) {
                prop_assert_eq!(canonical(&once), Some(once.clone()));
                prop_assert_eq!(Host::parse(once.as_bytes()), Host::parse(text.as_bytes()));
                prop_assert!(!once.ends_with(['.', ':']) && !once.contains(".:"));
            }
        }

        #[test]
        fn any_bytes_are_judged_without_panic(bytes in any::<Vec<u8>>()) {
            let _ = Host::parse(&bytes);
        }
    }
}
