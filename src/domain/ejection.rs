//! When a backend that fails gets no more requests, and how it comes back.
//!
//! Moments are spans since one fixed moment of the process.

use std::time::Duration;

/// A pause doubles with each ejection, so many times at most.
const DOUBLINGS_MAX: u32 = 4;

/// What a backend gets at the least while it comes back, in hundredths of its weight.
const PART_MIN: u32 = 10;

/// All of its weight.
pub const PART_WHOLE: u32 = 100;

/// When a backend is ejected, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EjectionRules {
    /// Failures in a row. 0: it never is.
    pub failures: u32,
    /// For how long the first time.
    pub pause: Duration,
    /// How long it takes until it gets all of its requests again.
    pub slow_start: Duration,
    /// Times the median of the others' response times. `None`: it never is for being slow.
    pub slow_factor: Option<u32>,
}

/// How a backend has done lately.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// In a row.
    failures: u32,
    /// How often in a row it was ejected.
    times: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    In,
    Out {
        until: Duration,
    },
    Returning {
        since: Duration,
    },
}

/// Whether one more of `all` may be ejected beside the `out` that are: never more than half, for then it is something else that is
/// broken, and the rest would break under the load.
pub const fn may_eject(all: usize, out: usize) -> bool {
    (out + 1) * 2 <= all
}

impl Standing {
    /// A request failed. Whether the backend is ejected for it: after so many in a row, or, where it has just come back, at once.
    pub fn failed(&mut self, rules: &EjectionRules, now: Duration, may_eject: bool) -> bool {
        let enough = match self.state {
            // Of a request that it had before.
            State::Out { .. } => return false,
            State::Returning { .. } => 1,
            State::In => rules.failures,
        };
        self.failures = self.failures.saturating_add(1);
        let is_ejected = rules.failures > 0 && self.failures >= enough && may_eject;
        if is_ejected {
            self.eject(rules, now);
        }
        is_ejected
    }

    /// For a pause that doubles with each time in a row.
    pub fn eject(&mut self, rules: &EjectionRules, now: Duration) {
        let pause = rules.pause * 2_u32.pow(self.times.min(DOUBLINGS_MAX));
        *self = Self { failures: 0, times: self.times.saturating_add(1), state: State::Out { until: now + pause } };
    }

    pub const fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Which part of its requests it gets now, in hundredths.
    pub fn part(&mut self, rules: &EjectionRules, now: Duration) -> u32 {
        if let State::Out { until } = self.state
            && until <= now
        {
            self.state = State::Returning { since: now };
        }
        match self.state {
            State::In => PART_WHOLE,
            State::Out { .. } => 0,
            State::Returning { since } => {
                let back_for = now.saturating_sub(since);
                if back_for >= rules.slow_start {
                    *self = Self::default();
                    return PART_WHOLE;
                }
                let part = back_for.as_millis() * u128::from(PART_WHOLE) / rules.slow_start.as_millis().max(1);
                u32::try_from(part).unwrap_or(PART_WHOLE).clamp(PART_MIN, PART_WHOLE)
            }
        }
    }

    /// It was left alone for another cause than its failures, and gets requests again: few at first.
    pub const fn returns(&mut self, now: Duration) {
        if !self.is_out() {
            self.state = State::Returning { since: now };
        }
    }

    /// How much longer it is out.
    pub fn remaining(&self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Out { until } => Some(until.saturating_sub(now)),
            State::In | State::Returning { .. } => None,
        }
    }

    pub const fn is_out(&self) -> bool {
        matches!(self.state, State::Out { .. })
    }

    /// Whether [`Standing::part`] would say the same for ever, without further failures.
    pub const fn is_settled(&self) -> bool {
        matches!(self.state, State::In)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: EjectionRules =
        EjectionRules { failures: 3, pause: Duration::from_secs(10), slow_start: Duration::from_secs(20), slow_factor: None };

    const fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    fn ejected_at(second: u64) -> Standing {
        let mut standing = Standing::default();
        assert!(!standing.failed(&RULES, at(second), true) && !standing.failed(&RULES, at(second), true));
        assert!(standing.failed(&RULES, at(second), true));
        standing
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_between_them_begins_anew() {
        let mut standing = Standing::default();
        for _ in 0..5 {
            assert!(!standing.failed(&RULES, at(0), true) && !standing.failed(&RULES, at(0), true));
            standing.succeeded();
        }
        assert_eq!(standing.part(&RULES, at(0)), PART_WHOLE);
        assert!(ejected_at(0).is_out());
    }

    #[test]
    fn it_comes_back_slowly_and_goes_for_longer_if_it_fails_again() {
        let mut standing = ejected_at(100);
        assert_eq!(standing.part(&RULES, at(109)), 0);
        assert_eq!(standing.part(&RULES, at(110)), PART_MIN);
        assert_eq!(standing.part(&RULES, at(120)), 50);
        assert!(standing.failed(&RULES, at(121), true), "on trial, one is enough");
        assert_eq!((standing.part(&RULES, at(140)), standing.part(&RULES, at(141))), (0, PART_MIN));
        assert_eq!(standing.part(&RULES, at(161)), PART_WHOLE);
        assert!(standing == Standing::default() && standing.is_settled(), "what was is forgotten");
    }

    #[test]
    fn one_that_was_left_alone_comes_back_slowly_and_no_sooner_than_its_ejection_ends() {
        let mut standing = Standing::default();
        standing.returns(at(0));
        assert_eq!((standing.part(&RULES, at(0)), standing.part(&RULES, at(20))), (PART_MIN, PART_WHOLE));
        let mut standing = ejected_at(100);
        standing.returns(at(101));
        assert_eq!((standing.part(&RULES, at(109)), standing.part(&RULES, at(110))), (0, PART_MIN));
    }

    #[test]
    fn where_it_is_off_or_too_many_are_out_nothing_is_ejected() {
        let off = EjectionRules { failures: 0, ..RULES };
        let mut standing = Standing::default();
        for _ in 0..100 {
            assert!(!standing.failed(&off, at(0), true));
            assert!(!standing.failed(&RULES, at(0), false));
        }
        assert!(standing.failed(&RULES, at(0), true), "as soon as another is back");
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Failed(usize),
        Succeeded(usize),
        Later(u64),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            4 => (0..8_usize).prop_map(Event::Failed),
            1 => (0..8_usize).prop_map(Event::Succeeded),
            1 => (0..30_u64).prop_map(Event::Later),
        ];
        proptest::collection::vec(event, 0..200)
    }

    proptest! {
        #[test]
        fn at_least_half_are_in_whatever_happens_and_all_come_back(count in 1..8_usize, events in events()) {
            let (mut standings, mut now) = (vec![Standing::default(); count], 0);
            for event in events {
                match event {
                    Event::Failed(which) => {
                        let out = standings.iter().filter(|standing| standing.is_out()).count();
                        standings[which % count].failed(&RULES, at(now), may_eject(count, out));
                    }
                    Event::Succeeded(which) => standings[which % count].succeeded(),
                    Event::Later(seconds) => now += seconds,
                }
                let with_requests = standings.iter_mut().filter_map(|standing| (standing.part(&RULES, at(now)) > 0).then_some(()));
                prop_assert!(with_requests.count() * 2 >= count);
            }
            // The longest pause, then the slow start.
            for standing in &mut standings {
                standing.part(&RULES, at(now + 160));
            }
            prop_assert!(standings.iter_mut().all(|standing| standing.part(&RULES, at(now + 180)) == PART_WHOLE));
        }
    }
}
