//! Problems in the form in which a caller of gRPC expects them: a response of trailers alone, with 200.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{Problem, Reply};
use crate::domain::problem_code::ProblemTypes;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What a message must not hold as it is, beside what is not ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// The codes of gRPC that a refusal can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Code {
    const fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_REQUEST => Self::InvalidArgument,
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::PermissionDenied,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Self::Unimplemented,
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Self::DeadlineExceeded,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::URI_TOO_LONG | StatusCode::TOO_MANY_REQUESTS => Self::ResourceExhausted,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            _ => Self::Internal,
        }
    }
}

impl Problem {
    /// For a call of this media type. The stable code leads the message; challenge and Retry-After stay fields.
    #[must_use]
    pub fn into_grpc_reply(self, media_type: &HeaderValue) -> Reply {
        let code = Code::of(self.status);
        let message = format!("{}: {}", self.code, self.detail);
        let (mut head, _) = self.into_reply(&ProblemTypes::default()).into_parts();
        head.status = StatusCode::OK;
        for name in [CACHE_CONTROL, CONTENT_LENGTH] {
            head.headers.remove(name);
        }
        head.headers.insert(CONTENT_TYPE, media_type.clone());
        head.headers.insert(GRPC_STATUS, HeaderValue::from(code as u16));
        if let Ok(message) = HeaderValue::try_from(utf8_percent_encode(&message, ENCODED).to_string()) {
            head.headers.insert(GRPC_MESSAGE, message);
        }
        Reply::from_parts(head, Bytes::new())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};

    use super::*;
    use crate::domain::claims::Denial;
    use crate::domain::problem_code::ProblemCode;

    const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/grpc+proto");

    #[test]
    fn a_refusal_is_a_response_of_trailers_alone() {
        let reply = Problem::from(&Denial::Expired).into_grpc_reply(&MEDIA_TYPE);
        let field = |name: HeaderName| reply.headers()[name].to_str().unwrap();
        assert_eq!((reply.status(), reply.body().len()), (StatusCode::OK, 0));
        assert_eq!((field(CONTENT_TYPE), field(GRPC_STATUS)), ("application/grpc+proto", "16"));
        assert_eq!(field(GRPC_MESSAGE), "token_expired: The access token has expired.");
        assert!(field(WWW_AUTHENTICATE).starts_with("Bearer "));
    }

    #[test]
    fn codes_follow_the_status_and_messages_are_encoded() {
        for (refused, code) in [
            (ProblemCode::ScopeInsufficient, "7"),
            (ProblemCode::RateLimited, "8"),
            (ProblemCode::UpstreamFailed, "14"),
            (ProblemCode::Overloaded, "14"),
            (ProblemCode::UpstreamTimeout, "4"),
            (ProblemCode::RouteNotFound, "12"),
            (ProblemCode::InternalError, "13"),
            (ProblemCode::RequestMalformed, "3"),
        ] {
            let problem = Problem::new(refused, "100 % süß").retry_after(Duration::from_secs(2));
            let reply = problem.into_grpc_reply(&MEDIA_TYPE);
            assert_eq!((&reply.headers()[GRPC_STATUS], &reply.headers()[RETRY_AFTER]), (&code.parse().unwrap(), &2.into()));
            assert_eq!(reply.headers()[GRPC_MESSAGE], format!("{refused}: 100 %25 s%C3%BC%C3%9F"));
        }
    }
}
