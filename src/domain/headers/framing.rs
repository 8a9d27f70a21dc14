//! What a request's head must say exactly once: its host and the length of its body.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

/// The longest host that is believed, port included.
const HOST_BYTES_MAX: usize = 300;

/// Whom a request is addressed to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EffectiveHost {
    /// As it is passed on.
    pub field: HeaderValue,
    /// In lower case, without port; for routes.
    pub name: String,
}

/// The host of a request (RFC 9112, section 3.2): exactly one valid Host, overridden by an absolute-form target.
///
/// # Errors
/// Fixed text for the client: none, two, or not a host; CONNECT or `*`.
pub fn effective_host(method: &Method, uri: &Uri, version: Version, headers: &HeaderMap) -> Result<EffectiveHost, &'static str> {
    if method == Method::CONNECT {
        return Err("CONNECT is not supported.");
    }
    if uri.path() == "*" {
        return Err("The asterisk form is not supported.");
    }
    let mut fields = headers.get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (Some(_), Some(_)) => return Err("More than one Host field."),
        (Some(field), None) => Some(field),
        (None, _) if version >= Version::HTTP_11 => return Err("The Host field is missing."),
        (None, _) => None,
    };
    let from_field = field.map(|field| parse_host(field.as_bytes())).transpose()?;
    if let Some(authority) = uri.authority() {
        if authority.as_str().contains('@') {
            return Err("The target has user information.");
        }
        let name = parse_host(authority.as_str().as_bytes())?;
        let field = HeaderValue::from_str(authority.as_str()).map_err(|_| "The target's host is not valid.")?;
        return Ok(EffectiveHost { field, name });
    }
    match (field, from_field) {
        (Some(field), Some(name)) => Ok(EffectiveHost { field: field.clone(), name }),
        (None, _) | (_, None) => Err("The request names no host."),
    }
}

fn parse_host(bytes: &[u8]) -> Result<String, &'static str> {
    const INVALID: &str = "The Host field is not valid.";
    if bytes.is_empty() || bytes.len() > HOST_BYTES_MAX || bytes.contains(&b'@') {
        return Err(INVALID);
    }
    // http's grammar knows ports, IPv6 brackets and percent signs; what it lets through beyond host names is refused here.
    let authority = Authority::try_from(bytes).map_err(|_| INVALID)?;
    let host = authority.host();
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    let is_v6 = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok());
    let port_is_valid = match authority.as_str()[host.len()..].strip_prefix(':') {
        None => authority.as_str().len() == host.len(),
        Some(port) => port.is_empty() || port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok(),
    };
    if host.is_empty() || !(is_name || is_v6) || !port_is_valid {
        return Err(INVALID);
    }
    Ok(host.to_ascii_lowercase())
}

/// Refuses bodies whose end two readers could see in different places (RFC 9112, section 6.3). The HTTP parser in front refuses
/// much of it as well; this holds whatever it lets through.
///
/// # Errors
/// Fixed text for the client.
pub fn check_body_framing(version: Version, headers: &HeaderMap) -> Result<(), &'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if version < Version::HTTP_11 {
            return Err("Transfer-Encoding needs HTTP/1.1.");
        }
        if codings.next().is_some() || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err("Transfer-Encoding is not exactly \"chunked\".");
        }
        if headers.contains_key(CONTENT_LENGTH) {
            return Err("Content-Length and Transfer-Encoding together.");
        }
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let one_number = lengths.next().is_none() && !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
        if !one_number {
            return Err("Content-Length is not exactly one number.");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(fields: &[&'static str], target: &'static str) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(HOST, HeaderValue::from_static(field));
        }
        effective_host(&Method::GET, &Uri::from_static(target), Version::HTTP_11, &headers).map(|host| host.name)
    }

    #[test]
    fn exactly_one_valid_host_is_needed() {
        assert_eq!(host(&["Example.COM:8080"], "/"), Ok("example.com".to_owned()));
        assert_eq!(host(&["[::1]:80"], "/"), Ok("[::1]".to_owned()));
        assert_eq!(host(&["localhost:"], "/"), Ok("localhost".to_owned()));
        for bad in [
            &[][..],
            &["a", "a"],
            &[""],
            &["a b"],
            &["a/b"],
            &["a@b"],
            &["a:99999"],
            &["a:+80"],
            &["a:b"],
            &["[::1"],
            &["a,b"],
            &["a%41"],
        ] {
            assert!(host(bad, "/").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_absolute_form_overrides_host_but_does_not_excuse_a_bad_one() {
        assert_eq!(host(&["a"], "http://b:1/x"), Ok("b".to_owned()));
        assert!(host(&["a", "a"], "http://b/x").is_err());
        assert!(host(&["a"], "http://u@b/x").is_err());
    }

    #[test]
    fn ambiguous_lengths_are_refused() {
        let check = |version, fields: &[(http::HeaderName, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(name, HeaderValue::from_static(value));
            }
            check_body_framing(version, &headers)
        };
        assert!(check(Version::HTTP_11, &[(TRANSFER_ENCODING, "Chunked")]).is_ok());
        assert!(check(Version::HTTP_11, &[(CONTENT_LENGTH, "5")]).is_ok());
        assert!(check(Version::HTTP_10, &[(TRANSFER_ENCODING, "chunked")]).is_err());
        assert!(check(Version::HTTP_11, &[(TRANSFER_ENCODING, "gzip, chunked")]).is_err());
        assert!(check(Version::HTTP_11, &[(TRANSFER_ENCODING, "chunked"), (CONTENT_LENGTH, "5")]).is_err());
        assert!(check(Version::HTTP_11, &[(CONTENT_LENGTH, "5"), (CONTENT_LENGTH, "5")]).is_err());
        assert!(check(Version::HTTP_11, &[(CONTENT_LENGTH, "5, 5")]).is_err());
    }
}
