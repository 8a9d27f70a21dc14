//! Backends that respond far slower than others of the same upstream.

use std::time::Duration;

/// For how long is measured before it is judged.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Fewer responses within a window say nothing. Few, because who is slow has more requests under way than others, and so gets fewer.
const RESPONSES_MIN: u64 = 10;

/// What is less than this slower than others is not slow, however fast those are. Also more than what times are rounded by.
const EXCESS_MIN: Duration = Duration::from_millis(100);

/// What was measured of one backend within a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Responses {
    pub count: u64,
    /// From the choice of the backend to the head of the response, of all together.
    pub time: Duration,
}

impl Responses {
    /// `None`: there were too few.
    fn mean(self) -> Option<Duration> {
        let count = u32::try_from(self.count).ok().filter(|count| u64::from(*count) >= RESPONSES_MIN)?;
        Some(self.time / count)
    }
}

/// A backend that is slow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slow {
    /// Its position among all.
    pub index: usize,
    pub mean: Duration,
    /// The median of the others' means.
    pub others: Duration,
}

/// Those that take `factor` times as long as the median of the others, the slowest first. Where all are slow, none is.
pub fn slow(backends: &[Responses], factor: u32) -> Vec<Slow> {
    let means: Vec<(usize, Duration)> =
        backends.iter().enumerate().filter_map(|(index, responses)| Some((index, responses.mean()?))).collect();
    let judge = |(index, mean): &(usize, Duration)| {
        let mut others: Vec<Duration> = means.iter().filter(|(other, _)| other != index).map(|(_, mean)| *mean).collect();
        others.sort_unstable();
        let median = *others.get(others.len() / 2)?;
        let is_slow = *mean > median * factor && *mean >= median + EXCESS_MIN;
        is_slow.then_some(Slow { index: *index, mean: *mean, others: median })
    };
    let mut slow: Vec<Slow> = means.iter().filter_map(judge).collect();
    slow.sort_by_key(|slow| std::cmp::Reverse(slow.mean));
    slow
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// With so many responses of so many milliseconds each.
    fn responses(count: u64, millis: u64) -> Responses {
        Responses { count, time: Duration::from_millis(count * millis) }
    }

    fn found(backends: &[Responses]) -> Vec<usize> {
        slow(backends, 5).iter().map(|slow| slow.index).collect()
    }

    #[test]
    fn only_what_is_far_slower_than_others_is_slow() {
        let fast = responses(100, 20);
        assert_eq!(found(&[fast, responses(30, 400), fast]), [1]);
        assert_eq!(found(&[fast, responses(30, 90), fast]), Vec::<usize>::new(), "not so much slower");
        assert_eq!(
            found(&[responses(100, 2), responses(30, 80), responses(100, 2)]),
            Vec::<usize>::new(),
            "in no time is in no time"
        );
        assert_eq!(found(&[fast, responses(9, 9000), fast]), Vec::<usize>::new(), "too few to say");
        assert_eq!(found(&[responses(100, 800), responses(100, 900), responses(100, 700)]), Vec::<usize>::new(), "all are slow");
        assert_eq!(found(&[responses(100, 900)]), Vec::<usize>::new());
        assert_eq!(found(&[fast, responses(30, 900)]), [1], "of two, one");
        assert_eq!(found(&[fast, responses(30, 400), fast, responses(30, 900), fast]), [3, 1], "the slowest first");
    }

    proptest! {
        #[test]
        fn less_than_half_are_slow_and_the_fastest_never_is(
            backends in proptest::collection::vec((0..60_u64, 0..2000_u64), 0..12), factor in 2..20_u32,
        ) {
            let backends: Vec<Responses> = backends.into_iter().map(|(count, millis)| responses(count, millis)).collect();
            let found = slow(&backends, factor);
            let judged: Vec<Duration> = backends.iter().filter_map(|responses| responses.mean()).collect();
            prop_assert!(found.len() * 2 <= judged.len());
            prop_assert!(found.iter().all(|slow| judged.iter().any(|mean| mean < &slow.mean)));
        }
    }
}
