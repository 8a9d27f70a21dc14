//! Which of two routes lets more through. Upstreams may take one route's path for another's, and a laxer route must not open a
//! stricter one.

use super::{Access, Action, LimitBy, RevocationCheck, Route, RouteLimit, WhenStale};
use crate::domain::share::Share;

impl Route {
    /// Whether everyone who may use this route may use `other` too, as often.
    pub(super) fn is_as_strict_as(&self, other: &Self) -> bool {
        // What reaches no upstream opens nothing there.
        let Action::Forward(_) = self.action else { return true };
        !other.refuses_all()
            && self.addresses.is_as_strict_as(&other.addresses)
            && is_limited_as(self.limit, other.limit)
            && self.demands_as_much_as(other)
    }

    /// Whether it is there to keep a path shut.
    fn refuses_all(&self) -> bool {
        match &self.action {
            Action::Respond(response) => response.status.is_client_error() || response.status.is_server_error(),
            Action::Forward(_) | Action::Redirect(_) => false,
        }
    }

    /// Whether every token that does here does at `other`.
    fn demands_as_much_as(&self, other: &Self) -> bool {
        if other.enforced == Share::NONE {
            return true;
        }
        let (demands, others) = match (&self.access, &other.access) {
            (_, Access::Public | Access::Optional) => return true,
            (Access::Public | Access::Optional, Access::Token(_)) => return false,
            (Access::Token(demands), Access::Token(others)) => (demands, others),
        };
        let is_as_fresh = match (self.when_stale, other.when_stale) {
            (WhenStale::Reject, _) | (WhenStale::Serve, WhenStale::Serve) => true,
            (WhenStale::Serve, WhenStale::Reject) => false,
        };
        let is_as_sure = match (self.revocation, other.revocation) {
            (RevocationCheck::Strict, _) | (RevocationCheck::Replica, RevocationCheck::Replica) => true,
            (RevocationCheck::Replica, RevocationCheck::Strict) => false,
        };
        demands.are_as_strict_as(others) && is_as_fresh && is_as_sure && self.enforced >= other.enforced
    }
}

fn is_limited_as(limit: Option<RouteLimit>, other: Option<RouteLimit>) -> bool {
    match (limit, other) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(limit), Some(other)) => limit.rate.is_within(&other.rate) && same_callers(limit.by, other.by),
    }
}

const fn same_callers(one: LimitBy, other: LimitBy) -> bool {
    matches!((one, other), (LimitBy::Subject, LimitBy::Subject) | (LimitBy::Address, LimitBy::Address))
}
