//! JSON: objects line by line, or in a list, as exporters write either. How the file begins tells which.

use std::io::{self, BufRead};

use super::json_list::JsonList;
use super::json_record::{JsonRecord, pass_over_space};
use super::ndjson::NdjsonRecords;

/// Reads objects from a stream, one at a time within bounds, however many there are.
pub(super) enum JsonRecords<R> {
    Lines(NdjsonRecords<R>),
    List(JsonList<R>),
}

impl<R: BufRead> JsonRecords<R> {
    pub(super) fn open(mut input: R) -> io::Result<Self> {
        let lines = pass_over_beginning(&mut input)?;
        Ok(match input.fill_buf()?.first() {
            Some(b'[') => Self::List(JsonList::new(input, lines)),
            Some(_) | None => Self::Lines(NdjsonRecords::new(input, lines)),
        })
    }

    pub(super) fn next(&mut self) -> io::Result<Option<JsonRecord>> {
        match self {
            Self::Lines(records) => records.next(),
            Self::List(records) => records.next(),
        }
    }
}

const BYTE_ORDER_MARK: [u8; 3] = *b"\xef\xbb\xbf";

/// Passes over a byte order mark and what is empty; returns how many lines end in it.
fn pass_over_beginning(input: &mut impl BufRead) -> io::Result<u64> {
    let mut mark = BYTE_ORDER_MARK.iter();
    while let Some(&byte) = input.fill_buf()?.first()
        && mark.next() == Some(&byte)
    {
        input.consume(1);
    }
    pass_over_space(input)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn read(text: &str, piece: usize) -> Vec<(u64, Result<Value, String>)> {
        let mut records = JsonRecords::open(io::BufReader::with_capacity(piece, text.as_bytes())).unwrap();
        let records = std::iter::from_fn(|| records.next().unwrap());
        records.map(|record| (record.line, record.content.map(Value::Object))).collect()
    }

    #[test]
    fn how_the_file_begins_tells_lines_from_a_list() {
        let [one, two] = [1, 2].map(|n| Ok(serde_json::json!({ "a": n })));
        for (text, lines) in [
            ("{\"a\":1}\n{\"a\":2}", [1, 2]),
            ("\u{feff}\n {\"a\":1}\r\n\n{\"a\":2}\n", [2, 4]),
            ("[{\"a\":1},{\"a\":2}]", [1, 1]),
            ("\u{feff}\n[\n  {\n    \"a\": 1\n  },\n  {\n    \"a\": 2\n  }\n]\n", [3, 6]),
            ("[{\"a\":1}]\n[{\"a\":2}]\n", [1, 2]),
            ("[{\"a\":1},\n{\"a\":2},]", [1, 2]),
        ] {
            for piece in [1, 2, 7, 4096] {
                let wanted = vec![(lines[0], one.clone()), (lines[1], two.clone())];
                assert_eq!(read(text, piece), wanted, "{text:?} by {piece}");
            }
        }
        for nothing in ["", "\u{feff}", " \n\n", "[]", "[\n]\n", " [ ] "] {
            assert_eq!(read(nothing, 3), [], "{nothing:?}");
        }
    }
}
