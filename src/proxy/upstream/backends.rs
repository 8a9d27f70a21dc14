//! Where an upstream is, as all workers and the control plane see it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use std::{fmt, io};

use http::HeaderValue;

use super::connect::{Slot, Stream, Target};
use crate::domain::ejection::{EjectionRules, Standing, may_eject};
use crate::domain::time::Clock;

/// The most addresses of one name that are used.
const ADDRESSES_MAX: usize = 64;

/// A server that the settings name, by its address or by a name that may have several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    pub target: Target,
    /// Host and port of its URL.
    pub own_host: HeaderValue,
    /// How many requests it gets beside the others; each of its addresses does.
    pub weight: u32,
}

/// One address of one upstream.
pub struct Backend {
    target: Target,
    own_host: HeaderValue,
    /// `None`: a socket of this machine, or a name that has not been resolved yet, which is done with each connection.
    address: Option<SocketAddr>,
    standing: Mutex<Standing>,
    /// Whether its standing may hold failures, which a success ends.
    has_failed: AtomicBool,
    /// Those of all workers.
    connections: Arc<AtomicU32>,
    /// Requests that wait for one of them.
    waiting: Arc<AtomicU32>,
}

impl Backend {
    fn new(place: &Place, address: Option<SocketAddr>) -> Arc<Self> {
        Arc::new(Self {
            target: place.target.clone(),
            own_host: place.own_host.clone(),
            address,
            standing: Mutex::default(),
            has_failed: AtomicBool::new(false),
            connections: Arc::default(),
            waiting: Arc::default(),
        })
    }

    /// Leave to open one more connection, where there may be `max`.
    pub(super) fn slot(&self, max: Option<u32>) -> Option<Slot> {
        Slot::of(&self.connections, max)
    }

    /// Whether no more connections may be opened.
    pub(super) fn is_full(&self, max: Option<u32>) -> bool {
        max.is_some_and(|max| self.connections.load(Ordering::Relaxed) >= max)
    }

    pub(super) const fn waiting(&self) -> &Arc<AtomicU32> {
        &self.waiting
    }

    /// A request was served.
    pub(super) fn succeeded(&self) {
        // Almost always nothing is written, and no lock taken.
        if self.has_failed.load(Ordering::Relaxed) {
            self.has_failed.store(false, Ordering::Relaxed);
            self.standing().succeeded();
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) const fn own_host(&self) -> &HeaderValue {
        &self.own_host
    }

    /// Opens a connection, TLS included. Takes as long as the network does.
    pub(super) async fn connect(&self) -> io::Result<Stream> {
        match self.address {
            Some(address) => Stream::open_at(address, self.target.tls()).await,
            None => Stream::open(&self.target).await,
        }
    }

    fn is_at(&self, place: &Place) -> bool {
        self.target == place.target && self.own_host == place.own_host
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            None => self.target.fmt(f),
        }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backend({self})")
    }
}

/// A backend, and how many requests it gets now beside the others. 0: none.
#[derive(Clone, Debug)]
pub struct Weighted {
    pub backend: Arc<Backend>,
    pub weight: u32,
}

/// How all of them are treated.
#[derive(Clone, Copy, Debug)]
pub struct BackendRules {
    /// How often names are resolved.
    pub resolve_interval: Duration,
    pub ejection: EjectionRules,
}

/// All backends of one upstream.
pub struct Backends {
    places: Vec<Place>,
    /// For each place.
    known: RwLock<Vec<Vec<Arc<Backend>>>>,
    version: AtomicU64,
    rules: BackendRules,
    clock: Arc<dyn Clock>,
    /// Whether some are ejected or come back.
    is_unsettled: AtomicBool,
    /// Held by whoever decides about an ejection, so that never more than half go.
    judging: Mutex<()>,
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
        Arc::new(Self {
            known: RwLock::new(known.collect()),
            places,
            version: AtomicU64::new(0),
            rules,
            clock,
            // Some may have been ejected by the former settings.
            is_unsettled: AtomicBool::new(former.is_some()),
            judging: Mutex::default(),
        })
    }

    /// The servers as the settings name them.
    pub fn targets(&self) -> impl Iterator<Item = Target> {
        self.places.iter().map(|place| place.target.clone())
    }

    pub const fn resolve_interval(&self) -> Duration {
        self.rules.resolve_interval
    }

    /// A request to one of them failed. Whether it is ejected for it.
    pub(super) fn failed(&self, backend: &Backend) -> bool {
        let _turn = self.judging.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (all, out) =
            known.iter().flatten().fold((0, 0), |(all, out), one| (all + 1, out + usize::from(one.standing().is_out())));
        backend.has_failed.store(true, Ordering::Relaxed);
        let is_ejected = backend.standing().failed(&self.rules.ejection, self.clock.monotonic(), may_eject(all, out));
        if is_ejected {
            self.is_unsettled.store(true, Ordering::Relaxed);
            self.version.fetch_add(1, Ordering::Release);
        }
        is_ejected
    }

    /// Lets those that were ejected come back, when their time has come.
    pub(super) fn look(&self) {
        if !self.is_unsettled.load(Ordering::Relaxed) {
            return;
        }
        let _turn = self.judging.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        let is_settled = known.iter().flatten().fold(true, |is_settled, backend| {
            let mut standing = backend.standing();
            standing.part(&self.rules.ejection, now);
            is_settled && standing.is_settled()
        });
        self.is_unsettled.store(!is_settled, Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
    }

    fn at(&self, place: &Place) -> Vec<Arc<Backend>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().flatten().filter(|backend| backend.is_at(place)).cloned().collect()
    }

    /// Grows with every change of what [`Backends::list`] returns.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Never empty.
    pub(super) fn list(&self) -> Vec<Weighted> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        let of_place = |(place, backends): (&Place, &Vec<Arc<Backend>>)| {
            let weighted = |backend: &Arc<Backend>| {
                let weight = place.weight * backend.standing().part(&self.rules.ejection, now);
                Weighted { backend: Arc::clone(backend), weight }
            };
            backends.iter().map(weighted).collect::<Vec<_>>()
        };
        self.places.iter().zip(&*known).flat_map(of_place).collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.known.read().unwrap_or_else(PoisonError::into_inner).iter().map(Vec::len).sum()
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
        self.version.fetch_add(1, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ejection::PART_WHOLE;
    use crate::domain::time::standing_clock;

    const RULES: BackendRules = BackendRules {
        resolve_interval: Duration::from_secs(30),
        ejection: EjectionRules { failures: 2, pause: Duration::from_secs(3600), slow_start: Duration::from_secs(10) },
    };

    fn place(host: &str, weight: u32) -> Place {
        let target = Target::tcp(host.to_owned(), 80, None);
        Place { target, own_host: HeaderValue::from_str(host).unwrap(), weight }
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
}
