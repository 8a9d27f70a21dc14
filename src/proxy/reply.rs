//! Answers that the gateway gives itself: problem+json with a stable code, and nothing that leaks a cause.

mod farewell;
mod grpc;

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, LOCATION, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::domain::claims::{Denial, Undecided};
use crate::domain::problem_code::{ProblemCode, ProblemTypes};

/// A response that is whole in memory.
pub type Reply = Response<Bytes>;

/// An error answer (RFC 9457), with the RFC 6749 fields where an OAuth client will read it.
#[derive(Debug, Clone)]
pub struct Problem {
    /// One of those of the code.
    status: StatusCode,
    code: ProblemCode,
    /// For people; fixed text or made of the operator's settings, never of a secret.
    detail: Cow<'static, str>,
    /// `error` of RFC 6749 5.2.
    oauth_error: Option<&'static str>,
    challenge: Option<String>,
    allow: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_description: Option<&'a str>,
}

impl Problem {
    /// With the usual status of its code.
    pub fn new(code: ProblemCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: code.status(),
            code,
            detail: detail.into(),
            oauth_error: None,
            challenge: None,
            allow: None,
            retry_after: None,
        }
    }

    /// With another of the statuses of its code.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        debug_assert!(self.code.statuses().contains(&status), "{} does not come with {status}", self.code);
        Self { status, ..self }
    }

    /// Adds the `error` and `error_description` that RFC 6749 5.2 asks for.
    #[must_use]
    pub fn oauth(self, error: &'static str) -> Self {
        Self { oauth_error: Some(error), ..self }
    }

    /// Adds `WWW-Authenticate` with this value (RFC 6750, section 3).
    #[must_use]
    pub fn challenge(self, challenge: impl Into<String>) -> Self {
        Self { challenge: Some(challenge.into()), ..self }
    }

    /// Adds `Allow` (RFC 9110, section 10.2.1).
    #[must_use]
    pub fn allow(self, methods: impl Into<Cow<'static, str>>) -> Self {
        Self { allow: Some(methods.into()), ..self }
    }

    /// Adds `Retry-After`, in whole seconds, at least one.
    #[must_use]
    pub fn retry_after(self, span: Duration) -> Self {
        Self { retry_after: Some(span), ..self }
    }

    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    #[must_use]
    pub const fn code(&self) -> ProblemCode {
        self.code
    }

    #[must_use]
    pub fn into_reply(self, types: &ProblemTypes) -> Reply {
        let body = ProblemBody {
            r#type: &types.of(self.code),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code.as_str(),
            detail: &self.detail,
            error: self.oauth_error,
            error_description: self.oauth_error.map(|_| self.detail.as_ref()),
        };
        let mut reply = json(self.status, &body);
        // For whoever notes what became of the request.
        reply.extensions_mut().insert(self.code);
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let mut set = |name: HeaderName, text: String| {
            if let Ok(value) = HeaderValue::try_from(text) {
                reply.headers_mut().insert(name, value);
            }
        };
        if let Some(challenge) = self.challenge {
            set(WWW_AUTHENTICATE, challenge);
        }
        if let Some(methods) = self.allow {
            set(ALLOW, methods.into_owned());
        }
        if let Some(span) = self.retry_after {
            set(RETRY_AFTER, span.as_secs_f64().ceil().max(1.0).to_string());
        }
        reply
    }

    /// The same for a client that speaks OAuth (RFC 6749, section 5.2): its media type, and an `error` in any case. Without one of
    /// that section, trouble of ours has the name that section 4.1.2.1 gives it.
    #[must_use]
    pub fn into_oauth_reply(mut self, types: &ProblemTypes) -> Reply {
        let is_passing = self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS;
        let usual = if is_passing { "temporarily_unavailable" } else { "invalid_request" };
        self.oauth_error = self.oauth_error.or(Some(usual));
        let mut reply = self.into_reply(types);
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
        reply
    }
}

/// A response of JSON that no cache may keep.
pub fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    let bytes = serde_json::to_vec(body).expect("our own response types serialise");
    let mut reply = Response::new(Bytes::from(bytes));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// To another page, by GET. No cache keeps it: it is about who asks.
pub fn see_other(location: HeaderValue) -> Reply {
    let mut reply = Response::new(Bytes::new());
    *reply.status_mut() = StatusCode::SEE_OTHER;
    reply.headers_mut().insert(LOCATION, location);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// How long a client should wait before it asks a faulty store again.
pub const STORE_RETRY_AFTER: Duration = Duration::from_secs(1);

impl From<&Denial> for Problem {
    /// The one place where a refusal of admission becomes what the client sees.
    fn from(denial: &Denial) -> Self {
        let invalid = |code, detail: &'static str| {
            Self::new(code, detail)
                .oauth("invalid_token")
                .challenge(format!(r#"Bearer error="invalid_token", error_description="{detail}""#))
        };
        let ambiguous = |detail: &'static str| {
            Self::new(ProblemCode::TokenAmbiguous, detail)
                .oauth("invalid_request")
                .challenge(format!(r#"Bearer error="invalid_request", error_description="{detail}""#))
        };
        match denial {
            Denial::NoToken => Self::new(ProblemCode::TokenMissing, "This resource needs an access token.").challenge("Bearer"),
            Denial::Ambiguous(_) => ambiguous("Exactly one access token may be sent, in one place."),
            Denial::CookieRepeated => ambiguous("Two cookies of one name were sent: log in again."),
            Denial::TicketMisused(detail) => Self::new(ProblemCode::TicketMisused, *detail),
            Denial::TicketInvalid => invalid(
                ProblemCode::TicketInvalid,
                "The ticket is spent, too old, or of another path: ask for a new one for each connection.",
            ),
            Denial::Invalid(_) | Denial::KeyUnknown | Denial::KeyDisputed => {
                invalid(ProblemCode::TokenInvalid, "The access token is not valid.")
            }
            Denial::Expired => invalid(ProblemCode::TokenExpired, "The access token has expired."),
            Denial::SessionOver => invalid(ProblemCode::RefreshTokenInvalid, "The refresh token is not valid; log in again."),
            Denial::RefreshLimited(wait) => {
                let detail = "Too many attempts. Tokens stay valid; try again later.";
                Self::new(ProblemCode::RateLimited, detail).retry_after(*wait)
            }
            Denial::Revoked(_) => invalid(ProblemCode::TokenRevoked, "The access token was revoked."),
            Denial::InsufficientScope(scopes) => {
                let detail = "The access token does not cover this resource.";
                Self::new(ProblemCode::ScopeInsufficient, detail)
                    .oauth("insufficient_scope")
                    .challenge(format!(r#"Bearer error="insufficient_scope", scope="{}""#, scopes.join(" ")))
            }
            Denial::InsufficientClaims(_) => {
                let detail = "The access token lacks a claim that this resource needs.";
                Self::new(ProblemCode::ClaimsInsufficient, detail)
                    .oauth("insufficient_scope")
                    .challenge(format!(r#"Bearer error="insufficient_scope", error_description="{detail}""#))
            }
            Denial::LoginTooOld(age_max) => {
                let detail = "This resource needs a more recent login.";
                let max_age = age_max.as_secs();
                Self::new(ProblemCode::LoginTooOld, detail).oauth("insufficient_user_authentication").challenge(format!(
                    r#"Bearer error="insufficient_user_authentication", error_description="{detail}", max_age="{max_age}""#
                ))
            }
            Denial::OriginRefused => Self::new(
                ProblemCode::OriginRefused,
                "With cookies, this call is taken from known origins or with the agreed header field alone.",
            ),
            Denial::IssuerKeysUnavailable(due_in) => {
                let detail = "The keys of the token's issuer are not at hand right now.";
                Self::new(ProblemCode::IssuerKeysUnavailable, detail).retry_after(*due_in)
            }
            Denial::RevocationsStale => {
                Self::new(ProblemCode::RevocationsStale, "Tokens cannot be vouched for right now.").retry_after(STORE_RETRY_AFTER)
            }
            Denial::StoreUnavailable => {
                Self::new(ProblemCode::StoreUnavailable, "Sessions cannot be checked right now.").retry_after(STORE_RETRY_AFTER)
            }
            Denial::Undecided(undecided) => {
                let later = |code, detail: &'static str| Self::new(code, detail).retry_after(STORE_RETRY_AFTER);
                match undecided {
                    Undecided::Overloaded => later(ProblemCode::Overloaded, "Too many calls are in progress; try again later."),
                    Undecided::TimedOut => later(ProblemCode::TimedOut, "The call took too long; try again later."),
                    Undecided::ShuttingDown => later(ProblemCode::ShuttingDown, "This node is about to stop; try again."),
                    Undecided::Contended => later(ProblemCode::RefreshContended, "The session is busy; try again."),
                    Undecided::ClaimsUnknown => later(
                        ProblemCode::ClaimsUnknown,
                        "What your tokens are to say cannot be learned right now; nothing was lost.",
                    ),
                    Undecided::Unsigned => later(ProblemCode::SigningUnavailable, "Tokens cannot be signed right now."),
                    Undecided::TooLarge => {
                        let detail = "What this account is granted does not fit into a token.";
                        Self::new(ProblemCode::TokenTooLarge, detail)
                    }
                    Undecided::Unusable => {
                        let detail = "What this account is granted makes no token that could be used.";
                        Self::new(ProblemCode::TokenUnusable, detail)
                    }
                    Undecided::Panicked => Self::new(ProblemCode::InternalError, "Something went wrong in the gateway."),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_token_is_challenged_without_an_error() {
        let reply = Problem::from(&Denial::NoToken).into_reply(&ProblemTypes::default());
        assert_eq!(reply.status(), 401);
        assert_eq!(reply.headers()[WWW_AUTHENTICATE], "Bearer");
        assert_eq!(reply.headers()[CACHE_CONTROL], "no-store");
    }

    #[test]
    fn the_client_learns_a_code_and_not_the_cause() {
        let reply = Problem::from(&Denial::Invalid("signature of kid 7 is wrong")).into_reply(&ProblemTypes::default());
        let text = std::str::from_utf8(reply.body()).unwrap();
        assert!(text.contains(r#""code":"token_invalid""#) && text.contains(r#""error":"invalid_token""#));
        assert!(!text.contains("kid 7"));
        assert_eq!(reply.headers()[CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn an_oauth_client_gets_json_and_an_error_whatever_it_is() {
        let cases = [
            (Problem::new(ProblemCode::RequestMalformed, "y").oauth("invalid_grant"), "invalid_grant"),
            (Problem::new(ProblemCode::MethodNotAllowed, "y"), "invalid_request"),
            (Problem::new(ProblemCode::RateLimited, "y"), "temporarily_unavailable"),
            (Problem::new(ProblemCode::Overloaded, "y"), "temporarily_unavailable"),
        ];
        for (problem, error) in cases {
            let reply = problem.into_oauth_reply(&ProblemTypes::default());
            let body: serde_json::Value = serde_json::from_slice(reply.body()).unwrap();
            assert_eq!((&body["error"], &body["error_description"]), (&error.into(), &"y".into()));
            let headers = [CONTENT_TYPE, CACHE_CONTROL, PRAGMA].map(|name| reply.headers()[name].to_str().unwrap().to_owned());
            assert_eq!(headers, ["application/json", "no-store", "no-cache"]);
        }
    }

    #[test]
    fn retry_after_is_whole_seconds_and_never_zero() {
        let problem = Problem::new(ProblemCode::Overloaded, "y");
        let header = |span| problem.clone().retry_after(span).into_reply(&ProblemTypes::default()).headers()[RETRY_AFTER].clone();
        assert_eq!(header(Duration::from_millis(1)), "1");
        assert_eq!(header(Duration::from_millis(1500)), "2");
    }
}
