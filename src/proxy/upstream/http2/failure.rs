//! What it means that a stream has failed.

use h2::Reason;

use super::signs::Signs;
use crate::proxy::upstream::end::UpstreamFault;

/// Of a request without a response.
pub(super) enum Failure {
    /// The upstream has done nothing of it (RFC 9113, section 8.7): it may be sent again, whatever it is.
    Untaken(UpstreamFault),
    /// Nobody knows what the upstream has done of it.
    Lost(UpstreamFault),
    /// The upstream has seen it, and will not answer.
    Given(UpstreamFault),
}

impl Failure {
    pub(super) fn of(error: h2::Error, signs: &Signs) -> Self {
        signs.note_reset(&error);
        let is_untaken = error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
        match error.reason() {
            // With GOAWAY, streams fail that begin behind the last one that counts; all others go on.
            _ if is_untaken => Self::Untaken(UpstreamFault::Refused(error.to_string())),
            Some(_) if error.is_library() => Self::Given(UpstreamFault::Violation(error)),
            Some(reason) if error.is_remote() => Self::Given(UpstreamFault::Reset(reason)),
            Some(_) | None => Self::Lost(UpstreamFault::Lost(signs.cause(error))),
        }
    }
}

/// Of a request whose response has begun.
pub(super) fn within_the_response(error: h2::Error, signs: &Signs) -> UpstreamFault {
    signs.note_reset(&error);
    if error.is_library() { UpstreamFault::Violation(error) } else { UpstreamFault::Truncated(signs.cause(error)) }
}
