//! An upstream's response to a login, as far as the data plane looks at it.

use std::pin::pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::response;
use http_body_util::BodyExt as _;

use crate::domain::media_type;
use crate::proxy::request::refusal::Refusal;
use crate::proxy::upstream::UpstreamBody;

/// Whether the response may be made into a session: 2xx, and JSON. Everything else passes through, unread.
pub(in crate::proxy) fn may_grant(response: &response::Parts) -> bool {
    response.status.is_success() && media_type::is_json(&response.headers)
}

/// Reads the response whole.
pub(in crate::proxy) async fn collect(body: UpstreamBody, bytes_max: usize, upstream: &Arc<str>) -> Result<Bytes, Refusal> {
    let mut body = pin!(body);
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|end| Refusal::of_end(end, upstream))?.into_data() else { continue };
        if whole.len() + data.len() > bytes_max {
            return Err(Refusal::LoginResponseTooLarge);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
