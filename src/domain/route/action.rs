//! What a route does with a request that it admits.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::response::{FixedResponse, Redirect};
use crate::domain::headers::{AuthorizationRule, FieldEdits};
use crate::domain::pace::ByteRate;
use crate::domain::path::{CanonicalTarget, PathError};
use crate::domain::per_upstream::UpstreamIndex;
use crate::domain::renewal_prefix::RenewalPrefix;

#[derive(Clone, Debug)]
pub enum Action {
    Forward(Forward),
    Redirect(Redirect),
    Respond(FixedResponse),
}

impl Action {
    /// Whether clients can renew their streams by messages on them.
    #[must_use]
    pub const fn renews_websockets(&self) -> bool {
        match self {
            Self::Forward(forward) => forward.websocket_renewal.is_some(),
            Self::Redirect(_) | Self::Respond(_) => false,
        }
    }
}

/// How a request goes to its upstream, and its response back.
#[derive(Clone, Debug)]
pub struct Forward {
    pub upstream: UpstreamIndex,
    pub prefix: PrefixRule,
    /// What the upstream gets to see of the Authorization field.
    pub authorization: AuthorizationRule,
    /// `None`: nothing is changed.
    pub request_fields: Option<Arc<FieldEdits>>,
    /// `None`: nothing is changed.
    pub response_fields: Option<Arc<FieldEdits>>,
    pub body_bytes_max: u64,
    /// The fewest bytes of a body in a second, in the long run; `None`: any.
    pub body_rate_min: Option<ByteRate>,
    /// From the request's head to the end of the response's head.
    pub response_timeout: Duration,
    /// Once the response has begun: how long no byte may move, in either direction.
    pub idle_timeout: Duration,
    /// How a client begins a message on a WebSocket that renews the stream by a newer token; `None`: by none.
    pub websocket_renewal: Option<RenewalPrefix>,
}

/// What the upstream gets in the place of the route's prefix. What follows the prefix stays, and so does the query.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PrefixRule {
    Keep,
    /// Nothing. The upstream is told of the prefix in X-Forwarded-Prefix, by this value.
    Strip(HeaderValue),
    /// Another prefix: canonical, without a slash at its end; `/` for none.
    Replace(String),
}

impl PrefixRule {
    /// What the upstream is told was taken away.
    #[must_use]
    pub const fn stripped(&self) -> Option<&HeaderValue> {
        match self {
            Self::Strip(prefix) => Some(prefix),
            Self::Keep | Self::Replace(_) => None,
        }
    }

    /// The target that the upstream gets; `None`: the one that came. `prefix` is the part of its path that the route matches.
    pub(super) fn apply(
        &self,
        target: &CanonicalTarget<'_>,
        prefix: &str,
    ) -> Result<Option<CanonicalTarget<'static>>, PathError> {
        match self {
            Self::Keep => Ok(None),
            Self::Strip(_) => target.with_prefix(prefix, "").map(Some),
            Self::Replace(other) => target.with_prefix(prefix, other).map(Some),
        }
    }
}
