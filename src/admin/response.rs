//! What the control plane's server responds with.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use serde::Serialize;

/// The body of a response: whole or streamed. It cannot fail, only end.
pub type Body = BoxBody<Bytes, Infallible>;

pub type BoxedResponse = Response<Body>;

/// The writing end of a streamed response. Sending waits while the client does not read, and fails once it is gone.
pub type BodySender = Sender<Bytes, Infallible>;

/// Chunks of a streamed response that wait for the client.
const STREAM_CHUNKS_MAX: usize = 8;

/// A response of text in one piece. Not to be kept by any cache.
#[must_use]
pub fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> BoxedResponse {
    response(status, content_type, Full::new(body.into()).boxed())
}

#[must_use]
pub fn json(status: StatusCode, body: &impl Serialize) -> BoxedResponse {
    let bytes = serde_json::to_vec(body).expect("our own response types serialise");
    text(status, "application/json", bytes)
}

/// An error (RFC 9457): `code` is stable and for programs, `detail` is for people.
#[must_use]
pub fn problem(status: StatusCode, code: &'static str, detail: &str) -> BoxedResponse {
    #[derive(Serialize)]
    struct Problem<'a> {
        r#type: &'static str,
        title: &'a str,
        status: u16,
        code: &'static str,
        detail: &'a str,
    }
    let title = status.canonical_reason().unwrap_or("Error");
    let mut response = json(status, &Problem { r#type: "about:blank", title, status: status.as_u16(), code, detail });
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// Trouble that may be over soon.
#[must_use]
pub fn retry_later(mut response: BoxedResponse) -> BoxedResponse {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// A response that is written while it is read. It ends when the sender is dropped.
#[must_use]
pub fn stream(status: StatusCode, content_type: &'static str) -> (BodySender, BoxedResponse) {
    let (sender, body) = Channel::new(STREAM_CHUNKS_MAX);
    (sender, response(status, content_type, body.boxed()))
}

fn response(status: StatusCode, content_type: &'static str, body: Body) -> BoxedResponse {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
