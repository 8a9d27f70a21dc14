//! Which pages of other origins may call from a browser, and read the responses (the Fetch standard's CORS protocol).

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::origin::{OriginPattern, origin_of};

/// Cross-origin calls from browsers.
#[derive(Clone, Debug)]
pub struct Cors {
    pub allowed_origins: Origins,
    pub allowed_methods: Vec<Method>,
    pub allowed_headers: Vec<HeaderName>,
    pub exposed_headers: Vec<HeaderName>,
    pub allow_credentials: bool,
    /// How long a browser may remember a preflight.
    pub max_age: Duration,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origins {
    Any,
    Listed(Vec<OriginPattern>),
}

/// Whether a browser asks if its page may call at all.
#[must_use]
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

impl Cors {
    /// Those who get answers to calls that carry cookies, and may therefore make such calls.
    #[must_use]
    pub fn credentialed(&self) -> &[OriginPattern] {
        match &self.allowed_origins {
            Origins::Listed(origins) if self.allow_credentials => origins,
            Origins::Listed(_) | Origins::Any => &[],
        }
    }

    /// The fields that answer the question of a page that may; `None` when it is no such question, or may not.
    #[must_use]
    pub fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<HeaderMap> {
        if !is_preflight(method, headers) || self.allowed_origin(headers).is_none() {
            return None;
        }
        let mut response = HeaderMap::new();
        let methods: Vec<&str> = self.allowed_methods.iter().map(Method::as_str).collect();
        let names: Vec<&str> = self.allowed_headers.iter().map(HeaderName::as_str).collect();
        put(&mut response, ACCESS_CONTROL_ALLOW_METHODS, &methods.join(", "));
        put(&mut response, ACCESS_CONTROL_ALLOW_HEADERS, &names.join(", "));
        put(&mut response, ACCESS_CONTROL_MAX_AGE, &self.max_age.as_secs().to_string());
        self.share(&mut response, headers);
        Some(response)
    }

    /// Lets the browser show the response to its page, when that page may see it. What an upstream said of it stands.
    pub fn share(&self, response: &mut HeaderMap, request: &HeaderMap) {
        if response.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            return;
        }
        if matches!(self.allowed_origins, Origins::Listed(_)) {
            response.append(VARY, HeaderValue::from_static("origin"));
        }
        let Some(origin) = self.allowed_origin(request) else { return };
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.allow_credentials {
            response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if !self.exposed_headers.is_empty() {
            let names: Vec<&str> = self.exposed_headers.iter().map(HeaderName::as_str).collect();
            put(response, ACCESS_CONTROL_EXPOSE_HEADERS, &names.join(", "));
        }
    }

    /// What `Access-Control-Allow-Origin` says, if anything.
    fn allowed_origin(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let origin = origin_of(request)?;
        match &self.allowed_origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Listed(listed) => listed.iter().any(|allowed| allowed.matches(origin)).then(|| origin.clone()),
        }
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use http::header::ORIGIN;

    use super::*;

    fn cors() -> Cors {
        Cors {
            allowed_origins: Origins::Listed(
                ["https://app.example.com", "https://*.preview.example.com"].map(|one| one.parse().unwrap()).to_vec(),
            ),
            allowed_methods: vec![Method::GET, Method::POST],
            allowed_headers: vec![HeaderName::from_static("authorization")],
            exposed_headers: vec![HeaderName::from_static("retry-after")],
            allow_credentials: true,
            max_age: Duration::from_mins(10),
        }
    }

    fn headers(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_allow_list_is_exact() {
        let shared = |origin: &'static str| {
            let mut response = HeaderMap::new();
            cors().share(&mut response, &headers(&[(ORIGIN, origin)]));
            assert_eq!(response[VARY], "origin");
            response.get(ACCESS_CONTROL_ALLOW_ORIGIN).cloned()
        };
        assert_eq!(shared("https://app.example.com").unwrap(), "https://app.example.com");
        assert_eq!(shared("https://a.b.preview.example.com").unwrap(), "https://a.b.preview.example.com");
        for origin in [
            "https://app.example.com.evil.example",
            "https://preview.example.com",
            "http://app.example.com",
            "https://APP.example.com",
            "null",
        ] {
            assert_eq!(shared(origin), None, "{origin}");
        }
    }

    #[test]
    fn what_an_upstream_said_stands() {
        let mut response = headers(&[(ACCESS_CONTROL_ALLOW_ORIGIN, "https://other.example.com")]);
        cors().share(&mut response, &headers(&[(ORIGIN, "https://app.example.com")]));
        assert_eq!(response, headers(&[(ACCESS_CONTROL_ALLOW_ORIGIN, "https://other.example.com")]));
    }

    #[test]
    fn a_question_is_answered_for_pages_that_may_call_and_for_nobody_else() {
        let asked = |method: &Method, origin: &'static str| {
            let question = headers(&[(ORIGIN, origin), (ACCESS_CONTROL_REQUEST_METHOD, "POST")]);
            cors().preflight(method, &question)
        };
        let response = asked(&Method::OPTIONS, "https://app.example.com").unwrap();
        assert_eq!(response[ACCESS_CONTROL_ALLOW_METHODS], "GET, POST");
        assert_eq!(response[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example.com");
        assert!(asked(&Method::OPTIONS, "https://evil.example.com").is_none());
        assert!(asked(&Method::POST, "https://app.example.com").is_none());
        assert!(cors().preflight(&Method::OPTIONS, &headers(&[(ORIGIN, "https://app.example.com")])).is_none());
    }
}
