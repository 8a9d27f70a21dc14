//! Rows that could not be taken: named by line, and set aside in a file that can be mended and imported, each behind its cause.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use super::source::{Bad, Format};
use crate::cli::output::complain;

/// How many bad rows are named on the terminal; the file has them all.
const NAMED_MAX: u64 = 20;

/// Where bad rows go.
#[derive(Debug)]
pub(super) struct Rejects {
    path: Option<PathBuf>,
    format: Format,
    header: Vec<u8>,
    file: Option<BufWriter<File>>,
    count: u64,
}

impl Rejects {
    /// Without a path they are named and counted alone. The file is made when the first one comes.
    pub(super) fn new(path: Option<PathBuf>, format: Format, header: &[u8]) -> Self {
        Self { path, format, header: header.to_vec(), file: None, count: 0 }
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref().filter(|_| self.count > 0)
    }

    pub(super) fn take(&mut self, bad: &[Bad]) -> io::Result<()> {
        for bad in bad {
            self.count += 1;
            if self.count <= NAMED_MAX {
                complain(&in_words(bad));
            } else if self.count == NAMED_MAX + 1 {
                complain("… further rows are set aside without a word");
            }
            self.write(bad)?;
        }
        Ok(())
    }

    fn write(&mut self, bad: &Bad) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let file = if let Some(file) = &mut self.file {
            file
        } else {
            // It holds tokens: for its owner alone, also where an older file is replaced.
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
            file.set_permissions(PermissionsExt::from_mode(0o600))?;
            let mut file = BufWriter::new(file);
            write_line(&mut file, &self.header)?;
            self.file.insert(file)
        };
        write_line(file, &self.format.remark(&in_words(bad)))?;
        write_line(file, &bad.raw)
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), BufWriter::flush)
    }
}

/// Shows nothing of the token.
fn in_words(bad: &Bad) -> String {
    let id = bad.id.as_ref().map_or_else(String::new, |id| format!(" (id {id})"));
    format!("line {}{id}: {}", bad.line, bad.cause)
}

fn write_line(file: &mut BufWriter<File>, raw: &[u8]) -> io::Result<()> {
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let from = raw.iter().position(|byte| !is_break(byte)).unwrap_or(raw.len());
    let to = raw.iter().rposition(|byte| !is_break(byte)).map_or(from, |at| at + 1);
    if from < to {
        file.write_all(&raw[from..to])?;
        file.write_all(b"\n")?;
    }
    Ok(())
}
