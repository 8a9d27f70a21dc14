//! What is refused before it comes to be a request.

use http::request::Parts;
use http::{StatusCode, Version};

use crate::domain::problem_code::ProblemCode;
use crate::domain::stats::Counter;

/// What was refused before anybody looked at it.
#[derive(Clone, Copy, Debug)]
pub struct Unread<'a> {
    /// As what it is counted.
    pub counter: Counter,
    /// What the client was told.
    pub status: StatusCode,
    pub code: Option<ProblemCode>,
    /// `None`: nobody knows.
    pub version: Option<Version>,
    /// As far as it could be read.
    pub head: Option<&'a Parts>,
}

impl Unread<'_> {
    /// A head that could not be read.
    pub(super) const fn head(counter: Counter, status: StatusCode, version: Version) -> Self {
        Self { counter, status, code: None, version: Some(version), head: None }
    }

    /// Clear text where TLS is spoken.
    pub const fn clear_text() -> Self {
        let code = ProblemCode::TlsRequired;
        Self { counter: Counter::TlsHandshakesFailed, status: code.status(), code: Some(code), version: None, head: None }
    }
}
