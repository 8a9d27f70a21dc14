//! Files, pipes, sockets: those that are turned, full, or not read.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};
use tempfile::TempDir;

use super::{await_lines, counted, eventually, lines_of};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

/// From the end of a gateway's last request to its own.
const END_MAX: Duration = Duration::from_secs(20);

/// More than the smallest queue holds.
const MANY: usize = 1_500;

const TABLES: &str = "[[routes]]\nname = \"public\"\nprefix = \"/\"\naccess = \"public\"\n";

/// A gateway whose settings file has the destination, so that a reload can change it.
fn start(upstream: &Upstream, to: &str, further: &str, set: &[(&str, &str)]) -> Gateway {
    let tables = format!("{TABLES}[log.access]\nmode = \"on\"\nto = \"{to}\"\n{further}");
    Gateway::of(upstream, &tables, set)
}

/// Each with its number as its path.
fn send(gateway: &Gateway, numbers: impl Iterator<Item = usize>) {
    let mut client = gateway.client();
    for number in numbers {
        client.get(&format!("/{number}"), None).expect(200);
    }
}

fn numbers(lines: &[Value]) -> Vec<usize> {
    lines.iter().filter_map(|line| line["path"].as_str()?.strip_prefix('/')?.parse().ok()).collect()
}

fn warnings(gateway: &Gateway) -> usize {
    gateway.log().matches("the access log is not taken").count()
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn a_file_that_is_renamed_while_lines_come_loses_none_and_cuts_none() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let file = folder.path().join("access.log");
    let gateway = start(&upstream, &file.display().to_string(), "", &[]);
    let (is_over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut files = vec![file.clone()];
    thread::scope(|scope| {
        for client in 0..3 {
            let (gateway, is_over, sent) = (&gateway, &is_over, &sent);
            scope.spawn(move || {
                for number in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    send(gateway, std::iter::once(client * 1_000_000 + number));
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for turn in 0..5 {
            let before = sent.load(Ordering::Relaxed);
            eventually("some more were sent", || sent.load(Ordering::Relaxed) > before + 50);
            let renamed = folder.path().join(format!("access.log.{turn}"));
            fs::rename(&file, &renamed).unwrap();
            gateway.signal("HUP");
            eventually("it is opened anew", || file.exists());
            files.push(renamed);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let sent = usize::try_from(sent.into_inner()).unwrap();
    let all = || files.iter().flat_map(|file| numbers(&lines_of(file))).collect::<Vec<_>>();
    eventually("all lines are there", || all().len() >= sent);
    let (count, unique) = (all().len(), all().into_iter().collect::<HashSet<_>>().len());
    assert_eq!((count, unique), (sent, sent));
    assert_eq!(counted(&gateway, "dropped"), 0);
    assert!(files.iter().all(|file| fs::read(file).unwrap().last().is_none_or(|last| *last == b'\n')));
}

#[test]
fn a_file_that_is_truncated_is_written_on_from_its_beginning() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let file = folder.path().join("access.log");
    let gateway = start(&upstream, &file.display().to_string(), "", &[]);
    send(&gateway, 0..20);
    await_lines(&file, "the first", |lines| numbers(lines).len() == 20);
    fs::copy(&file, folder.path().join("copy")).unwrap();
    OpenOptions::new().write(true).open(&file).unwrap().set_len(0).unwrap();
    send(&gateway, 20..30);
    let lines = await_lines(&file, "the others", |lines| numbers(lines).len() == 10);
    assert_eq!(numbers(&lines), (20..30).collect::<Vec<_>>());
    assert_eq!(fs::read(&file).unwrap()[0], b'{', "no gap stands before them");
}

#[test]
fn a_new_file_is_not_for_everybody_and_sighup_opens_it_also_where_the_settings_are_broken() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let file = folder.path().join("access.log");
    let settings = folder.path().join("tokengate.toml");
    let gateway = {
        let text = format!(
            "listen.address = \"127.0.0.1:0\"\nlisten.workers = 1\nstore.kind = \"memory\"\nadmin.address = \"127.0.0.1:0\"\n\
             log.format = \"json\"\nlog.access = {{ mode = \"on\", to = \"{}\" }}\n[upstreams.api]\nurl = \"{}\"\n{TABLES}",
            file.display(),
            upstream.url()
        );
        fs::write(&settings, text).unwrap();
        Gateway::launch_file(folder.path(), &settings, &[])
    };
    gateway.await_ready();
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o640, "{mode:o}");
    fs::write(&settings, "this is no TOML").unwrap();
    fs::rename(&file, folder.path().join("former")).unwrap();
    gateway.signal("HUP");
    eventually("it is opened anew", || file.exists());
    gateway.await_log("the settings are refused", |log| log.contains("settings not reloaded"));
    send(&gateway, 0..1);
    await_lines(&file, "a line", |lines| numbers(lines) == [0]);
}

#[test]
fn a_file_that_cannot_be_opened_is_a_fault_of_its_key() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let missing = folder.path().join("missing/access.log").display().to_string();
    let Err(said) = Gateway::try_launch(&upstream, &[("log.access.mode", "on"), ("log.access.to", &missing)]) else {
        panic!("it started")
    };
    assert!(said.contains("log.access.to") && said.contains(&missing), "{said}");
    let checked = Command::new(env!("CARGO_BIN_EXE_tokengate"))
        .args(["check", "--upstream", "http://127.0.0.1:1", "--set", "log.access.mode=on", "--set"])
        .arg(format!("log.access.to={missing}"))
        .current_dir(folder.path())
        .env_clear()
        .output()
        .unwrap();
    let told = [checked.stdout, checked.stderr].concat();
    assert!(!checked.status.success() && String::from_utf8_lossy(&told).contains("log.access.to: cannot open"), "{told:?}");
    let file = folder.path().join("access.log");
    let gateway = start(&upstream, &file.display().to_string(), "", &[]);
    let former = file.display().to_string();
    gateway.rewrite(|text| text.replace(&former, &missing));
    gateway.signal("HUP");
    gateway.await_log("it says so", |log| log.contains("settings not reloaded") && log.contains("log.access.to"));
    send(&gateway, 0..1);
    await_lines(&file, "the old one goes on", |lines| numbers(lines) == [0]);
}

fn pipe(folder: &TempDir) -> std::path::PathBuf {
    let path = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

#[test]
fn a_pipe_that_nobody_reads_costs_lines_and_no_requests_and_is_left_by_a_reload() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let (pipe, file) = (pipe(&folder), folder.path().join("access.log"));
    let gateway = start(&upstream, &pipe.display().to_string(), "queue_bytes_max = \"64KiB\"\n", &[]);
    // What the pipe itself holds is not lost.
    let mut reader = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(&pipe).unwrap();
    send(&gateway, 0..MANY);
    eventually("lines are dropped", || counted(&gateway, "dropped") > 0);
    gateway.await_log("operators are told", |log| log.contains("the access log is not taken"));
    send(&gateway, MANY..2 * MANY);
    assert_eq!(warnings(&gateway), 1, "once a minute");
    gateway.reload(|text| text.replace(&pipe.display().to_string(), &file.display().to_string()));
    send(&gateway, 0..10);
    await_lines(&file, "the new destination has them", |lines| numbers(lines) == (0..10).collect::<Vec<_>>());
    gateway.await_log("the former one is given up", |log| log.contains("the access log was not taken to its end"));
    let mut held = Vec::new();
    let _ = reader.read_to_end(&mut held);
    let text = String::from_utf8(held).unwrap();
    assert!(text.ends_with('\n') && text.lines().map(parsed).count() > 10, "whole lines alone are in the pipe");
    let (written, dropped) = (counted(&gateway, "written"), counted(&gateway, "dropped"));
    assert!(written + dropped >= 2 * MANY as u64 + 10, "{written} {dropped}");
}

#[test]
fn a_reader_that_comes_back_gets_what_waited() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let pipe = pipe(&folder);
    let gateway = start(&upstream, &pipe.display().to_string(), "", &[("listen.workers", "1")]);
    send(&gateway, 0..MANY);
    let mut lines = BufReader::new(File::open(&pipe).unwrap()).lines();
    let mut came = Vec::new();
    while came.len() < MANY {
        came.extend(numbers(&[parsed(&lines.next().unwrap().unwrap())]));
    }
    assert_eq!(came, (0..MANY).collect::<Vec<_>>());
    assert_eq!((counted(&gateway, "dropped"), warnings(&gateway)), (0, 0));
}

#[test]
fn a_socket_that_nobody_reads_holds_up_nothing_and_a_new_reader_gets_whole_lines() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("log.sock");
    let to = format!("unix:{}", path.display());
    let mut gateway = start(&upstream, &to, "queue_bytes_max = \"64KiB\"\n", &[("listen.workers", "1")]);
    gateway.await_log("nobody listens yet", |log| log.contains("the access log is not taken"));
    send(&gateway, 0..3);
    let listener = UnixListener::bind(&path).unwrap();
    let (first, _) = listener.accept().unwrap();
    let mut lines = BufReader::new(&first).lines();
    let mut came = Vec::new();
    while came.len() < 3 {
        came.extend(numbers(&[parsed(&lines.next().unwrap().unwrap())]));
    }
    assert_eq!(came, [0, 1, 2], "they waited");
    gateway.await_log("it goes on", |log| log.contains("the access log is taken again"));
    send(&gateway, 0..MANY);
    eventually("lines are dropped", || {
        send(&gateway, 0..10);
        counted(&gateway, "dropped") > 0
    });
    drop(lines);
    drop(first);
    let (second, _) = listener.accept().unwrap();
    for line in BufReader::new(&second).lines().take(5) {
        parsed(&line.unwrap());
    }
    // Nobody accepts from here on: whoever connects waits in a queue.
    drop(second);
    send(&gateway, 0..10);
    gateway.terminate();
    assert!(gateway.wait(END_MAX).is_some(), "it ends all the same");
}

#[test]
fn a_full_disk_is_told_once_and_holds_up_neither_requests_nor_the_end() {
    let upstream = Upstream::start();
    let mut gateway = start(&upstream, "/dev/full", "queue_bytes_max = \"64KiB\"\n", &[]);
    send(&gateway, 0..MANY);
    gateway.await_log("it says so", |log| log.contains("the access log is not taken") && log.contains("No space left on device"));
    eventually("lines are dropped", || counted(&gateway, "dropped") > 0);
    assert_eq!((warnings(&gateway), counted(&gateway, "written")), (1, 0));
    gateway.terminate();
    assert!(gateway.wait(END_MAX).is_some());
}

#[test]
fn what_was_served_before_the_end_is_written_before_it() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let file = folder.path().join("access.log");
    let mut gateway = start(&upstream, &file.display().to_string(), "", &[]);
    send(&gateway, 0..25);
    gateway.terminate();
    assert!(gateway.wait(END_MAX).is_some());
    let found: HashSet<usize> = numbers(&lines_of(&file)).into_iter().collect();
    assert_eq!(found, (0..25).collect());
}

#[test]
fn two_nodes_may_share_a_file_and_stderr_takes_lines_beside_the_log() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let file = folder.path().join("access.log").display().to_string();
    let fields = "fields = [\"node\", \"path\", \"user_agent\"]\n";
    let node = |name: &str| start(&upstream, &file, fields, &[("node.name", name)]);
    let (a, b) = (node("a"), node("b"));
    thread::scope(|scope| {
        scope.spawn(|| send(&a, 0..200));
        scope.spawn(|| send(&b, 1_000..1_200));
    });
    let lines = await_lines(Path::new(&file), "all of both", |lines| numbers(lines).len() >= 400);
    for (name, range) in [("a", 0..200), ("b", 1_000..1_200)] {
        let of_node: Vec<Value> = lines.iter().filter(|line| line["node"] == name).cloned().collect();
        assert_eq!(numbers(&of_node).into_iter().collect::<HashSet<_>>(), range.collect(), "{name}");
    }
    let c = start(&upstream, "stderr", fields, &[("log.level", "info,tokengate::proxy=debug")]);
    send(&c, 0..50);
    c.await_log("all lines", |log| {
        let lines: Vec<Value> = log.lines().map(parsed).collect();
        numbers(&lines).len() == 50
    });
}

#[test]
fn a_file_that_takes_no_more_within_a_line_costs_that_line_alone_once_it_is_turned() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let (file, full) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let settings = format!(
        "listen.address = \"127.0.0.1:0\"\nlisten.workers = 1\nstore.kind = \"memory\"\nadmin.address = \"127.0.0.1:0\"\n\
         log.format = \"json\"\nlog.access = {{ mode = \"on\", to = \"{}\" }}\n[upstreams.api]\nurl = \"{}\"\n{TABLES}",
        file.display(),
        upstream.url()
    );
    fs::write(folder.path().join("tokengate.toml"), settings).unwrap();
    let mut limited = Command::new("bash");
    // In steps of 1024 bytes, of any file that it writes. It is told by an error of the write alone.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 32; exec \"$@\"", "bash"]);
    let gateway = Gateway::try_launch_through(limited, folder.path(), &upstream).unwrap_or_else(|log| panic!("{log}"));
    gateway.await_ready();
    send(&gateway, 0..120);
    gateway.await_log("it says so", |log| log.contains("the access log is not taken") && log.contains("File too large"));
    assert_eq!(fs::metadata(&file).unwrap().len(), 32 * 1024);
    let before = fs::read(&file).unwrap();
    assert_ne!(before.last(), Some(&b'\n'), "it ends within a line");
    fs::rename(&file, &full).unwrap();
    gateway.signal("HUP");
    gateway.await_log("it goes on", |log| log.contains("the access log is taken again"));
    let (former, next) = (numbers(&lines_of(&full)), move || numbers(&lines_of(&file)));
    eventually("all but the one", || next().len() + former.len() >= 119);
    let all: Vec<usize> = former.iter().copied().chain(next()).collect();
    assert_eq!(all.len(), 119, "the cut one is lost");
    assert!(all.is_sorted() && all.iter().collect::<HashSet<_>>().len() == 119);
    assert_eq!(counted(&gateway, "dropped"), 1);
}

/// Settings in a folder, of a gateway with an access log and further tables.
fn settings_in(folder: &Path, upstream: &Upstream, to: &str, further: &str) {
    let settings = format!(
        "listen.address = \"127.0.0.1:0\"\nlisten.workers = 1\nstore.kind = \"memory\"\nadmin.address = \"127.0.0.1:0\"\n\
         log.format = \"json\"\nlog.access = {{ mode = \"on\", to = \"{to}\", queue_bytes_max = \"64KiB\" }}\n\
         [upstreams.api]\nurl = \"{}\"\n{further}",
        upstream.url()
    );
    fs::write(folder.join("tokengate.toml"), settings).unwrap();
}

#[test]
fn a_file_that_is_full_within_a_line_is_gone_on_with_after_a_sighup_without_a_rename() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let file = folder.path().join("access.log");
    settings_in(folder.path(), &upstream, &file.display().to_string(), TABLES);
    let mut limited = Command::new("bash");
    limited.args(["-c", "trap '' XFSZ; ulimit -S -f 32; echo $$ > pid; exec \"$@\"", "bash"]);
    let gateway = Gateway::try_launch_through(limited, folder.path(), &upstream).unwrap_or_else(|log| panic!("{log}"));
    gateway.await_ready();
    send(&gateway, 0..120);
    gateway.await_log("it says so", |log| log.contains("the access log is not taken") && log.contains("File too large"));
    assert_ne!(fs::read(&file).unwrap().last(), Some(&b'\n'), "it ends within a line");
    gateway.reload(|text| text);
    let pid = fs::read_to_string(folder.path().join("pid")).unwrap();
    let raised = Command::new("prlimit").args(["--fsize=unlimited:", "--pid", pid.trim()]).status().unwrap();
    assert!(raised.success());
    let lines = await_lines(&file, "all of them", |lines| numbers(lines).len() >= 120);
    assert_eq!(numbers(&lines), (0..120).collect::<Vec<_>>());
    assert_eq!(counted(&gateway, "dropped"), 0);
}

#[test]
fn a_stderr_that_nobody_reads_has_room_for_the_log_of_workers_beside_lines() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let tables = "[login]\nupstream = \"api\"\n[upstreams.dead]\nurl = \"http://127.0.0.1:1\"\n[[routes]]\nname = \"dead\"\nprefix = \"/dead\"\n\
                  upstream = \"dead\"\naccess = \"public\"\n[[routes]]\nname = \"public\"\nprefix = \"/\"\n\
                  upstream = \"api\"\naccess = \"public\"\n";
    settings_in(folder.path(), &upstream, "stderr", tables);
    let mut unread = Command::new("bash");
    // Whoever reads has read enough once it listens, and stays there without reading.
    let reader = "while read -r line; do echo \"$line\" >&2; [[ $line == *listening* ]] && break; done; \
                  while kill -0 $$ 2> /dev/null; do sleep 0.1; done";
    unread.args(["-c", &format!("exec \"$@\" 2> >({reader})"), "bash"]);
    let gateway = Gateway::try_launch_through(unread, folder.path(), &upstream).unwrap_or_else(|log| panic!("{log}"));
    gateway.await_ready();
    send(&gateway, 0..MANY);
    eventually("lines are dropped", || {
        send(&gateway, 0..10);
        counted(&gateway, "dropped") > 0
    });
    for _ in 0..20 {
        assert!(gateway.client().get("/dead", None).status() >= 500, "what a worker warns of is answered");
    }
    send(&gateway, 0..10);
}

#[test]
fn a_socket_at_which_too_many_wait_already_is_not_waited_for() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("log.sock");
    let socket = || Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let (listener, address) = (socket(), SockAddr::unix(&path).unwrap());
    listener.bind(&address).unwrap();
    listener.listen(0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = socket();
        client.set_nonblocking(true).unwrap();
        match client.connect(&address) {
            Ok(()) => waiting.push(client),
            Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    let to = format!("unix:{}", path.display());
    let mut gateway = start(&upstream, &to, "", &[]);
    gateway.await_log("it says so", |log| log.contains("the access log is not taken"));
    send(&gateway, 0..20);
    gateway.reload(|text| text.replace("mode = \"on\"", "mode = \"off\""));
    gateway.terminate();
    assert!(gateway.wait(END_MAX).is_some());
}
