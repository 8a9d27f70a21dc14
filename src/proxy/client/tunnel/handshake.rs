//! The handshakes of a WebSocket: the client's by HTTP/1 (RFC 6455, section 4) or HTTP/2 (RFC 8441), and the upstream's.

use http::header::{CONNECTION, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

pub(in crate::proxy) use http::header::SEC_WEBSOCKET_ACCEPT;

use crate::crypto::websocket::{accept_of, key_of};
use crate::domain::field_list;

const WEBSOCKET: [(HeaderName, &str); 2] = [(CONNECTION, "upgrade"), (UPGRADE, "websocket")];

/// Stands with the head of a request that asks for a WebSocket by HTTP/2, which has no field for that. The handshake with the upstream
/// is then the gateway's own (RFC 8441, section 5).
#[derive(Clone, Debug)]
struct OwnHandshake {
    /// What the upstream has to say.
    accept: HeaderValue,
}

/// Turns the head of an extended CONNECT into that of the upgrade for which it stands.
pub(in crate::proxy::client) fn translate(head: &mut Parts, nonce: [u8; 16]) {
    let key = key_of(nonce);
    let value = |text: String| HeaderValue::try_from(text).expect("base64 is a field value");
    head.extensions.insert(OwnHandshake { accept: value(accept_of(&key)) });
    head.headers.insert(SEC_WEBSOCKET_KEY, value(key));
    head.method = Method::GET;
}

/// Whether a request asks for a WebSocket. Other protocols are not switched to: an HTTP/2 upgrade, for one, would carry requests past
/// every check.
pub(in crate::proxy) fn wants_websocket(head: &Parts) -> bool {
    match head.version {
        Version::HTTP_11 => {
            head.method == Method::GET
                && head.headers.contains_key(UPGRADE)
                && field_list::has(&head.headers, &CONNECTION, "upgrade")
                && field_list::has(&head.headers, &UPGRADE, "websocket")
        }
        Version::HTTP_2 => is_by_http2(head),
        _ => false,
    }
}

/// Says again what is taken away on the way to somebody who judges the handshake: a proxy that asks about one drops the fields of its
/// connection, and passes those of the handshake.
pub(in crate::proxy) fn restore(headers: &mut HeaderMap) {
    if headers.contains_key(SEC_WEBSOCKET_KEY) || headers.contains_key(SEC_WEBSOCKET_VERSION) {
        announce(headers);
    }
}

/// Says on one hop what the rewriting took away: that the protocol is to change.
pub(in crate::proxy::client) fn announce(headers: &mut HeaderMap) {
    for (name, value) in WEBSOCKET {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Whether an upstream that switches protocols does so in response to this request. A client that made its handshake itself judges that.
pub(in crate::proxy) fn is_consent(head: &Parts, response: &HeaderMap) -> bool {
    let own = head.extensions.get::<OwnHandshake>();
    wants_websocket(head) && own.is_none_or(|own| response.get(SEC_WEBSOCKET_ACCEPT) == Some(&own.accept))
}

/// Whether messages are not carried as they are written: compressed, for one.
pub(in crate::proxy) fn is_extended(response: &HeaderMap) -> bool {
    field_list::members(response, &SEC_WEBSOCKET_EXTENSIONS).any(|extension| !extension.is_empty())
}

/// Whether a WebSocket is asked for by HTTP/2.
pub(in crate::proxy) fn is_by_http2(head: &Parts) -> bool {
    head.extensions.get::<OwnHandshake>().is_some()
}

/// Whether the client would take for consent what is none: by HTTP/2, a WebSocket begins with 200.
pub(in crate::proxy) fn is_mistaken_for_consent(head: &Parts, status: StatusCode) -> bool {
    is_by_http2(head) && status.is_success()
}
