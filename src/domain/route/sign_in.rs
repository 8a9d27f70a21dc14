//! Whether whoever is sent to log in gets there.

use http::{HeaderMap, Method};

use super::{Access, Asked, Match, Route, RouteTable};
use crate::domain::host::HostPattern;
use crate::domain::path::CanonicalTarget;
use crate::domain::sign_in::SignIn;

impl RouteTable {
    /// Whether the page to which a route sends browsers is there for those who have no token, or one that is good no more.
    #[must_use]
    pub fn opens_sign_in(&self, from: &Route, sign_in: &SignIn) -> bool {
        let Ok(target) = CanonicalTarget::parse(sign_in.path()) else { return false };
        let (host, headers) = (from.host.as_ref().map(HostPattern::example), HeaderMap::new());
        let asked = Asked { method: &Method::GET, host: host.as_deref(), told_host: None, target: &target, headers: &headers };
        match self.find(&asked) {
            Match::Route(page) => page.access == Access::Public,
            Match::Endpoint(_)
            | Match::Preflight
            | Match::MethodNotAllowed { .. }
            | Match::Ambiguous
            | Match::AmbiguousHost
            | Match::NotFound => false,
        }
    }
}
