//! What a route demands of its callers, and of whom.

use std::sync::Arc;

use http::request::Parts;

use super::by_ticket::UnspentTicket;
use super::{Gateway, Local};
use crate::domain::claims::{Denial, Principal};
use crate::domain::demands::TokenDemands;
use crate::domain::ids::Subject;
use crate::domain::route::{Access, RevocationCheck, Route, WhenStale};
use crate::domain::secret::Secret;
use crate::domain::stats::Counter;
use crate::domain::ticket_parameter::TicketsSent;
use crate::proxy::auth::admission::{Admitted, BearerToken, bearer_token};
use crate::proxy::bond::Bond;
use crate::proxy::client::tunnel::handshake;
use crate::proxy::control::Renewed;
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
    /// To be spent once the request can be sent.
    pub(super) ticket: Option<UnspentTicket>,
    /// What the response is to bring the caller.
    pub(super) renewed: Option<Arc<Renewed>>,
}

/// Somebody whose token is good, and where it was.
pub(super) struct Authenticated {
    admitted: Admitted,
    is_in_authorization: bool,
    renewed: Option<Arc<Renewed>>,
}

impl Authenticated {
    /// By a token that the caller does not have yet.
    pub(super) fn renewed(admitted: Admitted, renewed: Arc<Renewed>) -> Self {
        Self { admitted, is_in_authorization: false, renewed: Some(renewed) }
    }

    pub(super) fn principal(&self) -> &Arc<Principal> {
        &self.admitted.token.principal
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
    const NOBODY: Self = Self { admitted: None, is_bound: false, is_in_authorization: false, ticket: None, renewed: None };

    fn new(authenticated: Option<Authenticated>, is_bound: bool, ticket: Option<UnspentTicket>) -> Self {
        let is_in_authorization = authenticated.as_ref().is_some_and(|caller| caller.is_in_authorization);
        let (admitted, renewed) = authenticated.map(|caller| (caller.admitted, caller.renewed)).unzip();
        Self { admitted, is_bound, is_in_authorization, ticket, renewed: renewed.flatten() }
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
            return judged.map(|caller| Caller::new(caller, true, shown.ok().and_then(Shown::into_ticket)));
        }
        let is_bound = match &judged {
            Ok(caller) => is_within(context, route, caller.as_ref().map(|caller| &caller.admitted.token.principal.subject)),
            Err(_) => is_within(context, route, shown.as_ref().ok().and_then(|shown| local.named_subject(shown)).as_ref()),
        };
        let judged = match (judged, shown) {
            // While the route lets through whom it would refuse: what becomes of the ticket decides whether the caller is named.
            (Ok(caller), Ok(Shown::Ticket { ticket, .. })) => self.spend(local, ticket).await.map(|()| caller),
            (judged, _) => judged,
        };
        match judged {
            Ok(caller) => Ok(Caller::new(caller, is_bound, None)),
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
        let judged = match shown.token() {
            Some(token) => self.authenticate_by(local, head, token, &route.access, route.when_stale).await,
            None => Err(Denial::NoToken),
        };
        let judged = if shown.is_of_browser() {
            self.or_renewed(context, local, head, &route.access, route.when_stale, judged).await
        } else {
            judged
        };
        let mut caller = match (&route.access, judged) {
            (Access::Optional, Err(Denial::NoToken)) => return Ok(None),
            (_, judged) => judged?,
        };
        caller.is_in_authorization &= matches!(shown, Shown::Token(_));
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

    /// The same, with new tokens for a browser where they are due.
    pub(super) async fn caller_or_renewed(
        &self,
        context: &RequestContext<'_>,
        local: &Local,
        head: &Parts,
    ) -> Result<(Arc<Principal>, Option<Arc<Renewed>>), Denial> {
        let anyone = Access::Token(TokenDemands::default());
        let shown = local.shown(head)?;
        let judged = match shown.token() {
            Some(token) => self.authenticate_by(local, head, token, &anyone, WhenStale::Reject).await,
            None => Err(Denial::NoToken),
        };
        let caller = if shown.is_of_browser() {
            self.or_renewed(context, local, head, &anyone, WhenStale::Reject, judged).await?
        } else {
            judged?
        };
        Ok((Arc::clone(caller.principal()), caller.renewed))
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

    async fn authenticate_by(
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
        Ok(Authenticated { admitted, is_in_authorization: !in_cookie, renewed: None })
    }

    /// Takes notice of a token that this worker had not seen before.
    pub(super) fn saw(&self, principal: &Principal) {
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
