//! What a route demands of its callers, and of whom.

use std::sync::Arc;

use http::request::Parts;

use super::by_ticket::UnspentTicket;
use super::{Gateway, Local};
use crate::crypto::verifier::Verifier;
use crate::domain::claims::{Denial, Principal};
use crate::domain::demands::TokenDemands;
use crate::domain::ids::Subject;
use crate::domain::route::{Access, RevocationCheck, Route, WhenStale};
use crate::domain::secret::Secret;
use crate::domain::stats::Counter;
use crate::domain::ticket_parameter::TicketsSent;
use crate::domain::time::Timestamp;
use crate::proxy::auth::admission::{Admitted, BearerToken, bearer_token};
use crate::proxy::bond::Bond;
use crate::proxy::client::tunnel::handshake;
use crate::proxy::control::Renewed;
use crate::proxy::policy::Policy;
use crate::proxy::request::context::RequestContext;

/// Who calls, as far as that is known.
pub(super) struct Caller {
    /// Nobody, where none is needed or none was good.
    pub(super) authenticated: Option<Authenticated>,
    /// Whether the route's demands are made of this caller. Otherwise nothing that befalls the token is held against the exchange.
    is_bound: bool,
    /// To be spent once the request can be sent.
    pub(super) ticket: Option<UnspentTicket>,
}

/// Somebody whose token is good.
pub(super) struct Authenticated {
    pub(super) admitted: Admitted,
    /// Whether the token that speaks for the caller is the one in Authorization.
    is_in_authorization: bool,
    /// What the response is to bring the caller.
    pub(super) renewed: Option<Arc<Renewed>>,
}

impl Authenticated {
    /// By a token that the caller does not have yet.
    pub(super) const fn renewed(admitted: Admitted, renewed: Arc<Renewed>) -> Self {
        Self { admitted, is_in_authorization: false, renewed: Some(renewed) }
    }

    pub(super) fn principal(&self) -> &Arc<Principal> {
        &self.admitted.token.principal
    }
}

/// What is asked of a token.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) access: &'a Access,
    pub(super) when_stale: WhenStale,
    pub(super) revocation: RevocationCheck,
}

impl<'a> Terms<'a> {
    pub(super) const fn of(route: &'a Route) -> Self {
        Self { access: &route.access, when_stale: route.when_stale, revocation: route.revocation }
    }

    /// Those of the own endpoints, as on any protected route. `anyone` demands nothing in particular.
    const fn of_own(anyone: &'a Access) -> Self {
        Self { access: anyone, when_stale: WhenStale::Reject, revocation: RevocationCheck::Replica }
    }
}

/// What the caller shows.
enum Shown<'a> {
    Nothing,
    Token(BearerToken<'a>),
    Ticket { token: Secret<String>, ticket: UnspentTicket },
}

impl Shown<'_> {
    fn token(&self) -> Option<BearerToken<'_>> {
        match self {
            Self::Nothing => None,
            Self::Token(token) => Some(*token),
            Self::Ticket { token, .. } => Some(BearerToken { token: token.expose(), in_cookie: false }),
        }
    }

    /// Whether cookies are all that there is. Whoever shows a token of its own is no browser, or means another session than theirs.
    const fn is_of_browser(&self) -> bool {
        match self {
            Self::Nothing | Self::Token(BearerToken { in_cookie: true, .. }) => true,
            Self::Token(BearerToken { in_cookie: false, .. }) | Self::Ticket { .. } => false,
        }
    }

    fn into_ticket(self) -> Option<UnspentTicket> {
        match self {
            Self::Nothing | Self::Token(_) => None,
            Self::Ticket { ticket, .. } => Some(ticket),
        }
    }
}

impl Caller {
    /// Nobody, of whom nothing is demanded.
    const NOBODY: Self = Self { authenticated: None, is_bound: false, ticket: None };

    pub(super) fn admitted(&self) -> Option<&Admitted> {
        self.authenticated.as_ref().map(|caller| &caller.admitted)
    }

    pub(super) fn is_in_authorization(&self) -> bool {
        self.authenticated.as_ref().is_some_and(|caller| caller.is_in_authorization)
    }

    /// Whose session an exchange by this route ends with.
    pub(super) fn bond(&self, route: &Route) -> Option<Bond> {
        let bound = self.admitted().filter(|_| self.is_bound);
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
        if route.access == Access::Public {
            return Ok(Caller::NOBODY);
        }
        let shown = match &context.tickets {
            TicketsSent::None => local.shown(head),
            // Boxed: rare.
            TicketsSent::One(ticket) => Box::pin(self.shown_by_ticket(context, local, head, ticket)).await,
            TicketsSent::Several => Err(Denial::TicketMisused("Send one ticket.")),
        };
        let judged = match &shown {
            Ok(shown) => self.judge(context, local, route, head, shown).await,
            Err(denial) => Err(denial.clone()),
        };
        if route.enforced.is_all() {
            let ticket = shown.ok().and_then(Shown::into_ticket);
            return judged.map(|authenticated| Caller { authenticated, is_bound: true, ticket });
        }
        let is_bound = match &judged {
            Ok(caller) => is_within(context, route, caller.as_ref().map(|caller| &caller.principal().subject)),
            Err(_) => is_within(context, route, shown.as_ref().ok().and_then(|shown| local.named_subject(shown)).as_ref()),
        };
        let judged = match (judged, shown) {
            // While the route lets through whom it would refuse: what becomes of the ticket decides whether the caller is named.
            (Ok(caller), Ok(Shown::Ticket { ticket, .. })) => self.spend(local, ticket).await.map(|()| caller),
            (judged, _) => judged,
        };
        match judged {
            Ok(authenticated) => Ok(Caller { authenticated, is_bound, ticket: None }),
            Err(denial) if is_bound => Err(denial),
            Err(denial) => {
                self.kept.counters.add(Counter::of_observed(&denial), 1);
                self.shared.observations.note(&route.name, &denial, context.ids.request.to_str().unwrap_or_default());
                Ok(Caller::NOBODY)
            }
        }
    }

    async fn shown_by_ticket<'a>(
        &self,
        context: &RequestContext<'_>,
        local: &Local,
        head: &Parts,
        ticket: &Secret<String>,
    ) -> Result<Shown<'a>, Denial> {
        let (token, ticket) = self.read_ticket(context, local, head, ticket).await?;
        Ok(Shown::Ticket { token, ticket })
    }

    /// What becomes of the caller where the demands are made; nobody, where the route can do without.
    async fn judge(
        &self,
        context: &RequestContext<'_>,
        local: &Local,
        route: &Route,
        head: &Parts,
        shown: &Shown<'_>,
    ) -> Result<Option<Authenticated>, Denial> {
        match (&route.access, self.authenticate_or_renew(context, local, head, Terms::of(route), shown).await) {
            (Access::Optional, Err(Denial::NoToken)) => Ok(None),
            (_, judged) => judged.map(Some),
        }
    }

    /// Who calls an own endpoint, if anyone.
    pub(super) async fn caller(&self, local: &Local, head: &Parts) -> Result<Authenticated, Denial> {
        let anyone = Access::Token(TokenDemands::default());
        self.authenticate(local, head, Terms::of_own(&anyone), &local.shown(head)?).await
    }

    /// The same, with new tokens for a browser where they are due.
    pub(super) async fn caller_or_renewed(
        &self,
        context: &RequestContext<'_>,
        local: &Local,
        head: &Parts,
    ) -> Result<Authenticated, Denial> {
        let anyone = Access::Token(TokenDemands::default());
        self.authenticate_or_renew(context, local, head, Terms::of_own(&anyone), &local.shown(head)?).await
    }

    /// Whose token it was that has expired, if the call may speak by it.
    pub(super) fn expired(&self, local: &Local, head: &Parts) -> Option<Arc<Principal>> {
        let BearerToken { token, in_cookie } = bearer_token(&head.headers, local.policy().cookie_name()).ok()??;
        let may_speak = !in_cookie || may_speak_by_cookie(local.policy(), head);
        may_speak.then(|| local.view.verifier.load().expired(token, self.shared.clock.now())).flatten()
    }

    async fn authenticate_or_renew(
        &self,
        context: &RequestContext<'_>,
        local: &Local,
        head: &Parts,
        terms: Terms<'_>,
        shown: &Shown<'_>,
    ) -> Result<Authenticated, Denial> {
        let judged = self.authenticate(local, head, terms, shown).await;
        if shown.is_of_browser() { self.or_renewed(context, local, head, terms, judged).await } else { judged }
    }

    async fn authenticate(
        &self,
        local: &Local,
        head: &Parts,
        terms: Terms<'_>,
        shown: &Shown<'_>,
    ) -> Result<Authenticated, Denial> {
        let presented = shown.token().ok_or(Denial::NoToken)?;
        let judge = || self.authenticate_now(local, head, presented, terms);
        let mut caller = match judge() {
            // Boxed: once for each key that is rotated in.
            Err(denial) if denial.may_pass_with_other_keys() => {
                Box::pin(self.when_known(local, presented.token, denial, judge)).await?
            }
            judged => judged?,
        };
        caller.is_in_authorization &= matches!(shown, Shown::Token(_));
        confirm(local, terms, caller.principal()).await?;
        Ok(caller)
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
        terms: Terms<'_>,
    ) -> Result<Authenticated, Denial> {
        let admitted = self.admit_token(local, &local.view.verifier.load(), token, terms, self.shared.clock.now())?;
        if in_cookie && !may_speak_by_cookie(local.policy(), head) {
            return Err(Denial::OriginRefused);
        }
        Ok(Authenticated { admitted, is_in_authorization: !in_cookie, renewed: None })
    }

    /// Admits a token that its client has sent, and takes notice of one that this worker had not seen before.
    pub(super) fn admit_token(
        &self,
        local: &Local,
        verifier: &Verifier,
        token: &str,
        Terms { access, when_stale, .. }: Terms<'_>,
        now: Timestamp,
    ) -> Result<Admitted, Denial> {
        let admitted = local.admission.admit(verifier, &local.policy().rewrite, token, access, when_stale, now)?;
        if admitted.first_sight {
            self.saw(&admitted.token.principal);
        }
        Ok(admitted)
    }

    fn saw(&self, principal: &Principal) {
        match (principal.session, principal.generation) {
            (Some(session), Some(generation)) => (self.shared.token_seen)(session, generation),
            (Some(_), None) => self.kept.counters.add(Counter::LegacyTokensSeen, 1),
            (None, _) => {}
        }
    }
}

impl Local {
    /// What the header fields of a request show.
    fn shown<'a>(&self, head: &'a Parts) -> Result<Shown<'a>, Denial> {
        Ok(bearer_token(&head.headers, self.policy().cookie_name())?.map_or(Shown::Nothing, Shown::Token))
    }

    /// Whose token was refused, if it was signed by someone who is trusted: its end and its revocation change nothing in that.
    fn named_subject(&self, shown: &Shown<'_>) -> Option<Subject> {
        self.view.verifier.load().subject(shown.token()?.token)
    }
}

/// Asks the store about the session too, where the terms want it.
pub(super) async fn confirm(local: &Local, terms: Terms<'_>, principal: &Principal) -> Result<(), Denial> {
    match terms.revocation {
        RevocationCheck::Replica => Ok(()),
        RevocationCheck::Strict => local.view.control.confirm(principal).await,
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
pub(super) fn may_speak_by_cookie(policy: &Policy, head: &Parts) -> bool {
    let changes_nothing = head.method.is_safe() && !handshake::wants_websocket(head);
    changes_nothing || policy.access_cookie.as_ref().is_some_and(|cookie| cookie.origins.believe(&head.uri, &head.headers))
}
