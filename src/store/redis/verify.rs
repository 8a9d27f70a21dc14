//! Looks for what would make a Redis lose sessions or revocations.

use std::time::Duration;

use fred::types::Value;

use super::client::{Call, Link};
use super::keys::Keys;
use super::{StoreError, codec, scripts};
use crate::domain::time::{Clock, Timestamp};

/// Something that an operator should know of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub severity: Severity,
    /// What was looked at, one word or two.
    pub subject: &'static str,
    /// What was found and what to do about it.
    pub text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    Warning,
    /// The gateway cannot keep its promises on this Redis.
    Error,
}

/// The oldest release whose commands suffice, and the one that is tested with.
const VERSION_MIN: (u32, u32) = (6, 2);
const VERSION_TESTED: (u32, u32) = (7, 0);

/// Clocks further apart than this are worth a word; than that, end sessions noticeably early or late.
const CLOCK_DIFFERENCE_WARNING: Duration = Duration::from_secs(1);
const CLOCK_DIFFERENCE_ERROR: Duration = Duration::from_secs(30);

/// Each look is a call of its own: one that is not permitted leaves the others.
pub(super) async fn verify(link: &Link, keys: &Keys, clock: &dyn Clock) -> Vec<Finding> {
    if let Err(finding) = connection(link, keys).await {
        return vec![finding];
    }
    let mut findings = Vec::new();
    findings.extend(scripts(link, keys).await.err());
    let unread = server(link, keys, &mut findings).await.err();
    findings.extend(unread);
    let unread = time(link, keys, clock, &mut findings).await.err();
    findings.extend(unread);
    findings
}

const CONNECTION: &str = "connection";

async fn connection(link: &Link, keys: &Keys) -> Result<(), Finding> {
    let failed = |cause| error(CONNECTION, format!("no answer to PING: {cause}"));
    begin(link).await?.command("PING", &keys.check(), Vec::new()).await.map(|_| ()).map_err(failed)
}

async fn scripts(link: &Link, keys: &Keys) -> Result<(), Finding> {
    let failed = |cause| error("scripts", format!("this user must be allowed to run scripts that write: {cause}"));
    begin(link).await?.script(&scripts::CHECK, &[keys.check()], &[]).await.map(|_| ()).map_err(failed)
}

async fn server(link: &Link, keys: &Keys, findings: &mut Vec<Finding>) -> Result<(), Finding> {
    let call = begin(link).await?;
    let failed = |cause| warning("INFO", format!("version, eviction and persistence are unknown: {cause}"));
    let reply = call.command("INFO", &keys.check(), Vec::new()).await.map_err(failed)?;
    let info = codec::text(&reply).unwrap_or_default();
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));

    findings.extend(field("redis_version").and_then(version_finding));
    findings.extend(field("maxmemory_policy").and_then(eviction_finding));
    if field("role") == Some("slave") {
        findings.push(error("role", "this is a replica, which takes no writes: name the primary".into()));
    }
    if field("evicted_keys").is_some_and(|keys| keys != "0") {
        findings
            .push(warning("eviction", "keys were evicted since this server started: sessions or revocations may be lost".into()));
    }
    if field("aof_enabled") == Some("0") {
        findings.push(persistence_finding(snapshots(&call, keys).await.ok()));
    }
    Ok(())
}

async fn time(link: &Link, keys: &Keys, clock: &dyn Clock, findings: &mut Vec<Finding>) -> Result<(), Finding> {
    let call = begin(link).await?;
    let failed = |cause| warning("TIME", format!("the difference between the clocks is unknown: {cause}"));
    let before = clock.now();
    let reply = call.command("TIME", &keys.check(), Vec::new()).await.map_err(failed)?;
    let after = clock.now();
    if let Some(theirs) = server_time(&reply) {
        findings.extend(clock_finding(theirs, before, after));
    }
    Ok(())
}

async fn begin(link: &Link) -> Result<Call<'_>, Finding> {
    link.begin().await.map_err(|cause| error(CONNECTION, cause.to_string()))
}

/// Whether the server writes snapshots; fails where CONFIG is not permitted.
async fn snapshots(call: &Call<'_>, keys: &Keys) -> Result<bool, StoreError> {
    let reply = call.command("CONFIG", &keys.check(), vec!["GET".into(), "save".into()]).await?;
    Ok(codec::array(&reply)?.get(1).and_then(codec::text).is_some_and(|save| !save.is_empty()))
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
    (policy != "noeviction").then(|| error("eviction", text()))
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

const fn error(subject: &'static str, text: String) -> Finding {
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
    fn a_slow_answer_is_no_difference_between_clocks() {
        let at = Timestamp::from_secs;
        assert_eq!(clock_finding(at(5), at(0), at(10)), None);
        assert_eq!(clock_finding(at(8), at(10), at(11)).map(|finding| finding.severity), Some(Severity::Warning));
        assert_eq!(clock_finding(at(60), at(10), at(11)).map(|finding| finding.severity), Some(Severity::Error));
    }
}
