//! Origins of pages and apps (RFC 6454): which are meant in the settings, and whether a token that came in a cookie was meant to come.
//! A browser sends it along whoever made it call.

use std::fmt;
use std::str::FromStr;

use http::header::ORIGIN;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::headers::framing::named_host;
use super::host::{Host, HostPattern};

/// One origin, or those of all names below one: `https://*.example.com` stands for one or more labels before `.example.com`.
///
/// Compared with what a browser sends as it stands. `null`, which every sandboxed page has, matches none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OriginPattern {
    Exact(String),
    Below {
        /// With `://`.
        scheme: String,
        /// With its dot in front, and its port.
        place: String,
    },
}

/// A pattern that no origin could match.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "allowed is an origin as browsers send it, such as \"https://app.example.com\" or \"capacitor://localhost\", or \
     \"https://*.example.com\" for all names below one"
)]
pub struct OriginPatternError;

impl OriginPattern {
    pub fn matches(&self, origin: &HeaderValue) -> bool {
        let origin = origin.as_bytes();
        match self {
            Self::Exact(exact) => exact.as_bytes() == origin,
            Self::Below { scheme, place } => origin
                .strip_prefix(scheme.as_bytes())
                .and_then(|rest| rest.strip_suffix(place.as_bytes()))
                .is_some_and(|labels| labels.split(|byte| *byte == b'.').all(is_label)),
        }
    }
}

/// In lower case, as browsers send it.
fn is_label(label: &[u8]) -> bool {
    let is_of_name = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    !label.is_empty() && label.iter().all(is_of_name)
}

impl FromStr for OriginPattern {
    type Err = OriginPatternError;

    fn from_str(text: &str) -> Result<Self, OriginPatternError> {
        let (scheme, rest) = text.split_once("://").ok_or(OriginPatternError)?;
        match scheme {
            "http" | "https" => Self::of_web(text, scheme, rest),
            _ if is_scheme_of_apps(scheme) && is_opaque_host(rest) => Ok(Self::Exact(text.to_owned())),
            _ => Err(OriginPatternError),
        }
    }
}

impl OriginPattern {
    fn of_web(text: &str, scheme: &str, rest: &str) -> Result<Self, OriginPatternError> {
        let below = rest.strip_prefix("*.");
        let named = below.unwrap_or(rest);
        let host = Host::parse(named.as_bytes()).map_err(|_| OriginPatternError)?;
        let is_as_sent = host.field().as_bytes() == named.as_bytes() && host.port() != port_default(scheme);
        if !is_as_sent {
            return Err(OriginPatternError);
        }
        let Some(place) = below else { return Ok(Self::Exact(text.to_owned())) };
        let can_be_below = format!("*.{}", host.name()).parse::<HostPattern>().is_ok();
        let pattern = Self::Below { scheme: format!("{scheme}://"), place: format!(".{place}") };
        if can_be_below { Ok(pattern) } else { Err(OriginPatternError) }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(exact) => f.write_str(exact),
            Self::Below { scheme, place } => write!(f, "{scheme}*{place}"),
        }
    }
}

fn port_default(scheme: &str) -> Option<u16> {
    match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    }
}

/// Schemes of apps and extensions (`capacitor`, `ionic`, `tauri`, `app`, `chrome-extension`), whose pages have origins of their own.
/// Pages of the others have the origin `null`, or that of who made them, or are no pages.
fn is_scheme_of_apps(scheme: &str) -> bool {
    const WITHOUT_ORIGINS: [&str; 12] =
        ["about", "blob", "data", "file", "filesystem", "ftp", "javascript", "mailto", "null", "tel", "ws", "wss"];
    let is_rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.');
    scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(is_rest)
        && !WITHOUT_ORIGINS.contains(&scheme)
}

/// A host, and a port, of a scheme that says by itself what hosts are: Safari's extensions have capital letters, Electron's `app://.`
/// a dot.
fn is_opaque_host(rest: &str) -> bool {
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let is_port = |port: &str| !port.starts_with('0') && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        && port.is_none_or(is_port)
}

/// The one origin that a browser names; `None` where it names none, or several.
pub fn origin_of(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut origins = headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (Some(origin), None) => Some(origin),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

/// Where a browser says that a call comes from (Fetch Metadata); no page can set it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Who may make a browser call with its cookies: the origins listed, the request's own host, and whoever can set the agreed field.
#[derive(Clone, Debug)]
pub struct CookieOrigins {
    pub listed: Vec<OriginPattern>,
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
        let Some(origin) = origin_of(headers) else { return false };
        self.listed.iter().any(|listed| listed.matches(origin)) || self.is_own(origin, uri, headers)
    }

    /// Whether cookies may be taken away that are worth nothing: no page of another site asks. Browsers do not always say where a call
    /// comes from, but where they do it counts.
    #[must_use]
    pub fn may_mend(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let is_foreign = || {
            let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
            headers.contains_key(ORIGIN) || sites.any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"))
        };
        self.believe(uri, headers) || !is_foreign()
    }

    fn is_own(&self, origin: &HeaderValue, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some((scheme, named)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else { return false };
        let (Ok(named), Some(own)) = (Host::parse(named.as_bytes()), named_host(uri, headers)) else { return false };
        let Some(port_default) = port_default(scheme) else { return false };
        let is_loopback = matches!(named.name(), "localhost" | "127.0.0.1" | "[::1]");
        let is_safe = scheme == "https" || !self.secure || is_loopback;
        let port = |host: &Host| host.port().unwrap_or(port_default);
        is_safe && named.name() == own.name() && port(&named) == port(&own)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn origins() -> CookieOrigins {
        CookieOrigins {
            listed: vec!["https://app.example.com".parse().unwrap(), "capacitor://localhost".parse().unwrap()],
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
        assert!(believed(&[OWN, ("origin", "capacitor://localhost")]));
        assert!(believed(&[("host", "API.example.com.:0443"), ("origin", "https://api.example.com")]));
        assert!(believed(&[OWN, ("x-csrf", "1")]));
        for origin in [
            "https://evil.example.com",
            "capacitor://localhost.evil.example",
            "http://localhost",
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
    fn a_pattern_means_one_origin_or_those_of_all_names_below_one() {
        let matches = |pattern: &str, origin: &'static str| {
            pattern.parse::<OriginPattern>().unwrap().matches(&HeaderValue::from_static(origin))
        };
        for (pattern, origin) in [
            ("https://app.example.com", "https://app.example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("http://tauri.localhost", "http://tauri.localhost"),
            ("https://*.example.com", "https://a.example.com"),
            ("https://*.example.com", "https://a-1.b_2.example.com"),
            ("http://*.localhost:3000", "http://a.localhost:3000"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("ionic://localhost", "ionic://localhost"),
            ("tauri://localhost", "tauri://localhost"),
            ("app://.", "app://."),
            ("chrome-extension://aaaabbbbccccddddeeeeffffgggghhhh", "chrome-extension://aaaabbbbccccddddeeeeffffgggghhhh"),
            ("moz-extension://0f9e-1a", "moz-extension://0f9e-1a"),
            ("safari-web-extension://0F9E-1A", "safari-web-extension://0F9E-1A"),
        ] {
            assert!(matches(pattern, origin), "{pattern} {origin}");
            assert_eq!(pattern.parse::<OriginPattern>().unwrap().to_string(), pattern);
        }
        for (pattern, origin) in [
            ("https://app.example.com", "https://app.example.com.evil.example"),
            ("https://app.example.com", "null"),
            ("https://*.example.com", "https://example.com"),
            ("https://*.example.com", "https://.example.com"),
            ("https://*.example.com", "https://a..example.com"),
            ("https://*.example.com", "https://evilexample.com"),
            ("https://*.example.com", "http://a.example.com"),
            ("https://*.example.com", "https://a.example.com:8443"),
            ("https://*.example.com", "https://evil.example/.example.com"),
            ("https://*.example.com", "https://evil.example:1.example.com"),
            ("https://*.example.com", "https://u@a.example.com"),
            ("https://*.example.com", "https://A.example.com"),
            ("https://*.example.com", "null"),
            ("capacitor://localhost", "ionic://localhost"),
        ] {
            assert!(!matches(pattern, origin), "{pattern} {origin}");
        }
    }

    #[test]
    fn a_pattern_that_no_origin_could_match_is_none() {
        for text in [
            "",
            "*",
            "null",
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://app.example.com/x",
            "https://App.example.com",
            "https://app.example.com.",
            "https://app.example.com:443",
            "http://a:80",
            "https://a:08443",
            "https://u@a",
            "HTTPS://a",
            "https://*",
            "https://*.",
            "https://*example.com",
            "https://a.*.com",
            "https://*.*.com",
            "https://*.127.0.0.1",
            "https://*.a:443",
            "http*://a",
            "capacitor://*",
            "capacitor://*.localhost",
            "capacitor://",
            "capacitor://localhost/",
            "chrome-extension://a?b",
            "file://",
            "file://a",
            "ws://a",
            "wss://a",
            "data://a",
            "1app://a",
        ] {
            assert!(text.parse::<OriginPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_developer_on_the_own_machine_needs_no_tls() {
        assert!(believed(&[("host", "localhost:8080"), ("origin", "http://localhost:8080")]));
    }
}
