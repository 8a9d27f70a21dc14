//! A store that is gone, hung, cut off, slow or closed, for a while and under load.

use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::load::{Call, Kind, under_load};
use super::report;
use super::rig::Rig;
use crate::support::fault_proxy::{Fault, FaultProxy};
use crate::support::redis::RedisServer;

const OUTAGE: Duration = Duration::from_secs(10);
/// Before and after it.
const CALM: Duration = Duration::from_secs(1);
const AFTERMATH: Duration = Duration::from_secs(5);

const MAX_STALENESS: Duration = Duration::from_secs(5);
const SETTINGS: [(&str, &str); 3] =
    [("store.redis.deadline", "500ms"), ("revocation.max_staleness", "5s"), ("revocation.heartbeat", "500ms")];
/// The last confirmation may be so old when the fault begins: a heartbeat, and as much again for a busy machine.
const CONFIRMED_BEFORE: Duration = Duration::from_secs(1);

/// What most calls of the own endpoints may take meanwhile: the store's deadline, and something for the rest.
const REFUSAL_MAX: Duration = Duration::from_millis(600);
/// No call at all takes longer, on whatever machine: less than the client's patience, more than a thread may be kept waiting.
const REFUSAL_WORST: Duration = Duration::from_secs(4);
const RECOVERY_MAX: Duration = Duration::from_secs(2);
/// A node keeps two connections; each is tried anew after 50 ms at least, 300 ms on average.
const ATTEMPTS_PER_SECOND_MAX: usize = 20;

#[test]
fn a_store_that_is_killed_is_missed_by_nobody_until_the_revocations_are_stale() {
    outage("kill -9", |stage| stage.redis.kill(), |stage| stage.redis.run());
}

#[test]
fn a_store_that_hangs_is_missed_by_nobody_until_the_revocations_are_stale() {
    outage("SIGSTOP", |stage| stage.redis.freeze(), |stage| stage.redis.thaw());
}

#[test]
fn a_store_behind_a_black_hole_is_missed_by_nobody_until_the_revocations_are_stale() {
    proxied_outage("black hole", Fault::Blackhole);
}

#[test]
fn a_store_two_seconds_away_is_missed_by_nobody_until_the_revocations_are_stale() {
    proxied_outage("2 s delay", Fault::Delay(Duration::from_secs(2)));
}

#[test]
fn a_store_that_refuses_connections_is_missed_by_nobody_until_the_revocations_are_stale() {
    proxied_outage("refused", Fault::Refuse);
}

/// Of two nodes, one reaches the server by the proxy, which counts its attempts.
struct Stage {
    redis: RedisServer,
    proxy: FaultProxy,
    second_proxy: FaultProxy,
}

fn proxied_outage(name: &str, fault: Fault) {
    let set = |stage: &mut Stage, fault| [&stage.proxy, &stage.second_proxy].into_iter().for_each(|proxy| proxy.set(fault));
    outage(name, |stage| set(stage, fault), |stage| set(stage, Fault::None));
}

fn outage(name: &str, begin: impl FnOnce(&mut Stage), end: impl FnOnce(&mut Stage)) {
    let redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let [proxy, second_proxy] = [(); 2].map(|()| FaultProxy::to(redis.port()));
    let direct = name == "kill -9" || name == "SIGSTOP";
    let urls = [proxy.url(), if direct { redis.url() } else { second_proxy.url() }];
    let rig = Rig::start(&[&urls[0], &urls[1]], &SETTINGS);
    let mut stage = Stage { redis, proxy, second_proxy };
    let mut times = None;
    let calls = under_load(&rig.nodes, || {
        thread::sleep(CALM);
        let begins = Instant::now();
        begin(&mut stage);
        let began = Instant::now();
        thread::sleep(OUTAGE);
        let ends = Instant::now();
        end(&mut stage);
        let ended = Instant::now();
        thread::sleep(AFTERMATH);
        times = Some(Times { begins, began, ends, ended });
    });
    let outage = Outage { times: times.unwrap(), calls };
    outage.assert_nobody_is_refused_for_it();
    outage.assert_proxied_requests_go_on_until_stale();
    let refusals = outage.assert_own_endpoints_refuse_in_time();
    let recovery = outage.assert_recovery();
    let attempts = outage.assert_bounded_attempts(&stage.proxy);
    report(&format!(
        "{name}: {} calls; own endpoints refused in p50 {:?}, p99 {:?}, max {:?}; recovered after {recovery:?}; {attempts} \
         connections tried in {OUTAGE:?}",
        outage.calls.len(),
        refusals[refusals.len() / 2],
        refusals[refusals.len() * 99 / 100],
        refusals[refusals.len() - 1],
    ));
}

/// The fault takes hold between the first two, and goes between the last two.
struct Times {
    begins: Instant,
    began: Instant,
    ends: Instant,
    ended: Instant,
}

struct Outage {
    times: Times,
    calls: Vec<Call>,
}

impl Outage {
    fn of(&self, kinds: &'static [Kind]) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| kinds.contains(&call.kind))
    }

    /// No client is told that its token or session is bad, or that the gateway is broken; without a token nobody notices at all.
    fn assert_nobody_is_refused_for_it(&self) {
        for call in &self.calls {
            assert!(matches!(call.status, 200 | 503), "{call:?}");
            assert!(call.status == 200 || call.kind != Kind::Public, "{call:?}");
            assert!(call.status == 200 || call.can_be_retried, "{call:?}");
            assert!(call.status == 200 || call.ended() > self.times.begins, "{call:?}");
        }
    }

    fn assert_proxied_requests_go_on_until_stale(&self) {
        let stale_from = self.times.begins + MAX_STALENESS - CONFIRMED_BEFORE;
        let stale_at_last = self.times.began + MAX_STALENESS;
        let (mut served, mut refused) = (0, 0);
        for call in self.of(&[Kind::Protected]).filter(|call| call.ended() < self.times.ends) {
            if call.ended() < stale_from {
                assert_eq!(call.status, 200, "{:?} into the fault: {call:?}", call.began - self.times.begins);
                served += usize::from(call.began > self.times.began);
            } else if call.began > stale_at_last {
                assert_eq!(call.status, 503, "{:?} into the fault: {call:?}", call.began - self.times.began);
                assert!(call.text.contains("revocations_stale"), "{call:?}");
                refused += 1;
            }
        }
        assert!(served > 50 && refused > 50, "too little load to show anything: {served} served, {refused} refused");
    }

    /// Returns how long they took, sorted.
    fn assert_own_endpoints_refuse_in_time(&self) -> Vec<Duration> {
        let during: Vec<&Call> =
            self.of(&[Kind::Own]).filter(|call| call.began > self.times.began && call.ended() < self.times.ends).collect();
        for call in &during {
            assert_eq!(call.status, 503, "{call:?}");
        }
        for path in ["/refresh", "/login", "/logout", "/sessions"] {
            assert!(during.iter().filter(|call| call.path == path).count() > 5, "too little load to show anything: {path}");
        }
        let mut spans: Vec<Duration> = during.iter().map(|call| call.took).collect();
        spans.sort_unstable();
        let most = spans[spans.len() * 9 / 10];
        assert!(most < REFUSAL_MAX && spans[spans.len() - 1] < REFUSAL_WORST, "{most:?}, {:?}", spans[spans.len() - 1]);
        spans
    }

    /// Until the last call that was not served. What the machine itself keeps requests waiting is seen by those that need no store.
    fn assert_recovery(&self) -> Duration {
        let after = |call: &&Call| call.ended() > self.times.ended;
        let last_refused = self.calls.iter().filter(after).filter(|call| call.status != 200).map(Call::ended).max();
        let recovery = last_refused.map_or(Duration::ZERO, |at| at - self.times.ended);
        let hesitation = self.of(&[Kind::Public]).filter(after).map(|call| call.took).max().unwrap_or_default();
        assert!(recovery < RECOVERY_MAX + 4 * hesitation, "{recovery:?}, while the machine took {hesitation:?}");
        for (node, kind) in [(0, Kind::Own), (0, Kind::Protected), (1, Kind::Own), (1, Kind::Protected)] {
            let served =
                self.calls.iter().filter(after).filter(|call| call.node == node && call.kind == kind && call.status == 200);
            assert!(served.count() > 5, "node {node} does not recover: {kind:?}");
        }
        recovery
    }

    fn assert_bounded_attempts(&self, proxy: &FaultProxy) -> usize {
        let mut attempts = proxy.connections_since(self.times.began);
        attempts.retain(|at| *at < self.times.ends);
        let seconds = usize::try_from(OUTAGE.as_secs()).unwrap();
        assert!(attempts.len() <= ATTEMPTS_PER_SECOND_MAX * seconds, "{} in {OUTAGE:?}", attempts.len());
        attempts.len()
    }
}
