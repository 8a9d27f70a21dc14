//! Who of an upstream's servers gets requests, after what became of them.

use std::collections::BTreeSet;

use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode};

use super::*;
use crate::domain::ejection::{EjectionRules, PART_WHOLE};
use crate::domain::probing::ProbeThresholds;
use crate::domain::time::{Timestamp, standing_clock};
use crate::proxy::upstream::connect::Target;

const RULES: BackendRules = BackendRules {
    resolve_interval: Duration::from_secs(30),
    tells_host: false,
    ejection: EjectionRules {
        failures: 2,
        pause: Duration::from_secs(3600),
        slow_start: Duration::from_secs(10),
        slow_factor: None,
    },
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

/// Backends whose first probes have begun.
fn asked(count: u8, rules: BackendRules, former: Option<&Backends>) -> Arc<Backends> {
    let backends = Backends::new(places(count), rules, standing_clock(), former);
    backends.take_due_probes(usize::MAX);
    backends
}

/// Probes that ask something else, once an hour.
fn probing_elsewhere() -> BackendRules {
    let former = probing().probing.unwrap();
    let probes = ProbeRules { path: PathAndQuery::from_static("/other"), interval: Duration::from_hours(1), ..(*former).clone() };
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
fn a_server_to_which_two_names_lead_counts_once_unless_it_is_told_the_names() {
    let named = || vec![place("a.example", 1), place("b.example", 3)];
    let resolved = |rules: BackendRules| {
        let backends = Backends::new(named(), rules, standing_clock(), None);
        assert!(backends.resolved(0, vec![address(1)]) && backends.resolved(1, vec![address(1), address(2)]));
        backends
    };
    let backends = resolved(RULES);
    assert_eq!((backends.count(), names(&backends)), (2, vec!["192.0.2.1:80 x1".to_owned(), "192.0.2.2:80 x3".to_owned()]));
    assert!(backends.by_place().iter().all(|(_, addresses)| addresses[0].address == Some(address(1))));
    assert_eq!(Backends::new(named(), RULES, standing_clock(), Some(&backends)).count(), 2);
    assert!(backends.resolved(0, vec![address(3)]), "the other name leads there still");
    assert_eq!(names(&backends), ["192.0.2.3:80 x1", "192.0.2.1:80 x3", "192.0.2.2:80 x3"]);
    assert_eq!(resolved(BackendRules { tells_host: true, ..RULES }).count(), 3);
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
fn what_an_exchange_of_former_settings_comes_to_is_known_by_the_later_ones_and_passes_there() {
    let clock = Arc::new(Moved::default());
    let former = Backends::new(places(2), RULES, Arc::clone(&clock) as _, None);
    let later = Backends::new(places(2), RULES, Arc::clone(&clock) as _, Some(&former));
    later.look();
    let (version, one) = (later.version(), &former.list()[0].backend);
    assert!(!former.failed(one) && former.failed(one));
    assert!(later.version() > version);
    assert_eq!(with_requests(&later), [1]);
    clock.0.fetch_add(RULES.ejection.pause.as_secs(), Ordering::Relaxed);
    let version = later.version();
    later.look();
    assert!(later.version() > version, "who looks anew sees that it comes back");
    assert_eq!(with_requests(&later), [0, 1]);
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
    let backends = asked(2, probing(), None);
    let one = &backends.list()[0].backend;
    let version = backends.version();
    assert_eq!(backends.probed(one, ILL), Some(Verdict::Unhealthy));
    assert!(backends.version() > version);
    assert_eq!(with_requests(&backends), [1]);
    let later = asked(2, probing(), Some(&backends));
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
fn what_probes_found_does_not_come_back_with_others_that_ask_something_else() {
    for taken_away in [false, true] {
        let backends = asked(2, probing(), None);
        let one = &backends.list()[0].backend;
        backends.probed(one, ILL);
        let between = if taken_away { asked(2, RULES, Some(&backends)) } else { Arc::clone(&backends) };
        let later = Backends::new(places(2), probing_elsewhere(), standing_clock(), Some(&between));
        assert_eq!(later.take_due_probes(usize::MAX).len(), 2, "no former probe counts towards the interval");
        assert_eq!(with_requests(&later), [0, 1]);
        assert_eq!(backends.probed(one, ILL), None, "one that was under way is of no account");
        assert_eq!(with_requests(&later), [0, 1]);
        assert_eq!(later.probed(one, ILL), Some(Verdict::Unhealthy));
        assert_eq!(with_requests(&later), [1]);
    }
}

#[test]
fn probes_that_are_taken_away_and_put_back_begin_anew() {
    let backends = asked(2, probing(), None);
    backends.probed(&backends.list()[0].backend, ILL);
    let between = asked(2, RULES, Some(&backends));
    assert_eq!(with_requests(&asked(2, probing(), Some(&between))), [0, 1]);
}

#[test]
fn requests_of_the_gateways_own_go_to_none_that_is_left_out() {
    let backends = asked(3, probing(), None);
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
    let backends = asked(2, probing(), None);
    for one in &backends.list() {
        backends.probed(&one.backend, ILL);
    }
    assert!(!backends.is_any_healthy());
    assert_eq!(with_requests(&backends), [0, 1]);
}

#[test]
fn of_those_that_pass_their_probes_never_more_than_half_are_ejected() {
    let backends = asked(4, probing(), None);
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

/// A clock that is moved by hand.
#[derive(Default)]
struct Moved(AtomicU64);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(0)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

#[test]
fn those_that_are_far_slower_than_the_others_get_nothing_for_a_while_and_never_more_than_half_do() {
    const SLOW: u32 = 20;
    let clock = Arc::new(Moved::default());
    let ejection = EjectionRules { slow_factor: Some(5), ..RULES.ejection };
    let backends = Backends::new(places(4), BackendRules { ejection, ..RULES }, Arc::clone(&clock) as _, None);
    let list = backends.list();
    let loads: Vec<Arc<Load>> = list.iter().map(|one| one.backend.new_load()).collect();
    let window = |ticks: [u32; 4]| {
        for (load, ticks) in loads.iter().zip(ticks) {
            (0..30).for_each(|_| load.note_response(ticks));
        }
        clock.0.fetch_add(WINDOW.as_secs(), Ordering::Relaxed);
        backends
            .eject_slow()
            .iter()
            .map(|(backend, _)| list.iter().position(|one| Arc::ptr_eq(&one.backend, backend)).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(window([SLOW, 1, 1, 1]), Vec::<usize>::new(), "nothing was measured before");
    assert_eq!(window([SLOW; 4]), Vec::<usize>::new(), "where all are slow, it is something else");
    assert_eq!(window([1, SLOW, 1, 1]), [1]);
    assert_eq!(with_requests(&backends), [0, 2, 3]);
    assert!(backends.eject_slow().is_empty(), "the next window has just begun");
    assert_eq!(window([1, SLOW, SLOW, 1]), [2], "one that is out is not ejected again");
    assert_eq!(window([SLOW, 1, 1, 1]), Vec::<usize>::new(), "half are out");
    assert_eq!(with_requests(&backends), [0, 3]);
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
