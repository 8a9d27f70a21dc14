//! What a request's head must say exactly once: its host and the length of its body.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Uri, Version};

use crate::domain::host::{Host, LastHost};

/// The host of a request: exactly one valid Host, overridden by an absolute-form target (RFC 9112, section 3.2). By HTTP/2, `:authority`
/// is the authority of the target, and a Host beside it names the same (RFC 9113, section 8.3.1). `None`: a client of HTTP/1.0 that
/// names none. `last` is that of the connection.
///
/// # Errors
/// Fixed text for the client: none, two, or not a host; CONNECT, `*`, or a URL of another scheme.
pub fn effective_host(
    method: &Method,
    uri: &Uri,
    version: Version,
    headers: &HeaderMap,
    last: &LastHost,
) -> Result<Option<Host>, &'static str> {
    if method == Method::CONNECT {
        return Err("CONNECT is not supported.");
    }
    if uri.path() == "*" {
        return Err("The asterisk form is not supported.");
    }
    match uri.scheme_str() {
        Some(scheme) if !is_of_the_web(scheme) => return Err("The scheme is neither http nor https."),
        None if uri.authority().is_some() => return Err("The target is neither a path nor a URL."),
        Some(_) | None => {}
    }
    let (is_old, is_new) = (version < Version::HTTP_11, version > Version::HTTP_11);
    let mut fields = headers.get_all(HOST).iter();
    let from_field = match (fields.next(), fields.next()) {
        (Some(_), Some(_)) => return Err("More than one Host field."),
        (Some(field), None) if is_old && field.is_empty() => None,
        (Some(field), None) => Some(last.parse(field.as_bytes()).map_err(|_| "The Host field is not valid.")?),
        (None, _) if is_old || is_new && uri.authority().is_some() => None,
        (None, _) => return Err("The Host field is missing."),
    };
    let from_target = match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => return Err("The target has user information."),
        Some(authority) => Some(last.parse(authority.as_str().as_bytes()).map_err(|_| "The target's host is not valid.")?),
        None => None,
    };
    if is_new && from_target.as_ref().zip(from_field.as_ref()).is_some_and(|(target, field)| target != field) {
        return Err("Host and :authority name two hosts.");
    }
    Ok(from_target.or(from_field))
}

/// In any case (RFC 3986, section 3.1).
fn is_of_the_web(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// The host of a request that was let in already.
pub fn named_host(uri: &Uri, headers: &HeaderMap) -> Option<Host> {
    match uri.authority() {
        Some(authority) => Host::parse(authority.as_str().as_bytes()).ok(),
        None => Host::of_field(headers.get(HOST)?).ok(),
    }
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
    use http::HeaderValue;

    use super::*;

    fn host(version: Version, fields: &[&'static str], target: &'static str) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(HOST, HeaderValue::from_static(field));
        }
        let host = effective_host(&Method::GET, &Uri::from_static(target), version, &headers, &LastHost::default())?;
        Ok(host.map(|host| host.field().to_str().unwrap().to_owned()))
    }

    fn named(fields: &[&'static str], target: &'static str) -> Result<String, &'static str> {
        host(Version::HTTP_11, fields, target).map(Option::unwrap)
    }

    #[test]
    fn exactly_one_valid_host_is_needed() {
        assert_eq!(named(&["Example.COM.:8080"], "/"), Ok("example.com:8080".to_owned()));
        assert_eq!(named(&["localhost:"], "/"), Ok("localhost".to_owned()));
        for bad in [&[][..], &["a", "a"], &[""], &["a b"], &["a@b"], &["a,b"], &["a%41"]] {
            assert!(named(bad, "/").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn by_http_2_the_target_names_the_host_and_nobody_contradicts_it() {
        let named = |fields: &[&'static str], target| host(Version::HTTP_2, fields, target).map(Option::unwrap);
        assert_eq!(named(&[], "http://A.example:80/x"), Ok("a.example:80".to_owned()));
        assert_eq!(named(&["a.EXAMPLE."], "https://a.example/"), Ok("a.example".to_owned()));
        assert_eq!(named(&["a"], "/"), Ok("a".to_owned()), "translated from HTTP/1");
        for (fields, target) in [(&["b"][..], "http://a/"), (&["a:1"], "http://a/"), (&["a", "a"], "http://a/"), (&[], "/")] {
            assert!(named(fields, target).is_err(), "{fields:?} {target}");
        }
    }

    #[test]
    fn the_absolute_form_overrides_host_but_does_not_excuse_a_bad_one() {
        assert_eq!(named(&["a"], "http://B.:1/x"), Ok("b:1".to_owned()));
        assert!(named(&["a", "a"], "http://b/x").is_err());
        assert!(named(&["a"], "http://u@b/x").is_err());
        assert!(named(&["a"], "http://b..c/x").is_err());
        assert!(named(&[], "http://b/x").is_err());
        assert!(named(&["a"], "b").is_err(), "the form of CONNECT");
        assert!(named(&["a"], "b:80").is_err());
    }

    #[test]
    fn a_target_is_of_the_web_by_either_protocol() {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            for target in ["http://a/", "https://a/", "HTTP://a/", "HttpS://a/"] {
                assert!(host(version, &["a"], target).is_ok(), "{target}");
            }
            for target in ["ftp://a/", "httpx://a/", "ws://a/"] {
                assert!(host(version, &["a"], target).is_err(), "{target}");
            }
        }
    }

    #[test]
    fn a_client_of_the_old_version_need_not_name_a_host() {
        let old = |fields: &[&'static str], target| host(Version::HTTP_10, fields, target);
        assert_eq!(old(&[], "/"), Ok(None));
        assert_eq!(old(&[""], "/"), Ok(None));
        assert_eq!(old(&["a."], "/"), Ok(Some("a".to_owned())));
        assert_eq!(old(&[], "http://b./x"), Ok(Some("b".to_owned())));
        assert!(old(&["a", "a"], "/").is_err());
        assert!(old(&["a b"], "/").is_err());
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
