//! An upstream's answer to a login, as far as the data plane looks at it.

use std::pin::pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;

use super::refusal::Refusal;
use super::upstream::{ResponseBody, ResponseHead};

/// Whether the answer may be made into a session: 2xx, and JSON. Everything else passes through, unread.
pub(super) fn may_grant(answer: &ResponseHead) -> bool {
    let is_json = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        media_type == "application/json" || media_type.starts_with("application/") && media_type.ends_with("+json")
    });
    answer.status.is_success() && is_json
}

/// Reads the answer whole.
pub(super) async fn collect(body: ResponseBody, bytes_max: usize, upstream: &Arc<str>) -> Result<Bytes, Refusal> {
    let mut body = pin!(body);
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|end| Refusal::of_end(end, upstream))?.into_data() else { continue };
        if whole.len() + data.len() > bytes_max {
            return Err(Refusal::LoginAnswerTooLarge);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
