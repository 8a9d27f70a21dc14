//! What can be wrong with a table of routes.

use std::sync::Arc;

/// What makes a table of routes contradictory. The operator's to mend.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RouteError {
    #[error(
        "endpoint path \"{0}\" is not canonical: it starts with a slash, ends without unless it is a login's, and has no %, ; or //"
    )]
    EndpointNotCanonical(String),
    #[error("endpoint path \"{0}\" is used twice")]
    EndpointTwice(String),
    #[error(
        "route \"{0}\": prefix \"{1}\" is not canonical: it starts with a slash, ends without unless it is exact, and has no ; or //"
    )]
    PrefixNotCanonical(Arc<str>, String),
    #[error("route \"{0}\" matches the same requests as route \"{1}\"")]
    Twice(Arc<str>, Arc<str>),
    #[error("route \"{0}\" differs from route \"{1}\" in the spelling of its prefix alone, and demands something else")]
    SpeltAlike(Arc<str>, Arc<str>),
    #[error("route \"{0}\" is never asked: at \"{1}\", an endpoint of the gateway takes all its methods")]
    Shadowed(Arc<str>, String),
}

impl RouteError {
    /// The name of the route to mend; `None` for an endpoint.
    pub fn route(&self) -> Option<&str> {
        match self {
            Self::EndpointNotCanonical(_) | Self::EndpointTwice(_) => None,
            Self::PrefixNotCanonical(route, _)
            | Self::Twice(route, _)
            | Self::SpeltAlike(route, _)
            | Self::Shadowed(route, _) => Some(route),
        }
    }
}
