//! Where a browser's call comes from: CORS, and whether a cookie is believed.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::refusal::Refusal;
use crate::config::{Cors, Origins};
use crate::domain::origin::CookieOrigins;
use crate::proxy::reply::Reply;

/// Refuses a call that a browser may have been made to send with its cookies by another site.
pub(super) fn believe_cookie(head: &Parts, origins: &CookieOrigins) -> Result<(), Refusal> {
    if origins.believe(&head.uri, &head.headers) { Ok(()) } else { Err(Refusal::OriginRefused) }
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
