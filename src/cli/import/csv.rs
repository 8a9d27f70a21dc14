//! CSV (RFC 4180, and what databases make of it), one record at a time within bounds: a quote that is never closed costs no memory.

use std::io::{self, BufRead};

use csv_core::ReadRecordResult;

use super::record::{FIELDS_MAX, RECORD_BYTES_MAX, Record};

/// Reads records from a stream.
pub(super) struct CsvRecords<R> {
    input: R,
    parser: csv_core::Reader,
    output: Vec<u8>,
    ends: Vec<usize>,
    /// Line feeds before the record that comes next.
    lines: u64,
}

impl<R: BufRead> CsvRecords<R> {
    /// The columns stand between `delimiter`.
    pub(super) fn new(input: R, delimiter: u8) -> Self {
        let (output, ends) = (vec![0; RECORD_BYTES_MAX], vec![0; FIELDS_MAX]);
        Self { input, parser: csv_core::ReaderBuilder::new().delimiter(delimiter).build(), output, ends, lines: 0 }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Record<Vec<String>>>> {
        let (mut written, mut fields) = (0, 0);
        let mut raw = Vec::new();
        let (mut before, mut breaks) = (0, 0);
        let mut is_too_long = false;
        loop {
            let input = self.input.fill_buf()?;
            let (result, read, wrote, ended) =
                self.parser.read_record(input, &mut self.output[written..], &mut self.ends[fields..]);
            let mut piece = &input[..read];
            breaks += line_feeds(piece);
            if raw.is_empty() {
                // The break after the record before, and empty lines.
                let empty = piece.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
                before += line_feeds(&piece[..empty]);
                piece = &piece[empty..];
            }
            let room = RECORD_BYTES_MAX - raw.len();
            // With quotes it is longer than what it says.
            is_too_long |= piece.len() > room;
            raw.extend_from_slice(&piece[..piece.len().min(room)]);
            self.input.consume(read);
            (written, fields) = (written + wrote, fields + ended);
            match result {
                ReadRecordResult::InputEmpty => {}
                // The rest of it is read over.
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    is_too_long = true;
                    (written, fields) = (0, 0);
                }
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(None),
            }
        }
        let line = self.lines + before + 1;
        self.lines += breaks;
        let content = if is_too_long {
            Err(format!("has more than {FIELDS_MAX} columns or {RECORD_BYTES_MAX} bytes; is a quote never closed?"))
        } else {
            self.fields(fields)
        };
        Ok(Some(Record { line, raw, content }))
    }

    fn fields(&self, count: usize) -> Result<Vec<String>, String> {
        let mut from = 0;
        let mut fields = Vec::with_capacity(count);
        for &end in &self.ends[..count] {
            let text = std::str::from_utf8(&self.output[from..end]).map_err(|_| "is not UTF-8".to_owned())?;
            fields.push(text.to_owned());
            from = end;
        }
        Ok(fields)
    }
}

fn line_feeds(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<(u64, Result<Vec<String>, String>)> {
        // Small pieces: records lie across their borders.
        let mut records = CsvRecords::new(io::BufReader::with_capacity(7, text), b',');
        let mut all = Vec::new();
        while let Some(record) = records.next().unwrap() {
            all.push((record.line, record.content));
        }
        all
    }

    fn good(line: u64, fields: &[&str]) -> (u64, Result<Vec<String>, String>) {
        (line, Ok(fields.iter().map(|field| (*field).to_owned()).collect()))
    }

    #[test]
    fn records_are_told_by_the_line_where_they_begin() {
        let text = b"a,b\r\n1,\"x \"\"y\"\", z\"\r\n\r\n2,\"two\nlines\"\n3,";
        assert_eq!(
            read(text),
            [good(1, &["a", "b"]), good(2, &["1", "x \"y\", z"]), good(4, &["2", "two\nlines"]), good(6, &["3", ""])]
        );
    }

    #[test]
    fn a_record_that_is_too_long_is_passed_over_whole() {
        let text = format!("a\n{}\nb\n", "x".repeat(3 * RECORD_BYTES_MAX));
        let all = read(text.as_bytes());
        assert_eq!((all.len(), &all[0], &all[2]), (3, &good(1, &["a"]), &good(3, &["b"])));
        assert!(all[1].1.is_err() && all[1].0 == 2);
    }

    #[test]
    fn a_record_that_is_too_long_by_its_quotes_alone_is_none_either() {
        // Whoever mends it would get a part of it back.
        let text = format!("{}a\n\"{}\"\nb\n", "\n".repeat(2 * RECORD_BYTES_MAX), "\"\"".repeat(RECORD_BYTES_MAX / 2));
        let all = read(text.as_bytes());
        let lines = 2 * RECORD_BYTES_MAX as u64;
        assert_eq!((all.len(), &all[0], &all[2]), (3, &good(lines + 1, &["a"]), &good(lines + 3, &["b"])));
        assert!(all[1].1.as_ref().is_err_and(|cause| cause.contains("bytes")), "{:?}", all[1]);
    }

    #[test]
    fn an_open_quote_swallows_the_rest_and_is_one_bad_record() {
        let text = format!("a\n\"b\n{}", "x\n".repeat(RECORD_BYTES_MAX));
        let all = read(text.as_bytes());
        assert_eq!(all.len(), 2);
        assert!(all[1].1.as_ref().unwrap_err().contains("never closed") && all[1].0 == 2);
    }

    #[test]
    fn what_is_not_utf_8_is_one_bad_record() {
        let all = read(b"a\n\xff\nb\n");
        assert_eq!((all[1].1.as_ref().unwrap_err().as_str(), &all[2]), ("is not UTF-8", &good(3, &["b"])));
    }
}
