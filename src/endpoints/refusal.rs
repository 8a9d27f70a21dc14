//! Everything that can go wrong at an own endpoint, and the one place where it becomes a response.

use std::time::Duration;

use http::StatusCode;

use super::accounts::Unreadable;
use super::grant::SCOPES_MAX;
use crate::bounded::CallError;
use crate::crypto::access_token::MintError;
use crate::domain::claims::Denial;
use crate::domain::problem_code::{ProblemCode, ProblemTypes};
use crate::domain::stats::{Counter, Counters};
use crate::proxy::reply::{Problem, Reply, STORE_RETRY_AFTER};
use crate::sessions::{EndError, IssueError, LogoutError, MachineError, RefreshError, Undecided};
use crate::store::StoreError;

/// How the caller speaks. Responses to it take the same form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dialect {
    /// The gateway's own JSON.
    Json,
    /// RFC 6749: a form in, its JSON out.
    OAuth,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("unsupported media type")]
    UnsupportedMediaType,
    /// The text is for the client.
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    #[error("a login in an encoding that cannot be read")]
    EncodingUnsupported,
    #[error("not a form")]
    FormExpected,
    #[error("client credentials are missing or wrong")]
    ClientInvalid,
    #[error("the client may not do this")]
    ClientUnauthorized,
    #[error("an audience that was not granted")]
    TargetInvalid,
    #[error("a token that cannot be revoked")]
    TokenTypeUnsupported,
    #[error("no metadata")]
    MetadataMissing,
    #[error("unsupported grant type")]
    UnsupportedGrantType,
    #[error("a scope that was not granted")]
    ScopeNotGranted,
    #[error("no refresh token in the request")]
    RefreshTokenMissing,
    /// The cookie has run out, or was never there: the user must log in.
    #[error("no refresh cookie")]
    RefreshCookieMissing,
    #[error("a cookie from an origin that is not believed")]
    OriginRefused,
    #[error("rate limited")]
    RateLimited(Duration),
    #[error("{0}")]
    Denied(#[from] Denial),
    #[error("{0}")]
    Issue(#[from] IssueError),
    #[error("{0}")]
    Machine(#[from] MachineError),
    #[error("{0}")]
    Refresh(#[from] RefreshError),
    #[error("not a subject token: {0}")]
    SubjectToken(Denial),
    /// Of a subject token.
    #[error("not exchanged: {0}")]
    Exchange(RefreshError),
    #[error("{0}")]
    Logout(#[from] LogoutError),
    #[error("{0}")]
    End(#[from] EndError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("the upstream's login response grants {0} scopes; allowed are {max}", max = SCOPES_MAX)]
    TooManyScopes(usize),
    #[error("the token does not fit into a cookie")]
    CookieTooLarge,
    /// The call has no outcome of its own.
    #[error("{0}")]
    Call(#[from] CallError),
}

impl From<Undecided> for Refusal {
    fn from(undecided: Undecided) -> Self {
        match undecided {
            Undecided::IssuerKeysUnavailable(due_in) => Self::Denied(Denial::IssuerKeysUnavailable(due_in)),
            Undecided::RevocationsStale => Self::Denied(Denial::RevocationsStale),
            Undecided::Store(error) => Self::Store(error),
        }
    }
}

impl From<Unreadable> for Refusal {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Malformed(detail) => Self::Malformed(detail),
            Unreadable::Encoded => Self::EncodingUnsupported,
            Unreadable::TooManyAccounts => Self::Malformed("The request names too many accounts."),
        }
    }
}

impl Refusal {
    /// Whether what the client holds is worth nothing any more. Only then are its cookies taken away.
    pub(super) const fn ends_the_session(&self) -> bool {
        matches!(self, Self::RefreshCookieMissing | Self::Refresh(RefreshError::Dead(_)))
    }

    /// Whether the browser holds what nobody can tell apart.
    pub(super) const fn is_of_repeated_cookie(&self) -> bool {
        matches!(self, Self::Denied(Denial::CookieRepeated))
    }

    /// The response, after the cause went to the log and the counters.
    pub(super) fn into_reply(self, dialect: Dialect, counters: &Counters, types: &ProblemTypes) -> Reply {
        self.note(counters);
        let problem = self.problem(dialect);
        match dialect {
            Dialect::Json => problem.into_reply(types),
            Dialect::OAuth => problem.into_oauth_reply(types),
        }
    }

    pub(super) fn note(&self, counters: &Counters) {
        if let Some(counter) = self.counter() {
            counters.add(counter, 1);
        }
        let problem = self.problem(Dialect::Json);
        // Anybody can name a key that does not exist.
        let is_of_a_key = matches!(self, Self::Denied(Denial::IssuerKeysUnavailable(_)));
        if problem.status().is_server_error() && !is_of_a_key {
            tracing::warn!(error = %self, code = %problem.code(), "an own endpoint could not do what was asked");
        } else {
            tracing::debug!(error = %self, code = %problem.code(), "an own endpoint refused");
        }
    }

    const fn counter(&self) -> Option<Counter> {
        match self {
            Self::RateLimited(_) => Some(Counter::RateLimited),
            Self::Denied(denial) => Some(Counter::of_denial(denial)),
            // As what stands for nothing in the place of a refresh token.
            Self::SubjectToken(_) => Some(Counter::RefreshesMalformed),
            Self::Call(CallError::Panicked) => Some(Counter::Panics),
            Self::Call(CallError::Overloaded) => Some(Counter::CallsOverloaded),
            Self::Call(CallError::TimedOut) => Some(Counter::CallsTimedOut),
            Self::Issue(IssueError::Store(_))
            | Self::Refresh(RefreshError::Store(_))
            | Self::Exchange(RefreshError::Store(_))
            | Self::Logout(LogoutError::Store(_))
            | Self::End(EndError::Store(_))
            | Self::Store(_) => Some(Counter::StoreErrors),
            Self::UnsupportedMediaType
            | Self::Malformed(_)
            | Self::EncodingUnsupported
            | Self::FormExpected
            | Self::ClientInvalid
            | Self::ClientUnauthorized
            | Self::TargetInvalid
            | Self::TokenTypeUnsupported
            | Self::MetadataMissing
            | Self::UnsupportedGrantType
            | Self::ScopeNotGranted
            | Self::RefreshTokenMissing
            | Self::RefreshCookieMissing
            | Self::OriginRefused
            | Self::Issue(IssueError::Barred(_) | IssueError::Mint(_))
            | Self::Machine(_)
            // Counted where it was decided.
            | Self::Refresh(_)
            | Self::Exchange(_)
            | Self::Logout(LogoutError::NoTokenId | LogoutError::TokenExpired)
            | Self::End(EndError::NotFound)
            | Self::TooManyScopes(_)
            | Self::CookieTooLarge
            | Self::Call(CallError::ShuttingDown) => None,
        }
    }

    fn problem(&self, dialect: Dialect) -> Problem {
        let bad_request = |code, detail: &'static str| Problem::new(code, detail).oauth("invalid_request");
        match self {
            Self::UnsupportedMediaType => {
                Problem::new(ProblemCode::MediaTypeUnsupported, "Send application/json or application/x-www-form-urlencoded.")
                    .oauth("invalid_request")
            }
            Self::EncodingUnsupported => {
                Problem::new(ProblemCode::EncodingUnsupported, "Send the body as it is, uncompressed and in UTF-8.")
            }
            Self::Malformed(detail) => bad_request(ProblemCode::RequestMalformed, detail),
            Self::FormExpected => bad_request(ProblemCode::FormExpected, "Send application/x-www-form-urlencoded."),
            Self::ClientInvalid => {
                let detail = "The client's credentials are missing or wrong.";
                Problem::new(ProblemCode::ClientInvalid, detail)
                    .oauth("invalid_client")
                    .challenge(r#"Basic realm="tokengate", charset="UTF-8""#)
            }
            Self::ClientUnauthorized => {
                let detail = "The client may not do this.";
                Problem::new(ProblemCode::ClientUnauthorized, detail).oauth("unauthorized_client")
            }
            Self::TargetInvalid => {
                let detail = "A token for this audience or resource was not granted.";
                Problem::new(ProblemCode::AudienceNotGranted, detail).oauth("invalid_target")
            }
            Self::TokenTypeUnsupported => {
                let detail = "This token has no id, so it cannot be revoked alone.";
                Problem::new(ProblemCode::TokenWithoutId, detail).oauth("unsupported_token_type")
            }
            Self::MetadataMissing => Problem::new(ProblemCode::MetadataMissing, "There is no metadata here."),
            Self::UnsupportedGrantType => {
                let detail = "This grant type is not offered here.";
                Problem::new(ProblemCode::GrantTypeUnsupported, detail).oauth("unsupported_grant_type")
            }
            Self::ScopeNotGranted => {
                let detail = "No scope is given that was not granted.";
                Problem::new(ProblemCode::ScopeNotGranted, detail).oauth("invalid_scope")
            }
            // A form without a parameter that it needs (RFC 6749, section 5.2), wherever else the token could have come.
            Self::RefreshCookieMissing if dialect == Dialect::OAuth => Self::RefreshTokenMissing.problem(dialect),
            Self::RefreshTokenMissing => bad_request(ProblemCode::RefreshTokenMissing, "The request has no refresh token."),
            Self::RefreshCookieMissing => {
                let detail = "The request has no refresh token.";
                Problem::new(ProblemCode::RefreshTokenMissing, detail)
                    .with_status(StatusCode::UNAUTHORIZED)
                    .oauth("invalid_grant")
                    .challenge("Bearer")
            }
            Self::OriginRefused => Problem::from(&Denial::OriginRefused),
            Self::RateLimited(wait) => {
                Problem::new(ProblemCode::RateLimited, "Too many attempts. Tokens stay valid; try again later.")
                    .retry_after(*wait)
            }
            Self::Denied(denial) => Problem::from(denial),
            Self::Machine(MachineError::Barred(wait)) => {
                let detail = "The client's tokens were revoked a moment ago, and a token of now would be one of them.";
                Problem::new(ProblemCode::SubjectBarred, detail).with_status(StatusCode::SERVICE_UNAVAILABLE).retry_after(*wait)
            }
            Self::Issue(IssueError::Barred(_)) => Problem::new(ProblemCode::SubjectBarred, "This account cannot log in for now."),
            Self::Refresh(RefreshError::Dead(_)) => refused_refresh_token(dialect),
            // RFC 8693, section 2.2.2: whatever the cause.
            Self::SubjectToken(_) | Self::Exchange(RefreshError::Dead(_)) => {
                bad_request(ProblemCode::SubjectTokenInvalid, "The subject token is not valid here, or was exchanged before.")
            }
            Self::Refresh(RefreshError::ClaimsUnknown) | Self::Exchange(RefreshError::ClaimsUnknown) => unavailable(
                ProblemCode::ClaimsUnknown,
                "What your tokens are to say cannot be learned right now; nothing was lost.",
            ),
            Self::Refresh(RefreshError::Contended) | Self::Exchange(RefreshError::Contended) => {
                unavailable(ProblemCode::RefreshContended, "The session is busy; try again.")
            }
            Self::Logout(LogoutError::NoTokenId) => {
                let detail =
                    "This token has no id, so it cannot be ended alone; the scope 'all' ends every token of its subject.";
                bad_request(ProblemCode::TokenWithoutId, detail)
            }
            Self::Logout(LogoutError::TokenExpired) => Problem::from(&Denial::Expired),
            Self::End(EndError::NotFound) => Problem::new(ProblemCode::SessionNotFound, "There is no such session of yours."),
            Self::Issue(IssueError::Store(error))
            | Self::Refresh(RefreshError::Store(error))
            | Self::Exchange(RefreshError::Store(error))
            | Self::Logout(LogoutError::Store(error))
            | Self::End(EndError::Store(error))
            | Self::Store(error) => store_problem(error),
            Self::Issue(IssueError::Mint(error))
            | Self::Machine(MachineError::Mint(error))
            | Self::Refresh(RefreshError::Mint(error))
            | Self::Exchange(RefreshError::Mint(error)) => mint_problem(error),
            Self::TooManyScopes(_) | Self::CookieTooLarge => token_too_large(),
            Self::Call(error) => call_problem(*error),
        }
    }
}

fn unavailable(code: ProblemCode, detail: &'static str) -> Problem {
    Problem::new(code, detail).retry_after(STORE_RETRY_AFTER)
}

/// None of these says anything of a session or a token: whoever gets one keeps what it has, and repeats the call.
fn call_problem(error: CallError) -> Problem {
    match error {
        CallError::Overloaded => {
            unavailable(ProblemCode::Overloaded, "Too many calls are in progress. Tokens stay valid; try again later.")
        }
        CallError::TimedOut => {
            unavailable(ProblemCode::TimedOut, "The call took too long, and may still be carried out; repeat it.")
        }
        CallError::Panicked => Problem::new(ProblemCode::InternalError, "Something went wrong in the gateway."),
        CallError::ShuttingDown => unavailable(ProblemCode::ShuttingDown, "This node is about to stop; try again."),
    }
}

fn store_problem(error: &StoreError) -> Problem {
    match error {
        StoreError::Unavailable(_) | StoreError::Unconfirmed(_) | StoreError::Unreadable(_) => {
            unavailable(ProblemCode::StoreUnavailable, "Sessions cannot be changed right now; nothing was lost.")
        }
        StoreError::Full(_) => unavailable(ProblemCode::StoreFull, "No further session can be kept right now."),
    }
}

fn mint_problem(error: &MintError) -> Problem {
    match error {
        MintError::NoSigningKey | MintError::Signing => {
            unavailable(ProblemCode::SigningUnavailable, "Tokens cannot be signed right now.")
        }
        MintError::TooLarge(_) => token_too_large(),
        MintError::Unusable(_) => {
            let detail = "What this account is granted makes no token that could be used.";
            Problem::new(ProblemCode::TokenUnusable, detail)
        }
    }
}

/// The fault is that of whoever grants so much: what it weighs is for the log.
fn token_too_large() -> Problem {
    Problem::new(ProblemCode::TokenTooLarge, "What this account is granted does not fit into a token.")
}

/// One response for every cause: which one it was is for the log alone.
fn refused_refresh_token(dialect: Dialect) -> Problem {
    let detail = "The refresh token is not valid; log in again.";
    let problem = Problem::new(ProblemCode::RefreshTokenInvalid, detail).oauth("invalid_grant");
    match dialect {
        Dialect::Json => problem.challenge(r#"Bearer error="invalid_token""#),
        Dialect::OAuth => problem.with_status(StatusCode::BAD_REQUEST),
    }
}
