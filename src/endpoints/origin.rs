//! Where a browser's call comes from: CORS, and whether a cookie is believed.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, VARY,
};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::refusal::Refusal;
use crate::config::{Cookies, Cors, Origins};
use crate::proxy::reply::Reply;

/// Refuses a call that a browser may have been made to send with its cookies by another site: believed are the origins listed, the
/// request's own host, and whoever can set the agreed field.
pub(super) fn believe_cookie(head: &Parts, cookies: &Cookies, cors: Option<&Cors>) -> Result<(), Refusal> {
    if head.headers.contains_key(&cookies.csrf_header) {
        return Ok(());
    }
    let mut origins = head.headers.get_all(ORIGIN).iter();
    let origin = match (origins.next(), origins.next()) {
        (Some(origin), None) => origin.to_str().map_err(|_| Refusal::OriginRefused)?,
        (None, _) | (Some(_), Some(_)) => return Err(Refusal::OriginRefused),
    };
    let shares_credentials = |cors: &Cors| match &cors.allowed_origins {
        Origins::Any => false,
        Origins::Listed(listed) => cors.allow_credentials && listed.iter().any(|allowed| allowed == origin),
    };
    let is_listed = cookies.csrf_origins.iter().any(|allowed| allowed == origin) || cors.is_some_and(shares_credentials);
    if is_listed || is_own(origin, head, cookies.secure) { Ok(()) } else { Err(Refusal::OriginRefused) }
}

/// Whether `origin` names the host that the request was sent to. Without TLS only where cookies need none, or on the own machine.
fn is_own(origin: &str, head: &Parts, secure: bool) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let Some(host) = own_authority(head) else { return false };
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let port_default = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return false,
    };
    let is_loopback = matches!(authority.host(), "localhost" | "127.0.0.1" | "[::1]");
    let is_safe = scheme == "https" || !secure || is_loopback;
    let port = |authority: &Authority| authority.port_u16().unwrap_or(port_default);
    is_safe && authority.host().eq_ignore_ascii_case(host.host()) && port(&authority) == port(&host)
}

fn own_authority(head: &Parts) -> Option<Authority> {
    let from_field = || head.headers.get(HOST)?.to_str().ok()?.parse().ok();
    head.uri.authority().cloned().or_else(from_field)
}

/// The answer to a browser's question whether it may call; `None` when this is no such question.
pub(super) fn preflight(head: &Parts, cors: Option<&Cors>) -> Option<Reply> {
    let is_question = head.method == Method::OPTIONS && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if !is_question {
        return None;
    }
    let mut reply = Response::new(bytes::Bytes::new());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    let cors = cors?;
    if allowed_origin(head, cors).is_some() {
        let headers = reply.headers_mut();
        let methods: Vec<&str> = cors.allowed_methods.iter().map(Method::as_str).collect();
        let names: Vec<&str> = cors.allowed_headers.iter().map(HeaderName::as_str).collect();
        put(headers, ACCESS_CONTROL_ALLOW_METHODS, &methods.join(", "));
        put(headers, ACCESS_CONTROL_ALLOW_HEADERS, &names.join(", "));
        put(headers, ACCESS_CONTROL_MAX_AGE, &cors.max_age.as_secs().to_string());
    }
    Some(reply)
}

/// Lets the browser show the answer to its page, when that page's origin is allowed. What an upstream said of it stands.
pub(super) fn share(reply: &mut Reply, head: &Parts, cors: Option<&Cors>) {
    let Some(cors) = cors else { return };
    if reply.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        return;
    }
    let headers = reply.headers_mut();
    if matches!(cors.allowed_origins, Origins::Listed(_)) {
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
    let Some(origin) = allowed_origin(head, cors) else { return };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if cors.allow_credentials {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    if !cors.exposed_headers.is_empty() {
        let names: Vec<&str> = cors.exposed_headers.iter().map(HeaderName::as_str).collect();
        put(headers, ACCESS_CONTROL_EXPOSE_HEADERS, &names.join(", "));
    }
}

/// What `Access-Control-Allow-Origin` says, if anything.
fn allowed_origin(head: &Parts, cors: &Cors) -> Option<HeaderValue> {
    let origin = head.headers.get(ORIGIN)?;
    match &cors.allowed_origins {
        Origins::Any => Some(HeaderValue::from_static("*")),
        Origins::Listed(listed) => listed.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone()),
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::config::Settings;

    fn settings(text: &str) -> Settings {
        Settings::from_toml(&format!("upstreams.default.url = 'http://127.0.0.1:1'\n{text}")).unwrap()
    }

    fn head(fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::post("/refresh");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_cookie_is_believed_from_the_own_host_and_listed_origins_and_with_the_agreed_field() {
        let settings = settings("cookies = { enabled = true, csrf_origins = ['https://app.example.com'] }");
        let believed = |fields: &[(&str, &str)]| {
            let fields: Vec<_> = [("host", "api.example.com")].iter().chain(fields).copied().collect();
            believe_cookie(&head(&fields), settings.cookies.as_ref().unwrap(), None).is_ok()
        };
        assert!(believed(&[("origin", "https://api.example.com")]) && believed(&[("origin", "https://app.example.com")]));
        assert!(believed(&[("x-csrf", "1")]));
        for origin in [
            "https://evil.example.com",
            "https://app.example.com.evil.example",
            "http://api.example.com",
            "http://app.example.com",
            "https://api.example.com:8443",
            "https://api.example.com@evil.example",
            "null",
            "",
            "api.example.com",
        ] {
            assert!(!believed(&[("origin", origin)]), "{origin}");
        }
        assert!(!believed(&[]), "no origin and no field");
        assert!(!believed(&[("origin", "https://api.example.com"), ("origin", "https://evil.example.com")]));
    }

    #[test]
    fn a_developer_on_the_own_machine_needs_no_tls() {
        let settings = settings("cookies = { enabled = true }");
        let head = head(&[("host", "localhost:8080"), ("origin", "http://localhost:8080")]);
        assert!(believe_cookie(&head, settings.cookies.as_ref().unwrap(), None).is_ok());
    }

    #[test]
    fn the_allow_list_is_exact() {
        let settings = settings("cors = { allowed_origins = ['https://app.example.com'], allow_credentials = true }");
        let shared = |origin: &str| {
            let mut reply = Reply::default();
            share(&mut reply, &head(&[("origin", origin)]), settings.cors.as_ref());
            assert_eq!(reply.headers()[VARY], "origin");
            reply.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN).cloned()
        };
        assert_eq!(shared("https://app.example.com").unwrap(), "https://app.example.com");
        for origin in ["https://app.example.com.evil.example", "http://app.example.com", "https://APP.example.com", "null"] {
            assert_eq!(shared(origin), None, "{origin}");
        }
    }
}
