//! Where a browser's call comes from: CORS, and whether a cookie is believed.

use http::request::Parts;
use http::{Response, StatusCode};

use super::refusal::Refusal;
use crate::domain::cors::{Cors, is_preflight};
use crate::domain::origin::CookieOrigins;
use crate::proxy::reply::Reply;

/// Refuses a call that a browser may have been made to send with its cookies by another site.
pub(super) fn believe_cookie(head: &Parts, origins: &CookieOrigins) -> Result<(), Refusal> {
    if origins.believe(&head.uri, &head.headers) { Ok(()) } else { Err(Refusal::OriginRefused) }
}

/// The answer to a browser's question whether it may call; `None` when this is no such question.
pub(super) fn preflight(head: &Parts, cors: Option<&Cors>) -> Option<Reply> {
    if !is_preflight(&head.method, &head.headers) {
        return None;
    }
    let mut reply = Response::new(bytes::Bytes::new());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    if let Some(fields) = cors?.preflight(&head.method, &head.headers) {
        *reply.headers_mut() = fields;
    }
    Some(reply)
}

/// Lets the browser show the answer to its page, when that page's origin is allowed. What an upstream said of it stands.
pub(super) fn share(reply: &mut Reply, head: &Parts, cors: Option<&Cors>) {
    if let Some(cors) = cors {
        cors.share(reply.headers_mut(), &head.headers);
    }
}
