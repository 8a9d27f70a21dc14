//! Callers whose cookies are refreshed on the way of their request.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, header};

use super::admit::{Authenticated, Caller, Terms, confirm, may_speak_by_cookie};
use super::{Gateway, Local};
use crate::domain::claims::{Denial, Principal, Undecided};
use crate::domain::cookies;
use crate::domain::in_flight::{Due, due};
use crate::domain::route::Access;
use crate::domain::secret::Secret;
use crate::domain::shared_caches;
use crate::proxy::control::{Renewal, Renewed};
use crate::proxy::request::context::RequestContext;

/// How long a response waits for the store's word on its cookies. Without them it is whole, and the next response brings them.
const HAND_OUT_WAIT_MAX: Duration = Duration::from_millis(500);

impl Gateway {
    /// What is `judged` of a browser by its access cookie, or by its next token where that is worth nothing any more, or soon.
    pub(super) async fn or_renewed(
        &self,
        context: &RequestContext<'_>,
        local: &Local,
        head: &Parts,
        terms: Terms<'_>,
        judged: Result<Authenticated, Denial>,
    ) -> Result<Authenticated, Denial> {
        let Some(due) = self.due(local, &judged) else { return judged };
        let renewed = match refresh_cookie(local, head) {
            Ok(None) => None,
            // Boxed: once in the life of a token.
            Ok(Some(token)) => Some(Box::pin(self.renew(context, local, head, terms, due, token)).await),
            Err(denial) => Some(Err(denial)),
        };
        let judged = match (due, renewed) {
            (_, None) => judged,
            (Due::Now, Some(renewed)) => renewed,
            // Whatever prevents it, the token at hand is good.
            (Due::Soon, Some(renewed)) => renewed.or(judged),
        };
        match (terms.access, judged) {
            // Nobody any more, who is welcome here as nobody.
            (Access::Optional, Err(denial)) if denial.is_for_want_of_a_session() => Err(Denial::NoToken),
            (_, judged) => judged,
        }
    }

    fn due(&self, local: &Local, judged: &Result<Authenticated, Denial>) -> Option<Due> {
        let in_flight = local.policy().access_cookie.as_ref()?.in_flight?;
        let ends_at = judged.as_ref().map(|caller| caller.principal().window.closes_at);
        due(in_flight, ends_at, self.shared.clock.now())
    }

    async fn renew(
        &self,
        context: &RequestContext<'_>,
        local: &Local,
        head: &Parts,
        terms: Terms<'_>,
        due: Due,
        refresh_token: Secret<String>,
    ) -> Result<Authenticated, Denial> {
        // Before anything is refreshed.
        if !may_speak_by_cookie(local.policy(), head) {
            return Err(Denial::OriginRefused);
        }
        let renewal = Renewal { head: head.clone(), address: context.address, refresh_token, due };
        let renewed = local.view.control.renew(renewal).await?;
        self.admit_renewed(local, terms, renewed).await.map_err(|denial| match denial {
            // It was good a moment ago: a clock was set, and that ends no session.
            Denial::Expired => Denial::Undecided(Undecided::TimedOut),
            // What others were given a moment ago, of a session that has ended since.
            Denial::Revoked(_) => Denial::SessionOver,
            denial => denial,
        })
    }

    async fn admit_renewed(&self, local: &Local, terms: Terms<'_>, renewed: Arc<Renewed>) -> Result<Authenticated, Denial> {
        let admitted = {
            let (verifier, now) = (local.view.verifier.load(), self.shared.clock.now());
            let (token, rewrite) = (renewed.access_token.expose(), &local.policy().rewrite);
            local.admission.admit_unseen(&verifier, rewrite, token, terms.access, terms.when_stale, now)?
        };
        confirm(local, terms, &admitted.token.principal).await?;
        Ok(Authenticated::renewed(admitted, renewed))
    }

    /// Hands a browser's next cookies out with a response to it, unless that comes so late that the browser may have newer ones, or none
    /// because its session has ended. Returns whether the browser gets all that is meant for it.
    pub(super) async fn hand_out(&self, local: &Local, caller: &Authenticated, headers: &mut HeaderMap) -> bool {
        let Some(renewed) = &caller.renewed else { return true };
        // Boxed: once in the life of a token.
        if !Box::pin(self.may_hand_out(local, caller.principal(), renewed)).await {
            return false;
        }
        for field in renewed.cookies.fields() {
            headers.append(header::SET_COOKIE, field.clone());
        }
        shared_caches::keep_out(headers);
        true
    }

    /// The same for a caller who may be nobody.
    pub(super) async fn hand_out_to(&self, local: &Local, caller: &Caller, headers: &mut HeaderMap) {
        if let Some(caller) = &caller.authenticated {
            self.hand_out(local, caller, headers).await;
        }
    }

    /// The store is asked last: another user may have logged in over this one a moment ago, by a node of which this one has not heard.
    pub(super) async fn may_hand_out(&self, local: &Local, principal: &Principal, renewed: &Renewed) -> bool {
        let may_now = || {
            let is_late = self.shared.clock.monotonic() >= renewed.kept_until;
            !is_late && local.admission.ending(principal, self.shared.clock.now()).is_none()
        };
        let ask_store = async { local.view.control.confirm(principal).await.is_ok() };
        let asking = tokio::time::timeout(HAND_OUT_WAIT_MAX, renewed.is_known.ask(ask_store));
        may_now() && asking.await.unwrap_or(false) && may_now()
    }
}

/// The refresh token that came along.
fn refresh_cookie(local: &Local, head: &Parts) -> Result<Option<Secret<String>>, Denial> {
    let Some(cookie) = &local.policy().access_cookie else { return Ok(None) };
    let token = cookies::token(&head.headers, cookie.own.refresh_name())?;
    Ok(token.map(|token| Secret::new(token.to_owned())))
}
