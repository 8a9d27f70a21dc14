//! Requests that belong together, and the backend that they go to.
//!
//! Rendezvous hashing: each backend draws a lot for each key, by a hash of the two, and the best lot wins. So all workers and nodes agree
//! without asking each other, in whatever order they know the backends, and when a backend goes, its keys alone go elsewhere.

use super::balance::Candidate;
use super::claims::Principal;
use super::stable_hash::{mixed, stable_hash};

/// By what the requests of an upstream are divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Balance {
    LeastRequests,
    /// Those of one caller go to one backend.
    Hash(HashBy),
}

/// What makes a caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HashBy {
    Subject,
    /// Where the token is of no session, as those of other issuers are: the subject.
    Session,
}

/// What requests have in common that belong together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AffinityKey(u64);

/// What tells a backend from others, whoever asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackendPoint(u64);

/// How many requests a backend may have for its weight, in hundredths of the mean.
const LOAD_MAX: u64 = 125;

/// So many requests are no load: a caller who makes several at once keeps its backend.
const LOAD_FREE: u64 = 16;

impl Balance {
    /// `None`: the request belongs to nobody, or that does not count here.
    pub fn key(self, principal: Option<&Principal>) -> Option<AffinityKey> {
        let (Self::Hash(by), Some(principal)) = (self, principal) else { return None };
        let of_subject = || stable_hash(principal.subject.as_str().as_bytes());
        Some(AffinityKey(match by {
            HashBy::Subject => of_subject(),
            HashBy::Session => principal.session.map_or_else(of_subject, |session| stable_hash(session.as_bytes())),
        }))
    }
}

impl BackendPoint {
    /// `name` is the same on every node.
    pub fn of(name: &str) -> Self {
        Self(stable_hash(name.as_bytes()))
    }

    /// The smaller the better. Exponentially distributed with the weight as its rate: so the chance of the smallest is the share of the
    /// weight.
    fn lot(self, key: AffinityKey, weight: u32) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let drawn = ((mixed(self.0 ^ key.0) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -drawn.ln() / f64::from(weight)
    }
}

/// The backend that the key belongs to, among those that have room. `None`: all weights are 0.
///
/// A backend that has more requests than its share of the mean allows is passed over (Mirrokni, "Consistent Hashing with Bounded Loads"): a
/// single caller, or a few, cannot overload it.
pub fn of_key(
    count: usize,
    candidate: impl Fn(usize) -> Candidate,
    point: impl Fn(usize) -> BackendPoint,
    key: AffinityKey,
) -> Option<usize> {
    let taking = || (0..count).map(|index| (index, candidate(index))).filter(|(_, candidate)| candidate.weight > 0);
    let (load, weight) = taking()
        .fold((0, 0), |(load, weight), (_, candidate)| (load + u64::from(candidate.load), weight + u64::from(candidate.weight)));
    let has_room = |candidate: Candidate| {
        let load_max = ((load + 1) * LOAD_MAX * u64::from(candidate.weight)).div_ceil(weight * 100);
        u64::from(candidate.load) < load_max.max(LOAD_FREE)
    };
    let lots = taking().filter(|(_, candidate)| has_room(*candidate));
    let lots = lots.map(|(index, candidate)| (index, point(index).lot(key, candidate.weight)));
    lots.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(index: usize) -> String {
        format!("10.0.0.{index}:80")
    }

    /// Where the key goes, by the names of the backends, if nobody has anything to do.
    fn home(backends: &[(String, u32)], key: u64) -> Option<&str> {
        let candidate = |index: usize| Candidate { weight: backends[index].1, load: 0 };
        let chosen = of_key(backends.len(), candidate, |index| BackendPoint::of(&backends[index].0), AffinityKey(key))?;
        Some(&backends[chosen].0)
    }

    fn backends() -> impl Strategy<Value = Vec<(String, u32)>> {
        proptest::collection::vec(0..5_u32, 1..10)
            .prop_map(|weights| weights.into_iter().enumerate().map(|(index, weight)| (name(index), weight)).collect())
    }

    proptest! {
        #[test]
        fn the_order_does_not_matter(backends in backends().prop_shuffle(), key: u64) {
            let mut sorted = backends.clone();
            sorted.sort();
            prop_assert_eq!(home(&backends, key), home(&sorted, key));
        }

        #[test]
        fn a_backend_that_goes_takes_its_own_keys_along_and_no_others(backends in backends(), gone in 0..10_usize, key: u64) {
            let mut rest = backends.clone();
            let gone = gone % rest.len();
            rest[gone].1 = 0;
            let former = home(&backends, key);
            prop_assert!(former == home(&rest, key) || former == Some(&*backends[gone].0));
        }

        #[test]
        fn a_backend_that_gets_more_weight_takes_keys_and_gives_none_away(backends in backends(), which in 0..10_usize, key: u64) {
            let mut heavier = backends.clone();
            let which = which % heavier.len();
            heavier[which].1 += 1;
            let later = home(&heavier, key);
            prop_assert!(later == home(&backends, key) || later == Some(&*backends[which].0));
        }

        #[test]
        fn one_with_a_weight_is_chosen_and_never_one_that_has_more_than_its_share(
            candidates in proptest::collection::vec((0..5_u32, 0..300_u32), 0..8), key: u64,
        ) {
            let candidates: Vec<Candidate> =
                candidates.into_iter().map(|(weight, load)| Candidate { weight, load }).collect();
            let chosen =
                of_key(candidates.len(), |index| candidates[index], |index| BackendPoint::of(&name(index)), AffinityKey(key));
            let taking = || candidates.iter().filter(|candidate| candidate.weight > 0);
            prop_assert_eq!(chosen.is_some(), taking().count() > 0);
            let Some(chosen) = chosen.map(|chosen| candidates[chosen]) else { return Ok(()) };
            let mean = f64::from(taking().map(|one| one.load).sum::<u32>() + 1) / f64::from(taking().map(|one| one.weight).sum::<u32>());
            let load_max = (1.25 * mean * f64::from(chosen.weight)).ceil().max(16.0);
            prop_assert!(chosen.weight > 0 && f64::from(chosen.load) < load_max + 1e-9);
        }
    }

    #[test]
    fn keys_are_spread_by_weight() {
        let backends = [(name(1), 1), (name(2), 3), (name(3), 0), (name(4), 4)];
        let mut counts = [0_u32; 4];
        for number in 0..8_000_u64 {
            let home = home(&backends, stable_hash(&number.to_be_bytes())).unwrap();
            counts[backends.iter().position(|(name, _)| name == home).unwrap()] += 1;
        }
        for (count, about) in counts.into_iter().zip([1_000_u32, 3_000, 0, 4_000]) {
            assert!(count.abs_diff(about) < 200, "{counts:?}");
        }
    }

    #[test]
    fn places_are_those_of_every_node_and_version() {
        let backends: Vec<(String, u32)> = (1..=5).map(|index| (name(index), 1)).collect();
        let homes: Vec<Option<&str>> =
            ["ann", "bob", "eve"].map(|subject| home(&backends, stable_hash(subject.as_bytes()))).to_vec();
        assert_eq!(
            homes,
            [Some("10.0.0.3:80"), Some("10.0.0.1:80"), Some("10.0.0.2:80")],
            "changing this moves callers to other servers"
        );
    }

    #[test]
    fn a_caller_who_floods_its_backend_is_spread_over_others_and_one_who_makes_a_few_requests_at_once_is_not() {
        let mut loads = [0_u32; 4];
        let chosen = |loads: &[u32; 4]| {
            of_key(4, |index| Candidate { weight: 1, load: loads[index] }, |index| BackendPoint::of(&name(index)), AffinityKey(7))
        };
        let first = chosen(&loads).unwrap();
        for _ in 0..16 {
            let chosen = chosen(&loads).unwrap();
            assert_eq!(chosen, first);
            loads[chosen] += 1;
        }
        for _ in 16..400 {
            loads[chosen(&loads).unwrap()] += 1;
        }
        assert!(loads.iter().all(|load| (1..=126).contains(load)), "no more than 1.25 times the mean: {loads:?}");
    }
}
