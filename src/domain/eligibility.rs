//! Which backends of one upstream get requests, by what probes and failures say of them.

use super::ejection::PART_WHOLE;
use super::probing::Verdict;

/// One backend, and what is known of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// As the settings say.
    pub weight: u32,
    pub verdict: Verdict,
    /// Which part of its requests its ejection leaves it, in hundredths.
    pub part: u32,
}

/// Which verdicts of probes count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Believed(bool);

impl Believed {
    /// Probes that find nobody healthy are not believed. The fault may lie with them: with a path that has gone, or with the way to it.
    /// Nothing is lost by asking, and all would be lost by not asking.
    pub fn of(mut verdicts: impl Iterator<Item = Verdict>) -> Self {
        Self(verdicts.any(|verdict| verdict == Verdict::Healthy))
    }

    /// Whether a backend of this verdict may get requests. At least one may.
    pub fn admits(self, verdict: Verdict) -> bool {
        !self.0 || verdict == Verdict::Healthy
    }
}

/// The weight of each, by which requests are divided; 0: it gets none. Never 0 for all, as long as the settings give each a weight:
/// where only ejected backends are left, those get requests.
pub fn weights(backends: &[Known]) -> Vec<u32> {
    let believed = Believed::of(backends.iter().map(|known| known.verdict));
    let weights = |part: fn(&Known) -> u32| -> Vec<u32> {
        let weight = |known: &Known| if believed.admits(known.verdict) { known.weight * part(known) } else { 0 };
        backends.iter().map(weight).collect()
    };
    let by_ejection = weights(|known| known.part);
    if by_ejection.iter().any(|weight| *weight > 0) { by_ejection } else { weights(|_| PART_WHOLE) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::probing::Verdict::{Healthy, Unhealthy};

    fn known(verdict: Verdict, part: u32) -> Known {
        Known { weight: 3, verdict, part }
    }

    #[test]
    fn the_unhealthy_and_the_ejected_get_nothing_while_there_are_others() {
        assert_eq!(weights(&[known(Healthy, 100), known(Unhealthy, 100), known(Healthy, 0)]), [300, 0, 0]);
    }

    #[test]
    fn where_all_that_are_healthy_are_ejected_they_get_requests_and_the_unhealthy_none() {
        assert_eq!(weights(&[known(Healthy, 0), known(Unhealthy, 100)]), [300, 0]);
    }

    #[test]
    fn where_none_is_healthy_ejections_alone_decide() {
        assert_eq!(weights(&[known(Unhealthy, 0), known(Unhealthy, 10)]), [0, 30]);
        assert_eq!(weights(&[known(Unhealthy, 0), known(Unhealthy, 0)]), [300, 300]);
    }

    proptest! {
        #[test]
        fn somebody_gets_requests_and_nobody_who_is_less_fit_than_another_who_gets_none(
            backends in proptest::collection::vec(
                (1..5_u32, prop_oneof![Just(Healthy), Just(Unhealthy)], prop_oneof![Just(0), Just(10), Just(100)]), 1..8,
            ),
        ) {
            let backends: Vec<Known> =
                backends.into_iter().map(|(weight, verdict, part)| Known { weight, verdict, part }).collect();
            let weights = weights(&backends);
            prop_assert!(weights.iter().any(|weight| *weight > 0));
            let fitness = |known: &Known| (known.verdict == Healthy, known.part > 0);
            for (chosen, _) in backends.iter().zip(&weights).filter(|(_, weight)| **weight > 0) {
                for (left, _) in backends.iter().zip(&weights).filter(|(_, weight)| **weight == 0) {
                    prop_assert!(fitness(chosen) > fitness(left));
                }
            }
        }
    }
}
