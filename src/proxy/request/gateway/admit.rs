//! What a route demands of its callers, and of whom.

use std::sync::Arc;

use http::request::Parts;

use super::{Gateway, Local};
use crate::domain::claims::{Denial, Principal};
use crate::domain::demands::TokenDemands;
use crate::domain::ids::Subject;
use crate::domain::route::{Access, RevocationCheck, Route, WhenStale};
use crate::domain::stats::Counter;
use crate::domain::ticket_parameter::TicketsSent;
use crate::proxy::auth::admission::{Admitted, BearerToken, bearer_token};
use crate::proxy::bond::Bond;
use crate::proxy::client::tunnel::handshake;
use crate::proxy::policy::Policy;
use crate::proxy::request::context::RequestContext;

/// Who calls, as far as that is known.
pub(super) struct Caller {
    /// Somebody whose token is good; nobody, where none is needed or none was good.
    pub(super) admitted: Option<Admitted>,
    /// Whether the route's demands are made of this caller. Otherwise nothing that befalls the token is held against the exchange.
    is_bound: bool,
    /// Whether the token that speaks for the caller is the one in Authorization.
    pub(super) is_in_authorization: bool,
}

/// Somebody whose token is good, and where it was.
pub(super) struct Authenticated {
    admitted: Admitted,
    is_in_authorization: bool,
}

impl Authenticated {
    /// Whose token came in no field of the request.
    pub(super) fn without_field(self) -> Self {
        Self { is_in_authorization: false, ..self }
    }
}

impl Caller {
    fn new(authenticated: Option<Authenticated>, is_bound: bool) -> Self {
        let is_in_authorization = authenticated.as_ref().is_some_and(|caller| caller.is_in_authorization);
        Self { admitted: authenticated.map(|caller| caller.admitted), is_bound, is_in_authorization }
    }

    /// Whose session an exchange by this route ends with.
    pub(super) fn bond(&self, route: &Route) -> Option<Bond> {
        let bound = self.admitted.as_ref().filter(|_| self.is_bound);
        bound.map(|admitted| Bond::new(admitted.token.clone(), Arc::clone(&route.name)))
    }
}

impl Gateway {
    /// Judges the caller as the route demands, and refuses those of whom the demands are made.
    pub(super) async fn admit(
        &self,
        context: &RequestContext<'_>,
        local: &Local,
        route: &Route,
        head: &Parts,
    ) -> Result<Caller, Denial> {
        let judged = self.judge(context, local, route, head).await;
        if route.enforced.is_all() {
            return judged.map(|caller| Caller::new(caller, true));
        }
        match judged {
            Ok(caller) => {
                let subject = caller.as_ref().map(|caller| &caller.admitted.token.principal.subject);
                let is_bound = is_within(context, route, subject);
                Ok(Caller::new(caller, is_bound))
            }
            Err(denial) if is_within(context, route, local.named_subject(head).as_ref()) => Err(denial),
            Err(denial) => {
                self.kept.counters.add(Counter::of_observed(&denial), 1);
                self.shared.observations.note(&route.name, &denial, context.ids.request.to_str().unwrap_or_default());
                Ok(Caller::new(None, false))
            }
        }
    }

    /// What becomes of the caller where the demands are made; nobody, where the route has none.
    async fn judge(
        &self,
        context: &RequestContext<'_>,
        local: &Local,
        route: &Route,
        head: &Parts,
    ) -> Result<Option<Authenticated>, Denial> {
        if route.access == Access::Public {
            return Ok(None);
        }
        let judged = match &context.tickets {
            TicketsSent::None => self.authenticate(local, head, &route.access, route.when_stale).await,
            // Boxed: rare.
            TicketsSent::One(ticket) => Box::pin(self.authenticate_by_ticket(context, local, route, head, ticket)).await,
            TicketsSent::Several => Err(Denial::Ambiguous("two tickets")),
        };
        let caller = match (&route.access, judged) {
            (Access::Optional, Err(Denial::NoToken)) => return Ok(None),
            (_, judged) => judged?,
        };
        match route.revocation {
            RevocationCheck::Replica => {}
            RevocationCheck::Strict => local.view.control.confirm(&caller.admitted.token.principal).await?,
        }
        Ok(Some(caller))
    }

    /// Who calls an own endpoint, if anyone: judged as on any protected route.
    pub(super) async fn caller(&self, local: &Local, head: &Parts) -> Result<Arc<Principal>, Denial> {
        let anyone = Access::Token(TokenDemands::default());
        self.authenticate(local, head, &anyone, WhenStale::Reject)
            .await
            .map(|caller| Arc::clone(&caller.admitted.token.principal))
    }

    /// Whose token it was that has expired, if the call may speak by it.
    pub(super) fn expired(&self, local: &Local, head: &Parts) -> Option<Arc<Principal>> {
        let BearerToken { token, in_cookie } = bearer_token(&head.headers, local.policy().cookie_name()).ok()??;
        let may_speak = !in_cookie || may_speak_by_cookie(local.policy(), head);
        may_speak.then(|| local.view.verifier.load().expired(token, self.shared.clock.now())).flatten()
    }

    async fn authenticate(
        &self,
        local: &Local,
        head: &Parts,
        access: &Access,
        when_stale: WhenStale,
    ) -> Result<Authenticated, Denial> {
        let presented = bearer_token(&head.headers, local.policy().cookie_name())?.ok_or(Denial::NoToken)?;
        self.authenticate_by(local, head, presented, access, when_stale).await
    }

    pub(super) async fn authenticate_by(
        &self,
        local: &Local,
        head: &Parts,
        presented: BearerToken<'_>,
        access: &Access,
        when_stale: WhenStale,
    ) -> Result<Authenticated, Denial> {
        let judge = || self.authenticate_now(local, head, presented, access, when_stale);
        match judge() {
            // Boxed: once for each key that is rotated in.
            Err(denial) if denial.may_pass_with_other_keys() => {
                Box::pin(self.when_known(local, presented.token, denial, judge)).await
            }
            judged => judged,
        }
    }

    /// Waits for the key of the caller's token, and judges again what was `denied`.
    async fn when_known(
        &self,
        local: &Local,
        token: &str,
        denied: Denial,
        judge: impl Fn() -> Result<Authenticated, Denial>,
    ) -> Result<Authenticated, Denial> {
        let wish = local.view.verifier.load().wish(token).ok_or(denied)?;
        wish.then(judge).await
    }

    fn authenticate_now(
        &self,
        local: &Local,
        head: &Parts,
        BearerToken { token, in_cookie }: BearerToken<'_>,
        access: &Access,
        when_stale: WhenStale,
    ) -> Result<Authenticated, Denial> {
        let (verifier, policy) = (local.view.verifier.load(), local.policy());
        let admitted = local.admission.admit(&verifier, &policy.rewrite, token, access, when_stale, self.shared.clock.now())?;
        if in_cookie && !may_speak_by_cookie(policy, head) {
            return Err(Denial::OriginRefused);
        }
        if admitted.first_sight {
            self.saw(&admitted.token.principal);
        }
        Ok(Authenticated { admitted, is_in_authorization: !in_cookie })
    }

    /// Takes notice of a token that this worker had not seen before.
    fn saw(&self, principal: &Principal) {
        match (principal.session, principal.generation) {
            (Some(session), Some(generation)) => (self.shared.token_seen)(session, generation),
            (Some(_), None) => self.kept.counters.add(Counter::LegacyTokensSeen, 1),
            (None, _) => {}
        }
    }
}

impl Local {
    /// Whose token was refused, if it was signed by someone who is trusted: its end and its revocation change nothing in that.
    fn named_subject(&self, head: &Parts) -> Option<Subject> {
        let presented = bearer_token(&head.headers, self.policy().cookie_name()).ok()??;
        self.view.verifier.load().subject(presented.token)
    }
}

/// Whether the caller is among those of whom the demands are made: by subject, or by address where none is known.
fn is_within(context: &RequestContext<'_>, route: &Route, subject: Option<&Subject>) -> bool {
    match subject {
        Some(subject) => route.enforced.includes(subject.as_str().as_bytes()),
        None => route.enforced.includes_address(context.address),
    }
}

/// Whether a call may be made by a cookie: one that changes nothing, and no WebSocket, for which browsers ask no permission; or one
/// from an origin that is believed.
fn may_speak_by_cookie(policy: &Policy, head: &Parts) -> bool {
    let changes_nothing = head.method.is_safe() && !handshake::wants_websocket(head);
    changes_nothing || policy.access_cookie.as_ref().is_some_and(|cookie| cookie.origins.believe(&head.uri, &head.headers))
}
