//! Where a request came from, as told to the upstream and as believed from peers (RFC 7239).

use std::fmt::Write as _;
use std::net::IpAddr;

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
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

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
        let peer = context.peer.to_canonical();
        if !self.trusts(peer) {
            for name in [&X_FORWARDED_PORT, &X_FORWARDED_PREFIX, &X_FORWARDED_SERVER, &FORWARDED] {
                headers.remove(name);
            }
            headers.insert(X_FORWARDED_FOR, address_value(peer));
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(context.scheme));
            headers.insert(X_FORWARDED_HOST, context.host.clone());
            headers.insert(X_REAL_IP, address_value(peer));
            headers.insert(FORWARDED, element(peer, context));
            return;
        }
        let client = self.client_address(peer, headers);
        headers.append(X_FORWARDED_FOR, address_value(peer));
        headers.entry(X_FORWARDED_PROTO).or_insert_with(|| HeaderValue::from_static(context.scheme));
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| context.host.clone());
        headers.insert(X_REAL_IP, address_value(client));
        headers.append(FORWARDED, element(peer, context));
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

/// One `forwarded-element`: `for`, `proto` and `host` of this hop.
fn element(peer: IpAddr, context: &RequestContext<'_>) -> HeaderValue {
    let mut text = String::with_capacity(64);
    let written = match peer {
        IpAddr::V4(address) => write!(text, "for={address};proto={}", context.scheme),
        IpAddr::V6(address) => write!(text, "for=\"[{address}]\";proto={}", context.scheme),
    };
    written.expect("writing to a string does not fail");
    if let Ok(host) = context.host.to_str() {
        let _ = write!(text, ";host=\"{host}\"");
    }
    HeaderValue::try_from(text).expect("addresses and a checked host are a field value")
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
