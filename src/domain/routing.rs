//! Routes together with the upstreams that they lead to.

use std::sync::Arc;

use super::per_upstream::{PerUpstream, UpstreamIndex};
use super::route::{Action, Asked, FixedResponse, Forward, Match, Redirect, Route, RouteTable};

/// A table of routes, and what there is for each upstream that they lead to.
///
/// Both are of one set of settings, and nobody follows a route's index but this: so no request can go by the routes of one set to the
/// upstreams of another.
#[derive(Clone, Debug)]
pub struct Routing<U> {
    table: Arc<RouteTable>,
    upstreams: PerUpstream<U>,
    login: UpstreamIndex,
}

/// A route, and where it leads.
#[derive(Debug)]
pub struct Lead<'a, U> {
    pub route: &'a Route,
    /// As [`Placed::number`](super::route::Placed::number).
    pub number: usize,
    pub to: LeadsTo<'a, U>,
}

/// The action of a route.
#[derive(Debug)]
pub enum LeadsTo<'a, U> {
    /// With what there is for the upstream.
    Upstream(&'a Forward, &'a U),
    Redirect(&'a Redirect),
    Response(&'a FixedResponse),
}

/// A route that leads to none of the upstreams.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} leads to an upstream that is not there")]
pub struct LeadsNowhere(Arc<str>);

impl<U> Routing<U> {
    /// `login` judges credentials.
    ///
    /// # Errors
    /// A route, or `login`, leads to none of `upstreams`.
    pub fn new(table: Arc<RouteTable>, login: UpstreamIndex, upstreams: PerUpstream<U>) -> Result<Self, LeadsNowhere> {
        let leads_nowhere = |route: &&Route| route.forward().is_some_and(|forward| upstreams.get(forward.upstream).is_none());
        if let Some(route) = table.routes().find(leads_nowhere) {
            return Err(LeadsNowhere(Arc::clone(&route.name)));
        }
        if upstreams.get(login).is_none() {
            return Err(LeadsNowhere("login".into()));
        }
        Ok(Self { table, upstreams, login })
    }

    /// What a request meets.
    pub fn find(&self, asked: &Asked<'_>) -> Match<Lead<'_, U>> {
        self.table.find(asked).map(|route| {
            let to = match &route.action {
                Action::Forward(forward) => LeadsTo::Upstream(forward, self.at(forward.upstream)),
                Action::Redirect(redirect) => LeadsTo::Redirect(redirect),
                Action::Respond(response) => LeadsTo::Response(response),
            };
            Lead { route, number: route.number(), to }
        })
    }

    /// As [`RouteTable::mended_query`].
    pub fn mended_query(&self, asked: &Asked<'_>) -> Option<String> {
        self.table.mended_query(asked)
    }

    /// The names of the routes, each at its number.
    pub fn names(&self) -> Vec<&Arc<str>> {
        self.table.names()
    }

    /// The route of this name.
    pub fn named(&self, name: &str) -> Option<&Route> {
        self.table.routes().find(|route| *route.name == *name)
    }

    /// For the upstream that judges credentials.
    pub fn login(&self) -> &U {
        self.at(self.login)
    }

    /// The same routes, with something else for each upstream.
    pub fn map<V>(&self, each: impl FnMut(&U) -> V) -> Routing<V> {
        Routing { table: Arc::clone(&self.table), upstreams: self.upstreams.map(each), login: self.login }
    }

    pub fn upstreams(&self) -> &PerUpstream<U> {
        &self.upstreams
    }

    fn at(&self, index: UpstreamIndex) -> &U {
        self.upstreams.get(index).expect("every index was looked up when this was made")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::route::Access;
    use crate::domain::route::EndpointPaths;
    use crate::domain::route::tests::route;

    #[test]
    fn what_leads_to_another_list_is_no_routing() {
        let two = PerUpstream::new(vec!["a", "b"]);
        let second = two.position(|name| *name == "b").unwrap();
        let table = |upstream| {
            let mut route = route("/", Access::Public);
            if let Action::Forward(forward) = &mut route.action {
                forward.upstream = upstream;
            }
            Arc::new(RouteTable::new(EndpointPaths::default(), vec![route]).unwrap())
        };
        let routing = Routing::new(table(second), UpstreamIndex::FIRST, two).unwrap();
        assert_eq!(routing.map(|name| name.len()).upstreams().iter().count(), 2);
        let one = || PerUpstream::new(vec!["a"]);
        assert_eq!(Routing::new(table(second), UpstreamIndex::FIRST, one()).unwrap_err(), LeadsNowhere("/".into()));
        assert_eq!(Routing::new(table(UpstreamIndex::FIRST), second, one()).unwrap_err(), LeadsNowhere("login".into()));
    }
}
