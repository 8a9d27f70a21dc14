//! Fuzzed bytes, and what must hold for the domain's readers of them.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use serde_json::{Map, Value};

use super::access_claims::{AccessClaims, NUMERIC_DATE_MAX, PAYLOAD_DEPTH_MAX};
use super::addresses::AddressRule;
use super::demands::TokenDemands;
use super::headers::AuthorizationRule;
use super::headers::forwarded::{Forwarding, Hop, Origin};
use super::headers::framing::effective_host;
use super::host::{Host, HostPattern, LastHost};
use super::ids::SessionId;
use super::json;
use super::node::{Canary, NodeId};
use super::origin::{CookieOrigins, OriginPattern};
use super::path::CanonicalTarget;
use super::peer::Peer;
use super::per_upstream::UpstreamIndex;
use super::route::{
    Access, Action, Asked, EndpointPaths, Forward, Match, PrefixRule, RevocationCheck, Route, RouteTable, WhenStale,
};
use super::scheme::Scheme;
use super::share::Share;

/// Fuzzed bytes, taken apart from the front. By lines where that will do, so that people can read seeds and write them.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Zero once there is nothing left.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    /// Up to the next line feed, which belongs to nobody.
    pub fn line(&mut self) -> &'a [u8] {
        let (line, rest) = match self.0.iter().position(|byte| *byte == b'\n') {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (self.0, &[][..]),
        };
        self.0 = rest;
        line
    }

    /// [`Input::line`], if it is text.
    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.line()).ok()
    }

    /// Fields of a head: a line each up to an empty one, and what is none passed over.
    pub fn fields(&mut self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                return fields;
            }
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                fields.append(name, value);
            }
        }
    }

    #[must_use]
    pub const fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Cuts bytes into pieces, as a network might: one by one for 0, else of lengths that the seed decides.
pub fn pieces(mut whole: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(seed);
    std::iter::from_fn(move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let length = if seed == 0 { 1 } else { 1 + (state % (2 << (state >> 29))) as usize };
        let (piece, rest) = whole.split_at(length.min(whole.len()));
        whole = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// A canonical path is what was asked for, in one spelling, and no reader makes it climb.
pub fn path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(target) = CanonicalTarget::parse(text) else { return };
    let (path, whole) = (target.path(), target.path_and_query());
    let (asked, query) = text.split_at(text.find('?').unwrap_or(text.len()));
    assert_eq!(&whole[path.len()..], query, "the query is passed on as it is");
    assert_eq!(CanonicalTarget::parse(whole).as_ref(), Ok(&target), "canonical is canonical");
    assert_eq!(decoded_once(path.as_bytes()), decoded_once(asked.as_bytes()), "it means what was asked for");
    assert!(path.starts_with('/') && !path.starts_with("//"));
    assert!(whole.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') && !path.contains(['\\', '"', '<', '>']));
    for reading in lenient_readings(path.as_bytes()) {
        let segments = || reading.split(|byte| *byte == b'/');
        assert!(segments().all(|segment| !matches!(segment, b"." | b"..")), "{path} climbs as {}", reading.escape_ascii());
        assert!(!reading.iter().any(u8::is_ascii_control), "{path} hides a control character");
    }
}

fn decoded_once(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        let digits = path.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| byte == b'%' && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    decoded
}

/// What upstreams that were seen in the wild may take a path for, written apart from the code that guards against them: decoded
/// any number of times, parameters removed before, after or never, cut at a decoded `?` or `#`, backslashes as slashes, in lower
/// case by Unicode, no empty segments, no dots and spaces at their ends.
fn lenient_readings(path: &[u8]) -> Vec<Vec<u8>> {
    let without_parameters = |path: &[u8]| {
        let segments =
            path.split(|byte| *byte == b'/').map(|segment| segment.split(|byte| *byte == b';').next().unwrap_or(segment));
        segments.collect::<Vec<_>>().join(&b'/')
    };
    let mut readings = Vec::new();
    for mut path in [path.to_vec(), without_parameters(path)] {
        loop {
            let slashed: Vec<u8> =
                path.iter().map(|byte| if *byte == b'\\' { b'/' } else { byte.to_ascii_lowercase() }).collect();
            let unicode = String::from_utf8_lossy(&slashed).to_uppercase().to_lowercase().into_bytes();
            let cut = slashed.split(|byte| b"?#".contains(byte)).next().unwrap_or_default().to_vec();
            for reading in [without_parameters(&slashed), slashed, unicode, cut] {
                let joined = |trim: fn(&[u8]) -> &[u8]| {
                    let filled = reading.split(|byte| *byte == b'/').map(trim).filter(|segment| !segment.is_empty());
                    filled.fold(Vec::new(), |path, segment| [&path[..], b"/", segment].concat())
                };
                let whole = joined(|segment| segment);
                // Windows drops both; what is nothing but dots then was no way up before.
                readings.push(joined(|segment| match segment {
                    b"." | b".." => segment,
                    named => &named[..named.iter().rposition(|byte| !b". ".contains(byte)).map_or(0, |last| last + 1)],
                }));
                readings.push(whole);
            }
            let next = decoded_once(&path);
            if next == path {
                break;
            }
            path = next;
        }
    }
    readings
}

/// What frameworks serve that choose a format by the end of a path.
fn without_extension(reading: &[u8]) -> Option<Vec<u8>> {
    let dot = reading.iter().rposition(|byte| b"./".contains(byte)).filter(|at| *at > 1 && reading[*at] == b'.')?;
    (reading[dot - 1] != b'/').then(|| reading[..dot].to_vec())
}

/// Method, host, target and fields: whatever an upstream may read into the target, it is not served by less than its rule demands.
pub fn routes(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let Ok(method) = Method::from_bytes(input.line()) else { return };
    let Ok(host) = Host::parse(input.line()) else { return };
    let (host, Some(target)) = (host.name(), input.text()) else { return };
    let Ok(target) = CanonicalTarget::parse(target) else { return };
    let mut readings = lenient_readings(target.path().as_bytes());
    let formats: Vec<Vec<u8>> = readings.iter().filter_map(|reading| without_extension(reading)).collect();
    readings.extend(formats);
    let is_read_as = |place: &str| readings.iter().any(|reading| reading == place.as_bytes());
    let is_read_below = |place: &str| readings.iter().any(|reading| reading.starts_with(format!("{place}/").as_bytes()));
    let headers = input.fields();
    match route_table().find(&Asked { method: &method, host: Some(host), told_host: None, target: &target, headers: &headers }) {
        Match::Route(route) => {
            let is_open = route.access == Access::Public;
            let prefix = route.prefix.strip_suffix('/').unwrap_or(&route.prefix);
            let rest = target.path().strip_prefix(prefix).expect("a route matches its prefix alone");
            assert!(rest.is_empty() || !route.exact && rest.starts_with('/'), "{} at {}", route.name, target.path());
            assert!(route.host.as_ref().is_none_or(|own| own.matches(host)));
            assert!(!is_open || !(is_read_as("/admin") || is_read_below("/admin")), "/admin is open at {}", target.path());
            assert!(!is_open || !is_read_as("/public/account"), "/public/account is open at {}", target.path());
            assert!(!is_open || !host.ends_with(".closed.example"), "{} on a closed host", target.path());
            assert!(route.name.as_ref() != "read" || matches!(method, Method::GET | Method::HEAD), "{method}");
            let (is_post, is_delete) = (method == Method::POST, method == Method::DELETE);
            assert!(!is_post || !is_read_as("/login"), "past our own endpoint");
            assert!(!is_delete || !is_read_below("/sessions"), "past our own endpoint");
        }
        Match::Endpoint(_) | Match::Preflight => assert!(target.path() == "/login" || target.path().starts_with("/sessions")),
        Match::MethodNotAllowed { allow } => assert!(!allow.split(", ").any(|name| name == method.as_str()), "{method}: {allow}"),
        Match::Ambiguous | Match::AmbiguousHost | Match::NotFound => {}
    }
}

fn route_table() -> RouteTable {
    let route = |name: &str, host: Option<&str>, prefix: &str, exact: bool, methods: &[Method], access: Access| Route {
        name: name.into(),
        host: host.map(|host| host.parse().expect("a host")),
        prefix: prefix.to_owned(),
        exact,
        methods: methods.to_vec(),
        addresses: AddressRule::default(),
        access,
        limit: None,
        when_stale: WhenStale::Reject,
        revocation: RevocationCheck::Replica,
        enforced: Share::ALL,
        sign_in: None,
        action: Action::Forward(Forward {
            upstream: UpstreamIndex::FIRST,
            prefix: PrefixRule::Keep,
            authorization: AuthorizationRule::default(),
            request_fields: None,
            response_fields: None,
            body_bytes_max: 1,
            body_rate_min: None,
            response_timeout: std::time::Duration::from_secs(1),
            idle_timeout: std::time::Duration::from_secs(1),
            websocket_renewal: None,
        }),
    };
    let token = || Access::Token(TokenDemands::default());
    let routes = vec![
        route("all", None, "/", false, &[], Access::Public),
        route("admin", None, "/admin", false, &[], token()),
        route("public", None, "/public", false, &[], Access::Public),
        route("account", None, "/public/account", true, &[], token()),
        route("read", None, "/read", false, &[Method::GET], Access::Public),
        route("closed", Some("*.closed.example"), "/", false, &[], token()),
    ];
    let own =
        EndpointPaths { login: vec!["/login".to_owned()], sessions: Some("/sessions".to_owned()), ..EndpointPaths::default() };
    RouteTable::new(own, routes).expect("the rules are sound")
}

/// Method, target, then fields: the host is one, and a browser's word counts for the own host alone.
pub fn host_and_origin(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let Ok(method) = Method::from_bytes(input.line()) else { return };
    let Ok(uri) = Uri::try_from(input.line()) else { return };
    let headers = input.fields();
    let Ok(host) = effective_host(&method, &uri, Version::HTTP_11, &headers, &LastHost::default()) else { return };
    let host = host.expect("without a host there is no request of HTTP/1.1");
    let field = host.field().to_str().expect("a host is ASCII");
    assert!(!field.contains(['"', '\\', ',', ';', ' ', '\t', '@', '/', '?', '#', '%']), "{field}");
    assert!(!field.bytes().any(|byte| byte.is_ascii_uppercase()), "{field}");
    assert!(!host.name().is_empty() && !host.name().ends_with('.') && !host.name().starts_with('.'), "{field}");
    assert_eq!(host.port().map_or_else(|| host.name().to_owned(), |port| format!("{}:{port}", host.name())), field);
    assert_eq!(Host::parse(field.as_bytes()).as_ref(), Ok(&host), "canonical is canonical");
    let exact: HostPattern = host.name().parse().expect("a host is a pattern");
    assert!(exact.matches(host.name()));
    if let Some((_, above)) = host.name().split_once('.').filter(|(_, above)| !host.is_local_or_address() && !above.is_empty()) {
        let below: HostPattern = format!("*.{above}").parse().expect("a name has names below it");
        assert!(below.matches(host.name()) && !below.matches(above));
    }
    let again: HeaderMap = std::iter::once((HOST, host.field().clone())).collect();
    let read = effective_host(&Method::GET, &Uri::from_static("/"), Version::HTTP_11, &again, &LastHost::default());
    assert_eq!(read, Ok(Some(host.clone())));

    if let Some(Ok(origin)) = headers.get(ORIGIN).map(HeaderValue::to_str)
        && let Ok(pattern) = origin.parse::<OriginPattern>()
    {
        assert_eq!(pattern.to_string(), origin);
        assert!(!pattern.matches(&HeaderValue::from_static("null")));
        assert_eq!(pattern.matches(&headers[ORIGIN]), !origin.contains('*'), "{origin}");
    }
    let port = host.port().map(|port| port.to_string()).unwrap_or_default();
    let origins = CookieOrigins { listed: Vec::new(), field: HeaderName::from_static("x-csrf"), secure: false };
    if !headers.contains_key("x-csrf") && origins.believe(&uri, &headers) {
        let origin = headers[ORIGIN].to_str().expect("an origin is ASCII").to_ascii_lowercase();
        let (scheme, authority) = origin.split_once("://").expect("an origin has a scheme");
        let default = if scheme == "https" { "443" } else { "80" };
        let named = Host::parse(authority.as_bytes()).expect("an origin is of our host and of no user");
        assert_eq!(named.name(), host.name());
        let number = |text: &str| if text.is_empty() { default.parse::<u16>() } else { text.parse() };
        let named = named.port().map(|port| port.to_string()).unwrap_or_default();
        assert_eq!(number(&named), number(&port), "{origin} is not {field}");
    }
}

/// Networks that are trusted, the peer, then fields: the client is the peer, or an address that somebody trusted has told; and what the
/// upstream is told of it is the same in every field.
pub fn client_address(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let Some(trusted) = input.text() else { return };
    let forwarding = Forwarding::new(trusted.split(',').filter_map(|net| net.trim().parse().ok()).collect());
    let Some(Ok(peer)) = input.text().map(str::parse::<IpAddr>) else { return };
    let headers = input.fields();
    let hop = Hop::new(Peer::Known((peer, 0).into()), Scheme::Http);
    let origin = forwarding.origin(&hop, &headers);
    let client = origin.address();
    assert_eq!(client, client.to_canonical());
    let told = lines_of_origin(&origin);
    let way: Vec<&str> = told.values("x-forwarded-for").split(", ").collect();
    assert_eq!(way.last().copied(), Some(peer.to_canonical().to_string().as_str()), "our own step comes last");
    assert_eq!(nodes_of_forwarded(told.values("forwarded")), way, "two fields tell of two ways");
    if !forwarding.trusts(peer) {
        assert_eq!(way.len(), 1, "a stranger is not repeated");
        return assert_eq!(client, peer.to_canonical(), "a stranger is not believed");
    }
    assert_eq!(told.values("x-real-ip"), client.to_string());
    // From the right: trusted hops, then the client.
    let mut hops = way.iter().rev().map_while(|hop| address_within(hop.as_bytes()));
    let vouched = hops.find(|address| !forwarding.trusts(*address));
    assert!(vouched.map_or_else(|| forwarding.trusts(client), |address| address == client), "{client} is nobody's word");
}

/// The fields that tell an upstream of an origin.
struct OriginLines(String);

fn lines_of_origin(origin: &Origin<'_>) -> OriginLines {
    let mut lines = Vec::new();
    origin.write(Some(&HeaderValue::from_static("api.example")), &mut lines);
    OriginLines(String::from_utf8(lines).expect("what is told of an origin is ASCII"))
}

impl OriginLines {
    fn values(&self, name: &str) -> &str {
        let mut values = self.0.split("\r\n").filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let value = values.next().unwrap_or_else(|| panic!("no {name}: {}", self.0));
        assert_eq!(values.next(), None, "{name} twice: {}", self.0);
        value
    }
}

/// The `for` of every element, as X-Forwarded-For has it.
fn nodes_of_forwarded(field: &str) -> Vec<&str> {
    field.split(", ").map(|element| node_of_element(element).expect("each element tells of a step")).collect()
}

fn node_of_element(element: &str) -> Option<&str> {
    let node = element.strip_prefix("for=")?.split(';').next()?.trim_matches('"');
    let inside = node.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    Some(inside.unwrap_or(node))
}

/// Bare, in brackets, or with a port.
fn address_within(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?;
    let bracketed = || text.strip_prefix('[')?.split(']').next();
    let with_port = || Some(text.rsplit_once(':')?.0);
    let address = text.parse().ok().or_else(|| bracketed()?.parse().ok()).or_else(|| with_port()?.parse().ok());
    address.map(|address: IpAddr| address.to_canonical())
}

/// What is taken is what every other reader takes it for; claims have their types.
pub fn json(bytes: &[u8]) {
    let usual = serde_json::from_slice::<Value>(bytes);
    if let Ok(map) = json::object(bytes, PAYLOAD_DEPTH_MAX) {
        assert!(depth(&map) <= usize::from(PAYLOAD_DEPTH_MAX));
        let value = Value::Object(map);
        assert_eq!(Some(&value), usual.as_ref().ok(), "another reader reads something else");
        let written = serde_json::to_vec(&value).expect("JSON");
        assert_eq!(json::object(&written, PAYLOAD_DEPTH_MAX).map(Value::Object), Ok(value));
    }
    if let Ok(claims) = AccessClaims::parse(bytes) {
        let usual = usual.expect("JSON");
        let dates = [("exp", claims.expires_at), ("nbf", claims.not_before), ("iat", claims.issued_at)];
        for (name, date) in dates {
            assert_eq!(date.is_some(), usual.get(name).is_some(), "{name}");
            let said = usual.get(name).and_then(Value::as_f64).unwrap_or_default();
            #[expect(clippy::cast_precision_loss, reason = "within the years that a date may name, seconds are whole in a float")]
            let read = date.map_or(0.0, |date| date.secs() as f64);
            assert!((said - read).abs() <= 1.0, "{name}: {said} read as {read}");
            assert!(date.is_none_or(|date| (0..=NUMERIC_DATE_MAX).contains(&date.secs())));
        }
        assert_eq!(claims.issuer.as_deref(), usual.get("iss").and_then(Value::as_str));
        assert_eq!(claims.token.is_some(), usual.get("jti").is_some());
        let audiences = usual.get("aud").map_or(0, |aud| aud.as_array().map_or(1, Vec::len));
        assert_eq!(claims.audiences.len(), audiences);
    }
}

fn depth(map: &Map<String, Value>) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(of).max().unwrap_or_default(),
            Value::Object(map) => depth(map),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        }
    }
    1 + map.values().map(of).max().unwrap_or_default()
}

/// Names that have one spelling are read in that spelling alone.
pub fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(id) = SessionId::parse(text) {
        assert_eq!(id.to_string(), text);
    }
    if let Some(id) = NodeId::parse(text) {
        assert_eq!(id.to_string(), text);
    }
    if let Some(canary) = Canary::parse(text) {
        assert_eq!(Canary::parse(&canary.to_string()), Some(canary));
    }
}
