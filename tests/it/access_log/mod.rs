//! The access log: real processes, real sockets, real files.

mod chosen;
mod destinations;
mod lines;
mod secrets;
mod streams;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::gateway::Gateway;
use crate::support::servers::Server;

const PATIENCE: Duration = Duration::from_secs(20);

/// All that a line can tell.
const ALL: &str = "time,node,request_id,trace_id,client,peer,certificate_subject,subject,session,method,scheme,host,path,query,protocol,\
                   user_agent,referer,route,endpoint,upstream,target,status,outcome,code,request_bytes,response_bytes,duration,\
                   gateway_duration,upstream_duration";

/// How a path begins that is asked for behind all others.
const LAST: &str = "/public/last-of-all-";

/// A gateway with an access log in a file.
struct Logging {
    gateway: Gateway,
    file: PathBuf,
    /// How often all lines were waited for.
    asked: AtomicUsize,
    _folder: TempDir,
}

impl Logging {
    /// One worker, which writes its lines in the order in which they end.
    fn start(upstream: &impl Server, set: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("access.log");
        let to = file.display().to_string();
        let mut all =
            vec![("listen.workers", "1"), ("log.access.mode", "on"), ("log.access.fields", ALL), ("log.access.to", &to)];
        all.extend_from_slice(set);
        let gateway = Gateway::start(upstream, &all);
        Self { gateway, file, asked: AtomicUsize::default(), _folder: folder }
    }

    /// What was written so far, and all of it: a last request is waited for.
    fn lines(&self) -> Vec<Value> {
        let last = format!("{LAST}{}", self.asked.fetch_add(1, Ordering::Relaxed));
        self.gateway.client().get(&last, None).expect(200);
        let mut lines = await_lines(&self.file, "the last line", |lines| lines.last().is_some_and(|line| line["path"] == last));
        let is_of_the_test =
            |line: &Value| line["endpoint"] != "ready" && !line["path"].as_str().is_some_and(|path| path.starts_with(LAST));
        lines.retain(is_of_the_test);
        lines
    }

    /// Those of one path.
    fn of(&self, path: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["path"] == path).collect()
    }

    fn only(&self, path: &str) -> Value {
        let mut lines = self.of(path);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        lines.remove(0)
    }
}

fn has(line: &Value, members: &[(&str, Value)]) {
    for (name, value) in members {
        assert_eq!(&line[*name], value, "{name}: {line:#}");
    }
}

fn seconds(line: &Value, name: &str) -> f64 {
    line[name].as_f64().unwrap_or_else(|| panic!("{name}: {line:#}"))
}

/// Each line of a file, which has to be whole.
fn lines_of(file: &Path) -> Vec<Value> {
    let text = fs::read(file).unwrap_or_default();
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let read =
        |line: &[u8]| serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)));
    text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(read).collect()
}

#[track_caller]
fn await_lines(file: &Path, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let lines = lines_of(file);
        if holds(&lines) {
            return lines;
        }
        assert!(Instant::now() < deadline, "never: {what}: {lines:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How many lines had this outcome, as `/metrics` tells it.
fn counted(gateway: &Gateway, outcome: &str) -> u64 {
    let text = gateway.admin().get("/metrics", None).expect(200).text();
    let series = format!("tokengate_access_log_lines_total{{outcome=\"{outcome}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
}
