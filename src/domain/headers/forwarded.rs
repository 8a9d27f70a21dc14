//! Where a request came from, as told to the upstream and as believed from peers (RFC 7239).

use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::{RequestContext, write_field};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_FORWARDED_SERVER: HeaderName = HeaderName::from_static("x-forwarded-server");
pub(super) const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Hops that are looked at in a trusted X-Forwarded-For, from the right.
const HOPS_MAX: usize = 32;

/// Whose word on origins is taken.
#[derive(Clone, Debug, Default)]
pub struct Forwarding {
    trusted_peers: Vec<IpNet>,
}

impl Forwarding {
    pub const fn new(trusted_peers: Vec<IpNet>) -> Self {
        Self { trusted_peers }
    }

    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted_peers.iter().any(|net| net.contains(&address))
    }

    /// The client: the peer itself, or, behind trusted peers, the right-most address in X-Forwarded-For that is not one of them.
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return peer;
        }
        let mut client = peer;
        let hops = headers.get_all(X_FORWARDED_FOR).iter().rev().flat_map(|field| field.as_bytes().rsplit(|byte| *byte == b','));
        for hop in hops.take(HOPS_MAX) {
            let Some(address) = std::str::from_utf8(hop).ok().and_then(|text| parse_hop(text.trim())) else { break };
            client = address;
            if !self.trusts(address) {
                break;
            }
        }
        client
    }

    /// Whether [`Forwarding::write`] puts a field of its own into the place of one that came along `hop`.
    pub(super) fn replaces(&self, name: &HeaderName, hop: &Hop) -> bool {
        if !is_of_origin(name) {
            return false;
        }
        *name == X_REAL_IP || !self.trusts(hop.address)
    }

    /// Writes where the request came from: in the place of what the peer says of it, or beside that where the peer is trusted.
    pub(super) fn write(&self, headers: &HeaderMap, context: &RequestContext<'_>, out: &mut Vec<u8>) {
        let RequestContext { hop, host, .. } = context;
        let trusted = self.trusts(hop.address);
        let is_told = |name: &HeaderName| trusted && headers.contains_key(name);
        write_field(out, X_FORWARDED_FOR.as_str(), hop.address_field.as_bytes());
        if !is_told(&X_FORWARDED_PROTO) {
            write_field(out, X_FORWARDED_PROTO.as_str(), hop.scheme.as_bytes());
        }
        if !is_told(&X_FORWARDED_HOST) {
            write_field(out, X_FORWARDED_HOST.as_str(), host.as_bytes());
        }
        if trusted {
            let client = self.client_address(hop.address, headers);
            write_field(out, X_REAL_IP.as_str(), client.to_string().as_bytes());
        }
        // A host was checked before: it has no quotes and no backslashes.
        for part in [FORWARDED.as_str().as_bytes(), b": ", hop.element.as_bytes(), host.as_bytes(), b"\"\r\n"] {
            out.extend_from_slice(part);
        }
    }
}

/// Whether a field says where a request came from.
fn is_of_origin(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 7] = [
        X_FORWARDED_FOR,
        X_FORWARDED_PROTO,
        X_FORWARDED_HOST,
        X_FORWARDED_PORT,
        X_FORWARDED_PREFIX,
        X_FORWARDED_SERVER,
        X_REAL_IP,
    ];
    *name == FORWARDED || name.as_str().starts_with("x-") && NAMES.contains(name)
}

/// The step from a peer to us, as upstreams are told of it. Made once for each connection.
#[derive(Clone, Debug)]
pub struct Hop {
    address: IpAddr,
    address_field: HeaderValue,
    scheme: HeaderValue,
    /// A `forwarded-element` up to the host.
    element: String,
}

impl Hop {
    /// `scheme` is `http` or `https`, as the peer's connection has it.
    pub fn new(peer: IpAddr, scheme: &'static str) -> Self {
        let address = peer.to_canonical();
        let node = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("\"[{address}]\""),
        };
        Self {
            address,
            address_field: address_value(address),
            scheme: HeaderValue::from_static(scheme),
            element: format!("for={node};proto={scheme};host=\""),
        }
    }

    pub const fn address(&self) -> IpAddr {
        self.address
    }
}

/// An address as it stands in X-Forwarded-For: bare, or with a port.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(inside, _)| inside);
    let address = bare.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

fn address_value(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_string()).expect("an address is a field value")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarding() -> Forwarding {
        Forwarding::new(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()])
    }

    fn client(peer: &str, field: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_FOR, HeaderValue::from_str(field).unwrap());
        forwarding().client_address(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        assert_eq!(client("192.0.2.1", "203.0.113.9"), "192.0.2.1");
        assert_eq!(
            Forwarding::default().client_address("127.0.0.1".parse().unwrap(), &HeaderMap::new()).to_string(),
            "127.0.0.1"
        );
    }

    #[test]
    fn behind_trusted_peers_the_right_most_stranger_is_the_client() {
        assert_eq!(client("10.0.0.1", "198.51.100.7, 203.0.113.9, 10.0.0.2"), "203.0.113.9");
        assert_eq!(client("::ffff:10.0.0.1", "203.0.113.9:4711"), "203.0.113.9");
        assert_eq!(client("::1", "[2001:db8::1]:80"), "2001:db8::1");
        assert_eq!(client("10.0.0.1", "10.0.0.3, 10.0.0.2"), "10.0.0.3");
        assert_eq!(client("10.0.0.1", "203.0.113.9, garbage"), "10.0.0.1");
    }
}
