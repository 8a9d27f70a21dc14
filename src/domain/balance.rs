//! Which of several backends gets a request.

/// One that a request may go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Its share of the requests. 0: it gets none.
    pub weight: u32,
    /// The requests that it has now.
    pub load: u32,
}

/// Of two that are drawn by weight, the one with the fewest requests for its weight; of two alike, the one that was drawn first.
/// `None`: all weights are 0.
///
/// Two are enough (Mitzenmacher, "The Power of Two Choices"): the least loaded of all would be everyone's choice at once where several
/// choose without knowing of each other, as workers do.
pub fn least_of_two(count: usize, candidate: impl Fn(usize) -> Candidate, draws: [u64; 2]) -> Option<usize> {
    let total = (0..count).map(|index| u64::from(candidate(index).weight)).sum();
    let first = drawn(count, &candidate, draws[0].checked_rem(total)?, None)?;
    let rest = total - u64::from(candidate(first).weight);
    let second = draws[1].checked_rem(rest).and_then(|draw| drawn(count, &candidate, draw, Some(first)));
    let is_less = |one: Candidate, other: Candidate| {
        u64::from(one.load) * u64::from(other.weight) < u64::from(other.load) * u64::from(one.weight)
    };
    Some(second.filter(|second| is_less(candidate(*second), candidate(first))).unwrap_or(first))
}

/// The one in whose part of the sum of weights `draw` falls, without the part of `except`.
fn drawn(count: usize, candidate: &impl Fn(usize) -> Candidate, mut draw: u64, except: Option<usize>) -> Option<usize> {
    (0..count).filter(|index| Some(*index) != except).find(|index| {
        let weight = u64::from(candidate(*index).weight);
        let is_within = draw < weight;
        draw = draw.saturating_sub(weight);
        is_within
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let candidate = (0..5_u32, 0..20_u32).prop_map(|(weight, load)| Candidate { weight, load });
        proptest::collection::vec(candidate, 0..8)
    }

    proptest! {
        #[test]
        fn one_with_a_weight_is_chosen_if_there_is_one(candidates in candidates(), draws: [u64; 2]) {
            let chosen = least_of_two(candidates.len(), |index| candidates[index], draws);
            prop_assert_eq!(chosen.is_some(), candidates.iter().any(|candidate| candidate.weight > 0));
            prop_assert!(chosen.is_none_or(|chosen| candidates[chosen].weight > 0));
        }

        #[test]
        fn of_two_the_one_that_is_busier_for_its_weight_is_never_chosen(
            weights in [1..100_u32, 1..100_u32], loads in [0..100_u32, 0..100_u32], draws: [u64; 2],
        ) {
            let candidate = |index: usize| Candidate { weight: weights[index], load: loads[index] };
            let chosen = least_of_two(2, candidate, draws).unwrap();
            let other = 1 - chosen;
            let per_weight = |index: usize| f64::from(loads[index]) / f64::from(weights[index]);
            prop_assert!(per_weight(chosen) <= per_weight(other) + 1e-9);
        }
    }

    #[test]
    fn those_that_are_idle_get_what_their_weights_say() {
        let weights = [1_u32, 3, 0, 4];
        let mut chosen = [0_u32; 4];
        for draw in 0..8_000_u64 {
            let candidate = |index: usize| Candidate { weight: weights[index], load: 0 };
            chosen[least_of_two(4, candidate, [draw, draw.wrapping_mul(0x9e37_79b9_7f4a_7c15)]).unwrap()] += 1;
        }
        assert_eq!(chosen, [1_000, 3_000, 0, 4_000]);
    }
}
