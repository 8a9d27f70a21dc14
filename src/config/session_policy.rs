//! The rules for sessions, which several sections decide.

use super::Settings;
use crate::domain::session_policy::SessionPolicy;
use crate::domain::subject_token::SubjectTokenLives;
use crate::domain::time::Timestamp;

impl Settings {
    #[must_use]
    pub fn session_policy(&self) -> SessionPolicy {
        SessionPolicy {
            access_lifetime: self.tokens.lifetime,
            access_token_bytes_max: self.access_token_bytes_max(),
            retention: self.revocation.retention,
            idle_lifetime: self.refresh.idle_lifetime,
            absolute_lifetime: self.refresh.absolute_lifetime,
            sessions_max: self.sessions.per_subject_max,
            rotation_leeway: self.refresh.leeway,
            rotation: self.refresh.rotation,
            reuse: self.refresh.reuse,
            max_staleness: self.revocation.max_staleness,
            subject_tokens: self.subject_token_lives(),
            old_session: self.login.old_session,
            imported_until: self.refresh.imported_until,
            reserved: self.reserved_prefixes(),
            machine_prefix: self.oauth.subject_prefix.clone(),
        }
    }

    fn subject_token_lives(&self) -> SubjectTokenLives {
        let legacy = self.legacy.iter().map(|legacy| (legacy.accepted_until, legacy.lifetime_max));
        let exchanged = self.issuers.iter().filter(|issuer| issuer.is_exchanged());
        let exchanged = exchanged.map(|issuer| (Timestamp::MAX, Some(issuer.lifetime_max + issuer.leeway)));
        legacy.chain(exchanged).fold(SubjectTokenLives::default(), |lives, (until, max)| lives.with(until, max))
    }

    /// What heads can hold, and where tokens go into cookies, what those can hold.
    fn access_token_bytes_max(&self) -> usize {
        let in_cookies = self.cookies.as_ref().map(|cookies| cookies.own.access_bytes_max());
        in_cookies.unwrap_or(usize::MAX).min(self.tokens.bytes_max)
    }
}
