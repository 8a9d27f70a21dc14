//! When files that others replace are to be read again.
//!
//! Every folder on the way to a file is watched, through all links: whatever is put in the place of the file, of a link or of a folder on
//! the way to it is noticed at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use std::{env, fs, io};

use futures_util::StreamExt as _;
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask};

use super::file_work::FileWork;

/// How long the files have to be left alone before they are read: whoever writes them seldom does so in one step.
pub(super) const SETTLING: Duration = Duration::from_secs(1);

/// They are read so often in any case: a disk of the network tells nothing.
const READ_INTERVAL: Duration = Duration::from_secs(30);

/// Whoever keeps a file open for writing, or goes on to touch it, is waited for so long.
const SETTLING_MAX: Duration = READ_INTERVAL;

/// What of a folder is told. A file counts once its writer has closed it; of one that is open, only that it is being written.
const TOLD: WatchMask = WatchMask::CREATE
    .union(WatchMask::MOVED_TO)
    .union(WatchMask::MOVED_FROM)
    .union(WatchMask::DELETE)
    .union(WatchMask::ATTRIB)
    .union(WatchMask::MODIFY)
    .union(WatchMask::CLOSE_WRITE)
    .union(WatchMask::ONLYDIR);

/// More links on the way to a file are not followed; the system follows no more either.
const LINKS_MAX: usize = 40;

/// Room for some events with names of the usual length.
const EVENTS_BYTES: usize = 4096;

/// Files that are watched.
pub(super) struct WatchedFiles {
    paths: Vec<PathBuf>,
    work: FileWork,
    /// `None`: they are read from time to time.
    watch: Option<Watch>,
    /// Whether it was told that they cannot be watched.
    is_fault_told: bool,
}

struct Watch {
    events: EventStream<[u8; EVENTS_BYTES]>,
    names: Names,
}

/// The names that are looked up in each folder.
type Names = BTreeMap<WatchDescriptor, BTreeSet<OsString>>;

/// What happened to one of the files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    /// It is being written.
    Written,
    Done,
}

impl WatchedFiles {
    /// From now on. Whoever reads them first right after this misses no change.
    pub(super) async fn watch(paths: Vec<PathBuf>, work: FileWork) -> Self {
        let mut files = Self { paths, work, watch: None, is_fault_told: false };
        files.watch_anew().await;
        files
    }

    /// Waits until they are to be read again: nobody has touched them for a while then. Can be given up at any time.
    pub(super) async fn next(&mut self) {
        let is_done = match tokio::time::timeout(READ_INTERVAL, self.event()).await {
            // In the worst case somebody goes on for ever.
            Ok(event) => tokio::time::timeout(SETTLING_MAX, self.settled(event)).await.unwrap_or(false),
            Err(_) => false,
        };
        if !is_done {
            self.left_alone().await;
        }
        self.watch_anew().await;
    }

    /// Waits until they can be read, whatever happened to them before they were watched.
    pub(super) async fn rest(&mut self) {
        self.left_alone().await;
        self.watch_anew().await;
    }

    /// Waits until nobody has touched them for a while, where nothing tells that a writer is done.
    async fn left_alone(&self) {
        let mut before = self.states().await;
        loop {
            tokio::time::sleep(SETTLING).await;
            let now = self.states().await;
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// `None` where the disk does not respond: whoever reads the files is told so.
    async fn states(&self) -> Option<Vec<Option<State>>> {
        let paths = self.paths.clone();
        self.work.run(move || paths.iter().map(|path| State::of(path)).collect()).await.ok()
    }

    /// Waits until nobody has touched them for a while since `last`. Whether whoever wrote them is done.
    async fn settled(&mut self, mut last: Event) -> bool {
        loop {
            let quiet = match last {
                Event::Written => SETTLING_MAX,
                Event::Done => SETTLING,
            };
            match tokio::time::timeout(quiet, self.event()).await {
                Ok(event) => last = event,
                Err(_) => return last == Event::Done,
            }
        }
    }

    async fn event(&mut self) -> Event {
        loop {
            let Some(watch) = &mut self.watch else { return std::future::pending().await };
            match watch.events.next().await {
                Some(Ok(event)) => {
                    if let Some(event) = watch.names.concerned(&event) {
                        return event;
                    }
                }
                Some(Err(_)) | None => self.watch = None,
            }
        }
    }

    /// The way to the files may be another now.
    async fn watch_anew(&mut self) {
        let paths = self.paths.clone();
        let watched = self.work.run(move || watched(&paths)).await;
        let watched = watched.map_err(io::Error::other).and_then(|watched| watched);
        let watch = watched.and_then(|(inotify, names)| {
            let events = inotify.into_event_stream([0; EVENTS_BYTES])?;
            Ok(Watch { events, names })
        });
        match watch {
            Ok(watch) => (self.watch, self.is_fault_told) = (Some(watch), false),
            Err(error) => {
                self.watch = None;
                self.tell(&error);
            }
        }
    }

    fn tell(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_fault_told, true) {
            let files: Vec<_> = self.paths.iter().map(|path| path.display().to_string()).collect();
            let files = files.join(", ");
            tracing::warn!(files, %error, "files cannot be watched, and are read from time to time instead");
        }
    }
}

/// What differs when somebody has written a file, or put another in its place.
#[derive(PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

impl State {
    fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        let changed = (file.ctime(), file.ctime_nsec());
        Some(Self { device: file.dev(), inode: file.ino(), bytes: file.size(), changed })
    }
}

trait Concerned {
    fn concerned(&self, event: &inotify::EventOwned) -> Option<Event>;
}

impl Concerned for Names {
    fn concerned(&self, event: &inotify::EventOwned) -> Option<Event> {
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            return Some(Event::Done);
        }
        let name = event.name.as_ref()?;
        let is_looked_up = self.get(&event.wd).is_some_and(|names| names.contains(name));
        is_looked_up.then_some(if event.mask.contains(EventMask::MODIFY) { Event::Written } else { Event::Done })
    }
}

fn watched(paths: &[PathBuf]) -> io::Result<(Inotify, Names)> {
    let inotify = Inotify::init()?;
    let mut names = Names::new();
    for path in paths {
        for Step { folder, name } in way_to(path)? {
            match inotify.watches().add(&folder, TOLD) {
                Ok(descriptor) => {
                    names.entry(descriptor).or_default().insert(name);
                }
                // What is not there, or not to be looked into, is noticed where it is named, or at the next reading.
                Err(error) if is_passing(error.kind()) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok((inotify, names))
}

const fn is_passing(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied)
}

/// A name that is looked up on the way to a file.
#[derive(PartialEq, Eq, Debug)]
struct Step {
    folder: PathBuf,
    name: OsString,
}

/// Every look-up on the way to a file, through all links.
fn way_to(file: &Path) -> io::Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut at = if file.is_absolute() { PathBuf::from("/") } else { env::current_dir()? };
    // The folder that the process runs in may be moved too.
    let mut left: VecDeque<PathBuf> = at.join(file).components().map(|part| PathBuf::from(part.as_os_str())).collect();
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        match part.components().next() {
            None | Some(Component::CurDir | Component::Prefix(_)) => {}
            Some(Component::RootDir) => at = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                at.pop();
            }
            Some(Component::Normal(name)) => {
                steps.push(Step { folder: at.clone(), name: name.to_owned() });
                let next = at.join(name);
                match fs::read_link(&next) {
                    Ok(target) if links < LINKS_MAX => {
                        links += 1;
                        for part in target.components().rev() {
                            left.push_front(PathBuf::from(part.as_os_str()));
                        }
                    }
                    Ok(_) => break,
                    Err(_) => at = next,
                }
            }
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests;
