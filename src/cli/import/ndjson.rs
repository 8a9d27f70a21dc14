//! Newline-delimited JSON: one object a line, each within bounds.

use std::io::{self, BufRead, Read as _};

use super::json_record::{JsonRecord, members};
use super::record::RECORD_BYTES_MAX;

/// Reads lines from a stream.
pub(super) struct NdjsonRecords<R> {
    input: R,
    line: u64,
}

impl<R: BufRead> NdjsonRecords<R> {
    /// `line` lines ended before.
    pub(super) fn new(input: R, line: u64) -> Self {
        Self { input, line }
    }

    /// Empty lines are passed over.
    pub(super) fn next(&mut self) -> io::Result<Option<JsonRecord>> {
        loop {
            let mut raw = Vec::new();
            let read = (&mut self.input).take(RECORD_BYTES_MAX as u64 + 1).read_until(b'\n', &mut raw)?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            let is_too_long = read > RECORD_BYTES_MAX;
            if is_too_long && raw.last() != Some(&b'\n') {
                self.pass_over_line()?;
            }
            if raw.iter().all(u8::is_ascii_whitespace) && !is_too_long {
                continue;
            }
            let content = if is_too_long { Err(format!("has more than {RECORD_BYTES_MAX} bytes")) } else { members(&raw) };
            return Ok(Some(JsonRecord { line: self.line, raw, content }));
        }
    }

    fn pass_over_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(());
            }
            let (read, is_whole) = memchr::memchr(b'\n', buffer).map_or((buffer.len(), false), |at| (at + 1, true));
            self.input.consume(read);
            if is_whole {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn each_line_is_an_object_or_one_bad_record() {
        let text = format!("{{\"a\":1}}\n\n[1]\n{{\"a\":\"s3cret\"\n\"{}\"\n{{\"a\":2}}", "x".repeat(2 * RECORD_BYTES_MAX));
        let mut records = NdjsonRecords::new(io::BufReader::with_capacity(7, text.as_bytes()), 0);
        let mut all = Vec::new();
        while let Some(record) = records.next().unwrap() {
            assert!(record.raw.len() <= RECORD_BYTES_MAX + 1);
            all.push((record.line, record.content.map(|members| members["a"].clone())));
        }
        assert_eq!(all.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 4, 5, 6]);
        assert_eq!((all[0].1.clone(), all[4].1.clone()), (Ok(Value::from(1)), Ok(Value::from(2))));
        assert!(all[1..4].iter().all(|(_, members)| members.is_err()));
        assert!(!format!("{all:?}").contains("s3cret"));
    }
}
