//! Addresses, networks, URLs and names of HTTP.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderName, Method};
use ipnet::IpNet;

use super::{parsed, text};
use crate::config::address::ListenAddress;
use crate::config::reading::Reading;
use crate::domain::host::{HostPattern, HostPatternError};
use crate::domain::origin::{OriginPattern, OriginPatternError};

pub(in crate::config) fn address() -> Reading<ListenAddress> {
    const ALLOWED: &str =
        "allowed is an IP address or a name, and a port, such as \"127.0.0.1:8080\", \"[::]:8080\" or \"localhost:8080\"";
    text().like(r"^(systemd:[!-9;-~]+|.+:[0-9]+)$").then(|text| text.parse().map_err(|()| ALLOWED.to_owned()))
}

/// Where only this process listens.
pub(in crate::config) fn own_address() -> Reading<ListenAddress> {
    let refusal = "sockets of the service manager are for the listeners of clients";
    address().then(move |address| if address.is_known() { Ok(address) } else { Err(refusal.to_owned()) })
}

/// A network; a single address is a network of one.
pub(in crate::config) fn network() -> Reading<IpNet> {
    text().like(r"^[0-9A-Fa-f:.]+(/[0-9]+)?$").then(|text| {
        text.parse()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map(|net: IpNet| net.trunc())
            .map_err(|_| "allowed is a network such as \"10.0.0.0/8\", or an IP address".to_owned())
    })
}

pub(in crate::config) fn header_name() -> Reading<HeaderName> {
    parsed("the name of a header field, such as \"x-auth-subject\"").like(r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$")
}

pub(in crate::config) fn method() -> Reading<Method> {
    parsed("a method, such as \"GET\"").like(r"^[!#$%&'*+\-.^_`|~0-9A-Z]+$").then(|method: Method| {
        let is_upper_case = !method.as_str().bytes().any(|b| b.is_ascii_lowercase());
        match (is_upper_case, &method) {
            (true, &Method::CONNECT) => Err("CONNECT is never forwarded".to_owned()),
            (true, _) => Ok(method),
            (false, _) => Err("methods are written in upper case".to_owned()),
        }
    })
}

/// A path of URLs in its canonical form; a slash at the end is dropped.
pub(in crate::config) fn url_path() -> Reading<String> {
    const ALLOWED: &str = "allowed is a path such as \"/api\": it starts with a slash and has no empty, \".\" or \"..\" segment, \
                           no query, and none of % ; \\ # or characters beyond ASCII";
    text().like(r"^/([A-Za-z0-9\-._~!$&'()*+,=:@]+(/[A-Za-z0-9\-._~!$&'()*+,=:@]+)*/?)?$").then(|text| match text.as_str() {
        "/" => Ok(text),
        path if is_url_path(path) && !path.is_empty() => Ok(path.strip_suffix('/').unwrap_or(path).to_owned()),
        _ => Err(ALLOWED.to_owned()),
    })
}

/// Whether a path is canonical, but for a slash at its end.
pub(in crate::config) fn is_url_path(text: &str) -> bool {
    let is_segment = |segment: &str| {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&b);
        !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain)
    };
    let path = text.strip_suffix('/').unwrap_or(text);
    path.is_empty() || path.strip_prefix('/').is_some_and(|segments| segments.split('/').all(is_segment))
}

/// A host, and no port or one that can be connected to. (`Uri` lets `h:` and `h:99999` pass, as if there were none.)
pub(in crate::config) fn has_sound_port(authority: &Authority) -> bool {
    let ends_with_host = authority.as_str().ends_with(authority.host());
    !authority.host().is_empty() && authority.port_u16().map_or(ends_with_host, |port| port != 0)
}

/// An origin as browsers send it (RFC 6454), or those of all names below one.
pub(in crate::config) fn origin() -> Reading<OriginPattern> {
    let origin = |text: String| text.parse().map_err(|error: OriginPatternError| error.to_string());
    text().like(r"^[a-z][a-z0-9+.\-]*://[^/\s]+$").then(origin)
}

/// One host without port, or all names below one. International names may be written as they are read.
pub(in crate::config) fn host_pattern() -> Reading<HostPattern> {
    text().then(|text| {
        let (below, name) = text.strip_prefix("*.").map_or(("", &*text), |name| ("*.", name));
        let ascii =
            if name.is_ascii() { Some(name.to_owned()) } else { url::Host::parse(name).ok().map(|host| host.to_string()) };
        let pattern = ascii.map_or(Err(HostPatternError), |name| format!("{below}{name}").parse());
        pattern.map_err(|error| error.to_string())
    })
}
