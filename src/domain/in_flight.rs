//! When tokens in cookies are refreshed on the way of a request.

use std::time::Duration;

use super::claims::Denial;
use super::time::Timestamp;

/// How far ahead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InFlight {
    /// An access token that lives less long is replaced while it is still good.
    pub ahead: Duration,
}

/// How soon a browser needs new tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// The token is good, and will soon be worth nothing.
    Soon,
    /// Without new ones there is nobody to speak for the request.
    Now,
}

/// Whether a request is to bring its browser new tokens. `judged`: what came of the access token in the browser's cookie, or of there being none: when it ends, or why it does not count.
#[must_use]
pub fn due(in_flight: InFlight, judged: Result<Timestamp, &Denial>, now: Timestamp) -> Option<Due> {
    match judged {
        Ok(ends_at) if now.saturating_add(in_flight.ahead) >= ends_at => Some(Due::Soon),
        Err(denial) if is_mended(denial) => Some(Due::Now),
        Ok(_) | Err(_) => None,
    }
}

/// For how long an access token that was just issued is given to others with the same refresh cookie. It must outlive that by the time
/// that a request takes to be judged, and by the second to which it is dated. `expires_in`: as clients are told.
#[must_use]
pub fn shared_for(expires_in: Duration) -> Duration {
    expires_in / 2
}

/// Whether another access token would help.
const fn is_mended(denial: &Denial) -> bool {
    match denial {
        // A browser drops the cookie when the token expires. Keys and names change, and what was issued before is worth nothing then.
        // What was revoked may be a former session's, or one token alone; whether the session has ended, its refresh token tells.
        Denial::NoToken
        | Denial::Expired
        | Denial::Invalid(_)
        | Denial::KeyUnknown
        | Denial::KeyDisputed
        | Denial::Revoked(_) => true,
        // It changes nothing in these.
        Denial::Ambiguous(_)
        | Denial::CookieRepeated
        | Denial::TicketMisused(_)
        | Denial::TicketInvalid
        | Denial::IssuerKeysUnavailable(_)
        | Denial::SessionOver
        | Denial::RefreshLimited(_)
        | Denial::InsufficientScope(_)
        | Denial::InsufficientClaims(_)
        | Denial::LoginTooOld(_)
        | Denial::OriginRefused
        | Denial::RevocationsStale
        | Denial::StoreUnavailable
        | Denial::Undecided(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::claims::RevokedBy;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    #[test]
    fn only_what_a_refresh_mends_is_refreshed() {
        let in_flight = InFlight { ahead: Duration::from_secs(30) };
        for mended in [
            Denial::NoToken,
            Denial::Expired,
            Denial::Invalid("iss"),
            Denial::KeyUnknown,
            Denial::KeyDisputed,
            Denial::Revoked(RevokedBy::Session),
            Denial::Revoked(RevokedBy::Token),
        ] {
            assert_eq!(due(in_flight, Err(&mended), NOW), Some(Due::Now), "{mended}");
        }
        for other in [
            Denial::CookieRepeated,
            Denial::InsufficientScope(["admin".to_owned()].into()),
            Denial::LoginTooOld(Duration::from_secs(60)),
            Denial::OriginRefused,
            Denial::RevocationsStale,
            Denial::StoreUnavailable,
        ] {
            assert_eq!(due(in_flight, Err(&other), NOW), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_good_token_is_replaced_in_its_last_moments_alone(left in 0_u64..2000, ahead in 0_u64..1000) {
            let ends_at = NOW.saturating_add(Duration::from_secs(left));
            let met = due(InFlight { ahead: Duration::from_secs(ahead) }, Ok(ends_at), NOW);
            prop_assert_eq!(met, (left <= ahead).then_some(Due::Soon));
        }

        #[test]
        fn what_is_shared_has_a_second_left(expires_in in 4_u64..100_000, into_its_second in 0_u64..1000) {
            let issued_at = NOW.saturating_add(Duration::from_millis(into_its_second));
            let ends_at = NOW.saturating_add(Duration::from_secs(expires_in));
            let shared_until = issued_at.saturating_add(shared_for(Duration::from_secs(expires_in)));
            prop_assert!(ends_at.since(shared_until) >= Duration::from_secs(1));
        }
    }
}
