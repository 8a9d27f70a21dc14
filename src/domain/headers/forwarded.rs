//! Where a request came from, as told to the upstream and as believed from peers (RFC 7239).
//!
//! There is one way along which a request came. It is read once, and whatever tells the upstream of it is written from that: so
//! X-Forwarded-For, X-Forwarded-Host, X-Real-IP and Forwarded never disagree.

mod element;

use std::io::Write as _;
use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::FieldSink;
use crate::domain::field_list;
use crate::domain::host::Host;
use crate::domain::peer::Peer;
use crate::domain::scheme::Scheme;
use element::{Element, Node};

pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Steps before a trusted peer that are read and passed on: those next to it.
const STEPS_MAX: usize = 32;

/// Whose word on origins is taken.
#[derive(Clone, Debug, Default)]
pub struct Forwarding {
    trusted_peers: Vec<IpNet>,
}

impl Forwarding {
    pub const fn new(trusted_peers: Vec<IpNet>) -> Self {
        Self { trusted_peers }
    }

    /// Whether what a peer says of others is taken for true.
    pub fn believes(&self, peer: Peer) -> bool {
        match peer {
            Peer::Known(address) => self.trusts(address.ip()),
            Peer::UnknownBehind(_) => false,
        }
    }

    pub(in crate::domain) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted_peers.iter().any(|net| net.contains(&address))
    }

    /// Where a request came from that arrived by `hop`: from the peer, or, if that is trusted, from where it says. That is what
    /// X-Forwarded-For says; where that is absent, what Forwarded says.
    pub fn origin<'a>(&self, hop: &'a Hop, headers: &'a HeaderMap) -> Origin<'a> {
        Origin { hop, told: self.believes(hop.peer).then(|| self.told(hop, headers)) }
    }

    /// Where a request came from that a proxy asks about. Whoever may ask is believed; `None` where it does not say of whom it tells.
    pub fn origin_in_question<'a>(&self, hop: &'a Hop, headers: &'a HeaderMap) -> Option<Origin<'a>> {
        let told = self.told(hop, headers);
        let names_client = told.way.last().is_some_and(|nearest| matches!(nearest.node, Node::Address { .. }));
        names_client.then_some(Origin { hop, told: Some(told) })
    }

    fn told<'a>(&self, hop: &Hop, headers: &'a HeaderMap) -> Told<'a> {
        let way = Some(x_forwarded_for(headers)).filter(|way| !way.is_empty()).unwrap_or_else(|| forwarded(headers));
        let (mut client, mut vouched) = (hop.address, None);
        for (position, element) in way.iter().enumerate().rev() {
            vouched = Some(position);
            let Node::Address { ip, .. } = element.node else { break };
            client = ip;
            if !self.trusts(ip) {
                break;
            }
        }
        let first = vouched.map(|position| &way[position]);
        Told {
            proto: Said::of(headers, &X_FORWARDED_PROTO, first.and_then(|element| element.proto)),
            host: told_host(headers, first.and_then(|element| element.host)),
            client,
            vouched,
            way,
        }
    }
}

/// Where one request came from.
#[derive(Debug)]
pub struct Origin<'a> {
    hop: &'a Hop,
    /// `None`: the peer is not trusted, whatever it says.
    told: Option<Told<'a>>,
}

/// What a trusted peer says.
#[derive(Debug)]
struct Told<'a> {
    /// The steps before the peer, the client's end first.
    way: Vec<Element<'a>>,
    /// The farthest step that somebody trusted has told of; what lies before it is anybody's word.
    vouched: Option<usize>,
    client: IpAddr,
    proto: Said<'a>,
    /// As upstreams are told it; `None` where nothing is said that is a host.
    host: Option<Host>,
}

/// What is said of the scheme of the client's own request.
#[derive(Clone, Copy, Debug)]
enum Said<'a> {
    /// By a field of its own, which passes as it came. Repeated in Forwarded, if it is a scheme.
    InField(Option<&'a str>),
    InForwarded(&'a str),
    Nowhere,
}

impl<'a> Said<'a> {
    fn of(headers: &'a HeaderMap, field: &HeaderName, in_forwarded: Option<&'a str>) -> Self {
        match headers.get(field) {
            // Of a list, readers take the first.
            Some(value) => {
                let first = field_list::members_of(value).next().and_then(|first| std::str::from_utf8(first).ok());
                Self::InField(first.filter(is_scheme))
            }
            None => in_forwarded.filter(is_scheme).map_or(Self::Nowhere, Self::InForwarded),
        }
    }
}

/// RFC 3986, section 3.1.
fn is_scheme(text: &&str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

impl Origin<'_> {
    /// The client: the peer itself, or, behind trusted peers, the farthest of whom they tell. No further than to one who is not
    /// trusted.
    pub fn address(&self) -> IpAddr {
        self.told.as_ref().map_or(self.hop.address, |told| told.client)
    }

    /// That of the client's own request, as far as trusted peers tell of it.
    pub fn scheme(&self) -> &[u8] {
        let told = self.told.as_ref().and_then(|told| told.proto.or(None));
        told.unwrap_or_else(|| self.hop.scheme.as_bytes())
    }

    /// The host that a trusted peer says the client asked for; what upstreams are told.
    pub fn told_host(&self) -> Option<&Host> {
        self.told.as_ref().and_then(|told| told.host.as_ref())
    }

    /// Whether the peer, which is not trusted, says where its requests come from: as a proxy does that nobody has named in the
    /// settings.
    pub fn is_disbelieved(&self, headers: &HeaderMap) -> bool {
        // Of no use to nearly all that come: one look at the names costs less than two look-ups.
        self.told.is_none() && headers.keys().any(|name| *name == X_FORWARDED_FOR || *name == FORWARDED)
    }

    /// Whether [`Origin::write`] says itself, or keeps back, what a field says that came along.
    pub(super) fn replaces(&self, name: &HeaderName) -> bool {
        let is_told_anew = [X_FORWARDED_FOR, X_FORWARDED_HOST, FORWARDED, X_REAL_IP].contains(name);
        is_told_anew || self.told.is_none() && name.as_str().starts_with("x-forwarded-")
    }

    /// Writes where the request came from. `host` is that to which it was addressed here, if it named one.
    pub(in crate::domain) fn write(&self, host: Option<&HeaderValue>, out: &mut impl FieldSink) {
        let hop = self.hop;
        let Some(told) = &self.told else {
            out.field(&X_FORWARDED_FOR, &hop.address_field);
            out.field(&X_FORWARDED_PROTO, &hop.scheme);
            if let Some(host) = host {
                out.field(&X_FORWARDED_HOST, host);
            }
            out.composed(&FORWARDED, |value| {
                value.extend_from_slice(hop.element.as_bytes());
                if let Some(host) = host {
                    // A host was checked before: it has no quotes and no backslashes.
                    for part in [&b";host=\""[..], host.as_bytes(), b"\""] {
                        value.extend_from_slice(part);
                    }
                }
            });
            return;
        };
        out.composed(&X_FORWARDED_FOR, |value| told.write_x_forwarded_for(hop, value));
        let proto = told.proto.or(Some(hop.scheme.as_bytes()));
        match told.proto {
            Said::InField(_) => {}
            Said::InForwarded(_) | Said::Nowhere => {
                if let Some(proto) = proto {
                    out.composed(&X_FORWARDED_PROTO, |value| value.extend_from_slice(proto));
                }
            }
        }
        let host = told.host.as_ref().map(Host::field).or(host);
        if let Some(host) = host {
            out.field(&X_FORWARDED_HOST, host);
        }
        out.composed(&X_REAL_IP, |value| {
            let _ = write!(value, "{}", told.client);
        });
        out.composed(&FORWARDED, |value| told.write_forwarded(hop, proto, host.map(HeaderValue::as_bytes), value));
    }
}

impl<'a> Said<'a> {
    /// What everybody is told: what is said, or else what is seen here; `None` where it cannot be repeated.
    fn or(self, seen: Option<&'a [u8]>) -> Option<&'a [u8]> {
        match self {
            Self::InField(text) => text.map(str::as_bytes),
            Self::InForwarded(text) => Some(text.as_bytes()),
            Self::Nowhere => seen,
        }
    }
}

// Writing into memory does not fail.
impl Told<'_> {
    fn write_x_forwarded_for(&self, hop: &Hop, out: &mut Vec<u8>) {
        for element in &self.way {
            let _ = write!(out, "{}, ", element.node);
        }
        out.extend_from_slice(hop.address_field.as_bytes());
    }

    /// An element for each step. What the client's own request said stands in the one that tells of the client.
    fn write_forwarded(&self, hop: &Hop, proto: Option<&[u8]>, host: Option<&[u8]>, out: &mut Vec<u8>) {
        let peer = Node::Address { ip: hop.address, port: None };
        let client = self.vouched.unwrap_or(self.way.len());
        let steps = self.way.iter().map(|element| element.node).chain([peer]);
        for (position, node) in steps.enumerate() {
            out.extend_from_slice(if position == 0 { &b"for="[..] } else { b", for=" });
            let quote = if node.is_token() { "" } else { "\"" };
            let _ = write!(out, "{quote}{node:#}{quote}");
            if position == client {
                for (name, value, quote) in [("proto", proto, ""), ("host", host, "\"")] {
                    if let Some(value) = value {
                        let _ = write!(out, ";{name}={quote}");
                        out.extend_from_slice(value);
                        out.extend_from_slice(quote.as_bytes());
                    }
                }
            }
        }
    }
}

/// To which host the client's own request was addressed, in the one form that hosts have. Of a list, readers take the first.
fn told_host(headers: &HeaderMap, in_forwarded: Option<&str>) -> Option<Host> {
    let Some(field) = headers.get(X_FORWARDED_HOST) else { return Host::parse(in_forwarded?.as_bytes()).ok() };
    if let Ok(host) = Host::of_field(field) {
        return Some(host);
    }
    field_list::members_of(field).next().and_then(|first| Host::parse(first).ok())
}

/// The way by X-Forwarded-For. Empty elements of a list are none (RFC 9110, section 5.6.1).
fn x_forwarded_for(headers: &HeaderMap) -> Vec<Element<'_>> {
    let steps = field_list::members(headers, &X_FORWARDED_FOR).rev().filter(|step| !step.is_empty()).take(STEPS_MAX);
    let mut way: Vec<Element<'_>> = steps.map(|step| Element::of_node(Node::read(step))).collect();
    way.reverse();
    way
}

/// The way by Forwarded. Of a field that cannot be read it is only known that it is there.
fn forwarded(headers: &HeaderMap) -> Vec<Element<'_>> {
    let mut way = Vec::new();
    for field in headers.get_all(FORWARDED).iter().rev() {
        let mut elements =
            element::list(field.as_bytes(), STEPS_MAX).unwrap_or_else(|| vec![Element::of_node(Node::Unknown)].into());
        while let Some(element) = elements.pop_back().filter(|_| way.len() < STEPS_MAX) {
            way.push(element);
        }
    }
    way.reverse();
    way
}

/// The step from a peer to us, as upstreams are told of it. Made once for each connection.
#[derive(Clone, Debug)]
pub struct Hop {
    peer: Peer,
    address: IpAddr,
    address_field: HeaderValue,
    scheme: HeaderValue,
    /// A `forwarded-element` up to the host.
    element: String,
}

impl Hop {
    /// `scheme`: as the peer's connection has it.
    pub fn new(peer: Peer, scheme: Scheme) -> Self {
        let scheme = scheme.as_str();
        let address = peer.address().ip().to_canonical();
        let node = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("\"[{address}]\""),
        };
        Self {
            peer,
            address,
            address_field: address_value(address),
            scheme: HeaderValue::from_static(scheme),
            element: format!("for={node};proto={scheme}"),
        }
    }

    pub const fn address(&self) -> IpAddr {
        self.address
    }
}

fn address_value(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_string()).expect("an address is a field value")
}

#[cfg(test)]
mod tests;
