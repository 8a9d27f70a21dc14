//! What lines are written to, without ever waiting for long.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::ioctl_fionread;
use rustix::pipe::fcntl_getpipe_size;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::LogDestination;
use crate::domain::access_log::LINE_BYTES_MAX;

/// Of a new file: for its owner, and for a group that reads logs.
const MODE: u32 = 0o640;

/// How long a pipe that has enough is left to its reader before it is looked at again.
const PIPE_PAUSE: Duration = Duration::from_millis(2);

/// A destination, open or not.
#[derive(Debug)]
pub(super) struct Destination {
    to: LogDestination,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Of the process, and so of others too: it cannot be made not to wait.
    Shared(File),
    /// A file, or a named pipe.
    File(OwnFile),
    Socket(Option<Socket>),
}

#[derive(Debug)]
struct OwnFile {
    file: File,
    /// It ends within a line that nobody goes on with.
    ends_within_a_line: bool,
}

impl Destination {
    /// # Errors
    /// A file cannot be opened.
    pub(super) fn open(to: &LogDestination) -> io::Result<Self> {
        let way = match to {
            LogDestination::Stderr => Way::Shared(own(io::stderr().as_fd())?),
            LogDestination::Stdout => Way::Shared(own(io::stdout().as_fd())?),
            LogDestination::File(path) => Way::File(OwnFile::open(path)?),
            LogDestination::Socket(_) => Way::Socket(None),
        };
        Ok(Self { to: to.clone(), way })
    }

    /// Opens a file anew. The former one stays where that fails. Whether it is another one: the same is gone on with, also within a line.
    pub(super) fn reopen(&mut self) -> io::Result<bool> {
        let (LogDestination::File(path), Way::File(own)) = (&self.to, &mut self.way) else { return Ok(false) };
        let next = OwnFile::open(path)?;
        let (former, found) = (own.file.metadata()?, next.file.metadata()?);
        let is_another = (former.dev(), former.ino()) != (found.dev(), found.ino());
        if is_another {
            *own = next;
        }
        Ok(is_another)
    }

    /// Writes some of `lines`. An error of the kind `WouldBlock` says that nothing is taken at the moment.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        match &mut self.way {
            Way::Shared(file) => {
                // What a pipe takes as a whole is written once there is room for so much, and for the log of the process.
                if is_for_others(file.as_fd()) || !is_ready(file.as_fd(), Duration::ZERO)? {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                file.write(whole_lines(lines))
            }
            // So much a pipe takes as a whole or not at all. For a file it makes no difference.
            Way::File(own) => own.write(whole_lines(lines)),
            Way::Socket(Some(socket)) => socket.write(lines),
            Way::Socket(None) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Waits until something may be taken, for so long at the most.
    pub(super) fn wait(&self, span: Duration) {
        let ready = match &self.way {
            Way::Shared(file) if is_for_others(file.as_fd()) => {
                // Nobody tells how much is left of what is in it.
                thread::sleep(span.min(PIPE_PAUSE));
                Ok(false)
            }
            Way::Shared(file) => is_ready(file.as_fd(), span),
            Way::File(own) => is_ready(own.file.as_fd(), span),
            Way::Socket(Some(socket)) => is_ready(socket.as_fd(), span),
            Way::Socket(None) => Ok(false),
        };
        // Whoever writes next is told.
        drop(ready);
    }

    /// Connects to a socket, if it has to be done.
    pub(super) fn connect(&mut self) -> io::Result<()> {
        if let (LogDestination::Socket(path), Way::Socket(way @ None)) = (&self.to, &mut self.way) {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            // Else it would wait while the queue of whoever listens is full.
            socket.set_nonblocking(true)?;
            socket.connect(&SockAddr::unix(path)?)?;
            *way = Some(socket);
        }
        Ok(())
    }

    /// Gives a connection up that failed. Whether it was one: its reader has lost the line that was under way.
    pub(super) fn disconnect(&mut self) -> bool {
        match &mut self.way {
            Way::Socket(socket) => {
                *socket = None;
                true
            }
            Way::Shared(_) | Way::File(_) => false,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to.fmt(f)
    }
}

/// As many whole lines as a pipe takes at once; one, at the least.
fn whole_lines(lines: &[u8]) -> &[u8] {
    let room = &lines[..lines.len().min(LINE_BYTES_MAX)];
    let end = memchr::memrchr(b'\n', room).map_or(room.len(), |last| last + 1);
    &lines[..end]
}

impl OwnFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = open_file(path)?;
        let ends_within_a_line = ends_within_a_line(&file, path);
        Ok(Self { file, ends_within_a_line })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        // A disk may have been full within a line, before this process began or the file was another one.
        if self.ends_within_a_line && self.file.write(b"\n")? == 1 {
            self.ends_within_a_line = false;
        }
        self.file.write(lines)
    }
}

/// Of a regular file that may be read. Another process writes whole lines at once, so none of its own is under way.
fn ends_within_a_line(file: &File, path: &Path) -> bool {
    let Ok(found) = file.metadata() else { return false };
    let never_waits = OFlags::NONBLOCK.bits().cast_signed();
    let is_regular = found.is_file() && found.len() > 0;
    let Ok(reading) = OpenOptions::new().read(true).custom_flags(never_waits).open(path) else { return false };
    let mut last = [0];
    let is_same = reading.metadata().is_ok_and(|read| (read.dev(), read.ino()) == (found.dev(), found.ino()));
    is_regular && is_same && reading.read_exact_at(&mut last, found.len() - 1).is_ok() && last != *b"\n"
}

/// Whether so much is in a pipe that the rest of it is for those who cannot but wait, as workers do with the log of the process. A pipe has a
/// number of pages, and what does not fit into the last one begins another, so a quarter of its bytes may take almost half of them.
fn is_for_others(fd: BorrowedFd<'_>) -> bool {
    // What is no pipe has no such size.
    let (size, held) = (fcntl_getpipe_size(fd), ioctl_fionread(fd));
    size.is_ok_and(|size| held.is_ok_and(|held| held > size as u64 / 4))
}

fn own(fd: BorrowedFd<'_>) -> io::Result<File> {
    fd.try_clone_to_owned().map(File::from)
}

fn is_ready(fd: BorrowedFd<'_>, span: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(span).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    match poll(&mut [PollFd::new(&fd, PollFlags::OUT)], Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Why a destination could not be opened, as far as that can be known without making anything.
pub(super) fn fault(to: &LogDestination) -> Option<io::Error> {
    let LogDestination::File(path) = to else { return None };
    match options(path).create(false).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            fs::read_dir(folder).err()
        }
        opened => opened.err(),
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    match options(path).create_new(true).open(path) {
        Ok(new) => {
            // Whatever the process's mask is, which is for keys and stores.
            new.set_permissions(Permissions::from_mode(MODE))?;
            Ok(new)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options(path).open(path),
        Err(error) => Err(error),
    }
}

fn options(path: &Path) -> OpenOptions {
    let mut options = OpenOptions::new();
    let never_waits = OFlags::NONBLOCK.bits().cast_signed();
    options.custom_flags(never_waits);
    if fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
        // With nobody at its other end, it could not be opened for writing alone, and would fail whenever a reader goes.
        options.read(true).write(true);
    } else {
        // At the end, wherever that is: others may write too, or truncate it.
        options.append(true).create(true).mode(MODE);
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_at_once_ends_with_a_line() {
        assert_eq!(whole_lines(b"a\nb\nc"), b"a\nb\n");
        assert_eq!(whole_lines(b"rest of one"), b"rest of one");
        let lines = [vec![b'x'; 3000], vec![b'\n'], vec![b'y'; 3000], vec![b'\n']].concat();
        assert_eq!(whole_lines(&lines).len(), 3001);
        let longest = [vec![b'x'; LINE_BYTES_MAX - 1], vec![b'\n'], vec![b'y']].concat();
        assert_eq!(whole_lines(&longest).len(), LINE_BYTES_MAX);
    }

    #[test]
    fn a_line_that_was_left_in_the_middle_is_ended_before_the_next_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        for (before, after) in [("", "next\n"), ("whole\n", "whole\nnext\n"), ("whole\nha", "whole\nha\nnext\n")] {
            fs::write(&path, before).unwrap();
            let mut destination = Destination::open(&LogDestination::File(path.clone())).unwrap();
            destination.write(b"ne").unwrap();
            destination.write(b"xt\n").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn the_same_file_is_gone_on_with_and_another_is_begun() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut destination = Destination::open(&LogDestination::File(path.clone())).unwrap();
        destination.write(b"ha").unwrap();
        assert!(!destination.reopen().unwrap());
        destination.write(b"lf\n").unwrap();
        fs::rename(&path, folder.path().join("former")).unwrap();
        assert!(destination.reopen().unwrap());
        destination.write(b"next\n").unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("former")).unwrap(), "half\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "next\n");
    }
}
