//! Upkeep of the store in Redis: leases, the sweep, measurements, statistics.
//!
//! Beside the layout of the parent: `tg:{p}:fence` (the highest number that a sweeper of the partition had), `tg:{p}:expired` (hash:
//! day to sessions). In partition 0: `tg:{0}:lease:<duty>` (its holder), `tg:{0}:fences` (hash: duty to number), `tg:{0}:upkeep`
//! (hash: the last sweep and measurement), `tg:{0}:day:<day>` (hash: a row of statistics), `tg:{0}:totals:<day>:<node>` (hash: how
//! much of what a node counted is in the row).

use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use async_trait::async_trait;
use foldhash::quality::RandomState;
use fred::types::Value;

use super::link::COMMANDS_AT_ONCE_MAX;
use super::{RedisStore, SWEPT_PER_STEP, StoreError, codec, count, scripts};
use crate::domain::ids::Partition;
use crate::domain::node::NodeId;
use crate::domain::stats::{Counter, DAYS_KEPT, Day, Gauge, Readings, Snapshot};
use crate::domain::time::{Clock, Timestamp};
use crate::store::upkeep::{SweepPlace, SweepStage};
use crate::store::{
    DayRow, DayTotals, Duty, Fence, Fenced, Finding, Lease, LogPosition, Measurement, Statistics, SweepRecord, SweepStep, Swept,
    Upkeep,
};

/// Where that lies which is of no partition.
const SHARED: Partition = Partition(0);

/// Log entries looked at in one step of a sweep or a measurement.
const LOG_PAGE: usize = 128;
/// Pages of one log in a measurement: a hundred million entries.
const LOG_PAGES_MAX: u32 = 800_000;
/// Index entries asked for at once where they are only read.
const SCAN_PAGE: usize = 256;
/// Pages of one index: half a billion sessions in one partition.
const SCAN_PAGES_MAX: u32 = 2_000_000;

const DAY: Duration = Duration::from_secs(86_400);
/// One day more than promised, for clocks that differ.
const ROW_KEPT: Duration = DAY.saturating_mul(DAYS_KEPT + 1);
/// Longer than a node tells the totals of one day.
const TOTALS_KEPT: Duration = DAY.saturating_mul(9);

/// Fields of `upkeep` and of a row beside its counters.
const SWEEP_FIELD: &str = "last_sweep";
const MEASUREMENT_FIELD: &str = "measurement";

const OVERTAKEN: i64 = -1;

#[async_trait]
impl Upkeep for RedisStore {
    async fn lease(&self, duty: Duty, holder: NodeId, span: Duration, _now: Timestamp) -> Result<Lease, StoreError> {
        let keys = [self.keys.lease(duty), self.keys.fences()];
        let args = [duty.name().into(), holder.to_string().into(), millis(span).into()];
        let reply = self.fleet.begin(SHARED).await?.script(&scripts::LEASE, &keys, &args).await?;
        match codec::array(&reply)? {
            [is_ours, fence] if codec::integer(is_ours)? == 1 => fence_of(codec::integer(fence)?).map(Lease::Ours),
            [_, left] => {
                let left = Duration::from_millis(u64::try_from(codec::integer(left)?).unwrap_or_default());
                Ok(Lease::Others { left })
            }
            _ => Err(StoreError::Unreadable("reply to a lease".into())),
        }
    }

    async fn release(&self, duty: Duty, holder: NodeId) -> Result<(), StoreError> {
        let args = [holder.to_string().into()];
        self.fleet.begin(SHARED).await?.script(&scripts::RELEASE, &[self.keys.lease(duty)], &args).await.map(|_| ())
    }

    async fn sweep(&self, place: Option<SweepPlace>, fence: Fence, now: Timestamp) -> Result<Fenced<SweepStep>, StoreError> {
        let place = place.unwrap_or(SweepPlace { partition: Partition(0), stage: SweepStage::Ended });
        let partition = place.partition;
        let stepped = match place.stage {
            SweepStage::Ended => self.sweep_ended(partition, fence, now).await?,
            SweepStage::Orphans(cursor) => self.sweep_orphans(partition, cursor, fence, now).await?,
            SweepStage::Log(after) => self.sweep_log(partition, after, fence, now).await?,
        };
        let Some((swept, stage)) = stepped else { return Ok(Fenced::Overtaken) };
        let next_partition = || {
            let next = Partition(partition.0 + 1);
            (next.0 < self.keys.partitions().count()).then_some(SweepPlace { partition: next, stage: SweepStage::Ended })
        };
        let next = stage.map_or_else(next_partition, |stage| Some(SweepPlace { partition, stage }));
        Ok(Fenced::Done(SweepStep { swept, next }))
    }

    async fn record_sweep(&self, sweep: &SweepRecord, fence: Fence) -> Result<Fenced<()>, StoreError> {
        self.record(Duty::Sweep, fence, SWEEP_FIELD, codec::json(sweep)?, None).await
    }

    async fn measure(&self, now: Timestamp) -> Result<Readings, StoreError> {
        let (mut sessions, mut subjects, mut log_entries) = (0, 0, 0);
        for partition in self.keys.partitions().iter() {
            let (expiry, beyond) = (self.keys.expiry(partition), format!("({}", now.millis()));
            let live = vec![expiry.into(), beyond.into(), "+inf".into()];
            sessions += unsigned(&self.fleet.begin(partition).await?.command("ZCOUNT", live).await?)?;
            log_entries += self.revocations_in(partition).await?;
            subjects += self.subjects_of(partition, now).await?;
        }
        let readings = [
            (Gauge::Sessions, sessions),
            (Gauge::Subjects, subjects),
            (Gauge::LogEntries, log_entries),
            (Gauge::StoreBytes, self.memory().await?),
        ];
        Ok(readings.into_iter().collect())
    }

    async fn record_measurement(&self, measurement: &Measurement, fence: Fence) -> Result<Fenced<()>, StoreError> {
        let row = self.keys.day(Day::of(measurement.taken_at));
        self.record(Duty::Measure, fence, MEASUREMENT_FIELD, codec::json(measurement)?, Some(row)).await
    }

    async fn count(&self, totals: &DayTotals) -> Result<(), StoreError> {
        let keys = [self.keys.totals(totals.day, totals.node), self.keys.day(totals.day)];
        let mut args = vec![millis(TOTALS_KEPT).into(), millis(ROW_KEPT).into()];
        for (counter, total) in totals.counts.counted() {
            args.extend([Value::from(counter.name()), total.to_string().into()]);
        }
        self.fleet.begin(SHARED).await?.script(&scripts::COUNT, &keys, &args).await.map(|_| ())
    }

    async fn statistics(&self, days: RangeInclusive<Day>) -> Result<Statistics, StoreError> {
        let oldest = days.start().0.max(days.end().0.saturating_sub_unsigned(DAYS_KEPT));
        let days: Vec<Day> = (oldest..=days.end().0).map(Day).collect();
        let mut rows = BTreeMap::new();
        for chunk in days.chunks(COMMANDS_AT_ONCE_MAX) {
            let reads = chunk.iter().map(|&day| ("HGETALL", vec![self.keys.day(day).into()]));
            let replies = self.fleet.begin(SHARED).await?.together(reads.collect()).await?;
            for (&day, fields) in chunk.iter().zip(&replies) {
                rows.extend(row(day, fields)?.map(|row| (day, row)));
            }
        }
        for (day, expired) in self.expired(&days).await? {
            rows.entry(day).or_insert(DayRow::of(day)).expired = expired;
        }
        let key = self.keys.upkeep();
        let args = vec![key.as_str().into(), SWEEP_FIELD.into(), MEASUREMENT_FIELD.into()];
        let reply = self.fleet.begin(SHARED).await?.command("HMGET", args).await?;
        let [last_sweep, last_measurement] = codec::array(&reply)? else { return Err(unreadable()) };
        Ok(Statistics {
            rows: rows.into_values().collect(),
            last_sweep: codec::from_json(last_sweep)?,
            last_measurement: codec::from_json(last_measurement)?,
        })
    }

    async fn inspect(&self, clock: &dyn Clock) -> Vec<Finding> {
        self.watch.look(&self.fleet, &self.keys, &self.feed, clock).await
    }
}

/// What a step removed and where the partition goes on; the inner `None` is its end, the outer one an overtaken sweeper.
type Stepped = Option<(Swept, Option<SweepStage>)>;

impl RedisStore {
    async fn sweep_ended(&self, partition: Partition, fence: Fence, now: Timestamp) -> Result<Stepped, StoreError> {
        let expiry = self.keys.expiry(partition);
        let call = self.fleet.begin(partition).await?;
        let range = ["-inf".into(), now.millis().into(), "LIMIT".into(), 0.into(), count(SWEPT_PER_STEP)];
        let args = std::iter::once(expiry.as_str().into()).chain(range).collect();
        let found = call.command("ZRANGEBYSCORE", args).await?;
        let found = codec::array(&found)?;
        let then = SweepStage::Orphans(0);
        if found.is_empty() {
            return Ok(Some((Swept::default(), Some(then))));
        }
        let today = Day::of(now);
        let mut keys = vec![expiry, self.keys.fence(partition), self.keys.expired(partition)];
        let mut args = vec![fence.0.to_string().into(), now.millis().into(), today.0.into(), Value::from(today.oldest_kept().0)];
        self.name(partition, found, &mut keys, &mut args)?;
        let removed = codec::integer(&call.script(&scripts::SWEEP, &keys, &args).await?)?;
        if removed == OVERTAKEN {
            return Ok(None);
        }
        // A page of which nothing goes has ended by our clock and not by the server's: the next sweep sees to it.
        let has_more = found.len() == SWEPT_PER_STEP && removed > 0;
        let swept = Swept { sessions: u64::try_from(removed).unwrap_or_default(), ..Swept::default() };
        Ok(Some((swept, Some(if has_more { SweepStage::Ended } else { then }))))
    }

    async fn sweep_orphans(
        &self,
        partition: Partition,
        cursor: u64,
        fence: Fence,
        now: Timestamp,
    ) -> Result<Stepped, StoreError> {
        let (next, members) = self.scan_expiry(partition, cursor, SWEPT_PER_STEP).await?;
        let mut orphans = 0;
        // A small index is scanned in one piece, whatever was asked for.
        for members in members.chunks(SWEPT_PER_STEP) {
            let mut keys = vec![self.keys.expiry(partition), self.keys.fence(partition)];
            let mut args = vec![fence.0.to_string().into(), now.millis().into()];
            self.name(partition, members.iter().map(|(member, _)| member), &mut keys, &mut args)?;
            let removed = codec::integer(&self.fleet.begin(partition).await?.script(&scripts::ORPHANS, &keys, &args).await?)?;
            if removed == OVERTAKEN {
                return Ok(None);
            }
            orphans += u64::try_from(removed).unwrap_or_default();
        }
        let stage = if next == 0 { SweepStage::Log(LogPosition::default()) } else { SweepStage::Orphans(next) };
        Ok(Some((Swept { orphans, ..Swept::default() }, Some(stage))))
    }

    async fn sweep_log(
        &self,
        partition: Partition,
        after: LogPosition,
        fence: Fence,
        now: Timestamp,
    ) -> Result<Stepped, StoreError> {
        let keys = [self.keys.revocations(partition), self.keys.fence(partition)];
        let args = [fence.0.to_string().into(), now.millis().into(), from(after), count(LOG_PAGE)];
        let (removed, last) = page(&self.fleet.begin(partition).await?.script(&scripts::FORGET, &keys, &args).await?)?;
        if removed == OVERTAKEN {
            return Ok(None);
        }
        let swept = Swept { revocations: u64::try_from(removed).unwrap_or_default(), ..Swept::default() };
        Ok(Some((swept, last.map(SweepStage::Log))))
    }

    /// Adds the keys and the arguments of sessions that a script is to look at.
    fn name<'a>(
        &self,
        partition: Partition,
        members: impl IntoIterator<Item = &'a Value>,
        keys: &mut Vec<String>,
        args: &mut Vec<Value>,
    ) -> Result<(), StoreError> {
        for member in members {
            let (id, subject) = codec::expiring(member)?;
            keys.extend([self.keys.session(id), self.keys.subject(partition, &subject)]);
            args.push(member.clone());
        }
        Ok(())
    }

    /// Some entries of the expiry index with their ends, and where to go on: 0 is the end. What is there throughout is returned
    /// at least once.
    async fn scan_expiry(&self, partition: Partition, cursor: u64, page: usize) -> Result<(u64, Vec<(Value, i64)>), StoreError> {
        let expiry = self.keys.expiry(partition);
        let args = vec![expiry.as_str().into(), cursor.to_string().into(), "COUNT".into(), count(page)];
        let reply = self.fleet.begin(partition).await?.command("ZSCAN", args).await?;
        let [cursor, entries] = codec::array(&reply)? else { return Err(unreadable()) };
        let cursor = codec::number(cursor).ok_or_else(unreadable)?;
        let entry = |pair: &[Value]| {
            let ends_at = codec::text(&pair[1])?.parse::<f64>().ok()?;
            #[expect(clippy::cast_possible_truncation, reason = "milliseconds: whole numbers far below 2^53")]
            Some((pair[0].clone(), ends_at as i64))
        };
        let entries = codec::array(entries)?.chunks_exact(2).map(|pair| entry(pair).ok_or_else(unreadable));
        Ok((cursor, entries.collect::<Result<_, _>>()?))
    }

    /// How many revocations are in the log of the partition.
    async fn revocations_in(&self, partition: Partition) -> Result<u64, StoreError> {
        let (keys, mut revocations, mut after) = ([self.keys.revocations(partition)], 0, LogPosition::default());
        for _ in 0..LOG_PAGES_MAX {
            let args = [from(after), count(LOG_PAGE)];
            let (found, last) = page(&self.fleet.begin(partition).await?.script(&scripts::TALLY, &keys, &args).await?)?;
            revocations += u64::try_from(found).map_err(|_| unreadable())?;
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
        Ok(revocations)
    }

    /// How many subjects have live sessions in the partition: by the hashes of their names, of which no two are equal by chance.
    async fn subjects_of(&self, partition: Partition, now: Timestamp) -> Result<u64, StoreError> {
        let (hasher, mut seen, mut cursor) = (RandomState::default(), HashSet::<u64>::new(), 0);
        for _ in 0..SCAN_PAGES_MAX {
            let (next, entries) = self.scan_expiry(partition, cursor, SCAN_PAGE).await?;
            for (member, _) in entries.iter().filter(|(_, ends_at)| *ends_at > now.millis()) {
                let (_, subject) = codec::expiring(member)?;
                seen.insert(hasher.hash_one(subject));
            }
            if next == 0 {
                break;
            }
            cursor = next;
        }
        Ok(seen.len() as u64)
    }

    /// The memory of all servers that hold partitions.
    async fn memory(&self) -> Result<u64, StoreError> {
        let mut servers = BTreeMap::new();
        let partitions: Vec<Partition> = self.keys.partitions().iter().collect();
        for chunk in partitions.chunks(COMMANDS_AT_ONCE_MAX) {
            let asked = chunk.iter().map(|&partition| (partition, "INFO", Vec::new()));
            for reply in self.fleet.each(asked.collect()).await? {
                let info = codec::text(&reply).unwrap_or_default();
                let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                if let (Some(server), Some(Ok(bytes))) = (field("run_id"), field("used_memory").map(str::parse::<u64>)) {
                    servers.insert(server.to_owned(), bytes);
                }
            }
        }
        Ok(servers.into_values().sum())
    }

    async fn record(
        &self,
        duty: Duty,
        fence: Fence,
        field: &'static str,
        value: String,
        row: Option<String>,
    ) -> Result<Fenced<()>, StoreError> {
        let mut keys = vec![self.keys.fences(), self.keys.upkeep()];
        keys.extend(row);
        let args = [duty.name().into(), fence.0.to_string().into(), field.into(), value.into(), Value::from(millis(ROW_KEPT))];
        let written = codec::integer(&self.fleet.begin(SHARED).await?.script(&scripts::RECORD, &keys, &args).await?)?;
        Ok(if written == 1 { Fenced::Done(()) } else { Fenced::Overtaken })
    }

    /// Expired sessions of each of the days, over all partitions; days without any are left out.
    async fn expired(&self, days: &[Day]) -> Result<BTreeMap<Day, u64>, StoreError> {
        let mut sums = BTreeMap::new();
        if days.is_empty() {
            return Ok(sums);
        }
        let partitions: Vec<Partition> = self.keys.partitions().iter().collect();
        for chunk in partitions.chunks(COMMANDS_AT_ONCE_MAX) {
            let reads = chunk.iter().map(|&partition| {
                let key = self.keys.expired(partition);
                let fields = days.iter().map(|day| Value::from(day.0));
                let args = std::iter::once(Value::from(key.as_str())).chain(fields).collect();
                (partition, "HMGET", args)
            });
            for reply in self.fleet.each(reads.collect()).await? {
                for (&day, expired) in days.iter().zip(codec::array(&reply)?) {
                    if !matches!(expired, Value::Null) {
                        *sums.entry(day).or_default() += codec::number(expired).ok_or_else(unreadable)?;
                    }
                }
            }
        }
        Ok(sums)
    }
}

/// Where a page of the log begins.
fn from(after: LogPosition) -> Value {
    format!("({}", codec::stream_id(after)).into()
}

/// Reads what a script says of one page of the log: a number, and the last entry unless it was the last page.
fn page(reply: &Value) -> Result<(i64, Option<LogPosition>), StoreError> {
    match codec::array(reply)? {
        [number] => Ok((codec::integer(number)?, None)),
        [number, last] => Ok((codec::integer(number)?, Some(codec::position(last).ok_or_else(unreadable)?))),
        _ => Err(unreadable()),
    }
}

/// Reads a row; `None` when there is none. Counters of another version are passed over.
fn row(day: Day, fields: &Value) -> Result<Option<DayRow>, StoreError> {
    let fields: BTreeMap<&str, &Value> =
        codec::array(fields)?.chunks_exact(2).filter_map(|pair| Some((codec::text(&pair[0])?, &pair[1]))).collect();
    if fields.is_empty() {
        return Ok(None);
    }
    let known = |counter: Counter| Some((counter, codec::number(fields.get(counter.name())?)?));
    let counts: Snapshot = Counter::ALL.into_iter().filter_map(known).collect();
    let measured = fields.get(MEASUREMENT_FIELD).map(|value| codec::from_json(value)).transpose()?.flatten();
    Ok(Some(DayRow { counts, measured, ..DayRow::of(day) }))
}

fn fence_of(number: i64) -> Result<Fence, StoreError> {
    u64::try_from(number).map(Fence).map_err(|_| unreadable())
}

fn unsigned(value: &Value) -> Result<u64, StoreError> {
    u64::try_from(codec::integer(value)?).map_err(|_| unreadable())
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn unreadable() -> StoreError {
    StoreError::Unreadable("reply of upkeep".into())
}
