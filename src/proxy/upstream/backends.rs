//! Where an upstream is, as all workers and the control plane see it.

mod backend;
mod place;
mod report;
mod rules;

use std::collections::HashSet;
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
use crate::domain::meters::UpstreamSet;
use crate::domain::probing::Verdict;
use crate::domain::slowness::{Responses, Slow, WINDOW, slow};
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
    /// Of all of them together.
    meters: Arc<UpstreamSet>,
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
    /// When the window began in which response times are measured; `None`: none did.
    window: Mutex<Option<Duration>>,
}

impl Changes {
    fn judging(&self) -> MutexGuard<'_, ()> {
        self.judging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a window has passed, or there was none yet. Then the next one begins.
    fn window_is_over(&self, now: Duration) -> bool {
        let mut since = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = since.is_none_or(|since| now.saturating_sub(since) >= WINDOW);
        if is_over {
            *since = Some(now);
        }
        is_over
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
        let meters = former.map(|former| Arc::clone(&former.meters)).unwrap_or_default();
        let known = places.iter().map(|place| {
            let known = former.map(|former| former.at(place)).unwrap_or_default();
            if known.is_empty() { vec![Backend::new(place, place.target.address(), &meters)] } else { known }
        });
        let changes = former.map(|former| Arc::clone(&former.changes)).unwrap_or_default();
        // Some may have been ejected by the former settings.
        changes.is_unsettled.store(former.is_some(), Ordering::Relaxed);
        Arc::new(Self { known: RwLock::new(known.collect()), places, rules, clock, changes, meters })
    }

    pub const fn resolve_interval(&self) -> Duration {
        self.rules.resolve_interval
    }

    /// `None`: nobody asks how they are.
    pub const fn probing(&self) -> Option<&Arc<ProbeRules>> {
        self.rules.probing.as_ref()
    }

    /// Those whose next probe is due, `most` at most; it counts as begun. From then on these are the settings whose probes count.
    pub fn take_due_probes(&self, most: usize) -> Vec<Arc<Backend>> {
        let (now, known) = (self.clock.monotonic(), self.known());
        let has_forgotten =
            known.iter().flatten().filter(|backend| backend.condition().probed.turn_to(self.probing())).count() > 0;
        if has_forgotten {
            self.changes.unsettle();
        }
        let Some(rules) = self.probing() else { return Vec::new() };
        let is_taken = |backend: &&Arc<Backend>| {
            let began_at = &mut backend.condition().probed.began_at;
            let is_due = began_at.is_none_or(|at| now.saturating_sub(at) >= rules.interval);
            if is_due {
                *began_at = Some(now);
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
            let probed = &mut condition.probed;
            if !probed.is_by(self.probing()) {
                return None;
            }
            probed.last = Some(LastProbe { ended_at: self.clock.now(), outcome: outcome.map_err(Arc::from) });
            let verdict = probed.record.add(outcome.is_ok(), &self.probing()?.thresholds)?;
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
        if condition.probed.is_by(self.probing()) { condition.probed.record.verdict() } else { Verdict::default() }
    }

    /// A request to one of them failed. Whether it is ejected for it.
    pub(super) fn failed(&self, backend: &Backend) -> bool {
        let _turn = self.changes.judging();
        let may_eject = self.may_eject(&self.known());
        backend.has_failed.store(true, Ordering::Relaxed);
        let is_ejected = backend.condition().standing.failed(&self.rules.ejection, self.clock.monotonic(), may_eject);
        if is_ejected {
            self.changes.unsettle();
        }
        is_ejected
    }

    /// Of those that may get requests by the probes, never more than half are ejected.
    fn may_eject(&self, known: &[Vec<Arc<Backend>>]) -> bool {
        let believed = Believed::of(distinct(known).map(|one| self.verdict(&one.condition())));
        let (all, out) = distinct(known).fold((0, 0), |(all, out), one| {
            let condition = one.condition();
            let counts = believed.admits(self.verdict(&condition));
            (all + usize::from(counts), out + usize::from(counts && condition.standing.is_out()))
        });
        may_eject(all, out)
    }

    /// Once in each window, ejects those that respond far slower than the others. Returns what is to be told of them.
    pub fn eject_slow(&self) -> Vec<(Arc<Backend>, Slow)> {
        let Some(factor) = self.rules.ejection.slow_factor else { return Vec::new() };
        let now = self.clock.monotonic();
        if !self.changes.window_is_over(now) {
            return Vec::new();
        }
        let _turn = self.changes.judging();
        let known = self.known();
        let backends: Vec<&Arc<Backend>> = distinct(&known).collect();
        let measured = |backend: &&Arc<Backend>| {
            let answered = backend.answered();
            let former = backend.condition().answered.replace(answered);
            former.map_or_else(Responses::default, |former| answered.since(former))
        };
        let measured: Vec<Responses> = backends.iter().map(measured).collect();
        let eject = |slow: Slow| {
            let backend = backends[slow.index];
            let is_due = !backend.condition().standing.is_out() && self.may_eject(&known);
            is_due.then(|| {
                backend.condition().standing.eject(&self.rules.ejection, now);
                (Arc::clone(backend), slow)
            })
        };
        let ejected: Vec<_> = slow(&measured, factor).into_iter().filter_map(eject).collect();
        if !ejected.is_empty() {
            self.changes.unsettle();
        }
        ejected
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
        distinct(&self.known()).filter(|backend| backend.is_at(place)).cloned().collect()
    }

    /// Grows with every change of what [`Backends::list`] returns.
    pub(super) fn version(&self) -> u64 {
        self.changes.version.load(Ordering::Acquire)
    }

    /// Each once. Never empty, nor are all weights 0.
    pub(super) fn list(&self) -> Vec<Weighted> {
        let known = self.known();
        let mut seen = HashSet::new();
        let weighted = known.iter().flatten().zip(self.weights(&known)).filter(|(backend, _)| seen.insert(backend.id()));
        weighted.map(|(backend, weight)| Weighted { backend: Arc::clone(backend), weight }).collect()
    }

    /// That of each, one place after the other. One that several places lead to has that of the first of them, and 0 in the others.
    fn weights(&self, known: &[Vec<Arc<Backend>>]) -> Vec<u32> {
        let now = self.clock.monotonic();
        let mut seen = HashSet::new();
        let named = self.places.iter().zip(known).flat_map(|(place, backends)| backends.iter().map(move |one| (place, one)));
        let known = named.map(|(place, backend)| {
            let mut condition = backend.condition();
            let verdict = self.verdict(&condition);
            let weight = if seen.insert(backend.id()) { place.weight } else { 0 };
            Known { weight, verdict, part: condition.standing.part(&self.rules.ejection, now) }
        });
        weights(&known.collect::<Vec<_>>())
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
        distinct(&self.known()).count()
    }

    /// The places that are known by a name, and need to be resolved time and again: host and port, each with its number.
    pub fn names(&self) -> impl Iterator<Item = (usize, &str, u16)> {
        let targets = self.places.iter().map(|place| &place.target).enumerate();
        targets.filter_map(|(index, target)| target.name().map(|(host, port)| (index, host, port)))
    }

    /// The addresses that the name of a place has now. Whether that is news. No address at all would be of no use: the former ones
    /// stay. A server to which another place leads too is one and the same.
    pub fn resolved(&self, index: usize, mut addresses: Vec<SocketAddr>) -> bool {
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(ADDRESSES_MAX);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let Some((place, former)) = self.places.get(index).zip(known.get(index)) else { return false };
        if addresses.is_empty() || former.iter().map(|backend| backend.address).eq(addresses.iter().copied().map(Some)) {
            return false;
        }
        let stayed = |address| former.iter().find(|backend| backend.address == Some(address)).cloned();
        let of_another_place = |address| {
            let mut known = known.iter().flatten();
            known.find(|one| one.address == Some(address) && one.is_server_of(place, self.rules.tells_host)).cloned()
        };
        let backend = |address| {
            stayed(address)
                .or_else(|| of_another_place(address))
                .unwrap_or_else(|| Backend::new(place, Some(address), &self.meters))
        };
        let present = addresses.into_iter().map(backend).collect();
        known[index] = present;
        self.changes.tell();
        true
    }
}

/// Each once, however many places lead to it.
fn distinct(known: &[Vec<Arc<Backend>>]) -> impl Iterator<Item = &Arc<Backend>> {
    let mut seen = HashSet::new();
    known.iter().flatten().filter(move |backend| seen.insert(backend.id()))
}

#[cfg(test)]
mod tests;
