//! What a worker accepts at.

use std::sync::Arc;

use super::client::arrival::Spoken;
use super::port::Port;

/// A listener whose port is bound.
#[derive(Clone, Debug)]
pub struct BoundListener {
    pub port: Arc<Port>,
    pub spoken: Spoken,
}
