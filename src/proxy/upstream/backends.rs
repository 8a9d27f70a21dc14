//! Where an upstream is, as all workers and the control plane see it.

mod backend;
mod place;
mod report;
mod rules;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

pub use backend::Backend;
use backend::Condition;
pub(super) use backend::Load;
pub use place::Place;
pub use report::Board;
pub use rules::{BackendRules, ProbeRules};

use crate::domain::balance::{Candidate, least_of_two};
use crate::domain::ejection::may_eject;
use crate::domain::eligibility::{Believed, Known, weights};
use crate::domain::probing::Verdict;
use crate::domain::time::Clock;
use crate::domain::upstream_report::LastProbe;

/// The most addresses of one name that are used.
const ADDRESSES_MAX: usize = 64;

/// A backend, and how many requests it gets now beside the others. 0: none.
#[derive(Clone, Debug)]
pub struct Weighted {
    pub backend: Arc<Backend>,
    pub weight: u32,
}

/// All backends of one upstream.
pub struct Backends {
    places: Vec<Place>,
    /// For each place.
    known: RwLock<Vec<Vec<Arc<Backend>>>>,
    rules: BackendRules,
    clock: Arc<dyn Clock>,
    changes: Arc<Changes>,
}

/// That something has changed, and who may change it. Shared by settings that follow each other: what a request or a probe by the
/// former ones comes to is known by the later ones too.
#[derive(Debug, Default)]
struct Changes {
    version: AtomicU64,
    /// Whether some are ejected or come back.
    is_unsettled: AtomicBool,
    /// Held by whoever decides about an ejection, so that never more than half go.
    judging: Mutex<()>,
}

impl Changes {
    fn judging(&self) -> MutexGuard<'_, ()> {
        self.judging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The weights are others, and will be others still as time passes.
    fn unsettle(&self) {
        self.is_unsettled.store(true, Ordering::Relaxed);
        self.tell();
    }

    fn tell(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backends").field("places", &self.places).finish_non_exhaustive()
    }
}

impl Backends {
    /// `former` are those of the same upstream by other settings: what stays where it was stays the same backend.
    pub fn new(places: Vec<Place>, rules: BackendRules, clock: Arc<dyn Clock>, former: Option<&Self>) -> Arc<Self> {
        let known = places.iter().map(|place| {
            let known = former.map(|former| former.at(place)).unwrap_or_default();
            if known.is_empty() { vec![Backend::new(place, place.target.address())] } else { known }
        });
        let changes = former.map(|former| Arc::clone(&former.changes)).unwrap_or_default();
        // Some may have been ejected by the former settings.
        changes.is_unsettled.store(former.is_some(), Ordering::Relaxed);
        Arc::new(Self { known: RwLock::new(known.collect()), places, rules, clock, changes })
    }

    pub const fn resolve_interval(&self) -> Duration {
        self.rules.resolve_interval
    }

    /// `None`: nobody asks how they are.
    pub const fn probing(&self) -> Option<&Arc<ProbeRules>> {
        self.rules.probing.as_ref()
    }

    /// Those whose next probe is due, `most` at most; it counts as begun.
    pub fn take_due_probes(&self, most: usize) -> Vec<Arc<Backend>> {
        let Some(rules) = self.probing() else { return Vec::new() };
        let (now, known) = (self.clock.monotonic(), self.known());
        let is_taken = |backend: &&Arc<Backend>| {
            let probed_at = &mut backend.condition().probed_at;
            let is_due = probed_at.is_none_or(|at| now.saturating_sub(at) >= rules.interval);
            if is_due {
                *probed_at = Some(now);
            }
            is_due
        };
        known.iter().flatten().filter(is_taken).take(most).cloned().collect()
    }

    /// A probe of one of them has passed, or failed for this cause. Returns the verdict where that makes it another one.
    pub fn probed(&self, backend: &Backend, outcome: Result<(), &str>) -> Option<Verdict> {
        let _turn = self.changes.judging();
        let verdict = {
            let mut condition = backend.condition();
            condition.last_probe = Some(LastProbe { ended_at: self.clock.now(), outcome: outcome.map_err(Arc::from) });
            let verdict = condition.probes.add(outcome.is_ok(), &self.rules.probing.as_ref()?.thresholds)?;
            if verdict == Verdict::Healthy {
                condition.standing.returns(self.clock.monotonic());
            }
            verdict
        };
        self.changes.unsettle();
        Some(verdict)
    }

    /// Whether the probes find any of them healthy, so that the others get no requests.
    pub fn is_any_healthy(&self) -> bool {
        self.known().iter().flatten().any(|backend| self.verdict(&backend.condition()) == Verdict::Healthy)
    }

    /// What probes by these settings say.
    fn verdict(&self, condition: &Condition) -> Verdict {
        if self.rules.probing.is_some() { condition.probes.verdict() } else { Verdict::Healthy }
    }

    /// A request to one of them failed. Whether it is ejected for it. Of those that may get requests by the probes, never more than half
    /// are.
    pub(super) fn failed(&self, backend: &Backend) -> bool {
        let _turn = self.changes.judging();
        let known = self.known();
        let believed = Believed::of(known.iter().flatten().map(|one| self.verdict(&one.condition())));
        let (all, out) = known.iter().flatten().fold((0, 0), |(all, out), one| {
            let condition = one.condition();
            let counts = believed.admits(self.verdict(&condition));
            (all + usize::from(counts), out + usize::from(counts && condition.standing.is_out()))
        });
        backend.has_failed.store(true, Ordering::Relaxed);
        let mut condition = backend.condition();
        let is_ejected = condition.standing.failed(&self.rules.ejection, self.clock.monotonic(), may_eject(all, out));
        if is_ejected {
            self.changes.unsettle();
        }
        is_ejected
    }

    /// Lets those that were ejected come back, when their time has come.
    pub(super) fn look(&self) {
        if !self.changes.is_unsettled.load(Ordering::Relaxed) {
            return;
        }
        let _turn = self.changes.judging();
        let known = self.known();
        let now = self.clock.monotonic();
        let is_settled = known.iter().flatten().fold(true, |is_settled, backend| {
            let standing = &mut backend.condition().standing;
            standing.part(&self.rules.ejection, now);
            is_settled && standing.is_settled()
        });
        self.changes.is_unsettled.store(!is_settled, Ordering::Relaxed);
        self.changes.tell();
    }

    fn known(&self) -> RwLockReadGuard<'_, Vec<Vec<Arc<Backend>>>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, place: &Place) -> Vec<Arc<Backend>> {
        self.known().iter().flatten().filter(|backend| backend.is_at(place)).cloned().collect()
    }

    /// Grows with every change of what [`Backends::list`] returns.
    pub(super) fn version(&self) -> u64 {
        self.changes.version.load(Ordering::Acquire)
    }

    /// Never empty, nor are all weights 0.
    pub(super) fn list(&self) -> Vec<Weighted> {
        let known = self.known();
        let weights = self.weights(&known);
        known.iter().flatten().zip(weights).map(|(backend, weight)| Weighted { backend: Arc::clone(backend), weight }).collect()
    }

    /// That of each, one place after the other.
    fn weights(&self, known: &[Vec<Arc<Backend>>]) -> Vec<u32> {
        let now = self.clock.monotonic();
        let of_place = |(place, backends): (&Place, &Vec<Arc<Backend>>)| {
            let known = |backend: &Arc<Backend>| {
                let mut condition = backend.condition();
                let verdict = self.verdict(&condition);
                Known { weight: place.weight, verdict, part: condition.standing.part(&self.rules.ejection, now) }
            };
            backends.iter().map(known).collect::<Vec<_>>()
        };
        weights(&self.places.iter().zip(known).flat_map(of_place).collect::<Vec<_>>())
    }

    /// One that gets requests, by its weight, and was not tried yet.
    pub fn pick(&self, tried: &[Arc<Backend>]) -> Option<Arc<Backend>> {
        let list = self.list();
        let candidate = |index: usize| {
            let Weighted { backend, weight } = &list[index];
            let is_tried = tried.iter().any(|tried| Arc::ptr_eq(tried, backend));
            Candidate { weight: if is_tried { 0 } else { *weight }, load: 0 }
        };
        let chosen = least_of_two(list.len(), candidate, [fastrand::u64(..), 0])?;
        Some(Arc::clone(&list[chosen].backend))
    }

    /// The one with this number, while it is there.
    pub fn of_id(&self, id: u64) -> Option<Arc<Backend>> {
        self.known().iter().flatten().find(|backend| backend.id() == id).cloned()
    }

    /// The addresses of each place, by the key that names it.
    pub fn by_place(&self) -> Vec<(Arc<str>, Vec<Arc<Backend>>)> {
        self.places.iter().zip(&*self.known()).map(|(place, backends)| (Arc::clone(&place.key), backends.clone())).collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.known().iter().map(Vec::len).sum()
    }

    /// The places that are known by a name, and need to be resolved time and again: host and port, each with its number.
    pub fn names(&self) -> impl Iterator<Item = (usize, &str, u16)> {
        let targets = self.places.iter().map(|place| &place.target).enumerate();
        targets.filter_map(|(index, target)| target.name().map(|(host, port)| (index, host, port)))
    }

    /// The addresses that the name of a place has now. Whether that is news. No address at all would be of no use: the former ones
    /// stay.
    pub fn resolved(&self, index: usize, mut addresses: Vec<SocketAddr>) -> bool {
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(ADDRESSES_MAX);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let Some((place, former)) = self.places.get(index).zip(known.get_mut(index)) else { return false };
        if addresses.is_empty() || former.iter().map(|backend| backend.address).eq(addresses.iter().copied().map(Some)) {
            return false;
        }
        let stayed = |address| former.iter().find(|backend| backend.address == Some(address)).cloned();
        *former = addresses.into_iter().map(|a| stayed(a).unwrap_or_else(|| Backend::new(place, Some(a)))).collect();
        self.changes.tell();
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::uri::PathAndQuery;
    use http::{HeaderValue, StatusCode};

    use super::*;
    use crate::domain::ejection::{EjectionRules, PART_WHOLE};
    use crate::domain::probing::ProbeThresholds;
    use crate::domain::time::standing_clock;
    use crate::proxy::upstream::connect::Target;

    const RULES: BackendRules = BackendRules {
        resolve_interval: Duration::from_secs(30),
        ejection: EjectionRules { failures: 2, pause: Duration::from_secs(3600), slow_start: Duration::from_secs(10) },
        probing: None,
    };

    fn probing() -> BackendRules {
        let probes = ProbeRules {
            path: PathAndQuery::from_static("/healthz"),
            host: None,
            statuses: vec![StatusCode::OK],
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            thresholds: ProbeThresholds { healthy_after: 1, unhealthy_after: 1 },
        };
        BackendRules { probing: Some(Arc::new(probes)), ..RULES }
    }

    const ILL: Result<(), &str> = Err("responded with 500");

    fn places(count: u8) -> Vec<Place> {
        (1..=count).map(|last| place(&format!("192.0.2.{last}"), 1)).collect()
    }

    fn with_requests(backends: &Backends) -> Vec<usize> {
        backends.list().iter().enumerate().filter(|(_, one)| one.weight > 0).map(|(index, _)| index).collect()
    }

    fn place(host: &str, weight: u32) -> Place {
        let target = Target::tcp(host.to_owned(), 80, None);
        Place { key: host.into(), target, own_host: HeaderValue::from_str(host).unwrap(), weight }
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 80))
    }

    fn names(backends: &Backends) -> Vec<String> {
        backends.list().iter().map(|one| format!("{} x{}", one.backend, one.weight / PART_WHOLE)).collect()
    }

    #[test]
    fn a_name_becomes_its_addresses_and_those_that_stay_are_the_same_backends() {
        let backends = Backends::new(vec![place("192.0.2.9", 1), place("api.example", 3)], RULES, standing_clock(), None);
        assert_eq!(names(&backends), ["192.0.2.9:80 x1", "api.example:80 x3"]);
        assert_eq!(backends.names().collect::<Vec<_>>(), [(1, "api.example", 80)]);
        assert!(backends.resolved(1, vec![address(2), address(1), address(2)]));
        assert_eq!(names(&backends), ["192.0.2.9:80 x1", "192.0.2.1:80 x3", "192.0.2.2:80 x3"]);
        let (version, before) = (backends.version(), backends.list());
        assert!(!backends.resolved(1, vec![address(1), address(2)]), "the order is no news");
        assert!(!backends.resolved(1, Vec::new()), "no address at all is of no use");
        assert!(!backends.resolved(7, vec![address(1)]));
        assert_eq!(backends.version(), version);
        assert!(backends.resolved(1, vec![address(2), address(3)]));
        assert!(backends.version() > version);
        assert!(Arc::ptr_eq(&backends.list()[1].backend, &before[2].backend));
    }

    #[test]
    fn other_settings_keep_the_backends_of_places_that_stayed() {
        let former = Backends::new(vec![place("api.example", 1), place("192.0.2.9", 1)], RULES, standing_clock(), None);
        former.resolved(0, vec![address(1), address(2)]);
        let later = Backends::new(vec![place("192.0.2.8", 1), place("api.example", 5)], RULES, standing_clock(), Some(&former));
        assert_eq!(names(&later), ["192.0.2.8:80 x1", "192.0.2.1:80 x5", "192.0.2.2:80 x5"]);
        assert!(Arc::ptr_eq(&later.list()[1].backend, &former.list()[0].backend));
    }

    #[test]
    fn one_that_fails_in_a_row_gets_nothing_and_of_two_the_other_stays_whatever_it_does() {
        let backends = Backends::new(vec![place("192.0.2.1", 1), place("192.0.2.2", 1)], RULES, standing_clock(), None);
        let [one, other] = backends.list().try_into().unwrap();
        assert!(!backends.failed(&one.backend));
        one.backend.succeeded();
        let version = backends.version();
        assert!(!backends.failed(&one.backend) && backends.version() == version);
        assert!(backends.failed(&one.backend) && backends.version() > version);
        assert_eq!(names(&backends), ["192.0.2.1:80 x0", "192.0.2.2:80 x1"]);
        assert!((0..100).all(|_| !backends.failed(&other.backend)));
        let later = Backends::new(vec![place("192.0.2.2", 1), place("192.0.2.1", 1)], RULES, standing_clock(), Some(&backends));
        assert_eq!(names(&later), ["192.0.2.2:80 x1", "192.0.2.1:80 x0"], "a reload forgives nothing");
    }

    #[test]
    fn of_two_that_are_judged_at_once_one_stays() {
        let backends = Backends::new(vec![place("192.0.2.1", 1), place("192.0.2.2", 1)], RULES, standing_clock(), None);
        let list = backends.list();
        std::thread::scope(|scope| {
            for one in list.iter().cycle().take(8) {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        backends.failed(&one.backend);
                    }
                });
            }
        });
        assert_eq!(backends.list().iter().filter(|one| one.weight > 0).count(), 1);
    }

    #[test]
    fn what_fails_its_probes_gets_nothing_until_it_passes_and_a_reload_does_not_forget_it() {
        let backends = Backends::new(places(2), probing(), standing_clock(), None);
        let one = &backends.list()[0].backend;
        let version = backends.version();
        assert_eq!(backends.probed(one, ILL), Some(Verdict::Unhealthy));
        assert!(backends.version() > version);
        assert_eq!(with_requests(&backends), [1]);
        let later = Backends::new(places(2), probing(), standing_clock(), Some(&backends));
        assert_eq!(with_requests(&later), [1]);
        // By a probe that was under way during the reload.
        let version = later.version();
        assert_eq!(backends.probed(one, Ok(())), Some(Verdict::Healthy));
        assert!(later.version() > version);
        assert_eq!(with_requests(&later), [0, 1]);
        backends.probed(one, ILL);
        let without = Backends::new(places(2), RULES, standing_clock(), Some(&later));
        assert_eq!(with_requests(&without), [0, 1], "where nobody probes, no probe counts");
    }

    #[test]
    fn requests_of_the_gateways_own_go_to_none_that_is_left_out() {
        let backends = Backends::new(places(3), probing(), standing_clock(), None);
        let list = backends.list();
        backends.probed(&list[0].backend, ILL);
        let picked = |tried: &[Arc<Backend>]| (0..50).map(|_| backends.pick(tried).unwrap().id()).collect::<BTreeSet<u64>>();
        let ids: Vec<u64> = list.iter().map(|one| one.backend.id()).collect();
        assert_eq!(picked(&[]), BTreeSet::from([ids[1], ids[2]]));
        assert_eq!(picked(&[Arc::clone(&list[1].backend)]), BTreeSet::from([ids[2]]));
        assert!(backends.pick(&[Arc::clone(&list[1].backend), Arc::clone(&list[2].backend)]).is_none());
        assert!(backends.of_id(ids[2]).is_some_and(|found| Arc::ptr_eq(&found, &list[2].backend)));
    }

    #[test]
    fn where_probes_find_nobody_healthy_all_get_requests() {
        let backends = Backends::new(places(2), probing(), standing_clock(), None);
        for one in &backends.list() {
            backends.probed(&one.backend, ILL);
        }
        assert!(!backends.is_any_healthy());
        assert_eq!(with_requests(&backends), [0, 1]);
    }

    #[test]
    fn of_those_that_pass_their_probes_never_more_than_half_are_ejected() {
        let backends = Backends::new(places(4), probing(), standing_clock(), None);
        let list = backends.list();
        for one in &list[..2] {
            backends.probed(&one.backend, ILL);
        }
        for one in list.iter().cycle().take(80) {
            backends.failed(&one.backend);
        }
        assert_eq!(with_requests(&backends).len(), 1, "of the two that are healthy, one");
        let last = with_requests(&backends)[0];
        backends.probed(&list[last].backend, ILL);
        assert_eq!(with_requests(&backends), [if last == 2 { 3 } else { 2 }], "rather an ejected one than one that is unhealthy");
    }

    #[test]
    fn a_probe_is_due_at_once_and_then_once_in_each_interval_and_no_more_are_taken_than_asked_for() {
        let backends = Backends::new(places(3), probing(), standing_clock(), None);
        assert_eq!(backends.take_due_probes(2).len(), 2);
        assert_eq!(backends.take_due_probes(2).len(), 1);
        assert_eq!(backends.take_due_probes(2).len(), 0);
        let without = Backends::new(places(3), RULES, standing_clock(), None);
        assert_eq!(without.take_due_probes(2).len(), 0);
    }
}
