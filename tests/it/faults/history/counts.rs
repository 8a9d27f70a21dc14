//! Holds the statistics that the nodes left in the store against the history.

use std::collections::BTreeSet;

use tokengate::app::Ambient;
use tokengate::domain::ids::Partitions;
use tokengate::domain::stats::{Counter, Day, Snapshot};
use tokengate::store::Upkeep as _;
use tokengate::store::redis::{RedisOptions, RedisStore};

use super::judge::{Judge, deaths, is_refresh, losses};
use super::{Event, What};
use crate::faults::PATIENCE;

/// What the nodes have told the store of what they counted, the last of it when they stopped.
pub(super) fn stored(url: &str) -> Snapshot {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = RedisOptions::from_url(url, Partitions::ONE).unwrap();
        let options = RedisOptions { call_timeout: PATIENCE, connect_timeout: PATIENCE, ..options };
        let store = RedisStore::connect(&options).await.unwrap();
        let today = Day::of(Ambient::of_system().clock.now());
        let mut sum = Snapshot::ZERO;
        // The run may have begun on the day before.
        for row in store.statistics(today.last(2)).await.unwrap().rows {
            sum += row.counts;
        }
        sum
    })
}

/// Refreshes by what came of them.
const ANSWERED: [Counter; 4] =
    [Counter::RefreshesRotated, Counter::RefreshesReissued, Counter::RefreshesSuperseded, Counter::RefreshesAdopted];
const REFUSED: [Counter; 6] = [
    Counter::RefreshesReused,
    Counter::RefreshesUnknown,
    Counter::RefreshesRevoked,
    Counter::RefreshesExpired,
    Counter::RefreshesExhausted,
    Counter::RefreshesMalformed,
];

/// How the line of tokens moved on.
pub(super) fn describe(counts: &Snapshot) -> String {
    let told = ANSWERED.map(|counter| format!("{} {}", counts.value(counter), counter.name()));
    format!("{}, {} revocations put back", told.join(", "), counts.value(Counter::RevocationsPutBack))
}

impl Judge<'_> {
    /// Each response is counted once, whatever replies and writes the store lost and however often a node told what it had counted.
    /// Of a node that was killed, what it had not told is missing, and what it had not answered may be counted. `spent` are refreshes
    /// that were refused beside those of the history.
    pub(super) fn assert_counted(&self, spent: u64, counts: &Snapshot) {
        let sum = |counters: &[Counter]| counters.iter().map(|&counter| counts.value(counter)).sum::<u64>();
        let is_login = |event: &Event| event.what == What::Login;
        let is_logout = |event: &Event| event.what == What::Logout;
        self.assert_between(
            counts.value(Counter::Logins),
            "logins",
            |event| is_login(event) && event.status == Some(200),
            is_login,
        );
        let is_answered = |event: &Event| is_refresh(event) && event.status == Some(200);
        self.assert_between(sum(&ANSWERED), "refreshes", is_answered, is_refresh);
        let is_refused = |event: &Event| is_refresh(event) && event.status == Some(401);
        self.assert_between(sum(&REFUSED) - spent, "refused refreshes", is_refused, is_refresh);

        // One that ended nothing is counted where its node did not know better.
        let has_ended = |event: &Event| is_logout(event) && event.status == Some(200) && !event.text.contains(r#""ended":0"#);
        let may_have_ended = |event: &Event| is_logout(event) && event.status.is_none_or(|status| status == 200);
        let counted = counts.value(Counter::Logouts);
        assert!((self.certain(has_ended)..=self.count(may_have_ended)).contains(&counted), "logouts: {counted}");

        // Of each rotation, whoever made it has given out the new generation. What a failover took was made a second time.
        let given = self.events.iter().filter_map(|event| Some((event.session, event.given.as_ref()?.generation)));
        let rotated = given.filter(|(_, generation)| *generation > 1).collect::<BTreeSet<_>>().len();
        let is_made_again = |event: &Event| is_answered(event) && losses(self.troubles).any(|loss| loss.may_have_taken(event));
        let is_unanswered = |event: &Event| is_refresh(event) && event.status.is_none();
        let possible = u64::try_from(rotated).unwrap() + self.count(|event| is_made_again(event) || is_unanswered(event));
        let counted = sum(&[Counter::RefreshesRotated, Counter::RefreshesSuperseded]);
        assert!(counted <= possible, "a rotation was counted twice: {counted} of {possible}");
    }

    /// `is_asked` for a call that may be counted without having been answered.
    fn assert_between(&self, counted: u64, what: &str, is_counted: impl Fn(&Event) -> bool, is_asked: impl Fn(&Event) -> bool) {
        let (certain, possible) =
            (self.certain(&is_counted), self.count(|event| is_counted(event) || (is_asked(event) && event.status.is_none())));
        assert!((certain..=possible).contains(&counted), "{what}: {counted} counted, between {certain} and {possible} made");
    }

    /// But for those that a node may not have told of before it was killed.
    fn certain(&self, is_counted: impl Fn(&Event) -> bool) -> u64 {
        let is_untold = |event: &Event| {
            let mut deaths = deaths(self.troubles);
            deaths.any(|death| death.node == event.node && event.ended >= death.told_until && event.began <= death.killed_at)
        };
        self.count(|event| is_counted(event) && !is_untold(event))
    }
}
