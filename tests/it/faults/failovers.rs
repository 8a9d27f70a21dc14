//! A primary dies, and its successor never had the last writes.

use std::num::NonZeroU16;
use std::thread;
use std::time::Duration;

use tokengate::domain::ids::{Partitions, Subject};
use tokio::time::Instant;

use super::load::{Call, Kind, under_load};
use super::rig::Rig;
use super::{PATIENCE, eventually, is_ended, report};
use crate::support::gateway::Tokens;
use crate::support::http::{Client, Message};
use crate::support::redis::RedisServer;
use crate::support::redis::cluster::{Cluster, PRIMARIES};
use crate::support::redis::sentinel::Sentinels;

/// The default of `store.redis.partitions`.
const PARTITIONS: u16 = 16;
const SLOTS: u16 = 16_384;
/// Without a leeway each refresh is a rotation, and so a write.
const SETTINGS: [(&str, &str); 1] = [("refresh.leeway", "0s")];
const CALM: Duration = Duration::from_secs(1);

/// A primary and its replica, wherever they are.
trait Topology {
    fn url(&self) -> String;
    fn primary(&self) -> &RedisServer;
    fn replica(&self) -> &RedisServer;
    fn kill_primary(&mut self);
    fn await_promotion(&self);
    /// Whether the subject's sessions are kept by that primary.
    fn holds(&self, subject: &str) -> bool;

    /// Names of subjects whose sessions are kept by that primary.
    fn subjects<const N: usize>(&self) -> [String; N] {
        let mut names = (0..).map(|number| format!("user-{number}")).filter(|name| self.holds(name));
        [(); N].map(|()| names.next().unwrap())
    }

    /// Returns once the replica has everything.
    fn await_replication(&self) {
        eventually("the replica is in step", || {
            let written = self.primary().info("master_repl_offset");
            self.replica().info("slave_repl_offset") == written
        });
    }
}

impl Topology for Sentinels {
    fn url(&self) -> String {
        Self::url(self)
    }

    fn primary(&self) -> &RedisServer {
        &self.servers[0]
    }

    fn replica(&self) -> &RedisServer {
        &self.servers[1]
    }

    fn kill_primary(&mut self) {
        self.servers[0].kill();
    }

    fn await_promotion(&self) {
        Self::await_promotion(self, 1);
    }

    fn holds(&self, _subject: &str) -> bool {
        true
    }
}

/// Of a cluster, the first primary and its replica.
struct FirstOf(Cluster);

impl FirstOf {
    fn holds_partition(&self, partition: u16) -> bool {
        self.0.slot_of(&partition.to_string()) < SLOTS.div_ceil(u16::try_from(PRIMARIES).unwrap())
    }
}

impl Topology for FirstOf {
    fn url(&self) -> String {
        self.0.url()
    }

    fn primary(&self) -> &RedisServer {
        &self.0.nodes[0]
    }

    fn replica(&self) -> &RedisServer {
        &self.0.nodes[Cluster::partner_of(0)]
    }

    fn kill_primary(&mut self) {
        self.0.nodes[0].kill();
    }

    fn await_promotion(&self) {
        let partition = (0..PARTITIONS).find(|&partition| self.holds_partition(partition)).unwrap();
        self.0.await_owner(self.0.slot_of(&partition.to_string()), Cluster::partner_of(0));
    }

    fn holds(&self, subject: &str) -> bool {
        let partitions = Partitions::new(NonZeroU16::new(PARTITIONS).unwrap());
        self.holds_partition(partitions.of(&Subject::new(subject).unwrap()).0)
    }
}

#[test]
fn when_sentinels_promote_a_replica_without_the_last_writes_nobody_is_logged_out_or_comes_back() {
    assert_lost_writes_are_made_good("Sentinel failover", Sentinels::start());
}

#[test]
fn when_a_cluster_promotes_a_replica_without_the_last_writes_nobody_is_logged_out_or_comes_back() {
    assert_lost_writes_are_made_good("Cluster failover", FirstOf(Cluster::start()));
}

fn assert_lost_writes_are_made_good(name: &str, mut topology: impl Topology) {
    let mut rig = Rig::start(&[&topology.url(), &topology.url()], &SETTINGS);
    let (mut a, mut b) = (rig.nodes[0].client(), rig.nodes[1].client());
    let [kept, gone, everywhere, late, waiting] = topology.subjects();
    let first = a.log_in(&kept);
    let ended = [b.log_in(&gone), a.log_in(&everywhere), b.log_in(&everywhere)];
    let unanswered = b.log_in(&waiting);
    let (mut held, mut lost_login, mut took) = (first.clone(), None, Duration::ZERO);
    let calls = under_load(&rig.nodes, || {
        thread::sleep(CALM);
        // Of this rotation the store keeps the write, and the client never gets the reply.
        let lost_reply = Tokens::of(&a.refresh(&unanswered.refresh).expect(200));
        topology.await_replication();
        topology.primary().cut_off(topology.replica());

        // The primary alone knows from here on.
        for node in [&mut a, &mut b] {
            held = Tokens::of(&node.refresh(&held.refresh).expect(200));
        }
        a.log_out(&ended[0].access, "session").expect(200);
        a.log_out(&ended[1].access, "all").expect(200);
        lost_login = Some(b.log_in(&late));
        for tokens in &ended {
            eventually("both nodes know", || is_ended(&mut a, tokens) && is_ended(&mut b, tokens));
        }
        topology.kill_primary();
        topology.replica().thaw();
        topology.await_promotion();
        took = await_adoption(&mut a, &mut b, &held);

        for tokens in &ended {
            for node in [&mut a, &mut b] {
                assert!(is_ended(node, tokens), "it came back with the old primary's death");
                eventual_refresh(node, tokens).expect(401);
            }
        }
        let superseding = Tokens::of(&eventual_refresh(&mut b, &unanswered).expect(200));
        assert!(superseding.refresh != lost_reply.refresh, "what nobody received is void");
        a.get("/api/me", Some(&superseding.access)).expect(200);
        thread::sleep(CALM);
    });
    assert_nobody_noticed(&calls);

    // Of a login that the successor never saw there is no record: it is made again.
    let lost_login = lost_login.unwrap();
    a.get("/api/me", Some(&lost_login.access)).expect(200);
    a.refresh(&lost_login.refresh).expect(401);
    a.log_in(&late);

    // A node that comes later has only the successor to learn from.
    let newcomer = rig.launch(&topology.url());
    newcomer.await_ready();
    let mut c = newcomer.client();
    for tokens in &ended {
        assert!(is_ended(&mut c, tokens), "the revocation was not put back");
        c.refresh(&tokens.refresh).expect(401);
    }
    let last = Tokens::of(&c.refresh(&held.refresh).expect(200));
    c.get("/api/me", Some(&last.access)).expect(200);
    report(&format!("{name}: sessions were refreshed again {took:?} after the promotion; {} calls meanwhile", calls.len()));
}

/// The store may be on its way still; what it says when it is there counts.
fn eventual_refresh(node: &mut Client, tokens: &Tokens) -> Message {
    let mut response = node.refresh(&tokens.refresh);
    eventually("the store answers", || {
        if response.status() == 503 {
            response = node.refresh(&tokens.refresh);
        }
        response.status() != 503
    });
    response
}

/// The successor knows an earlier generation: it takes the token's word for the present one, whichever node is asked first.
fn await_adoption(a: &mut Client, b: &mut Client, held: &Tokens) -> Duration {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < PATIENCE, "the successor is not found");
        let response = b.refresh(&held.refresh);
        if response.status() == 503 {
            thread::sleep(Duration::from_millis(10));
            continue;
        }
        let adopted = Tokens::of(&response.expect(200));
        assert_eq!(adopted.refresh, held.refresh, "the lost rotations are adopted, not made again");
        break;
    }
    eventual_refresh(a, held).expect(200);
    began.elapsed()
}

/// Requests that are forwarded go on, and nobody is told that a session is over.
fn assert_nobody_noticed(calls: &[Call]) {
    for call in calls {
        let is_served = call.status == 200;
        assert!(is_served || (call.kind == Kind::Own && call.status == 503 && call.can_be_retried), "{call:?}");
    }
    for node in 0..2 {
        let last = calls.iter().rfind(|call| call.node == node && call.kind == Kind::Own).unwrap();
        assert_eq!(last.status, 200, "{last:?}");
    }
}

#[test]
fn a_logout_that_no_replica_has_is_503_where_replicas_are_waited_for() {
    let topology = Sentinels::start();
    let settings = [("store.redis.wait_replicas", "1"), ("store.redis.wait_timeout", "1s"), ("store.redis.deadline", "10s")];
    let rig = Rig::start(&[&topology.url(), &topology.url()], &settings);
    let (mut a, mut b) = (rig.nodes[0].client(), rig.nodes[1].client());
    let [replicated, session, all] = ["ann", "bob", "eve"].map(|user| a.log_in(user));
    a.log_out(&replicated.access, "session").expect(200);
    topology.await_replication();
    topology.primary().cut_off(topology.replica());
    for (tokens, scope) in [(&session, "session"), (&all, "all")] {
        let refused = a.log_out(&tokens.access, scope).expect(503);
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
        // The primary has it all the same, and so have the nodes: what is not certain is that it lasts.
        eventually("both nodes hear of it", || is_ended(&mut a, tokens) && is_ended(&mut b, tokens));
        a.log_out(&tokens.access, scope).expect(503);
    }
    topology.replica().thaw();
    for (tokens, scope) in [(&session, "session"), (&all, "all")] {
        eventually("it is confirmed", || a.log_out(&tokens.access, scope).status() == 200);
        b.refresh(&tokens.refresh).expect(401);
    }
}

#[test]
fn slots_that_move_under_load_are_missed_by_nobody() {
    let cluster = Cluster::start();
    let rig = Rig::start(&[&cluster.url(), &cluster.url()], &[("refresh.leeway", "0s"), ("store.redis.deadline", "10s")]);
    let mut moved = 0;
    let calls = under_load(&rig.nodes, || {
        thread::sleep(CALM);
        for partition in 0..PARTITIONS {
            let slot = cluster.slot_of(&partition.to_string());
            let target = (cluster.owner_of(slot) + 1) % PRIMARIES;
            // With some keys here and some there for a while.
            cluster.migrate(slot, target, |_| thread::sleep(Duration::from_millis(100)));
            moved += 1;
        }
        thread::sleep(CALM);
    });
    let missed: Vec<&Call> = calls.iter().filter(|call| call.status != 200).collect();
    assert!(missed.is_empty(), "{missed:?}");
    let own = calls.iter().filter(|call| call.kind == Kind::Own).count();
    assert!(own > 50, "too little load to show anything: {own}");
    report(&format!("{moved} slots moved: {} calls, {own} of them of own endpoints, all served", calls.len()));
}
