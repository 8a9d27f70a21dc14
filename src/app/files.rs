//! How files that the settings name are read.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// The largest PEM file that is read, in bytes. All public authorities together have a quarter of a megabyte.
pub(super) const PEM_BYTES_MAX: usize = 4 << 20;

/// The whole of a regular file: a pipe would be waited for, for ever.
pub(super) fn read(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let refuse = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    let mut bytes = Vec::new();
    if !fs::metadata(path)?.is_file() {
        return Err(refuse("no regular file".to_owned()));
    }
    File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max { Err(refuse(format!("larger than {bytes_max} bytes"))) } else { Ok(bytes) }
}
