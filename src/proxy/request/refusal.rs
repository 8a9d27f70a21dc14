//! Why a request is not answered by its upstream, and what the client is told. The log has the cause; the client sees a code.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::domain::claims::Denial;
use crate::domain::meters::Outcome;
use crate::domain::path::PathError;
use crate::domain::problem_code::{ProblemCode, ProblemTypes};
use crate::domain::stats::Counter;
use crate::proxy::reply::{self, Problem, Reply};
use crate::proxy::request::grpc;
use crate::proxy::upstream::{BodyFault, ExchangeEnd, UpstreamFault};

/// Everything that can end a request before an upstream answers it.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum Refusal {
    /// Broken or ambiguous HTTP.
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    #[error("target too long")]
    TargetTooLong,
    #[error("no route")]
    NoRoute,
    #[error("method not allowed, only {0}")]
    MethodNotAllowed(Cow<'static, str>),
    #[error("malformed path: {0}")]
    Path(#[from] PathError),
    /// That of the client's connection, since it was shown.
    #[error("the client's certificate has expired")]
    CertificateExpired,
    #[error("the route is not open to the address")]
    AddressRefused,
    /// A proxy asks whether it may pass on what is the gateway's own to answer.
    #[error("the gateway's own to answer")]
    OwnToAnswer,
    /// How long to wait.
    #[error("more requests than the route allows")]
    RateLimited(Duration),
    #[error("{0}")]
    Denied(#[from] Denial),
    /// Denied to a browser that can go where its user logs in.
    #[error("{denial}")]
    SignIn { denial: Denial, location: HeaderValue },
    #[error("{0}")]
    Body(#[from] BodyFault),
    #[error("upstream {upstream}: {fault}")]
    Upstream { upstream: Arc<str>, fault: UpstreamFault },
    /// A login response that is too large to make a session of.
    #[error("upstream's login response is larger than the limit")]
    LoginResponseTooLarge,
    #[error("upstream switched protocols unasked")]
    UnaskedUpgrade,
    #[error("upstream responds to the handshake of a WebSocket as if it were a request like others")]
    IgnoredUpgrade,
    /// A reply that the control plane made instead.
    #[error("refused by an own endpoint")]
    Reply(Box<Reply>),
    #[error("a task panicked")]
    Panicked,
}

/// How long a client should wait before it asks an unreachable upstream again.
const UPSTREAM_RETRY_AFTER: Duration = Duration::from_secs(1);

impl Refusal {
    /// What the client is told of an exchange with this upstream, of which nothing has reached it.
    pub(in crate::proxy) fn of_end(end: ExchangeEnd, upstream: &Arc<str>) -> Self {
        match end {
            ExchangeEnd::Upstream(fault) => Self::Upstream { upstream: Arc::clone(upstream), fault },
            ExchangeEnd::Client(fault) => Self::Body(fault),
            ExchangeEnd::Refused(denial) => Self::Denied(denial),
            // Admitted, and revoked before there was a response.
            ExchangeEnd::Session(end) => Self::Denied(end.into()),
        }
    }

    /// What is counted; `None` where the control plane counted already.
    pub(in crate::proxy) const fn counter(&self) -> Option<Counter> {
        Some(match self {
            Self::Malformed(_) | Self::Path(_) | Self::Body(BodyFault::Broken) => Counter::RejectedMalformed,
            Self::NoRoute | Self::MethodNotAllowed(_) | Self::OwnToAnswer => Counter::RejectedNoRoute,
            Self::CertificateExpired => Counter::RejectedExpired,
            Self::AddressRefused => Counter::RejectedAddress,
            Self::RateLimited(_) => Counter::RateLimited,
            Self::Denied(denial) | Self::SignIn { denial, .. } => Counter::of_denial(denial),
            Self::TargetTooLong | Self::Body(BodyFault::TooLarge) => Counter::RejectedTooLarge,
            Self::Body(BodyFault::TimedOut) => Counter::RejectedTimeout,
            Self::Upstream { fault, .. } => fault.counter(),
            Self::LoginResponseTooLarge | Self::UnaskedUpgrade | Self::IgnoredUpgrade => Counter::UpstreamErrors,
            Self::Reply(_) => return None,
            Self::Panicked => Counter::Panics,
        })
    }

    /// As what the request is counted.
    pub(in crate::proxy) fn outcome(&self) -> Outcome {
        match self {
            Self::Malformed(_)
            | Self::TargetTooLong
            | Self::NoRoute
            | Self::MethodNotAllowed(_)
            | Self::Path(_)
            | Self::OwnToAnswer
            | Self::Body(BodyFault::TooLarge | BodyFault::TimedOut) => Outcome::Refused,
            Self::CertificateExpired | Self::AddressRefused => Outcome::Denied,
            Self::RateLimited(_) => Outcome::Limited,
            Self::Denied(denial) | Self::SignIn { denial, .. } => Outcome::of_denial(denial),
            Self::Body(BodyFault::Broken) => Outcome::ClientGone,
            Self::Upstream { fault, .. } => fault.outcome(),
            Self::LoginResponseTooLarge | Self::UnaskedUpgrade | Self::IgnoredUpgrade => Outcome::UpstreamError,
            Self::Reply(reply) => Outcome::of_own(reply.status()),
            Self::Panicked => Outcome::Failed,
        }
    }

    /// Whether the operator, not the client, has something to look at.
    pub(in crate::proxy) const fn is_ours_to_mend(&self) -> bool {
        match self {
            Self::Malformed(_)
            | Self::TargetTooLong
            | Self::Path(_)
            | Self::NoRoute
            | Self::MethodNotAllowed(_)
            | Self::CertificateExpired
            | Self::AddressRefused
            | Self::OwnToAnswer
            | Self::RateLimited(_)
            | Self::Denied(_)
            | Self::SignIn { .. }
            | Self::Body(_)
            | Self::Reply(_) => false,
            Self::Upstream { .. }
            | Self::LoginResponseTooLarge
            | Self::UnaskedUpgrade
            | Self::IgnoredUpgrade
            | Self::Panicked => true,
        }
    }

    /// Whether the connection ends with it, also behind a request without a body. Where a request is broken, the client and we may not
    /// mean the same by the bytes behind it.
    pub(in crate::proxy) const fn ends_connection(&self) -> bool {
        match self {
            Self::Malformed(_) | Self::Path(_) | Self::TargetTooLong | Self::Body(_) | Self::CertificateExpired => true,
            Self::Upstream { .. }
            | Self::NoRoute
            | Self::MethodNotAllowed(_)
            | Self::AddressRefused
            | Self::OwnToAnswer
            | Self::RateLimited(_)
            | Self::Denied(_)
            | Self::SignIn { .. }
            | Self::LoginResponseTooLarge
            | Self::UnaskedUpgrade
            | Self::IgnoredUpgrade
            | Self::Reply(_)
            | Self::Panicked => false,
        }
    }

    /// For a proxy that asks: by the status it knows that the answer is no, which a reply for gRPC would not say.
    pub(in crate::proxy) fn into_decision(self, types: &ProblemTypes) -> Reply {
        self.problem().map_or_else(|reply| *reply, |problem| problem.into_reply(types))
    }

    /// For a request with these fields.
    pub(in crate::proxy) fn into_reply(self, request: &HeaderMap, types: &ProblemTypes) -> Reply {
        match (self.problem(), grpc::media_type(request)) {
            (Ok(problem), Some(media_type)) => problem.into_grpc_reply(media_type),
            (Ok(problem), None) => problem.into_reply(types),
            (Err(reply), _) => *reply,
        }
    }

    fn problem(self) -> Result<Problem, Box<Reply>> {
        Ok(match self {
            Self::Malformed(detail) => Problem::new(ProblemCode::RequestMalformed, detail),
            Self::Path(error) => Problem::new(ProblemCode::RequestMalformed, error.to_string()),
            Self::TargetTooLong => Problem::new(ProblemCode::TargetTooLong, "The request's target is longer than is taken here."),
            Self::NoRoute => Problem::new(ProblemCode::RouteNotFound, "Nothing is served at this address."),
            Self::MethodNotAllowed(allow) => {
                Problem::new(ProblemCode::MethodNotAllowed, format!("Allowed here: {allow}.")).allow(allow)
            }
            Self::CertificateExpired => {
                Problem::new(ProblemCode::CertificateExpired, "The certificate of this connection has expired.")
            }
            Self::AddressRefused => {
                Problem::new(ProblemCode::AddressRefused, "This resource is not open to the address that the call came from.")
            }
            Self::OwnToAnswer => Problem::new(
                ProblemCode::OwnEndpoint,
                "The gateway answers this itself: it has to be forwarded there, without asking.",
            ),
            Self::RateLimited(wait) => {
                Problem::new(ProblemCode::RateLimited, "Too many requests; try again later.").retry_after(wait)
            }
            Self::Denied(denial) => Problem::from(&denial),
            Self::Body(fault) => body_problem(fault),
            Self::Upstream { fault, .. } => match fault {
                UpstreamFault::ConnectTimedOut
                | UpstreamFault::WriteTimedOut
                | UpstreamFault::ResponseTimedOut
                | UpstreamFault::Paused => {
                    Problem::new(ProblemCode::UpstreamTimeout, "The service behind this address did not answer in time.")
                }
                UpstreamFault::Busy | UpstreamFault::Refused(_) => {
                    Problem::new(ProblemCode::UpstreamBusy, "The service behind this address has more to do than it can take.")
                        .retry_after(UPSTREAM_RETRY_AFTER)
                }
                UpstreamFault::Connect(_) => {
                    Problem::new(ProblemCode::UpstreamUnreachable, "The service behind this address is not reachable.")
                        .retry_after(UPSTREAM_RETRY_AFTER)
                }
                UpstreamFault::NoWebSockets => {
                    Problem::new(ProblemCode::UpgradeUnsupported, "The service behind this address takes no WebSockets.")
                }
                UpstreamFault::Lost(_)
                | UpstreamFault::Reset(_)
                | UpstreamFault::Malformed(_)
                | UpstreamFault::Violation(_)
                | UpstreamFault::Truncated(_) => {
                    Problem::new(ProblemCode::UpstreamFailed, "The service behind this address gave no usable answer.")
                }
            },
            Self::LoginResponseTooLarge | Self::UnaskedUpgrade | Self::IgnoredUpgrade => {
                Problem::new(ProblemCode::UpstreamFailed, "The service behind this address gave no usable answer.")
            }
            Self::SignIn { location, .. } => return Err(Box::new(reply::see_other(location))),
            Self::Reply(reply) => return Err(reply),
            Self::Panicked => Problem::new(ProblemCode::InternalError, "Something went wrong in the gateway."),
        })
    }
}

/// As what a request is counted whose response has begun.
pub(in crate::proxy) const fn outcome_of_end(end: &ExchangeEnd) -> Outcome {
    match end {
        ExchangeEnd::Upstream(fault) => fault.outcome(),
        ExchangeEnd::Client(_) => Outcome::ClientGone,
        ExchangeEnd::Refused(denial) => Outcome::of_denial(denial),
        ExchangeEnd::Session(_) => Outcome::SessionEnded,
    }
}

fn body_problem(fault: BodyFault) -> Problem {
    match fault {
        BodyFault::TooLarge => Problem::new(ProblemCode::BodyTooLarge, "The request body is larger than is taken here."),
        BodyFault::TimedOut => Problem::new(ProblemCode::BodyTimeout, "The request body did not arrive in time."),
        BodyFault::Broken => {
            Problem::new(ProblemCode::BodyMalformed, "The request body broke off or is not framed as announced.")
        }
    }
}
