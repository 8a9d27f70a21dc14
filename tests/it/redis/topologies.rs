//! The servers that the other tests stand on: they fail over, lose writes and move slots when told to.

use crate::support::redis::cluster::{Cluster, Migration};
use crate::support::redis::sentinel::Sentinels;

#[test]
fn sentinels_promote_a_replica_that_was_cut_off_and_the_last_writes_are_lost() {
    let mut topology = Sentinels::start();
    assert_eq!(topology.primary_index(), 0);
    let [primary, replica] = &topology.servers;
    assert_eq!(primary.cli(&["SET", "kept", "1"]), "OK");
    assert_eq!(primary.cli(&["WAIT", "1", "5000"]), "1");
    primary.cut_off(replica);
    assert_eq!(primary.cli(&["SET", "lost", "1"]), "OK");
    topology.servers[0].kill();
    topology.servers[1].thaw();
    topology.await_promotion(1);
    assert_eq!(topology.primary().cli(&["MGET", "kept", "lost"]), "1");
    assert!(topology.url().ends_with("/gate"));
}

#[test]
fn a_frozen_primary_of_a_cluster_is_replaced_by_its_replica() {
    let cluster = Cluster::start();
    let slot = cluster.slot_of("3");
    let owner = cluster.owner_of(slot);
    cluster.nodes[owner].freeze();
    let partner = Cluster::partner_of(owner);
    cluster.await_owner(slot, partner);
    assert_eq!(cluster.nodes[partner].cli(&["SET", "{3}", "1"]), "OK");
    cluster.nodes[owner].thaw();
}

#[test]
fn a_slot_of_a_cluster_moves_with_its_keys() {
    let cluster = Cluster::start();
    let slot = cluster.slot_of("3");
    let from = cluster.owner_of(slot);
    let to = (from + 1) % 3;
    for n in 0..25 {
        assert_eq!(cluster.nodes[from].cli(&["SET", &format!("{{3}}:{n}"), "1"]), "OK");
    }
    let mut moments = Vec::new();
    cluster.migrate(slot, to, |moment| {
        if moment == Migration::Begun {
            let here = cluster.nodes[from].cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]);
            assert_eq!(here, "24");
        }
        moments.push(moment);
    });
    assert_eq!(moments, [Migration::Begun, Migration::Done]);
    assert_eq!(cluster.owner_of(slot), to);
    assert_eq!(cluster.nodes[to].cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]), "25");
    assert!(cluster.url().starts_with("redis-cluster://127.0.0.1:"));
}
