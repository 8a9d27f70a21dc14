//! Which refusals come together.

use crate::domain::problem_code::{ProblemCode, ProblemCode as Code};

/// Whatever is called.
pub(super) const ANYWHERE: &[ProblemCode] = &[
    Code::BodyMalformed,
    Code::BodyTimeout,
    Code::BodyTooLarge,
    Code::CertificateExpired,
    Code::InternalError,
    Code::Overloaded,
    Code::RequestMalformed,
    Code::ShuttingDown,
    Code::TargetTooLong,
    Code::TimedOut,
    Code::TooManyConnections,
];

/// Where the caller has to be somebody.
pub(super) const OF_CALLERS: &[ProblemCode] = &[
    Code::ClaimsUnknown,
    Code::IssuerKeysUnavailable,
    Code::OriginRefused,
    Code::RateLimited,
    Code::RefreshContended,
    Code::RefreshTokenInvalid,
    Code::RevocationsStale,
    Code::SigningUnavailable,
    Code::StoreUnavailable,
    Code::TicketInvalid,
    Code::TicketMisused,
    Code::TokenAmbiguous,
    Code::TokenExpired,
    Code::TokenInvalid,
    Code::TokenMissing,
    Code::TokenRevoked,
    Code::TokenTooLarge,
    Code::TokenUnusable,
];

pub(super) const OF_LOGINS: &[ProblemCode] = &[
    Code::EncodingUnsupported,
    Code::MediaTypeUnsupported,
    Code::OriginRefused,
    Code::RateLimited,
    Code::SigningUnavailable,
    Code::StoreFull,
    Code::StoreUnavailable,
    Code::SubjectBarred,
    Code::TokenTooLarge,
    Code::TokenUnusable,
    Code::UpgradeUnsupported,
    Code::UpstreamBusy,
    Code::UpstreamFailed,
    Code::UpstreamTimeout,
    Code::UpstreamUnreachable,
];

pub(super) const OF_REFRESHES: &[ProblemCode] = &[
    Code::ClaimsUnknown,
    Code::GrantTypeUnsupported,
    Code::IssuerKeysUnavailable,
    Code::MediaTypeUnsupported,
    Code::OriginRefused,
    Code::RateLimited,
    Code::RefreshContended,
    Code::RefreshTokenInvalid,
    Code::RefreshTokenMissing,
    Code::RevocationsStale,
    Code::ScopeNotGranted,
    Code::SigningUnavailable,
    Code::StoreFull,
    Code::StoreUnavailable,
    Code::SubjectBarred,
    Code::TokenAmbiguous,
    Code::TokenTooLarge,
    Code::TokenUnusable,
];

pub(super) const OF_CLIENTS: &[ProblemCode] = &[Code::ClientInvalid, Code::ClientUnauthorized, Code::FormExpected];

pub(super) const OF_QUESTIONS: &[ProblemCode] =
    &[Code::IssuerKeysUnavailable, Code::RateLimited, Code::RevocationsStale, Code::StoreUnavailable];
