//! How a WebSocket is asked for by a stream of HTTP/2 (RFC 8441).

use h2::ext::Protocol;
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::{HeaderValue, Method, Request, StatusCode, response};

use super::head::Announced;
use crate::crypto::websocket::accept_of;
use crate::proxy::http1::Malformed;

/// A handshake by HTTP/1 that was translated. By HTTP/2 there is no key, and nothing that is said to it.
pub(super) struct Handshake {
    /// What the client by HTTP/1 is to be told.
    accept: HeaderValue,
}

impl Handshake {
    /// Makes an extended CONNECT of the head of an upgrade. Without one key it is none: nobody could say that the other side has
    /// understood.
    pub(super) fn of(head: &mut Request<()>) -> Option<Self> {
        let mut keys = head.headers().get_all(SEC_WEBSOCKET_KEY).iter();
        let (Some(key), None) = (keys.next(), keys.next()) else { return None };
        let accept = HeaderValue::try_from(accept_of(key)).expect("base64 is a field value");
        *head.method_mut() = Method::CONNECT;
        head.extensions_mut().insert(Protocol::from_static("websocket"));
        head.headers_mut().remove(SEC_WEBSOCKET_KEY);
        Some(Self { accept })
    }

    /// Makes of an upstream's consent what the client is told. Whether it is one.
    ///
    /// # Errors
    /// The head consents, and the stream is none that could stay open.
    pub(super) fn conclude(self, head: &mut response::Parts, announced: Announced, ends: bool) -> Result<bool, Malformed> {
        if !head.status.is_success() {
            return Ok(false);
        }
        if announced != Announced::Stream || ends {
            return Err(Malformed("consent to a WebSocket with a length, or an end"));
        }
        head.status = StatusCode::SWITCHING_PROTOCOLS;
        head.headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        Ok(true)
    }
}
