//! One step on a request's way, as X-Forwarded-For and Forwarded write it (RFC 7239, sections 4 to 6).

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// What is known of one step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Element<'a> {
    pub(super) node: Node<'a>,
    pub(super) proto: Option<&'a str>,
    pub(super) host: Option<&'a str>,
}

/// Who made the step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Node<'a> {
    Address {
        ip: IpAddr,
        port: Option<u16>,
    },
    /// A name that means something to those who chose it alone.
    Obfuscated(&'a str),
    /// Nobody who can be named.
    Unknown,
}

impl<'a> Element<'a> {
    pub(super) const fn of_node(node: Node<'a>) -> Self {
        Self { node, proto: None, host: None }
    }

    /// A `forwarded-element`; spaces around `;` are let pass, as are addresses that should be in quotes.
    fn read(text: &'a str) -> Option<Self> {
        let (mut node, mut proto, mut host) = (None, None, None);
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches(BLANKS);
            if let Some(after) = rest.strip_prefix(';') {
                rest = after;
                continue;
            }
            if rest.is_empty() {
                break;
            }
            let (name, after) = rest.split_once('=')?;
            let (value, after) = value(after)?;
            rest = after.trim_start_matches(BLANKS);
            if !rest.is_empty() && !rest.starts_with(';') || name.is_empty() || !name.bytes().all(is_of_token) {
                return None;
            }
            let place = match name.to_ascii_lowercase().as_str() {
                "for" => &mut node,
                "proto" => &mut proto,
                "host" => &mut host,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        Some(Self { node: node.map_or(Node::Unknown, |text| Node::read(text.as_bytes())), proto, host })
    }
}

const BLANKS: [char; 2] = [' ', '\t'];

/// The last elements of one field, `max` of them; `None` if any of it cannot be read.
pub(super) fn list(field: &[u8], max: usize) -> Option<VecDeque<Element<'_>>> {
    let text = std::str::from_utf8(field).ok()?;
    let mut elements = VecDeque::with_capacity(1);
    let mut rest = Some(text);
    while let Some(text) = rest {
        let end = end_of_element(text);
        let element = text[..end].trim_matches(BLANKS);
        rest = text[end..].strip_prefix(',');
        if element.is_empty() {
            continue;
        }
        if elements.len() == max {
            elements.pop_front();
        }
        elements.push_back(Element::read(element)?);
    }
    Some(elements)
}

/// Where the next comma is that stands in no quotes; else the end.
fn end_of_element(text: &str) -> usize {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let ends = |byte: u8| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b',' => return !is_quoted,
            _ => {}
        }
        false
    };
    text.bytes().position(ends).unwrap_or(text.len())
}

/// A value and what follows it. What needs escapes is nothing that we read, and so is left out.
fn value(text: &str) -> Option<(&str, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut is_escaped = false;
        let end = quoted.bytes().position(|byte| {
            let ends = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            ends
        })?;
        return Some((&quoted[..end], &quoted[end + 1..]));
    }
    let is_plain = |byte: u8| is_of_token(byte) || b"[]:".contains(&byte);
    let end = text.bytes().position(|byte| !is_plain(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl<'a> Node<'a> {
    /// An address, bare, in brackets or with a port; or a name that says that there is none.
    pub(super) fn read(step: &'a [u8]) -> Self {
        let Ok(text) = std::str::from_utf8(step) else { return Self::Unknown };
        let is_obfuscated = text.len() > 1
            && text.starts_with('_')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if is_obfuscated {
            return Self::Obfuscated(text);
        }
        let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
        if let Some(ip) = text.parse().ok().or_else(bracketed) {
            return Self::address(ip, None);
        }
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Self::address(socket.ip(), Some(socket.port()));
        }
        // An obfuscated port says nothing that anybody else could use.
        let with_obfuscated_port = text.rsplit_once(":_").map(|(node, _)| node.trim_matches(['[', ']']));
        with_obfuscated_port.and_then(|node| node.parse().ok()).map_or(Self::Unknown, |ip| Self::address(ip, None))
    }

    const fn address(ip: IpAddr, port: Option<u16>) -> Self {
        Self::Address { ip: ip.to_canonical(), port }
    }

    /// Whether it needs no quotes in Forwarded.
    pub(super) const fn is_token(&self) -> bool {
        match self {
            Self::Address { ip, port } => ip.is_ipv4() && port.is_none(),
            Self::Obfuscated(_) | Self::Unknown => true,
        }
    }
}

/// As in X-Forwarded-For; in the alternate form, with brackets around IPv6, as in Forwarded.
impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { ip, port: Some(port) } => SocketAddr::new(*ip, *port).fmt(f),
            Self::Address { ip: IpAddr::V6(ip), port: None } if f.alternate() => write!(f, "[{ip}]"),
            Self::Address { ip, port: None } => write!(f, "{ip}"),
            Self::Obfuscated(name) => f.write_str(name),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> String {
        format!("{:#}", Node::read(text.as_bytes()))
    }

    #[test]
    fn a_node_is_an_address_or_says_that_it_is_none() {
        for (text, read) in [
            ("192.0.2.43", "192.0.2.43"),
            ("192.0.2.43:47011", "192.0.2.43:47011"),
            ("2001:db8::1", "[2001:db8::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("[2001:db8::1]:4711", "[2001:db8::1]:4711"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("192.0.2.43:_port", "192.0.2.43"),
            ("[2001:db8::1]:_port", "[2001:db8::1]"),
            ("_hidden", "_hidden"),
            ("_SEVKISEK.1-x", "_SEVKISEK.1-x"),
            ("unknown", "unknown"),
            ("_", "unknown"),
            ("_a\"b", "unknown"),
            ("192.0.2.256", "unknown"),
            ("192.0.2.1:99999", "unknown"),
            ("[2001:db8::1]garbage", "unknown"),
            ("localhost", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(node(text), read, "{text}");
        }
        assert_eq!(Node::read(b"\xff"), Node::Unknown);
    }

    fn elements(field: &str) -> Option<Vec<String>> {
        let told = |name: &str, value: Option<&str>| value.map(|value| format!(" {name} {value}")).unwrap_or_default();
        let show = |element: Element<'_>| format!("{}{}{}", element.node, told("by", element.proto), told("at", element.host));
        list(field.as_bytes(), 3).map(|elements| elements.into_iter().map(show).collect())
    }

    #[test]
    fn elements_are_read_as_the_standard_writes_them() {
        for (field, read) in [
            ("for=\"_gazonk\"", &["_gazonk"][..]),
            ("For=\"[2001:db8:cafe::17]:4711\"", &["[2001:db8:cafe::17]:4711"]),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", &["192.0.2.60 by http"]),
            ("for=192.0.2.43, for=198.51.100.17", &["192.0.2.43", "198.51.100.17"]),
            ("for=192.0.2.43,, for=unknown ,", &["192.0.2.43", "unknown"]),
            ("for=192.0.2.1;host=\"a.example:80\"; proto=https", &["192.0.2.1 by https at a.example:80"]),
            ("ext=\"a, for=6.6.6.6\\\"; for=6.6.6.6\";for=192.0.2.1", &["192.0.2.1"]),
            ("for=192.0.2.1:80", &["192.0.2.1:80"]),
            ("proto=https", &["unknown by https"]),
            (";for=192.0.2.1;", &["192.0.2.1"]),
            ("for=1.1.1.1,for=2.2.2.2,for=3.3.3.3,for=4.4.4.4", &["2.2.2.2", "3.3.3.3", "4.4.4.4"]),
            ("", &[]),
            (" , ", &[]),
        ] {
            assert_eq!(
                elements(field).as_deref(),
                Some(&read.iter().map(ToString::to_string).collect::<Vec<_>>()[..]),
                "{field}"
            );
        }
    }

    #[test]
    fn what_is_malformed_is_not_guessed_at() {
        for field in [
            "192.0.2.1",
            "for=",
            "for",
            "=192.0.2.1",
            "for=1.1.1.1;for=2.2.2.2",
            "for=\"1.1.1.1",
            "for=1.1.1.1;x=\", for=2.2.2.2",
            "for=\"1.1.1.1\"x",
            "for=1.1.1.1 for=2.2.2.2",
            "f r=1.1.1.1",
            "for = 1.1.1.1",
        ] {
            assert_eq!(elements(field), None, "{field}");
        }
    }
}
