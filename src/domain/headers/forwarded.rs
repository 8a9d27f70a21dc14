//! Where a request came from, as told to the upstream and as believed from peers (RFC 7239).

use std::net::IpAddr;

use bytes::Bytes;
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::RequestContext;

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

    /// Overwrites what the peer says of origins, or adds to it where the peer is trusted.
    pub(super) fn rewrite(&self, headers: &mut HeaderMap, context: &RequestContext<'_>) {
        let RequestContext { hop, host, .. } = context;
        if !self.trusts(hop.address) {
            for name in [&X_FORWARDED_PORT, &X_FORWARDED_PREFIX, &X_FORWARDED_SERVER, &X_REAL_IP] {
                headers.remove(name);
            }
            headers.insert(X_FORWARDED_FOR, hop.address_field.clone());
            headers.insert(X_FORWARDED_PROTO, hop.scheme.clone());
            headers.insert(X_FORWARDED_HOST, (*host).clone());
            headers.insert(FORWARDED, hop.element(host));
            return;
        }
        let client = self.client_address(hop.address, headers);
        headers.append(X_FORWARDED_FOR, hop.address_field.clone());
        headers.entry(X_FORWARDED_PROTO).or_insert_with(|| hop.scheme.clone());
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| (*host).clone());
        headers.insert(X_REAL_IP, address_value(client));
        headers.append(FORWARDED, hop.element(host));
    }
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

    /// `for`, `proto` and `host`. A host was checked before: it has no quotes and no backslashes.
    fn element(&self, host: &HeaderValue) -> HeaderValue {
        let mut bytes = Vec::with_capacity(self.element.len() + host.len() + 1);
        bytes.extend_from_slice(self.element.as_bytes());
        bytes.extend_from_slice(host.as_bytes());
        bytes.push(b'"');
        HeaderValue::from_maybe_shared(Bytes::from(bytes)).expect("addresses and a checked host are a field value")
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
