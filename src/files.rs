//! How the files that settings name are read: whole, within a bound, and never waiting for what is no file.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// The largest PEM file that is read, in bytes. All public authorities together have a quarter of a megabyte.
pub const PEM_BYTES_MAX: usize = 4 << 20;

/// The largest settings file, in bytes.
pub const SETTINGS_BYTES_MAX: usize = 4 << 20;

/// The largest file with a secret, in bytes.
pub const SECRET_BYTES_MAX: usize = 64 << 10;

/// Opening a pipe with it does not wait for whoever writes there.
const NO_WAITING: i32 = OFlags::NONBLOCK.bits().cast_signed();

/// The whole of a regular file, which may hold a secret. Links are followed.
///
/// # Errors
/// It cannot be read, is no regular file, or is larger.
pub fn read(path: &Path, bytes_max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // A device may act on being opened.
    demand_regular(&fs::metadata(path)?)?;
    let file = OpenOptions::new().read(true).custom_flags(NO_WAITING).open(path)?;
    // Something else may be there by now.
    let metadata = file.metadata()?;
    demand_regular(&metadata)?;
    // With room for all of it, so that no copy is left behind where a secret was moved to more room.
    let expected = usize::try_from(metadata.len()).unwrap_or(bytes_max).min(bytes_max);
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected + 1));
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// The same of a file that holds text.
///
/// # Errors
/// As [`read`], and what is not UTF-8.
pub fn read_text(path: &Path, bytes_max: usize) -> io::Result<Zeroizing<String>> {
    let mut bytes = read(path, bytes_max)?;
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(io::Error::new(io::ErrorKind::InvalidData, "is not text (UTF-8)"))
        }
    }
}

fn demand_regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file")) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    #[test]
    fn regular_files_are_read_whole_and_through_links_and_nothing_else_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "12345").unwrap();
        symlink("file", at("link")).unwrap();
        for name in ["file", "link"] {
            assert_eq!(read(&at(name), 5).unwrap().as_slice(), b"12345");
            assert_eq!(read_text(&at(name), 5).unwrap().as_str(), "12345");
        }
        assert!(read(&at("file"), 4).unwrap_err().to_string().contains("larger than 4 bytes"));
        fs::write(at("bytes"), [0xff]).unwrap();
        assert!(read(&at("bytes"), 5).is_ok() && read_text(&at("bytes"), 5).is_err());
        assert_eq!(read(&at("gone"), 5).unwrap_err().kind(), io::ErrorKind::NotFound);

        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        symlink("pipe", at("link to a pipe")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        for name in ["pipe", "link to a pipe", "socket", "folder", "/dev/zero"] {
            assert_eq!(read(&at(name), 5).unwrap_err().to_string(), "no regular file", "{name}");
        }
    }
}
