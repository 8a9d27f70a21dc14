//! Whether what was admitted may go on, and by which token.

use super::admit::Terms;
use super::{Gateway, Local};
use crate::crypto::verifier::{Verified, Verifier};
use crate::domain::claims::Ending;
use crate::domain::route::RevocationCheck;
use crate::domain::secret::Secret;
use crate::domain::stats::Counter;
use crate::domain::time::Timestamp;
use crate::proxy::bond::{Bond, CallerEnd, NotRenewed, Renewal, Verdict};
use crate::proxy::reply::Problem;

impl Gateway {
    /// How a bond stands at this tick. Where its token has expired, a newer one of the session takes its place. Not where its key was
    /// removed: keys leak, and nobody knows then whose stream it is.
    pub(super) fn judge_bond(&self, local: &Local, verifier: &Verifier, bond: &mut Bond, now: Timestamp) -> Verdict {
        let open = self.kept.renewals.open();
        bond.notice(open);
        let mut end = local.end_of(verifier, &bond.token, now);
        if let Some(token) = bond.take_asked(end) {
            let renewal = self.renew_stream(local, verifier, bond, &token, now);
            bond.answer(renewal);
            end = local.end_of(verifier, &bond.token, now);
        }
        let Some(end) = end else { return Verdict::Holds };
        let renewal = match end {
            CallerEnd::Over(Ending::Revoked(_)) | CallerEnd::KeyRemoved => None,
            CallerEnd::Over(Ending::Expired) => {
                let renewal = local.renewal_of(verifier, bond, now);
                if renewal.is_none() && bond.may_hear_of_newer(open) {
                    return Verdict::Holds;
                }
                renewal
            }
        };
        match renewal {
            Some(token) => {
                bond.token = token;
                self.kept.counters.add(Counter::StreamsRenewed, 1);
                Verdict::Renewed
            }
            None => Verdict::Ends(end),
        }
    }

    /// Has a stream stand on a newer token that its client sent: one of the same session, judged as with a request by the route in force.
    fn renew_stream(
        &self,
        local: &Local,
        verifier: &Verifier,
        bond: &mut Bond,
        token: &Secret<String>,
        now: Timestamp,
    ) -> Renewal {
        let route = local.routing.named(&bond.route).filter(|route| route.action.renews_websockets());
        let (Some(route), Some(session)) = (route, bond.token.principal.session) else {
            return Err(NotRenewed::WITHOUT_SESSION);
        };
        let admitted = self.admit_token(local, verifier, token.expose(), Terms::of(route), now).map_err(|denial| {
            tracing::debug!(route = &*bond.route, cause = %denial, "a stream is not renewed by a token that its client sent");
            let problem = Problem::from(&denial);
            NotRenewed { code: problem.code().as_str(), is_for_good: !problem.status().is_server_error() }
        })?;
        let principal = &admitted.token.principal;
        if principal.session != Some(session) || principal.subject != bond.token.principal.subject {
            return Err(NotRenewed::OF_ANOTHER_SESSION);
        }
        if bond.stand_on(&admitted.token) {
            self.kept.counters.add(Counter::StreamsRenewed, 1);
        }
        Ok(bond.token.principal.expires_at)
    }
}

impl Local {
    /// A token that has expired is over by that: its issuer may take the key out afterwards, and whoever was admitted in time still gets
    /// a response.
    fn end_of(&self, verifier: &Verifier, token: &Verified, now: Timestamp) -> Option<CallerEnd> {
        let over = self.admission.ending(&token.principal, now).map(CallerEnd::Over);
        over.or_else(|| (!verifier.knows_signer_of(token)).then_some(CallerEnd::KeyRemoved))
    }

    /// A newer token of the bond's session, if the route would admit it now: by the route in force, which may be another than when the
    /// stream began. What its issuer's policy demands was asked when it came, and settings that changed since drop no stream.
    fn renewal_of(&self, verifier: &Verifier, bond: &Bond, now: Timestamp) -> Option<Verified> {
        let newest = bond.newest().filter(|newest| verifier.knows_signer_of(newest))?;
        let route = self.routing.named(&bond.route)?;
        match route.revocation {
            RevocationCheck::Replica => {}
            // It asks the store, which nobody has done for this token.
            RevocationCheck::Strict => return None,
        }
        match self.admission.judge(&newest.principal, &route.access, route.when_stale, now) {
            Ok(_) => Some(newest),
            Err(denial) => {
                tracing::debug!(route = &*bond.route, cause = %denial, "a stream is not renewed by its session's newest token");
                None
            }
        }
    }
}
