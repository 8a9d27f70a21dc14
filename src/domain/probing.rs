//! What probes of a backend say of its health.

/// How many results in a row it takes to think otherwise of a backend. Neither is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbeThresholds {
    /// Probes that pass, until one that is unhealthy counts as healthy.
    pub healthy_after: u32,
    /// Probes that fail, until one that is healthy counts as unhealthy.
    pub unhealthy_after: u32,
}

/// What probes have said of a backend so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProbeRecord {
    verdict: Verdict,
    /// Results in a row that contradict the verdict.
    contrary: u32,
}

/// Whether a backend is fit for requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Verdict {
    /// Also one that was not probed yet: a start waits for no probe.
    #[default]
    Healthy,
    Unhealthy,
}

impl ProbeRecord {
    /// One more probe has passed or failed. Returns the verdict where it is another one than before.
    pub fn add(&mut self, passed: bool, thresholds: &ProbeThresholds) -> Option<Verdict> {
        let (agrees, enough, other) = match self.verdict {
            Verdict::Healthy => (passed, thresholds.unhealthy_after, Verdict::Unhealthy),
            Verdict::Unhealthy => (!passed, thresholds.healthy_after, Verdict::Healthy),
        };
        self.contrary = if agrees { 0 } else { self.contrary.saturating_add(1) };
        let is_another = self.contrary >= enough;
        if is_another {
            *self = Self { verdict: other, contrary: 0 };
        }
        is_another.then_some(other)
    }

    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THRESHOLDS: ProbeThresholds = ProbeThresholds { healthy_after: 2, unhealthy_after: 3 };

    #[test]
    fn only_so_many_results_in_a_row_change_the_verdict_and_each_change_is_told_once() {
        let mut record = ProbeRecord::default();
        let told: Vec<Option<Verdict>> = [false, false, true, false, false, false, false, true, false, true, true, true]
            .map(|passed| record.add(passed, &THRESHOLDS))
            .to_vec();
        let mut expected = [None; 12];
        (expected[5], expected[10]) = (Some(Verdict::Unhealthy), Some(Verdict::Healthy));
        assert_eq!(told, expected);
    }

    proptest! {
        #[test]
        fn the_verdict_is_what_the_last_results_say_where_they_agree(
            results in proptest::collection::vec(any::<bool>(), 0..40), last in any::<bool>(), healthy_after in 1..5_u32,
            unhealthy_after in 1..5_u32,
        ) {
            let (thresholds, mut record) = (ProbeThresholds { healthy_after, unhealthy_after }, ProbeRecord::default());
            for passed in results.into_iter().chain([last; 5]) {
                record.add(passed, &thresholds);
            }
            prop_assert_eq!(record.verdict() == Verdict::Healthy, last);
        }
    }
}
