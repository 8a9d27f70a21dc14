//! Holds a history against what was promised.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::trouble::{Death, Effect, Loss, Trouble};
use super::{CALM_AFTER, Event, MAX_STALENESS, Session, What};

/// Where nothing was wrong for a while, a logout is known everywhere within this. Generous: what it takes is measured elsewhere.
const BOUND_IN_CALM: Duration = Duration::from_secs(2);
/// An old primary that wakes up may be taken for the primary for so long after the promotion of another.
const TAKEOVER: Duration = Duration::from_secs(1);
/// Of so many calls, one may run into a deadline because the machine is busy.
const STRAY_PART_MAX: u64 = 200;

pub(super) struct Judge<'a> {
    pub(super) events: &'a [Event],
    pub(super) troubles: &'a [Trouble],
}

impl Loss {
    /// Whether what came of the call may be lost with the primary.
    pub(super) fn may_have_taken(&self, event: &Event) -> bool {
        self.users.contains(&event.session.user) && self.from <= event.ended && event.began <= self.promoted_at + TAKEOVER
    }
}

pub(super) fn losses(troubles: &[Trouble]) -> impl Iterator<Item = &Loss> {
    troubles.iter().filter_map(|trouble| match &trouble.effect {
        Effect::Failover(loss) => Some(loss),
        Effect::Store | Effect::OneWay { .. } | Effect::Death(_) => None,
    })
}

pub(super) fn deaths(troubles: &[Trouble]) -> impl Iterator<Item = &Death> {
    troubles.iter().filter_map(|trouble| match &trouble.effect {
        Effect::Death(death) => Some(death),
        Effect::Store | Effect::OneWay { .. } | Effect::Failover(_) => None,
    })
}

pub(super) fn is_refresh(event: &Event) -> bool {
    matches!(event.what, What::Refresh(_))
}

/// The longest that calls were let through after a logout, by nodes that did not know of it.
#[derive(Default)]
struct Latest {
    after_logout: Duration,
    /// Where the failover lost the logout: after the promotion.
    after_promotion: Duration,
}

impl Judge<'_> {
    /// Fails if the history breaks a promise; else describes it.
    pub(super) fn verdict(&self) -> String {
        let mut sessions: BTreeMap<Session, Vec<&Event>> = BTreeMap::new();
        for event in self.events {
            assert!(matches!(event.status, None | Some(200 | 401 | 503)), "{}: {event:?}", event.text);
            assert!(event.status != Some(401) || event.what != What::Login, "{}: {event:?}", event.text);
            sessions.entry(event.session).or_default().push(event);
        }
        let mut latest = Latest::default();
        for events in sessions.values() {
            self.assert_one_line(events);
            self.assert_no_false_logout(events);
            self.assert_answered(events);
            self.assert_logout_holds(events, &mut latest);
        }
        self.assert_refused_for_a_reason();
        self.describe(&sessions, &latest)
    }

    fn describe(&self, sessions: &BTreeMap<Session, Vec<&Event>>, latest: &Latest) -> String {
        let rotations: u64 = sessions.values().map(|events| generations(events)).sum();
        let lost = sessions.values().filter(|events| self.is_login_lost(events)).count();
        let losses = losses(self.troubles).count();
        format!(
            "{} calls, {} of them 503 ({} with nothing wrong), {} without a response; {} faults, {losses} of them failovers, {} \
             deaths of nodes; {} logins, {lost} of them lost, {} refreshes of {} asked for, {rotations} generations, {} logouts; \
             the latest call that another node let through came {:?} after the logout's response, {:?} after a promotion",
            self.events.len(),
            self.count(|event| event.status == Some(503)),
            self.count(|event| self.is_stray(event)),
            self.count(|event| event.status.is_none()),
            self.troubles.len(),
            deaths(self.troubles).count(),
            self.count(|event| event.what == What::Login && event.status == Some(200)),
            self.count(|event| is_refresh(event) && event.status == Some(200)),
            self.count(is_refresh),
            self.count(|event| event.what == What::Logout && event.status == Some(200)),
            latest.after_logout,
            latest.after_promotion,
        )
    }

    /// A generation is one token, whoever asked and however often; and no response goes back.
    fn assert_one_line(&self, events: &[&Event]) {
        let mut line: BTreeMap<u64, &Event> = BTreeMap::new();
        for event in events {
            let Some(given) = &event.given else { continue };
            let first = line.entry(given.generation).or_insert(event);
            let is_same = first.given.as_ref().is_some_and(|first| first.tokens.refresh == given.tokens.refresh);
            assert!(is_same, "two tokens of one generation: {first:?}, {event:?}; {}", self.around(event));
            if let What::Refresh(presented) = event.what {
                assert!(given.generation >= presented, "{event:?}; {}", self.around(event));
            }
        }
    }

    /// Nobody is told that a session is over before someone has begun to end it, unless a failover took the login itself: that
    /// comes out with a refresh.
    fn assert_no_false_logout(&self, events: &[&Event]) {
        let ends = first_end(events);
        let may_be_lost = |event: &Event| {
            is_refresh(event) && losses(self.troubles).any(|loss| loss.from <= event.ended && is_login_taken(loss, events))
        };
        for event in events.iter().filter(|event| event.status == Some(401)) {
            let is_right = ends.is_some_and(|ends| ends < event.ended) || may_be_lost(event);
            assert!(is_right, "logged out without a logout: {event:?}; {}", self.around(event));
        }
    }

    /// Without a response is only what a node was asked that died then, or what was let in and cut off with its session.
    fn assert_answered(&self, events: &[&Event]) {
        let ends = first_end(events);
        for event in events.iter().filter(|event| event.status.is_none()) {
            let is_cut_off = event.what == What::Use && ends.is_some_and(|ends| ends < event.ended);
            let is_orphaned = self.troubles.iter().any(|trouble| {
                let died = matches!(&trouble.effect, Effect::Death(death) if death.node == event.node);
                died && trouble.began <= event.ended && event.began <= trouble.ended
            });
            assert!(is_cut_off || is_orphaned, "no response: {event:?}; {}", self.around(event));
        }
    }

    /// Where nothing is wrong nobody is put off: a node is not concerned by the death of the other.
    fn assert_refused_for_a_reason(&self) {
        let stray = self.count(|event| self.is_stray(event));
        let undisturbed = self.count(|event| !self.is_disturbed(event));
        let told =
            || self.events.iter().find(|event| self.is_stray(event)).map(|event| format!("{event:?}; {}", self.around(event)));
        assert!(stray <= undisturbed / STRAY_PART_MAX, "{stray} of {undisturbed} were 503 with nothing wrong: {:?}", told());
    }

    /// After the response to a logout nothing is refreshed anywhere, and nothing let through: at once by the node that answered, within
    /// the bound by the others. Where a failover may have taken it, that node puts it back: the others have not heard of it until
    /// then, and may even refresh.
    fn assert_logout_holds(&self, events: &[&Event], latest: &mut Latest) {
        let answers = events.iter().filter(|event| event.what == What::Logout && event.status == Some(200));
        let Some(logout) = answers.min_by_key(|event| event.ended) else { return };
        let promoted_at = losses(self.troubles).filter(|loss| loss.may_have_taken(logout)).map(|loss| loss.promoted_at).max();
        let bound = if self.is_calm(logout.ended) { BOUND_IN_CALM } else { MAX_STALENESS };
        let known_at = (logout.ended + bound).max(promoted_at.map_or(logout.ended, |at| at + MAX_STALENESS));
        for event in events.iter().filter(|event| event.status == Some(200) && event.began > logout.ended) {
            let late = event.began - logout.ended;
            let told = || format!("{late:?} after its logout: {event:?}; {logout:?}; {}", self.around(event));
            let may_be_unknown = event.node != logout.node && event.began <= known_at;
            match event.what {
                What::Logout => {}
                What::Login => panic!("revived {}", told()),
                What::Refresh(_) => assert!(promoted_at.is_some() && may_be_unknown, "revived {}", told()),
                What::Use => {
                    assert!(may_be_unknown, "let through {}", told());
                    match promoted_at {
                        None => latest.after_logout = latest.after_logout.max(late),
                        Some(at) => {
                            latest.after_promotion = latest.after_promotion.max(event.began.saturating_duration_since(at));
                        }
                    }
                }
            }
        }
    }

    fn is_login_lost(&self, events: &[&Event]) -> bool {
        let is_refused = events.iter().any(|event| is_refresh(event) && event.status == Some(401));
        is_refused && first_end(events).is_none() && losses(self.troubles).any(|loss| is_login_taken(loss, events))
    }

    fn is_calm(&self, at: Instant) -> bool {
        self.troubles.iter().all(|trouble| trouble.ended + CALM_AFTER < at || trouble.began > at + BOUND_IN_CALM)
    }

    /// Whether something was wrong that has to do with it.
    fn is_disturbed(&self, event: &Event) -> bool {
        self.troubles.iter().any(|trouble| trouble.concerns(event.node, event.began, event.ended))
    }

    fn is_stray(&self, event: &Event) -> bool {
        event.status == Some(503) && !self.is_disturbed(event)
    }

    pub(super) fn count(&self, holds: impl Fn(&Event) -> bool) -> u64 {
        u64::try_from(self.events.iter().filter(|event| holds(event)).count()).unwrap()
    }

    /// For people: what was wrong at the time.
    fn around(&self, event: &Event) -> String {
        const NEAR: Duration = Duration::from_secs(20);
        let near =
            self.troubles.iter().filter(|trouble| trouble.began < event.ended + NEAR && event.began < trouble.ended + NEAR);
        let since = |at: Instant| {
            at.saturating_duration_since(event.began).as_secs_f64() - event.began.saturating_duration_since(at).as_secs_f64()
        };
        let told = near.map(|trouble| {
            let Trouble { what, began, ended, effect } = trouble;
            let promoted = match effect {
                Effect::Failover(loss) => {
                    format!(", behind from {:.1} s, promoted at {:.1} s", since(loss.from), since(loss.promoted_at))
                }
                Effect::Store | Effect::OneWay { .. } | Effect::Death(_) => String::new(),
            };
            format!("{what} from {:.1} s to {:.1} s of it{promoted}", since(*began), since(*ended))
        });
        told.collect::<Vec<_>>().join("; ")
    }
}

fn generations(events: &[&Event]) -> u64 {
    events.iter().filter_map(|event| Some(event.given.as_ref()?.generation)).max().unwrap_or_default()
}

/// When someone first began to end the session.
fn first_end(events: &[&Event]) -> Option<Instant> {
    events.iter().filter(|event| event.what == What::Logout).map(|event| event.began).min()
}

fn is_login_taken(loss: &Loss, events: &[&Event]) -> bool {
    events.iter().any(|event| event.what == What::Login && loss.may_have_taken(event))
}
