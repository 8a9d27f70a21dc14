//! A record of a file of rows, whatever its format, and the bounds within which it is read.

/// The longest record, in bytes.
pub(super) const RECORD_BYTES_MAX: usize = 64 << 10;
/// The most columns of a record.
pub(super) const FIELDS_MAX: usize = 256;

/// A record as it stands in the file.
pub(super) struct Record<T> {
    /// Where it begins, counted from 1.
    pub(super) line: u64,
    /// Whole, unless it is too long; JSON on one line, so that it can be read again by itself. It may hold a token.
    pub(super) raw: Vec<u8>,
    /// What it says, or why it cannot be read: the text goes behind the line's number, and shows nothing of the record.
    pub(super) content: Result<T, String>,
}

impl<T> Record<T> {
    /// The same record, read further.
    pub(super) fn and_then<U>(self, read: impl FnOnce(T) -> Result<U, String>) -> Record<U> {
        Record { line: self.line, raw: self.raw, content: self.content.and_then(read) }
    }
}
