//! Whether a token that came in a cookie was meant to come: a browser sends it along whoever made it call.

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Uri};

/// Who may make a browser call with its cookies: the origins listed, the request's own host, and whoever can set the agreed field.
#[derive(Clone, Debug)]
pub struct CookieOrigins {
    /// Exact, as browsers send them.
    pub listed: Vec<String>,
    /// No form of another site can set it.
    pub field: HeaderName,
    /// Whether the own host counts over TLS alone; on the own machine it counts without.
    pub secure: bool,
}

impl CookieOrigins {
    /// Whether the call came from one of them.
    #[must_use]
    pub fn believe(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        if headers.contains_key(&self.field) {
            return true;
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        let (Some(origin), None) = (origins.next(), origins.next()) else { return false };
        let Ok(origin) = origin.to_str() else { return false };
        self.listed.iter().any(|listed| listed == origin) || self.is_own(origin, uri, headers)
    }

    fn is_own(&self, origin: &str, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some((scheme, authority)) = origin.split_once("://") else { return false };
        let Some(host) = own_authority(uri, headers) else { return false };
        let Ok(authority) = authority.parse::<Authority>() else { return false };
        let port_default = match scheme {
            "https" => 443,
            "http" => 80,
            _ => return false,
        };
        let is_loopback = matches!(authority.host(), "localhost" | "127.0.0.1" | "[::1]");
        let is_safe = scheme == "https" || !self.secure || is_loopback;
        let port = |authority| port_of(authority, port_default);
        let is_same_port = port(&authority).is_some_and(|named| port(&host) == Some(named));
        is_safe && authority.host().eq_ignore_ascii_case(host.host()) && is_same_port
    }
}

/// `None` for what is no host with or without a port: `Authority` takes a user before it, and any text for a port.
fn port_of(authority: &Authority, default: u16) -> Option<u16> {
    match authority.as_str().strip_prefix(authority.host())? {
        "" | ":" => Some(default),
        port => port.strip_prefix(':').filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok(),
    }
}

fn own_authority(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let from_field = || headers.get(HOST)?.to_str().ok()?.parse().ok();
    uri.authority().cloned().or_else(from_field)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn origins() -> CookieOrigins {
        CookieOrigins {
            listed: vec!["https://app.example.com".to_owned()],
            field: HeaderName::from_static("x-csrf"),
            secure: true,
        }
    }

    fn believed(fields: &[(&'static str, &str)]) -> bool {
        let field =
            |&(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in fields.iter().map(field) {
            headers.append(name, value);
        }
        origins().believe(&Uri::from_static("/refresh"), &headers)
    }

    const OWN: (&str, &str) = ("host", "api.example.com");

    #[test]
    fn a_cookie_is_believed_from_the_own_host_and_listed_origins_and_with_the_agreed_field() {
        assert!(believed(&[OWN, ("origin", "https://api.example.com")]));
        assert!(believed(&[OWN, ("origin", "https://app.example.com")]));
        assert!(believed(&[OWN, ("x-csrf", "1")]));
        for origin in [
            "https://evil.example.com",
            "https://app.example.com.evil.example",
            "http://api.example.com",
            "http://app.example.com",
            "https://api.example.com:8443",
            "https://api.example.com@evil.example",
            "https://someone@api.example.com",
            "https://api.example.com:65979",
            "https://api.example.com:+443",
            "null",
            "",
            "api.example.com",
        ] {
            assert!(!believed(&[OWN, ("origin", origin)]), "{origin}");
        }
        assert!(!believed(&[OWN]), "no origin and no field");
        assert!(!believed(&[OWN, ("origin", "https://api.example.com"), ("origin", "https://evil.example.com")]));
    }

    #[test]
    fn a_developer_on_the_own_machine_needs_no_tls() {
        assert!(believed(&[("host", "localhost:8080"), ("origin", "http://localhost:8080")]));
    }
}
