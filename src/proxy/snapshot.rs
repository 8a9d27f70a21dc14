//! What the data plane goes by, and how it learns that there is something new.

use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::access::DynAccess;

use super::bound::BoundListener;
use super::control::ControlPlane;
use super::policy::Policy;
use crate::crypto::verifier::Verifier;

/// The data plane's part of one set of settings. A reload puts another one in its place, and each worker takes that over with its next
/// tick: requests that begin then go by it, and connections that come then. Whatever began earlier ends by the one that it began with, on
/// both planes.
pub struct DataPlaneView {
    pub policy: Policy,
    /// Where connections come, in the order of the settings. Never empty.
    pub listeners: Arc<[BoundListener]>,
    /// Replaced when keys of other issuers change, which are no settings.
    pub verifier: Arc<ArcSwap<Verifier>>,
    /// Goes by the same settings.
    pub control: Arc<dyn ControlPlane>,
}

/// Leads to the view that is in force.
pub type Latest = Box<dyn DynAccess<Arc<DataPlaneView>> + Send + Sync>;
