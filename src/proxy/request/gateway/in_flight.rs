//! Callers whose cookies are refreshed on the way of their request.

use http::request::Parts;
use http::{HeaderMap, header};

use super::admit::{Authenticated, Caller, may_speak_by_cookie};
use super::{Gateway, Local};
use crate::domain::claims::{Denial, Principal, Undecided};
use crate::domain::cookies::{self, Sent};
use crate::domain::in_flight::{Due, due};
use crate::domain::route::{Access, WhenStale};
use crate::domain::secret::Secret;
use crate::domain::shared_caches;
use crate::proxy::control::{Renewal, Renewed};
use crate::proxy::request::context::RequestContext;

impl Gateway {
    /// What is `judged` of a browser by its access cookie, or by its next token where that is worth nothing any more, or soon.
    pub(super) async fn or_renewed(
        &self,
        context: &RequestContext<'_>,
        local: &Local,
        head: &Parts,
        access: &Access,
        when_stale: WhenStale,
        judged: Result<Authenticated, Denial>,
    ) -> Result<Authenticated, Denial> {
        let due = self.due(local, &judged);
        if due == Due::No {
            return judged;
        }
        // Boxed: once in the life of a token.
        let renew = |token| Box::pin(self.renew(context, local, head, access, when_stale, token));
        match (due, refresh_cookie(local, head)) {
            (Due::No, _) | (_, Ok(None)) | (Due::Soon, Err(_)) => judged,
            (Due::Now, Err(denial)) => Err(denial),
            (Due::Now, Ok(Some(token))) => renew(token).await,
            // Whatever prevents it, the token at hand is good.
            (Due::Soon, Ok(Some(token))) => renew(token).await.or(judged),
        }
    }

    fn due(&self, local: &Local, judged: &Result<Authenticated, Denial>) -> Due {
        let Some(in_flight) = local.policy().access_cookie.as_ref().and_then(|cookie| cookie.in_flight) else { return Due::No };
        let ends_at = judged.as_ref().map(|caller| caller.principal().window.closes_at);
        due(in_flight, ends_at, self.shared.clock.now())
    }

    async fn renew(
        &self,
        context: &RequestContext<'_>,
        local: &Local,
        head: &Parts,
        access: &Access,
        when_stale: WhenStale,
        refresh_token: Secret<String>,
    ) -> Result<Authenticated, Denial> {
        let policy = local.policy();
        // Before anything is refreshed.
        if !may_speak_by_cookie(policy, head) {
            return Err(Denial::OriginRefused);
        }
        let renewal = Renewal { head: head.clone(), address: context.address, refresh_token };
        let renewed = local.view.control.renew(renewal).await;
        let (verifier, now) = (local.view.verifier.load(), self.shared.clock.now());
        let admitted = renewed.and_then(|renewed| {
            let token = renewed.access_token.expose();
            let admitted = local.admission.admit_unseen(&verifier, &policy.rewrite, token, access, when_stale, now);
            admitted.map(|admitted| Authenticated::renewed(admitted, renewed))
        });
        admitted.map_err(|denial| match (access, denial) {
            // It was good a moment ago: a clock was set, and that ends no session.
            (_, Denial::Expired) => Denial::Undecided(Undecided::TimedOut),
            // Nobody any more, who is welcome here as nobody.
            (Access::Optional, Denial::SessionOver | Denial::Revoked(_)) => Denial::NoToken,
            // What others were given a moment ago, of a session that has ended since.
            (_, Denial::Revoked(_)) => Denial::SessionOver,
            (_, denial) => denial,
        })
    }

    /// Hands the caller the next cookies with a response, where there are any for it.
    pub(super) async fn hand_out_to(&self, local: &Local, caller: &Caller, headers: &mut HeaderMap) {
        if let (Some(renewed), Some(admitted)) = (&caller.renewed, &caller.admitted) {
            // Boxed: once in the life of a token.
            Box::pin(self.hand_out(local, renewed, &admitted.token.principal, headers)).await;
        }
    }

    /// Hands the next cookies to the browser with a response to it, unless that comes so late that the browser may have newer ones, or
    /// none because its session has ended. Returns whether it did.
    pub(super) async fn hand_out(
        &self,
        local: &Local,
        renewed: &Renewed,
        principal: &Principal,
        headers: &mut HeaderMap,
    ) -> bool {
        if !self.may_hand_out(local, renewed, principal).await {
            return false;
        }
        for field in renewed.cookies.fields() {
            headers.append(header::SET_COOKIE, field.clone());
        }
        shared_caches::keep_out(headers);
        true
    }

    /// The store is asked last: another user may have logged in over this one a moment ago, by a node of which this one has not heard.
    pub(super) async fn may_hand_out(&self, local: &Local, renewed: &Renewed, principal: &Principal) -> bool {
        let may_now = || {
            let is_late = self.shared.clock.monotonic() >= renewed.kept_until;
            !is_late && local.admission.ending(principal, self.shared.clock.now()).is_none()
        };
        let ask_store = async { local.view.control.confirm(principal).await.is_ok() };
        may_now() && renewed.is_known.ask(ask_store).await && may_now()
    }
}

/// The refresh token that came along.
fn refresh_cookie(local: &Local, head: &Parts) -> Result<Option<Secret<String>>, Denial> {
    let Some(cookie) = &local.policy().access_cookie else { return Ok(None) };
    match cookies::find(&head.headers, cookie.own.refresh_name()) {
        Sent::Nothing => Ok(None),
        Sent::Once(value) => Ok(Some(Secret::new(String::from_utf8_lossy(value).into_owned()))),
        Sent::Repeatedly => Err(Denial::CookieRepeated),
    }
}
