//! Looks after the servers while they are in use: what was changed on them, what they threw away, whether they are still the same.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::Code;
use super::feed::Feed;
use super::fleet::Fleet;
use super::keys::Keys;
use super::options::Address;
use super::verify::{self, Info};
use super::{StoreError, codec, scripts};
use crate::domain::ids::Partition;
use crate::domain::time::Clock;
use crate::store::Finding;

/// How long it is told that something has happened which leaves no trace.
const TOLD_FOR: Duration = Duration::from_secs(900);

/// What was seen at the last look.
#[derive(Debug)]
pub(super) struct Watch {
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    servers: HashMap<Address, Server>,
    /// By partition: what tells its data from what is there after it was emptied.
    marks: Vec<Option<String>>,
    evicted_at: Option<Instant>,
    emptied_at: Option<Instant>,
}

/// A server's own account of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Server {
    /// Another one after each start.
    run: String,
    /// Of its data: another one after it was taken over from elsewhere.
    replication: String,
    evicted: u64,
}

/// What a look brought to light beside the present state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct News {
    has_evicted: bool,
    has_other_data: bool,
}

impl Watch {
    pub(super) fn new(keys: &Keys) -> Self {
        let marks = keys.partitions().iter().map(|_| None).collect();
        Self { memory: Mutex::new(Memory { marks, ..Memory::default() }) }
    }

    pub(super) async fn look(&self, fleet: &Fleet, keys: &Keys, feed: &Feed, clock: &dyn Clock) -> Vec<Finding> {
        let mut findings = Vec::new();
        let primaries = fleet.primaries();
        for (node, partition) in &primaries {
            let mut found = Vec::new();
            let info = verify::examine(fleet, *partition, clock, &mut found).await;
            let news = self.memory().note_server(&node.address, &info);
            if news.has_other_data {
                tracing::warn!(address = %node.address, "redis: the data of this server was taken over from elsewhere");
                feed.begin_epoch();
            }
            let named = |finding| if primaries.len() > 1 { verify::at(&node.address, finding) } else { finding };
            findings.extend(found.into_iter().map(named));
        }
        let mut refused = None;
        for partition in keys.partitions().iter() {
            match mark(fleet, keys, partition).await {
                Ok(Mark::Refused(cause)) => refused = Some(cause),
                Ok(Mark::Read(mark)) => {
                    if self.memory().note_mark(partition, mark) {
                        tracing::error!(partition = partition.0, "redis: the store was emptied");
                        feed.begin_epoch();
                    }
                }
                // That it is away, or full, is told elsewhere.
                Err(_) => {}
            }
        }
        findings.extend(refused.map(|cause| verify::scripts_refused(&cause)));
        findings.extend(self.memory().recent_events());
        findings
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn note_server(&mut self, address: &Address, info: &Info) -> News {
        let field = |name| info.field(name).map(str::to_owned);
        let (Some(run), Some(replication), Some(evicted)) =
            (field("run_id"), field("master_replid"), info.number("evicted_keys"))
        else {
            return News::default();
        };
        let now = Server { run, replication, evicted };
        let news = match self.servers.insert(address.clone(), now.clone()) {
            Some(before) if before.run == now.run => {
                News { has_evicted: now.evicted > before.evicted, has_other_data: now.replication != before.replication }
            }
            Some(_) | None => News::default(),
        };
        if news.has_evicted {
            self.evicted_at = Some(Instant::now());
        }
        news
    }

    /// Whether the partition was emptied since its mark was noted.
    fn note_mark(&mut self, partition: Partition, mark: String) -> bool {
        let Some(known) = self.marks.get_mut(usize::from(partition.0)) else { return false };
        let emptied = known.as_ref().is_some_and(|known| *known != mark);
        *known = Some(mark);
        if emptied {
            self.emptied_at = Some(Instant::now());
        }
        emptied
    }

    fn recent_events(&self) -> Vec<Finding> {
        let is_recent = |at: &Instant| at.elapsed() < TOLD_FOR;
        let evicted = self.evicted_at.filter(is_recent).map(|_| {
            verify::error("evicted", "keys are being evicted: sessions and revocations are lost; give it memory".into())
        });
        let emptied = self.emptied_at.filter(is_recent).map(|_| {
            let text = "the store was emptied: whoever was logged in has to log in again; logouts that are known are put back";
            verify::error("emptied", text.into())
        });
        evicted.into_iter().chain(emptied).collect()
    }
}

/// What came of the look at a partition's mark.
enum Mark {
    Read(String),
    /// This user may not run the script.
    Refused(StoreError),
}

/// Reads the mark of a partition, or makes one.
async fn mark(fleet: &Fleet, keys: &Keys, partition: Partition) -> Result<Mark, StoreError> {
    match fleet.begin(partition).await?.try_script(&scripts::EPOCH, &[keys.epoch(partition)], &[]).await {
        Ok(reply) => {
            let mark = codec::text(&reply).ok_or_else(|| StoreError::Unreadable("mark of the data".into()))?;
            Ok(Mark::Read(mark.to_owned()))
        }
        Err(undone) if undone.code() == Some(Code::NotPermitted) => Ok(Mark::Refused(undone.into())),
        Err(undone) => Err(undone.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(run: &str, replication: &str, evicted: u64) -> Info {
        Info::of(&format!("run_id:{run}\r\nmaster_replid:{replication}\r\nevicted_keys:{evicted}\r\n"))
    }

    #[tokio::test(start_paused = true)]
    async fn eviction_is_told_when_the_count_rises_and_for_a_while_afterwards() {
        let (mut memory, server) = (Memory::default(), Address::parse("a:1").unwrap());
        assert_eq!(memory.note_server(&server, &info("r", "d", 7)), News::default(), "before our time");
        assert_eq!(memory.note_server(&server, &info("r", "d", 7)), News::default());
        assert!(memory.note_server(&server, &info("r", "d", 8)).has_evicted);
        assert_eq!(memory.note_server(&server, &info("another run", "d2", 0)), News::default());
        assert_eq!(memory.recent_events().len(), 1);
        tokio::time::advance(TOLD_FOR).await;
        assert_eq!(memory.recent_events(), []);
    }

    #[test]
    fn a_server_that_took_its_data_from_elsewhere_is_noticed() {
        let (mut memory, server) = (Memory::default(), Address::parse("a:1").unwrap());
        memory.note_server(&server, &info("r", "d", 0));
        assert!(memory.note_server(&server, &info("r", "d2", 0)).has_other_data);
        assert_eq!(memory.note_server(&server, &Info::default()), News::default(), "one that told nothing");
    }

    #[test]
    fn another_mark_means_that_the_partition_was_emptied() {
        let mut memory = Memory { marks: vec![None, None], ..Memory::default() };
        assert!(!memory.note_mark(Partition(1), "1".into()));
        assert!(!memory.note_mark(Partition(1), "1".into()));
        assert!(!memory.note_mark(Partition(0), "2".into()));
        assert!(memory.note_mark(Partition(1), "3".into()));
        assert_eq!(memory.recent_events().len(), 1);
        assert!(!memory.note_mark(Partition(9), "3".into()));
    }
}
