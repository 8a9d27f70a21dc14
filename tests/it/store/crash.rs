//! The embedded store's process is killed at any moment: what it acknowledged is there afterwards.
//!
//! The child is this very binary, told by its environment which file to write to.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokengate::domain::ids::{Generation, SessionId};
use tokengate::domain::revocation::Target;
use tokengate::domain::time::Timestamp;
use tokengate::store::embedded::{Embedded, EmbeddedError};
use tokengate::store::{Acknowledgement, Store, Swap};
use tokio::task::JoinSet;

use super::rig::{PATIENCE, by_session, now, read_log, rotated, session};

const FILE_VARIABLE: &str = "TOKENGATE_TEST_CRASH_FILE";
const CHILD_TEST: &str = "store::crash::child_that_writes_until_it_is_killed";
const WRITERS: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    const ROUNDS: usize = 8;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/tokengate.redb");
    let mut acknowledged = Acknowledged::default();
    for round in 0..ROUNDS {
        let mut child = Writing::start(&path);
        acknowledged.note(child.lines(50 + round * 111));
        acknowledged.note(child.kill());
        let store = open(&path).await;
        acknowledged.check(&*store).await;
        assert!(acknowledged.entries() > round * 50, "the child wrote too little to show anything");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_maker_was_killed_opens() {
    for millis in 0..24 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokengate.redb");
        let child = Writing::start(&path);
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let mut acknowledged = Acknowledged::default();
        acknowledged.note(child.kill());
        acknowledged.check(&*open(&path).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_is_refused_with_a_clear_message() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokengate.redb");
    let mut child = Writing::start(&path);
    child.lines(1);
    let refusal = Embedded::open(&path).unwrap_err();
    assert!(matches!(refusal, EmbeddedError::InUse { .. }), "{refusal}");
    let message = refusal.to_string();
    assert!(message.starts_with(&format!("{} is in use by another process", path.display())), "{message}");
    let at_refusal = child.lines(20);
    assert_eq!(at_refusal.len(), 20, "the first process goes on");
    child.kill();
    open(&path).await;
}

async fn open(path: &Path) -> Arc<Embedded> {
    let path = path.to_owned();
    Arc::new(tokio::task::spawn_blocking(|| Embedded::open(path).unwrap()).await.unwrap())
}

/// A child that writes and says on its output what was acknowledged, a line for each change.
struct Writing {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Writing {
    fn start(path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([CHILD_TEST, "--exact", "--ignored", "--nocapture"])
            .env(FILE_VARIABLE, path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    fn lines(&mut self, count: usize) -> Vec<String> {
        std::iter::from_fn(|| self.line()).take(count).collect()
    }

    /// Kills the child with SIGKILL; returns what it still said before.
    fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::iter::from_fn(|| self.line()).collect()
    }

    /// The next whole line of ours.
    fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            self.output.read_line(&mut line).unwrap();
            let line = line.strip_suffix('\n')?;
            if let Some((_, line)) = line.split_once("did ") {
                return Some(line.to_owned());
            }
        }
    }
}

/// The last word on each session.
#[derive(Default)]
struct Acknowledged {
    rotated: BTreeMap<SessionId, Generation>,
    seen: BTreeMap<SessionId, Generation>,
    revoked: BTreeSet<SessionId>,
}

impl Acknowledged {
    fn note(&mut self, lines: Vec<String>) {
        for line in lines {
            let [what, id, generation] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let id = SessionId::parse(id).unwrap();
            let generation = Generation(generation.parse().unwrap());
            match what {
                "create" | "swap" => drop(self.rotated.insert(id, generation)),
                "acknowledge" => drop(self.seen.insert(id, generation)),
                "revoke" => drop(self.revoked.insert(id)),
                other => panic!("{other}"),
            }
        }
    }

    fn entries(&self) -> usize {
        self.rotated.len() + self.revoked.len()
    }

    async fn check(&self, store: &dyn Store) {
        let logged = read_log(store, None).await.revocations;
        let logged: BTreeSet<SessionId> = logged
            .iter()
            .map(|revocation| match revocation.target {
                Target::Session { session } => session,
                Target::Subject { .. } | Target::Token { .. } | Target::Everyone { .. } => panic!("not of this test"),
            })
            .collect();
        assert!(self.revoked.is_subset(&logged), "an acknowledged revocation is gone");
        for (&id, &generation) in &self.rotated {
            let Some(stored) = store.load(id).await.unwrap() else {
                // The revocation may have been in flight; never the one half of it without the other.
                assert!(logged.contains(&id), "a session is gone that nobody revoked");
                continue;
            };
            assert!(!logged.contains(&id), "a session lives that is logged as revoked");
            let rotation = stored.session.rotation;
            assert!(rotation.current >= generation, "an acknowledged rotation is gone");
            let was_seen = self.seen.get(&id) == Some(&rotation.current);
            assert!(!was_seen || rotation.acknowledged, "an acknowledgement is gone");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the tests above"]
async fn child_that_writes_until_it_is_killed() {
    let Some(path) = file_from_environment() else { return };
    let store: Arc<dyn Store> = open(&path).await;
    let now = now();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move { write(&*store, writer, now).await });
    }
    // Whoever forgets to kill it does not have it for ever.
    let ended = tokio::time::timeout(3 * PATIENCE, writers.join_all()).await;
    panic!("not killed: {ended:?}");
}

async fn write(store: &dyn Store, writer: u64, now: Timestamp) {
    for number in 0.. {
        let mut session = session(store.partitions(), &format!("user-{writer}"), now, writer << 32 | number);
        store.create(&session, None, now).await.unwrap();
        say("create", session.id, session.rotation.current);
        for _ in 0..number % 4 {
            let version = store.load(session.id).await.unwrap().unwrap().version;
            session = rotated(&session, now);
            assert!(matches!(store.swap(version, &session).await.unwrap(), Swap::Done(_)));
            say("swap", session.id, session.rotation.current);
            let generation = session.rotation.current;
            store.acknowledge(&[Acknowledgement { session: session.id, generation }]).await.unwrap();
            say("acknowledge", session.id, generation);
        }
        if number % 3 == 0 {
            assert_eq!(store.revoke(&by_session(session.id, now)).await.unwrap(), [session.id]);
            say("revoke", session.id, session.rotation.current);
        }
    }
}

/// One write, so that a line is whole or not there.
fn say(what: &str, id: SessionId, generation: Generation) {
    let line = format!("did {what} {id} {}\n", generation.0);
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "how a test tells its child what to do")]
fn file_from_environment() -> Option<PathBuf> {
    std::env::var_os(FILE_VARIABLE).map(PathBuf::from)
}
