//! What lines are written to, without ever waiting for long.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::LogDestination;
use crate::domain::access_log::LINE_BYTES_MAX;

/// Of a new file: for its owner, and for a group that reads logs.
const MODE: u32 = 0o640;

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
    File(File),
    Socket(Option<Socket>),
}

impl Destination {
    /// # Errors
    /// A file cannot be opened.
    pub(super) fn open(to: &LogDestination) -> io::Result<Self> {
        let way = match to {
            LogDestination::Stderr => Way::Shared(own(io::stderr().as_fd())?),
            LogDestination::Stdout => Way::Shared(own(io::stdout().as_fd())?),
            LogDestination::File(path) => Way::File(open_file(path)?),
            LogDestination::Socket(_) => Way::Socket(None),
        };
        Ok(Self { to: to.clone(), way })
    }

    /// Opens a file anew. The former one stays where that fails.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let (LogDestination::File(path), Way::File(file)) = (&self.to, &mut self.way) {
            *file = open_file(path)?;
        }
        Ok(())
    }

    /// Writes some of `lines`. An error of the kind `WouldBlock` says that nothing is taken at the moment.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        match &mut self.way {
            Way::Shared(file) => {
                // What a pipe takes as a whole is written once there is room for so much.
                if !is_ready(file.as_fd(), Duration::ZERO)? {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                file.write(whole_lines(lines))
            }
            // So much a pipe takes as a whole or not at all. For a file it makes no difference.
            Way::File(file) => file.write(whole_lines(lines)),
            Way::Socket(Some(socket)) => socket.write(lines),
            Way::Socket(None) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Waits until something may be taken, for so long at the most.
    pub(super) fn wait(&self, span: Duration) {
        let ready = match &self.way {
            Way::Shared(file) | Way::File(file) => is_ready(file.as_fd(), span),
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
}
