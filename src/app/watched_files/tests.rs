use std::cell::Cell;
use std::io::Write as _;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// Far less than it takes until files are read in any case.
const SOON: Duration = Duration::from_secs(10);

/// Longer than anything takes to settle.
const QUIET: Duration = Duration::from_millis(1_500);

async fn is_told(files: &mut WatchedFiles) -> bool {
    tokio::time::timeout(SOON, files.next()).await.is_ok()
}

async fn is_quiet(files: &mut WatchedFiles) -> bool {
    tokio::time::timeout(QUIET, files.next()).await.is_err()
}

/// A folder with what `prepare` puts there, and one file that is watched.
async fn stage(prepare: impl FnOnce(&Path), file: &str) -> (TempDir, WatchedFiles) {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let files = WatchedFiles::watch(vec![folder.path().join(file)], FileWork::default()).await;
    (folder, files)
}

fn versions(folder: &Path) {
    for version in ["1", "2"] {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("file"), version).unwrap();
    }
}

fn point(folder: &Path, link: &str, target: &str) {
    symlink(target, folder.join("draft")).unwrap();
    fs::rename(folder.join("draft"), folder.join(link)).unwrap();
}

#[tokio::test]
async fn a_file_counts_once_its_writer_has_closed_it() {
    let (folder, mut files) = stage(|folder| fs::write(folder.join("file"), "1").unwrap(), "file").await;
    let at = |name: &str| folder.path().join(name);
    let mut writer = fs::File::create(at("file")).unwrap();
    writer.write_all(b"half of ").unwrap();
    assert!(is_quiet(&mut files).await, "it is being written");
    writer.write_all(b"it").unwrap();
    drop(writer);
    assert!(is_told(&mut files).await);
    fs::write(at("other"), "1").unwrap();
    fs::read(at("file")).unwrap();
    assert!(is_quiet(&mut files).await, "another file, and one that was read");
    fs::rename(at("other"), at("file")).unwrap();
    assert!(is_told(&mut files).await);
    fs::remove_file(at("file")).unwrap();
    assert!(is_told(&mut files).await);
    fs::write(at("other"), "2").unwrap();
    fs::hard_link(at("other"), at("file")).unwrap();
    assert!(is_told(&mut files).await);
}

/// As on a disk of the network, which tells nothing.
#[tokio::test]
async fn a_file_that_changes_is_left_alone_once_it_stays_as_it_is() {
    let (folder, files) = stage(|folder| fs::write(folder.join("file"), "1").unwrap(), "file").await;
    let file = folder.path().join("file");
    let changes: [fn(&Path); 4] = [
        |file| fs::write(file, "2").unwrap(),
        |file| fs::File::options().append(true).open(file).unwrap().write_all(b"3").unwrap(),
        |file| fs::remove_file(file).unwrap(),
        |file| fs::write(file, "4").unwrap(),
    ];
    let is_written = Cell::new(false);
    let writing = async {
        for change in changes {
            tokio::time::sleep(SETTLING / 2).await;
            change(&file);
        }
        is_written.set(true);
    };
    let leaving = async {
        files.left_alone().await;
        assert!(is_written.get(), "it is read while it is written");
    };
    tokio::join!(writing, leaving);
}

#[tokio::test]
async fn a_link_on_the_way_that_is_set_anew_is_told_each_time() {
    let prepare = |folder: &Path| {
        versions(folder);
        point(folder, "..data", "1");
        point(folder, "file", "..data/file");
    };
    let (folder, mut files) = stage(prepare, "file").await;
    for version in ["2", "1", "2"] {
        point(folder.path(), "..data", version);
        assert!(is_told(&mut files).await, "{version}");
        fs::write(folder.path().join(version).join("file"), "what it leads to").unwrap();
        assert!(is_told(&mut files).await, "{version}");
    }
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_told_each_time_and_watched_from_then_on() {
    let prepare = |folder: &Path| {
        versions(folder);
        fs::create_dir(folder.join("deep")).unwrap();
        fs::rename(folder.join("1"), folder.join("deep/present")).unwrap();
    };
    let (folder, mut files) = stage(prepare, "deep/present/file").await;
    let at = |name: &str| folder.path().join(name);
    fs::rename(at("deep/present"), at("former")).unwrap();
    fs::rename(at("2"), at("deep/present")).unwrap();
    assert!(is_told(&mut files).await);
    fs::write(at("former/file"), "what was there before").unwrap();
    assert!(is_quiet(&mut files).await);
    fs::write(at("deep/present/file"), "3").unwrap();
    assert!(is_told(&mut files).await);

    // And a folder above it.
    fs::rename(at("deep"), at("gone")).unwrap();
    assert!(is_told(&mut files).await);
    fs::create_dir_all(at("deep/present")).unwrap();
    assert!(is_told(&mut files).await);
    fs::write(at("deep/present/file"), "4").unwrap();
    assert!(is_told(&mut files).await);
}

#[test]
fn a_way_leads_through_links_and_ends_where_they_go_round() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    versions(&folder);
    point(&folder, "present", "2");
    point(&folder, "round", "round");
    let last = |file: &str| way_to(&folder.join(file)).unwrap().pop().unwrap();
    assert_eq!(last("present/../present/file"), Step { folder: folder.join("2"), name: "file".into() });
    assert_eq!(last("nowhere/file"), Step { folder: folder.join("nowhere"), name: "file".into() });
    assert_eq!(last("round/file"), Step { folder: folder.clone(), name: "round".into() });
    let names: Vec<OsString> = way_to(&folder.join("present/file")).unwrap().into_iter().map(|step| step.name).collect();
    assert_eq!(names[names.len() - 3..], ["present", "2", "file"]);
}
