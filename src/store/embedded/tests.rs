use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::domain::ids::Partition;
use crate::domain::revocation::Target;
use crate::domain::rotation::Rotation;
use crate::domain::session::{Client, Grant, Lifetime};
use crate::store::{Fence, Fenced, SweepStep, Upkeep as _};

mod disks;
mod drafts;

use disks::{Fault, FaultyDisk, VolatileDisk};

const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);
const HOUR: Duration = Duration::from_secs(3600);

/// How long a test waits for the store to be open again: so many steps of this length.
const RECOVERY_STEPS_MAX: u32 = 1000;
const RECOVERY_STEP: Duration = Duration::from_millis(10);

fn session(number: u64) -> Session {
    let created_at = NOW.saturating_add(Duration::from_millis(number));
    Session {
        id: SessionId::new(Partition(0), created_at, number.to_be_bytes()),
        subject: Subject::new("ann").unwrap(),
        grant: Grant::default(),
        rotation: Rotation::first(),
        lifetime: Lifetime::starting(created_at, HOUR, HOUR),
        client: Client::default(),
        last_used_at: created_at,
    }
}

fn revocation(session: SessionId) -> Revocation {
    Revocation { target: Target::Session { session }, revoked_at: NOW, forget_at: NOW.saturating_add(HOUR) }
}

/// The store's path in a folder that lives as long as the test.
fn place() -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/tokengate.redb");
    (folder, path)
}

async fn sweep(store: &Embedded, now: Timestamp) {
    let mut place = None;
    loop {
        match store.sweep(place, Fence(1), now).await.unwrap() {
            Fenced::Done(SweepStep { next: None, .. }) => return,
            Fenced::Done(step) => place = step.next,
            Fenced::Overtaken => panic!("there is no other"),
        }
    }
}

async fn whole_log(store: &Embedded) -> Vec<Revocation> {
    store.follow(None, Duration::ZERO).await.unwrap().revocations
}

/// Waits until the store takes changes again.
async fn recovered(store: &Embedded) {
    for _ in 0..RECOVERY_STEPS_MAX {
        if store.probe().await.is_ok() {
            return;
        }
        tokio::time::sleep(RECOVERY_STEP).await;
    }
    panic!("the store did not recover");
}

#[test]
fn folder_and_file_belong_to_their_owner_alone() {
    let (_folder, path) = place();
    let _store = Embedded::open(&path).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn a_file_that_is_open_is_refused_by_name() {
    let (_folder, path) = place();
    let store = Embedded::open(&path).unwrap();
    let refusal = Embedded::open(&path).unwrap_err().to_string();
    assert!(refusal.contains("tokengate.redb is in use by another process"), "{refusal}");
    drop(store);
    Embedded::open(&path).unwrap();
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_left_as_it_is() {
    let (_folder, path) = place();
    drop(Embedded::open(&path).unwrap());
    file::set_format(&path, 7);
    for _ in 0..2 {
        let refusal = Embedded::open(&path).unwrap_err();
        assert!(matches!(refusal, EmbeddedError::NewerFormat { found: 7, .. }), "{refusal}");
        assert!(refusal.to_string().contains("newer version (file format 7, this version reads 1)"), "{refusal}");
    }
}

#[test]
fn a_file_of_another_kind_is_refused_and_left_as_it_is() {
    for text in ["a", "these are somebody's notes", &"long ".repeat(10_000)] {
        let (folder, _) = place();
        let path = folder.path().join("notes.txt");
        fs::write(&path, text).unwrap();
        let refusal = Embedded::open(&path).unwrap_err();
        assert!(matches!(refusal, EmbeddedError::Damaged { .. }), "{refusal}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_file_that_was_never_finished_is_begun_anew() {
    let (folder, _) = place();
    let path = folder.path().join("tokengate.redb");
    let mut unfinished = vec![0; 1 << 20];
    fs::write(&path, &unfinished).unwrap();
    drop(Embedded::open(&path).unwrap());
    unfinished[100..200].fill(7);
    fs::write(&path, &unfinished).unwrap();
    drop(Embedded::open(&path).unwrap());
    // With anything behind the header it is a database that lost its head, not one that was never finished.
    unfinished[500_000] = 1;
    fs::write(&path, &unfinished).unwrap();
    assert!(matches!(Embedded::open(&path).unwrap_err(), EmbeddedError::Damaged { .. }));
}

#[tokio::test]
async fn damaged_bytes_are_refused_and_no_panic() {
    const DAMAGES: usize = 120;
    let (folder, path) = place();
    let store = Embedded::open(&path).unwrap();
    for number in 0..20 {
        store.create(&session(number), None, NOW).await.unwrap();
    }
    drop(store);
    let whole = fs::read(&path).unwrap();
    let copy = folder.path().join("copy.redb");
    let in_use: Vec<usize> = (0..whole.len()).filter(|&at| whole[at] != 0).collect();
    for at in in_use.iter().step_by(in_use.len().div_ceil(DAMAGES)).copied() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        fs::write(&copy, damaged).unwrap();
        match Embedded::open(&copy) {
            Ok(store) => assert_eq!(store.sessions_of(&session(0).subject, NOW).await.unwrap().len(), 20),
            Err(refusal) => assert!(!matches!(refusal, EmbeddedError::InUse { .. }), "{refusal}"),
        }
    }
    for length in [1, 100, 4096, 5000, whole.len() / 2] {
        fs::write(&copy, &whole[..length]).unwrap();
        Embedded::open(&copy).unwrap_err();
    }
}

#[tokio::test]
async fn a_failing_disk_refuses_changes_and_serves_reads_until_it_is_back() {
    let (_folder, path) = place();
    let disk = FaultyDisk::new(&path);
    let fault = disk.fault();
    let store = Embedded::start(disk).unwrap();
    let (kept, refused) = (session(1), session(2));
    store.create(&kept, None, NOW).await.unwrap();
    for broken in [Fault::Writes, Fault::Syncs] {
        fault.set(broken);
        for _ in 0..3 {
            assert!(matches!(store.create(&refused, None, NOW).await, Err(StoreError::Unavailable(_))));
            assert!(matches!(store.revoke(&revocation(kept.id)).await, Err(StoreError::Unavailable(_))));
            assert!(matches!(store.probe().await, Err(StoreError::Unavailable(_))));
            assert_eq!(store.load(kept.id).await.unwrap().unwrap().session, kept);
            assert_eq!(store.load(refused.id).await.unwrap(), None, "not durable, so not to be seen");
            assert_eq!(whole_log(&store).await, []);
        }
        fault.set(Fault::None);
        recovered(&store).await;
    }
    store.create(&refused, None, NOW).await.unwrap();
    assert_eq!(store.revoke(&revocation(kept.id)).await.unwrap(), [kept.id]);
    assert_eq!(whole_log(&store).await, [revocation(kept.id)]);
    drop(store);
    let store = Embedded::open(&path).unwrap();
    assert_eq!(store.sessions_of(&kept.subject, NOW).await.unwrap(), [refused]);
}

#[tokio::test]
async fn a_full_disk_refuses_logins_and_records_logouts() {
    let (_folder, path) = place();
    let disk = FaultyDisk::new(&path);
    let fault = disk.fault();
    let store = Embedded::start(disk).unwrap();
    for number in 0..50 {
        store.create(&session(number), None, NOW).await.unwrap();
    }
    fault.set(Fault::Full);
    assert!(matches!(store.create(&session(100), None, NOW).await, Err(StoreError::Full(_))));
    for number in 0..50 {
        let id = session(number).id;
        let ended = loop {
            // The first may meet the store while it opens its file again.
            match store.revoke(&revocation(id)).await {
                Ok(ended) => break ended,
                Err(StoreError::Full(_)) if number == 0 => {}
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(ended, [id]);
        assert!(matches!(store.create(&session(100), None, NOW).await, Err(StoreError::Full(_))));
    }
    sweep(&store, NOW).await;
    fault.set(Fault::None);
    store.create(&session(100), None, NOW).await.unwrap();
    assert_eq!(whole_log(&store).await.len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_a_commit() {
    const WRITERS: u64 = 64;
    const EACH: u64 = 10;
    let (_folder, path) = place();
    let disk = FaultyDisk::new(&path);
    let fault = disk.fault();
    let store = Arc::new(Embedded::start(disk).unwrap());
    let before = fault.syncs();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for number in 0..EACH {
                store.create(&session(writer * EACH + number), None, NOW).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let commits = fault.syncs() - before;
    assert!(commits * 4 < WRITERS * EACH, "{commits} waits for the disk for {} changes", WRITERS * EACH);
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_power_is() {
    for cut_after in [0, 1, 2, 7, 30] {
        let (_folder, path) = place();
        let disk = VolatileDisk::new(&path);
        let power = disk.power();
        let store = Embedded::start(disk).unwrap();
        for number in 0..cut_after {
            store.create(&session(number), None, NOW).await.unwrap();
            if number % 3 == 2 {
                store.revoke(&revocation(session(number).id)).await.unwrap();
            }
        }
        power.cut();
        drop(store);
        let store = Embedded::open(&path).unwrap();
        for number in 0..cut_after {
            assert_eq!(store.load(session(number).id).await.unwrap().is_none(), number % 3 == 2, "session {number}");
        }
        assert_eq!(whole_log(&store).await.len() as u64, cut_after / 3);
    }
}

#[tokio::test]
async fn numbers_of_the_log_are_never_used_again() {
    let (_folder, path) = place();
    let store = Embedded::open(&path).unwrap();
    for number in 0..3 {
        store.revoke(&revocation(session(number).id)).await.unwrap();
    }
    let cursor = store.follow(None, Duration::ZERO).await.unwrap().cursor;
    sweep(&store, NOW.saturating_add(HOUR)).await;
    assert_eq!(whole_log(&store).await, []);
    drop(store);
    let store = Embedded::open(&path).unwrap();
    let news = revocation(session(9).id);
    store.revoke(&news).await.unwrap();
    assert_eq!(store.follow(Some(&cursor), Duration::ZERO).await.unwrap().revocations, [news]);
}

#[tokio::test]
async fn a_cursor_of_another_log_reads_this_one_whole() {
    let (_folder, path) = place();
    let store = Embedded::open(&path).unwrap();
    let logged = revocation(session(1).id);
    store.revoke(&logged).await.unwrap();
    let place = |sequence| crate::store::LogPosition { millis: 0, sequence };
    for foreign in [vec![place(99)], vec![], vec![place(1), place(1)]] {
        let batch = store.follow(Some(&LogCursor(foreign)), Duration::ZERO).await.unwrap();
        assert_eq!(batch.revocations, std::slice::from_ref(&logged));
        assert_eq!(batch.cursor, LogCursor(vec![place(1)]));
    }
}
