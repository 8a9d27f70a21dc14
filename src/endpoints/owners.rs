//! From where accounts have logged in: attempts from there count apart from those of strangers, who else could lock anybody out.
//!
//! In this process's memory alone, as hashes. An account may be named by someone whom the API logs in as somebody else; so what counts
//! is who was logged in, and few are remembered for each account: whoever came first, which is the owner, stays.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::remembered::Remembered;
use crate::domain::ids::Subject;

/// How long a place is remembered after a login.
const REMEMBERED_FOR: Duration = Duration::from_hours(30 * 24);

/// How often a login that is remembered is noted again.
const NOTED_EVERY: Duration = Duration::from_hours(1);

/// For each account, subjects that were logged in with its name; and places of each.
const SUBJECTS_MAX: usize = 3;
const PLACES_MAX: usize = 8;

/// Who was logged in, as a hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Owner(u64);

#[derive(Default)]
pub(super) struct Owners {
    hasher: RandomState,
    /// By account.
    places: Mutex<Remembered<Vec<Place>>>,
}

#[derive(Clone, Copy)]
struct Place {
    owner: Owner,
    network: u64,
    /// Of the monotonic clock.
    noted_at: Duration,
}

impl Place {
    fn is_forgotten(self, now: Duration) -> bool {
        now.saturating_sub(self.noted_at) >= REMEMBERED_FOR
    }
}

impl Owners {
    /// Who logged in under that name from there.
    pub(super) fn who_logged_in(&self, account: &str, network: IpAddr, now: Duration) -> Option<Owner> {
        let (account, network) = (self.hasher.hash_one(account), self.hasher.hash_one(network));
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.get(account)?.iter().find(|place| place.network == network)?;
        (!place.is_forgotten(now)).then_some(place.owner)
    }

    /// Whether anybody logged in under that name.
    pub(super) fn know(&self, account: &str, now: Duration) -> bool {
        let account = self.hasher.hash_one(account);
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.get(account).is_some_and(|places| places.iter().any(|place| !place.is_forgotten(now)))
    }

    /// Of at most so many accounts.
    pub(super) fn remember(&self, account: &str, network: IpAddr, subject: &Subject, accounts_max: usize, now: Duration) {
        let owner = Owner(self.hasher.hash_one(subject.as_str()));
        let (account, network) = (self.hasher.hash_one(account), self.hasher.hash_one(network));
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        note(places.entry(account, accounts_max), Place { owner, network, noted_at: now });
    }
}

/// Notes a place, within the bounds.
fn note(places: &mut Vec<Place>, new: Place) {
    let now = new.noted_at;
    if let Some(known) = places.iter_mut().find(|place| place.network == new.network && place.owner == new.owner) {
        if now.saturating_sub(known.noted_at) >= NOTED_EVERY {
            known.noted_at = now;
        }
        return;
    }
    places.retain(|place| !place.is_forgotten(now));
    let mut subjects: Vec<Owner> = Vec::new();
    for place in &*places {
        if !subjects.contains(&place.owner) {
            subjects.push(place.owner);
        }
    }
    if !subjects.contains(&new.owner) && subjects.len() >= SUBJECTS_MAX {
        return;
    }
    let own = || places.iter().enumerate().filter(|(_, place)| place.owner == new.owner);
    if own().count() >= PLACES_MAX
        && let Some((oldest, _)) = own().min_by_key(|(_, place)| place.noted_at)
    {
        places.remove(oldest);
    }
    places.push(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn subject(text: &str) -> Subject {
        Subject::new(text).unwrap()
    }

    fn place(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    #[test]
    fn a_place_is_known_for_a_month_after_the_last_login() {
        let owners = Owners::default();
        let knows = |account: &str, number, now| owners.who_logged_in(account, place(number), now).is_some();
        owners.remember("ada", place(1), &subject("1"), 100, DAY);
        assert!(knows("ada", 1, 30 * DAY) && !knows("ada", 2, DAY) && !knows("eve", 1, DAY));
        assert!(!knows("ada", 1, 31 * DAY));
        owners.remember("ada", place(1), &subject("1"), 100, 20 * DAY);
        assert!(knows("ada", 1, 40 * DAY), "it was renewed");
    }

    #[test]
    fn those_who_name_another_account_become_no_more_than_few_owners_of_it() {
        let owners = Owners::default();
        owners.remember("ada", place(1), &subject("ada"), 100, DAY);
        let own = owners.who_logged_in("ada", place(1), DAY);
        for number in 10..100 {
            owners.remember("ada", place(number), &subject("eve"), 100, DAY + Duration::from_secs(number.into()));
            owners.remember("ada", place(number), &subject(&format!("eve-{number}")), 100, DAY);
        }
        assert!(own.is_some() && owners.who_logged_in("ada", place(1), DAY) == own, "the owner stays");
        let others: std::collections::HashSet<Owner> =
            (10..100).filter_map(|number| owners.who_logged_in("ada", place(number), DAY)).collect();
        assert!(others.len() < SUBJECTS_MAX && !own.is_some_and(|own| others.contains(&own)), "{others:?}");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let owners = Owners::default();
        for number in 0..10_000 {
            owners.remember(&format!("account-{number}"), place(1), &subject("1"), 100, DAY);
        }
        for number in 0..200 {
            owners.remember("account-9999", place(number), &subject("1"), 100, DAY);
        }
        let places = owners.places.lock().unwrap();
        assert!(places.len() <= 100);
        assert!(places.values().all(|places| places.len() <= SUBJECTS_MAX * PLACES_MAX));
    }
}
