//! The session record: one login on one device.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ids::{SessionId, Subject};
use super::rotation::Rotation;
use super::time::Timestamp;

/// Everything the store keeps of a session. Holds no secret: no token can be made from it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    pub subject: Subject,
    pub grant: Grant,
    pub rotation: Rotation,
    pub lifetime: Lifetime,
    /// Who logged in or rotated last: a reissue to someone else is worth an audit line.
    pub client: Client,
    pub last_used_at: Timestamp,
}

/// What the session's access tokens say beyond who and when. Fixed at login; a refresh never widens it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Grant {
    /// Space-separated in the token (RFC 8693, section 4.2), in the order in which the upstream named them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Claims that the operator mapped from the upstream's response, by claim name.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub claims: Map<String, Value>,
    /// When the user logged in. `None` where nobody knows: imported sessions, and those of a version that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged_in_at: Option<Timestamp>,
}

/// When a session ends by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lifetime {
    /// Pushed ahead by each refresh, never past `absolute_ends_at`.
    pub idle_ends_at: Timestamp,
    pub absolute_ends_at: Timestamp,
}

impl Lifetime {
    #[must_use]
    pub fn starting(now: Timestamp, idle: Duration, absolute: Duration) -> Self {
        Self { idle_ends_at: now, absolute_ends_at: now.saturating_add(absolute) }.extended(now, idle)
    }

    /// After a refresh at `now`. Never shortens: a clock that jumped back takes nothing away.
    #[must_use]
    pub fn extended(self, now: Timestamp, idle: Duration) -> Self {
        let idle_ends_at = now.saturating_add(idle).min(self.absolute_ends_at).max(self.idle_ends_at);
        Self { idle_ends_at, ..self }
    }

    /// The moment from which the session is dead.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        self.idle_ends_at.min(self.absolute_ends_at)
    }
}

/// Where a call came from, as far as the gateway can tell.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Client {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// At most [`USER_AGENT_CHARS_MAX`] characters, control characters removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// How much of a user agent is kept.
pub const USER_AGENT_CHARS_MAX: usize = 200;

impl Client {
    #[must_use]
    pub fn new(address: Option<IpAddr>, user_agent: Option<&str>) -> Self {
        let user_agent = user_agent.map(|text| text.chars().filter(|c| !c.is_control()).take(USER_AGENT_CHARS_MAX).collect());
        Self { address, user_agent }
    }
}

impl Session {
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.lifetime.ends_at()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn idle_time_is_pushed_ahead_but_never_past_the_absolute_end() {
        let start = Timestamp::from_secs(0);
        let lifetime = Lifetime::starting(start, DAY, 3 * DAY);
        assert_eq!(lifetime.ends_at(), start.saturating_add(DAY));
        let later = lifetime.extended(start.saturating_add(DAY / 2), DAY);
        assert_eq!(later.ends_at(), start.saturating_add(DAY + DAY / 2));
        let last = later.extended(start.saturating_add(5 * DAY / 2), DAY);
        assert_eq!(last.ends_at(), start.saturating_add(3 * DAY));
    }

    #[test]
    fn a_clock_that_jumps_back_shortens_nothing() {
        let lifetime = Lifetime::starting(Timestamp::from_secs(1_000_000), DAY, 3 * DAY);
        assert_eq!(lifetime.extended(Timestamp::from_secs(0), DAY), lifetime);
    }

    #[test]
    fn a_user_agent_is_bounded_and_cannot_break_a_line() {
        let client = Client::new(None, Some(&format!("a\r\nb{}", "x".repeat(500))));
        let kept = client.user_agent.unwrap();
        assert!(kept.starts_with("abx") && kept.chars().count() == USER_AGENT_CHARS_MAX);
    }
}
