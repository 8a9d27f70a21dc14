//! A server as the settings name it.

use std::sync::Arc;

use http::HeaderValue;

use crate::proxy::upstream::connect::Target;

/// A server that the settings name, by its address or by a name that may have several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The key that names it, within its upstream.
    pub key: Arc<str>,
    pub target: Target,
    /// Host and port of its URL.
    pub own_host: HeaderValue,
    /// How many requests it gets beside the others; each of its addresses does.
    pub weight: u32,
}
