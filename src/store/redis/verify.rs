//! Looks for what would make a Redis lose sessions or revocations.

use std::time::Duration;

use fred::types::Value;

use super::call::Call;
use super::fleet::Fleet;
use super::keys::Keys;
use super::{Address, StoreError, codec, scripts};
use crate::domain::ids::Partition;
use crate::domain::time::{Clock, Timestamp};
use crate::store::{Finding, Severity};

/// The oldest release whose commands suffice, and the one that is tested with.
const VERSION_MIN: (u32, u32) = (6, 2);
const VERSION_TESTED: (u32, u32) = (7, 0);

/// Clocks further apart than this are worth a word; than that, end sessions noticeably early or late.
const CLOCK_DIFFERENCE_WARNING: Duration = Duration::from_secs(1);
const CLOCK_DIFFERENCE_ERROR: Duration = Duration::from_secs(30);

pub(super) const CONNECTION: &str = "connection";
pub(super) const SCRIPTS: &str = "scripts";
pub(super) const EVICTION: &str = "eviction";

/// What one server said of itself.
#[derive(Debug, Default)]
pub(super) struct Info(String);

impl Info {
    #[cfg(test)]
    pub(super) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }
}

/// Looks at every primary.
pub(super) async fn verify(fleet: &Fleet, keys: &Keys, clock: &dyn Clock) -> Vec<Finding> {
    let primaries = fleet.primaries();
    if primaries.is_empty() {
        return vec![unreachable(&fleet.owner(Partition(0)).map_or_else(|error| error.to_string(), |_| String::new()))];
    }
    let mut findings = Vec::new();
    for (node, partition) in &primaries {
        let mut found = Vec::new();
        examine(fleet, *partition, clock, &mut found).await;
        if !found.iter().any(|finding| finding.subject == CONNECTION) {
            found.extend(scripts(fleet, keys, *partition).await.err());
        }
        let named = |finding| if primaries.len() > 1 { at(&node.address, finding) } else { finding };
        findings.extend(found.into_iter().map(named));
    }
    findings
}

/// Looks at the primary of a partition. Each look is a call of its own: one that is not permitted leaves the others. Returns what
/// it said of itself.
pub(super) async fn examine(fleet: &Fleet, partition: Partition, clock: &dyn Clock, findings: &mut Vec<Finding>) -> Info {
    let connected = match fleet.begin(partition).await {
        Ok(call) => call.command("PING", Vec::new()).await,
        Err(error) => Err(error),
    };
    if let Err(error) = connected {
        findings.push(unreachable(&error.to_string()));
        return Info::default();
    }
    let info = server(fleet, partition, findings).await.unwrap_or_else(|finding| {
        findings.push(finding);
        Info::default()
    });
    let unread = time(fleet, partition, clock, findings).await.err();
    findings.extend(unread);
    info
}

/// A finding of one server among several.
pub(super) fn at(address: &Address, mut finding: Finding) -> Finding {
    finding.text.insert_str(0, &format!("{address}: "));
    finding
}

fn unreachable(cause: &str) -> Finding {
    error(CONNECTION, format!("no response to PING: {cause}"))
}

async fn scripts(fleet: &Fleet, keys: &Keys, partition: Partition) -> Result<(), Finding> {
    let call = begin(fleet, partition).await?;
    call.script(&scripts::CHECK, &[keys.check(partition)], &[]).await.map(|_| ()).map_err(|cause| scripts_refused(&cause))
}

pub(super) fn scripts_refused(cause: &StoreError) -> Finding {
    error(SCRIPTS, format!("this user must be allowed to run scripts that write: {cause}"))
}

async fn server(fleet: &Fleet, partition: Partition, findings: &mut Vec<Finding>) -> Result<Info, Finding> {
    let call = begin(fleet, partition).await?;
    let failed = |cause| warning("INFO", format!("version, eviction and persistence are unknown: {cause}"));
    let reply = call.command("INFO", Vec::new()).await.map_err(failed)?;
    let info = Info(codec::text(&reply).unwrap_or_default().to_owned());
    findings.extend(info.field("redis_version").and_then(version_finding));
    findings.extend(info.field("maxmemory_policy").and_then(eviction_finding));
    if info.field("role") == Some("slave") {
        findings.push(error("role", "this is a replica, which takes no writes: name the primary".into()));
    }
    if info.number("evicted_keys").is_some_and(|keys| keys > 0) {
        findings
            .push(warning("evicted", "keys were evicted since this server started: sessions or revocations may be lost".into()));
    }
    if info.field("aof_enabled") == Some("0") {
        findings.push(persistence_finding(snapshots(&call).await.ok()));
    }
    findings.extend(cluster_finding(&info, fleet.is_cluster()));
    if fleet.is_cluster() && full_coverage(&call).await.unwrap_or(false) {
        let text = "cluster-require-full-coverage is yes: while one primary is away, all subjects wait; set it to no";
        findings.push(warning("coverage", text.into()));
    }
    let connected = info.number("connected_slaves");
    let wanted = fleet.replication().map(|replication| u64::from(replication.replicas));
    findings.extend(wanted.zip(connected).and_then(|(wanted, connected)| replicas_finding(wanted, connected)));
    Ok(info)
}

async fn time(fleet: &Fleet, partition: Partition, clock: &dyn Clock, findings: &mut Vec<Finding>) -> Result<(), Finding> {
    let call = begin(fleet, partition).await?;
    let failed = |cause| warning("TIME", format!("the difference between the clocks is unknown: {cause}"));
    let before = clock.now();
    let reply = call.command("TIME", Vec::new()).await.map_err(failed)?;
    let after = clock.now();
    if let Some(theirs) = server_time(&reply) {
        findings.extend(clock_finding(theirs, before, after));
    }
    Ok(())
}

async fn begin(fleet: &Fleet, partition: Partition) -> Result<Call<'_>, Finding> {
    fleet.begin(partition).await.map_err(|cause| error(CONNECTION, cause.to_string()))
}

/// Whether the server writes snapshots; fails where CONFIG is not permitted.
async fn snapshots(call: &Call<'_>) -> Result<bool, StoreError> {
    Ok(setting(call, "save").await?.is_some_and(|save| !save.is_empty()))
}

async fn full_coverage(call: &Call<'_>) -> Result<bool, StoreError> {
    Ok(setting(call, "cluster-require-full-coverage").await?.is_some_and(|value| value == "yes"))
}

async fn setting(call: &Call<'_>, name: &'static str) -> Result<Option<String>, StoreError> {
    let reply = call.command("CONFIG", vec!["GET".into(), name.into()]).await?;
    Ok(codec::array(&reply)?.get(1).and_then(codec::text).map(str::to_owned))
}

/// Keys of a Cluster lie on other nodes too, which one address alone does not reach.
fn cluster_finding(info: &Info, as_cluster: bool) -> Option<Finding> {
    let is_cluster = info.field("cluster_enabled") == Some("1");
    (is_cluster && !as_cluster).then(|| error("cluster", "this is a node of a Cluster: name it with redis-cluster://".into()))
}

fn replicas_finding(wanted: u64, connected: u64) -> Option<Finding> {
    let text = || format!("{connected} replicas are connected, a logout waits for {wanted}: it is answered with 503");
    (connected < wanted).then(|| error("replicas", text()))
}

fn version_finding(version: &str) -> Option<Finding> {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let version_parts = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let (major, minor) = VERSION_TESTED;
    if version_parts < VERSION_MIN {
        Some(error("version", format!("Redis {version} is too old: {major}.{minor} is what is tested with")))
    } else if version_parts < VERSION_TESTED {
        Some(warning("version", format!("Redis {version} is older than {major}.{minor}, which is what is tested with")))
    } else {
        None
    }
}

fn eviction_finding(policy: &str) -> Option<Finding> {
    let text =
        || format!("maxmemory-policy is {policy}: under pressure it drops sessions and revocations silently; set noeviction");
    (policy != "noeviction").then(|| error(EVICTION, text()))
}

fn persistence_finding(snapshots: Option<bool>) -> Finding {
    let text = match snapshots {
        Some(true) => "snapshots only: what was written since the last one is lost with the server; set appendonly yes",
        Some(false) => "off: a restart of this server logs everyone out; set appendonly yes",
        None => "appendonly is off: what was written since the last snapshot is lost with the server",
    };
    warning("persistence", text.into())
}

fn server_time(reply: &Value) -> Option<Timestamp> {
    let [seconds, micros] = codec::array(reply).ok()? else { return None };
    let (seconds, micros): (i64, i64) = (codec::text(seconds)?.parse().ok()?, codec::text(micros)?.parse().ok()?);
    Some(Timestamp::from_millis(seconds.checked_mul(1000)?.checked_add(micros / 1000)?))
}

/// The server read its clock at some moment between `before` and `after`: only what lies outside counts.
fn clock_finding(theirs: Timestamp, before: Timestamp, after: Timestamp) -> Option<Finding> {
    let difference = before.since(theirs).max(theirs.since(after));
    let text = || format!("this clock and the server's are {difference:?} apart: keep both with NTP");
    if difference > CLOCK_DIFFERENCE_ERROR {
        Some(error("clock", text()))
    } else if difference > CLOCK_DIFFERENCE_WARNING {
        Some(warning("clock", text()))
    } else {
        None
    }
}

pub(super) const fn error(subject: &'static str, text: String) -> Finding {
    Finding { severity: Severity::Error, subject, text }
}

const fn warning(subject: &'static str, text: String) -> Finding {
    Finding { severity: Severity::Warning, subject, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_named() {
        assert_eq!(version_finding("6.0.16").map(|finding| finding.severity), Some(Severity::Error));
        assert_eq!(version_finding("6.2.14").map(|finding| finding.severity), Some(Severity::Warning));
        assert_eq!(version_finding("7.0.15"), None);
        assert_eq!(version_finding("8.2.1"), None);
    }

    #[test]
    fn a_slow_response_is_no_difference_between_clocks() {
        let at = Timestamp::from_secs;
        assert_eq!(clock_finding(at(5), at(0), at(10)), None);
        assert_eq!(clock_finding(at(8), at(10), at(11)).map(|finding| finding.severity), Some(Severity::Warning));
        assert_eq!(clock_finding(at(60), at(10), at(11)).map(|finding| finding.severity), Some(Severity::Error));
    }
}
