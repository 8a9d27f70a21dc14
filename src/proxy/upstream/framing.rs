//! What the head of a response says of its body, by whatever protocol it comes.

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, StatusCode};

use crate::proxy::http1::Malformed;

/// Whether there is none, whatever the fields say (RFC 9110, section 6.4.1).
pub(super) fn has_no_body(status: StatusCode, method: &Method) -> bool {
    method == Method::HEAD || status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// The one Content-Length; repeated equal ones count as one.
pub(super) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut known = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.as_bytes();
        let plain = !digits.is_empty() && digits.len() <= 19 && digits.iter().all(u8::is_ascii_digit);
        let length = plain
            .then(|| digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0')))
            .ok_or(Malformed("bad Content-Length in response"))?;
        if known.is_some_and(|other| other != length) {
            return Err(Malformed("differing Content-Length in response"));
        }
        known = Some(length);
    }
    Ok(known)
}
