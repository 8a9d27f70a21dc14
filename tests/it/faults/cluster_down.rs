//! A Cluster that does not serve a slot, or serves nothing at all. The servers themselves say so: CLUSTERDOWN.

use std::num::NonZeroU16;
use std::thread;
use std::time::Duration;

use serde_json::json;
use tokengate::domain::ids::{Partitions, Subject};
use tokio::time::Instant;

use super::eventually;
use super::rig::Rig;
use crate::support::gateway::Tokens;
use crate::support::http::{Client, Message};
use crate::support::redis::cluster::{Cluster, PRIMARIES};
use crate::support::upstream::PASSWORD;

/// The default of `store.redis.partitions`.
const PARTITIONS: u16 = 16;
/// Without a leeway each refresh is a rotation, and so a write.
const SETTINGS: [(&str, &str); 2] = [("refresh.leeway", "0s"), ("store.redis.deadline", "500ms")];
/// No call at all takes longer, on whatever machine.
const REFUSAL_WORST: Duration = Duration::from_secs(4);
const ROUNDS: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Someone with a session.
struct User {
    name: String,
    held: Tokens,
}

impl User {
    fn log_in(client: &mut Client, name: String) -> Self {
        let held = client.log_in(&name);
        Self { name, held }
    }

    /// Every own endpoint says in time that it can do nothing now; what needs no store goes on.
    fn assert_unserved(&self, client: &mut Client) {
        let login = json!({"email": self.name, "password": PASSWORD});
        let mut refused = |path: &str, ask: &dyn Fn(&mut Client) -> Message| {
            let began = Instant::now();
            let response = ask(client).expect(503);
            let took = began.elapsed();
            assert!(response.header("retry-after").is_some() && took < REFUSAL_WORST, "{path} after {took:?}: {response:?}");
        };
        refused("/login", &|client| client.post("/login", &login));
        refused("/refresh", &|client| client.refresh(&self.held.refresh));
        refused("/sessions", &|client| client.get("/sessions", Some(&self.held.access)));
        refused("/logout", &|client| client.log_out(&self.held.access, "session"));
        client.get("/api/me", Some(&self.held.access)).expect(200);
        client.get("/public", None).expect(200);
    }

    fn assert_served(&mut self, client: &mut Client) {
        self.held = Tokens::of(&client.refresh(&self.held.refresh).expect(200));
        client.get("/sessions", Some(&self.held.access)).expect(200);
        let visitor = client.log_in(&self.name);
        client.log_out(&visitor.access, "session").expect(200);
    }

    fn await_service(&mut self, client: &mut Client) {
        eventually("the store serves again", || client.refresh(&self.held.refresh).status() == 200);
        self.held = Tokens::of(&client.refresh(&self.held.refresh).expect(200));
        self.assert_served(client);
    }
}

/// The first user whose partition is such a one.
fn user_of(is_meant: impl Fn(u16) -> bool) -> String {
    let partitions = Partitions::new(NonZeroU16::new(PARTITIONS).unwrap());
    let of = |name: &String| partitions.of(&Subject::new(name).unwrap()).0;
    (0..10_000).map(|number| format!("user-{number}")).find(|name| is_meant(of(name))).unwrap()
}

#[test]
fn a_slot_that_nobody_owns_is_503_for_its_users_alone_until_somebody_does() {
    let cluster = Cluster::start();
    let rig = Rig::start(&[&cluster.url(), &cluster.url()], &SETTINGS);
    let mut clients = [rig.nodes[0].client(), rig.nodes[1].client()];
    let slots: Vec<u16> = (0..PARTITIONS).map(|partition| cluster.slot_of(&partition.to_string())).collect();
    let owners = cluster.owners_of(&slots);
    let of = |partition: u16| usize::from(partition);
    // Of the last partition; of another that lies beside it; of one that lies elsewhere.
    let last = PARTITIONS - 1;
    let names = [
        user_of(|partition| partition == last),
        user_of(|partition| partition != last && owners[of(partition)] == owners[of(last)]),
        user_of(|partition| owners[of(partition)] != owners[of(last)]),
    ];
    let [mut stranded, mut neighbour, mut stranger] = names.map(|name| User::log_in(&mut clients[0], name));

    let owner = cluster.unassign(slots[of(last)]);
    for client in &mut clients {
        // What is under way beside the first that is refused fails with it.
        stranded.assert_unserved(client);
        eventually("the neighbour is served", || client.refresh(&neighbour.held.refresh).status() == 200);
    }
    for _ in 0..ROUNDS {
        for client in &mut clients {
            stranded.assert_unserved(client);
            neighbour.assert_served(client);
            stranger.assert_served(client);
            thread::sleep(PAUSE);
        }
    }
    cluster.assign(slots[of(last)], owner);
    for client in &mut clients {
        stranded.await_service(client);
        neighbour.assert_served(client);
        stranger.assert_served(client);
    }
}

#[test]
fn a_slot_that_nobody_owns_for_long_leaves_everybody_without_word_of_logouts() {
    let cluster = Cluster::start();
    let settings = [SETTINGS.as_slice(), &[("revocation.max_staleness", "3s"), ("revocation.heartbeat", "500ms")]].concat();
    let rig = Rig::start(&[&cluster.url()], &settings);
    let mut client = rig.nodes[0].client();
    let slot = cluster.slot_of("0");
    let stranger = User::log_in(&mut client, user_of(|partition| partition != 0));
    let mut protected = || client.get("/api/me", Some(&stranger.held.access));
    protected().expect(200);
    let owner = cluster.unassign(slot);
    eventually("the revocations are stale", || protected().status() != 200);
    assert!(protected().expect(503).text().contains("revocations_stale"));
    rig.nodes[0].client().get("/public", None).expect(200);
    cluster.assign(slot, owner);
    eventually("the revocations are known again", || protected().status() == 200);
}

#[test]
fn a_cluster_without_a_majority_is_503_for_everyone_until_it_has_one() {
    let cluster = Cluster::start();
    let rig = Rig::start(&[&cluster.url(), &cluster.url()], &SETTINGS);
    let mut clients = [rig.nodes[0].client(), rig.nodes[1].client()];
    let slots: Vec<u16> = (0..PARTITIONS).map(|partition| cluster.slot_of(&partition.to_string())).collect();
    let owners = cluster.owners_of(&slots);
    let user_at = |server: usize| user_of(|partition| owners[usize::from(partition)] == server);
    let mut users: Vec<User> = (0..PRIMARIES).map(|server| User::log_in(&mut clients[0], user_at(server))).collect();

    let (alone, hung) = (&cluster.nodes[0], &cluster.nodes[1..PRIMARIES]);
    for server in hung {
        server.freeze();
    }
    eventually("the one that is left gives up", || alone.cli(&["CLUSTER", "INFO"]).contains("cluster_state:fail"));
    for client in &mut clients {
        for user in &users {
            user.assert_unserved(client);
        }
    }
    for server in hung {
        server.thaw();
    }
    for client in &mut clients {
        for user in &mut users {
            user.await_service(client);
        }
    }
}
