//! Where a browser's call comes from, and whether its cookie is believed.

use http::request::Parts;

use super::refusal::Refusal;
use crate::domain::origin::CookieOrigins;

/// Refuses a call that a browser may have been made to send with its cookies by another site.
pub(super) fn believe_cookie(head: &Parts, origins: &CookieOrigins) -> Result<(), Refusal> {
    if origins.believe(&head.uri, &head.headers) { Ok(()) } else { Err(Refusal::OriginRefused) }
}
