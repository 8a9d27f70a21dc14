//! Values that are the same in the logins of many users, and so are nobody's account: the id of a client, the text of a button, a role.
//!
//! Known by their logins that succeeded: one name, at one place, under which several subjects were logged in, is not what the API took
//! for the account. Nobody can teach that of an account which the API reads there, for that logs in one subject alone.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::accounts::Named;
use super::remembered::Remembered;
use crate::domain::ids::Subject;

/// So many subjects under one value make it common.
const SUBJECTS_MIN: usize = 3;

/// How long after the last login that had it.
const REMEMBERED_FOR: Duration = Duration::from_hours(30 * 24);

#[derive(Default)]
pub(super) struct CommonValues {
    hasher: RandomState,
    seen: Mutex<Remembered<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// Different ones, as hashes; no more than it takes.
    subjects: Vec<u64>,
    /// Of the monotonic clock.
    noted_at: Duration,
}

impl CommonValues {
    pub(super) fn contain(&self, named: &Named, now: Duration) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(self.key(named))
            .is_some_and(|seen| seen.subjects.len() >= SUBJECTS_MIN && now.saturating_sub(seen.noted_at) < REMEMBERED_FOR)
    }

    /// A login that had this value made a session of that subject. At most so many values are remembered.
    pub(super) fn note(&self, named: &Named, subject: &Subject, values_max: usize, now: Duration) {
        let subject = self.hasher.hash_one(subject.as_str());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { subjects, noted_at } = seen.entry(self.key(named), values_max);
        if now.saturating_sub(*noted_at) >= REMEMBERED_FOR {
            subjects.clear();
        }
        *noted_at = now;
        if subjects.len() < SUBJECTS_MIN && !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }

    /// The same account elsewhere is another value.
    fn key(&self, named: &Named) -> u64 {
        self.hasher.hash_one((&named.account, &named.places))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn named(account: &str, place: &str) -> Named {
        Named { account: account.to_owned(), places: vec![place.to_owned()], attempts: 1, is_doubtful: false }
    }

    fn subject(number: usize) -> Subject {
        Subject::new(&number.to_string()).unwrap()
    }

    #[test]
    fn a_value_is_common_once_several_subjects_were_logged_in_with_it_at_one_place() {
        let values = CommonValues::default();
        let client = named("app", "authorization");
        for _ in 0..10 {
            values.note(&client, &subject(1), 100, DAY);
            values.note(&client, &subject(2), 100, DAY);
        }
        assert!(!values.contain(&client, DAY));
        values.note(&client, &subject(3), 100, DAY);
        assert!(values.contain(&client, 30 * DAY) && !values.contain(&client, 31 * DAY));
        assert!(!values.contain(&named("app", "username"), DAY), "elsewhere it may be an account");
        values.note(&client, &subject(1), 100, 40 * DAY);
        assert!(!values.contain(&client, 40 * DAY), "what was forgotten is learnt anew");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let values = CommonValues::default();
        for number in 0..10_000 {
            values.note(&named(&number.to_string(), "email"), &subject(number), 100, DAY);
            values.note(&named("app", "client"), &subject(number), 100, DAY);
        }
        let seen = values.seen.lock().unwrap();
        assert!(seen.len() <= 100 && seen.values().all(|seen| seen.subjects.len() <= SUBJECTS_MIN));
    }
}
