//! Who may ask more of the admin listener than whether the process lives.

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, StatusCode};
use subtle::ConstantTimeEq as _;

use super::response::{BoxedResponse, problem};
use crate::domain::host::Host;
use crate::domain::secret::Secret;

/// With a token: whoever brings it. Without one: local programs, but no web page that a local browser shows.
#[derive(Debug)]
pub(super) struct Guard {
    token: Option<Secret<String>>,
}

impl Guard {
    pub(super) const fn new(token: Option<Secret<String>>) -> Self {
        Self { token }
    }

    /// `None` for those who may.
    pub(super) fn refuse(&self, request: &Request<Bytes>) -> Option<BoxedResponse> {
        match &self.token {
            Some(token) => (!bears(request, token)).then(unauthorized),
            None => is_from_web_page(request).then(forbidden),
        }
    }
}

fn bears(request: &Request<Bytes>, token: &Secret<String>) -> bool {
    let mut fields = request.headers().get_all(AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return false };
    let Some((scheme, credentials)) = field.as_bytes().split_at_checked("Bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(credentials.ct_eq(token.expose().as_bytes()))
}

/// A page can make a browser send requests to loopback: across origins with `Origin`, or, by a name of its own that it lets
/// resolve to loopback, under that name as the host.
fn is_from_web_page(request: &Request<Bytes>) -> bool {
    let is_local = |host| Host::of_field(host).is_ok_and(|host| host.is_local_or_address());
    request.headers().contains_key(ORIGIN) || !request.headers().get_all(HOST).iter().all(is_local)
}

fn unauthorized() -> BoxedResponse {
    let mut response = problem(StatusCode::UNAUTHORIZED, "admin_token_needed", "The admin listener asks for its bearer token.");
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn forbidden() -> BoxedResponse {
    problem(StatusCode::FORBIDDEN, "admin_local_only", "Without admin.token, only local programs may ask, and no web page.")
}
