//! A revoked session never lives again: two nodes, a store that loses its last writes, refreshes in flight.

use serde_json::Map;

use super::*;
use crate::domain::claims::{Principal, Window};
use crate::domain::ids::{Partition, SessionId, Subject};
use crate::domain::replica::Replica;
use crate::domain::revocation::{Revocation, RevocationSet, Target};

/// What the store promises: compare-and-swap never brings a missing record to life; revoking deletes and logs in one step.
#[derive(Clone)]
struct Store {
    record: Option<(Rotation, u64)>,
    log: Vec<Revocation>,
}

struct Node {
    replica: Replica,
    /// A refresh that has read the record and not yet written it.
    read: Option<(Rotation, u64)>,
}

#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    /// Decide and write what was read; answer if that went well.
    Finish(usize),
    Revoke(usize),
    /// The node reads the whole log and puts back what it knows and the log lacks.
    Reconcile(usize),
    RollBack(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2_usize).prop_map(Step::Read),
        6 => (0..2_usize).prop_map(Step::Finish),
        1 => (0..2_usize).prop_map(Step::Revoke),
        2 => (0..2_usize).prop_map(Step::Reconcile),
        2 => (1..=3_usize).prop_map(Step::RollBack),
        2 => (0..40_000_u64).prop_map(Step::Wait),
    ]
}

fn session() -> SessionId {
    SessionId::new(Partition(0), Timestamp::from_secs(1), [1; 8])
}

fn principal() -> Principal {
    Principal {
        subject: Subject::new("u").unwrap(),
        issuer: "i".into(),
        session: Some(session()),
        generation: None,
        token: None,
        audiences: Vec::new(),
        scopes: Vec::new(),
        issued_at: None,
        logged_in_at: None,
        not_before: None,
        expires_at: Timestamp::MAX,
        window: Window::ALWAYS,
        claims: Map::new(),
    }
}

impl Store {
    fn revoke(&mut self, revocation: &Revocation) {
        self.record = None;
        self.log.push(revocation.clone());
    }

    fn swap(&mut self, expected: u64, next: Rotation) -> bool {
        let is_expected = self.record.is_some_and(|(_, version)| version == expected);
        if is_expected {
            self.record = Some((next, expected + 1));
        }
        is_expected
    }
}

proptest! {
    #[test]
    fn a_revoked_session_never_lives_again(steps in proptest::collection::vec(step(), 0..120)) {
        let mut now = Timestamp::from_secs(1000);
        let mut store = Store { record: Some((Rotation::first(), 1)), log: Vec::new() };
        let mut history = vec![store.clone()];
        let mut nodes = [0, 1].map(|_| Node { replica: Replica::new(), read: None });
        let mut newest = Rotation::first().token();
        let mut revoked_by = [false; 2];
        for step in steps {
            match step {
                Step::Read(n) => nodes[n].read = store.record,
                Step::Finish(n) => {
                    let Some((record, version)) = nodes[n].read.take() else { continue };
                    let (next, reply) = respond(record, newest, now);
                    let is_written = next == record || store.swap(version, next);
                    let is_refused = nodes[n].replica.covers(&principal()).is_some();
                    if let Some(reply) = reply && is_written && !is_refused {
                        prop_assert!(!revoked_by[n], "a refresh in flight brought a revoked session to life");
                        newest = newest.max(reply);
                    }
                    history.push(store.clone());
                }
                Step::Revoke(n) => {
                    let forget_at = now.saturating_add(Duration::from_secs(3600));
                    let revocation = Revocation { target: Target::Session { session: session() }, revoked_at: now, forget_at };
                    store.revoke(&revocation);
                    history.push(store.clone());
                    nodes[n].replica.insert(&revocation);
                    revoked_by[n] = true;
                }
                Step::Reconcile(n) => {
                    let log: RevocationSet = store.log.iter().cloned().collect();
                    for revocation in &store.log {
                        nodes[n].replica.insert(revocation);
                        revoked_by[n] = true;
                    }
                    for lost in nodes[n].replica.missing_from(&log, now).flatten() {
                        store.revoke(&lost);
                    }
                    history.push(store.clone());
                    prop_assert!(!revoked_by[n] || store.record.is_none(), "the record is gone again");
                }
                Step::RollBack(depth) => {
                    history.truncate(history.len().saturating_sub(depth).max(1));
                    store = history[history.len() - 1].clone();
                }
                Step::Wait(millis) => now = now.saturating_add(Duration::from_millis(millis)),
            }
            for (node, is_revoked) in nodes.iter().zip(revoked_by) {
                prop_assert_eq!(node.replica.covers(&principal()).is_some(), is_revoked);
            }
        }
    }
}
