//! Where things are kept: the names of the keys.
//!
//! The partition's number is the hash tag of every key, so all keys of a partition, and with it those of one subject and its
//! sessions, share one slot of a Cluster.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::ids::{Partition, Partitions, SessionId, Subject};
use crate::domain::imported::ImportedDigest;
use crate::domain::node::{Canary, NodeId};
use crate::domain::stats::Day;
use crate::domain::ticket::{TicketDigest, TicketOwner};
use crate::store::Duty;

/// Makes key names for one deployment.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: Arc<str>,
    partitions: Partitions,
}

impl Keys {
    /// `prefix` must be free of braces: they would move the hash tag.
    pub(super) fn new(prefix: &str, partitions: Partitions) -> Self {
        Self { prefix: prefix.into(), partitions }
    }

    pub(super) const fn partitions(&self) -> Partitions {
        self.partitions
    }

    /// The partition of a session as this deployment has it: an id made under another count still has one home, whose log is
    /// followed.
    pub(super) fn home(&self, id: SessionId) -> Partition {
        self.fold(id.partition())
    }

    pub(super) fn fold(&self, partition: Partition) -> Partition {
        Partition(partition.0 % self.partitions.count())
    }

    /// Hash: the session's record.
    pub(super) fn session(&self, id: SessionId) -> String {
        self.key(self.home(id), format_args!("session:{id}"))
    }

    /// Sorted set: the subject's sessions (16 bytes each) by creation.
    pub(super) fn subject(&self, partition: Partition, subject: &Subject) -> String {
        self.key(partition, format_args!("subject:{subject}"))
    }

    /// Sorted set: sessions (16 bytes of id, then the subject) by the moment they end.
    pub(super) fn expiry(&self, partition: Partition) -> String {
        self.key(partition, format_args!("expiry"))
    }

    /// Stream: the revocation log.
    pub(super) fn revocations(&self, partition: Partition) -> String {
        self.key(partition, format_args!("revocations"))
    }

    /// Hash: the nodes, each with the moment from which it counts as gone.
    pub(super) fn nodes(&self) -> String {
        self.key(Partition(0), format_args!("nodes"))
    }

    /// Set: the nodes that have seen a canary.
    pub(super) fn receipts(&self, canary: Canary) -> String {
        self.key(Partition(0), format_args!("receipts:{canary}"))
    }

    /// String: the session (16 bytes) that an imported token opens. Where it lies the digest decides, for nobody knows the subject.
    pub(super) fn imported(&self, digest: &ImportedDigest) -> String {
        let text = URL_SAFE_NO_PAD.encode(digest.as_bytes());
        self.key(digest.partition(self.partitions), format_args!("imported:{text}"))
    }

    /// String, empty: the session was imported, and is not to be imported again.
    pub(super) fn import_mark(&self, id: SessionId) -> String {
        self.key(self.home(id), format_args!("import:{id}"))
    }

    /// String: the highest number that a sweeper of the partition had.
    pub(super) fn fence(&self, partition: Partition) -> String {
        self.key(partition, format_args!("fence"))
    }

    /// Hash: sessions that sweeps found ended, by day.
    pub(super) fn expired(&self, partition: Partition) -> String {
        self.key(partition, format_args!("expired"))
    }

    /// String: who has the lease.
    pub(super) fn lease(&self, duty: Duty) -> String {
        self.key(Partition(0), format_args!("lease:{}", duty.name()))
    }

    /// Hash: the number of each duty's latest holder.
    pub(super) fn fences(&self) -> String {
        self.key(Partition(0), format_args!("fences"))
    }

    /// Hash: the last sweep and the last measurement.
    pub(super) fn upkeep(&self) -> String {
        self.key(Partition(0), format_args!("upkeep"))
    }

    /// Hash: the statistics of a day.
    pub(super) fn day(&self, day: Day) -> String {
        self.key(Partition(0), format_args!("day:{}", day.0))
    }

    /// Hash: how much of what a node counted on a day is in its row.
    pub(super) fn totals(&self, day: Day, node: NodeId) -> String {
        self.key(Partition(0), format_args!("totals:{}:{node}", day.0))
    }

    /// String: what is sealed in a ticket.
    pub(super) fn ticket(&self, home: Partition, digest: &TicketDigest) -> String {
        self.key(home, format_args!("ticket:{}", URL_SAFE_NO_PAD.encode(digest.as_bytes())))
    }

    /// Sorted set: the tickets that one owner had lately, by the moment they end.
    pub(super) fn tickets_of(&self, home: Partition, owner: TicketOwner) -> String {
        self.key(home, format_args!("tickets:{}", URL_SAFE_NO_PAD.encode(owner.0)))
    }

    /// String: tells the data of this partition from what is there after it was emptied.
    pub(super) fn epoch(&self, partition: Partition) -> String {
        self.key(partition, format_args!("epoch"))
    }

    /// Holds nothing for longer than a script runs.
    pub(super) fn check(&self, partition: Partition) -> String {
        self.key(partition, format_args!("check"))
    }

    fn key(&self, partition: Partition, name: std::fmt::Arguments<'_>) -> String {
        format!("{}{{{}}}:{name}", self.prefix, partition.0)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use fred::util::redis_keyslot;

    use super::*;
    use crate::domain::time::Timestamp;

    fn keys() -> Keys {
        Keys::new("tg:", Partitions::new(NonZeroU16::new(16).unwrap()))
    }

    #[test]
    fn the_layout_is_what_the_documentation_says() {
        let keys = keys();
        let subject = Subject::new("user-1").unwrap();
        let home = keys.partitions().of(&subject);
        let id = SessionId::new(home, Timestamp::from_millis(1_790_000_000_123), [7; 8]);
        assert_eq!(keys.session(id), format!("tg:{{4}}:session:{id}"));
        assert_eq!(keys.subject(home, &subject), "tg:{4}:subject:user-1");
        assert_eq!(keys.expiry(home), "tg:{4}:expiry");
        assert_eq!(keys.revocations(home), "tg:{4}:revocations");
        assert_eq!(keys.epoch(home), "tg:{4}:epoch");
    }

    #[test]
    fn all_keys_of_a_subject_and_its_sessions_share_a_slot() {
        let keys = keys();
        for name in ["user-1", "zoë@example.com", "{}", "a{b}c", "}{", "{x}"] {
            let subject = Subject::new(name).unwrap();
            let home = keys.partitions().of(&subject);
            let names = [
                keys.session(SessionId::new(home, Timestamp::from_secs(1), [1; 8])),
                keys.session(SessionId::new(home, Timestamp::from_secs(2), [2; 8])),
                keys.subject(home, &subject),
                keys.expiry(home),
                keys.revocations(home),
                keys.import_mark(SessionId::new(home, Timestamp::from_secs(1), [1; 8])),
                keys.epoch(home),
                keys.check(home),
            ];
            let slot = redis_keyslot(home.0.to_string().as_bytes());
            assert!(names.iter().all(|key| redis_keyslot(key.as_bytes()) == slot), "{names:?}");
        }
    }

    #[test]
    fn a_session_of_another_partition_count_still_has_a_home() {
        let id = SessionId::new(Partition(20), Timestamp::from_secs(1), [1; 8]);
        assert_eq!(keys().home(id), Partition(4));
    }
}
