//! A JSON list of objects: read element by element, and never held as a whole.

use std::io::{self, BufRead};

use super::json_record::{JsonRecord, members, pass_over_space};
use super::record::RECORD_BYTES_MAX;

/// Reads the elements of a list, or of several, one behind the other.
pub(super) struct JsonList<R> {
    input: R,
    /// Line feeds before what comes next.
    lines: u64,
    is_within: bool,
}

/// How far into an element the reading is: which of its commas and brackets are the list's.
#[derive(Default)]
struct Nesting {
    depth: u64,
    in_text: bool,
    is_escaped: bool,
}

impl Nesting {
    /// Whether the byte is no part of the element: it ends it.
    fn is_beyond(&mut self, byte: u8) -> bool {
        if self.in_text {
            self.in_text = self.is_escaped || byte != b'"';
            self.is_escaped = !self.is_escaped && byte == b'\\';
            return false;
        }
        match byte {
            b',' | b']' if self.depth == 0 => return true,
            b'"' => self.in_text = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        false
    }
}

/// An element as far as it was kept, and what came behind it; `None`: the file ended.
struct Element {
    raw: Vec<u8>,
    is_too_long: bool,
    end: Option<u8>,
}

impl<R: BufRead> JsonList<R> {
    /// `lines` are those that ended before.
    pub(super) fn new(input: R, lines: u64) -> Self {
        Self { input, lines, is_within: false }
    }

    /// Places without an element are passed over, as the one behind a last comma.
    pub(super) fn next(&mut self) -> io::Result<Option<JsonRecord>> {
        loop {
            self.lines += pass_over_space(&mut self.input)?;
            let Some(&first) = self.input.fill_buf()?.first() else {
                return Ok(None);
            };
            let line = self.lines + 1;
            if !self.is_within {
                if first == b'[' {
                    self.input.consume(1);
                    self.is_within = true;
                    continue;
                }
                let Element { raw, .. } = self.element(|byte| byte == b'\n')?;
                return Ok(Some(JsonRecord { line, raw, content: Err("stands outside of the list".to_owned()) }));
            }
            let mut nesting = Nesting::default();
            let Element { raw, is_too_long, end } = self.element(|byte| nesting.is_beyond(byte))?;
            self.is_within = end == Some(b',');
            if raw.is_empty() && end.is_some() {
                continue;
            }
            let content = match end {
                None => Err("does not end: is a bracket or a quote never closed?".to_owned()),
                Some(_) if is_too_long => Err(format!("has more than {RECORD_BYTES_MAX} bytes")),
                Some(_) => members(&raw),
            };
            return Ok(Some(JsonRecord { line, raw, content }));
        }
    }

    /// What comes up to a byte at which something ends, which is taken too. Line feeds in it are space to JSON, and become spaces.
    fn element(&mut self, mut is_end: impl FnMut(u8) -> bool) -> io::Result<Element> {
        let mut element = Element { raw: Vec::new(), is_too_long: false, end: None };
        while element.end.is_none() {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                break;
            }
            let length = buffer.iter().position(|byte| is_end(*byte));
            let piece = &buffer[..length.unwrap_or(buffer.len())];
            element.end = length.map(|at| buffer[at]);
            self.lines += memchr::memchr_iter(b'\n', &buffer[..piece.len() + usize::from(length.is_some())]).count() as u64;
            let room = RECORD_BYTES_MAX - element.raw.len();
            element.is_too_long |= piece.len() > room;
            element.raw.extend(
                piece[..piece.len().min(room)].iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }),
            );
            let read = piece.len() + usize::from(length.is_some());
            self.input.consume(read);
        }
        element.raw.truncate(element.raw.trim_ascii_end().len());
        Ok(element)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn read(text: &str) -> Vec<(u64, String, Result<Value, String>)> {
        // Small pieces: elements lie across their borders.
        let mut records = JsonList::new(io::BufReader::with_capacity(7, text.as_bytes()), 0);
        let records = std::iter::from_fn(|| records.next().unwrap());
        records.map(|r| (r.line, String::from_utf8(r.raw).unwrap(), r.content.map(|members| members["a"].clone()))).collect()
    }

    #[test]
    fn brackets_commas_and_quotes_within_an_element_are_its_own() {
        let text = "[{\"a\":\"],{\\\"\\\\\"},\n{\"a\":[1,{\"b\":[]}]}, {\"a\":\"\\\\\\\\\"}]";
        let all: Vec<_> = read(text).into_iter().map(|(_, _, a)| a.unwrap()).collect();
        assert_eq!(all, [Value::from("],{\"\\"), serde_json::json!([1, {"b": []}]), Value::from("\\\\")]);
    }

    #[test]
    fn each_element_is_an_object_or_one_bad_record_that_stands_on_one_line() {
        let text = format!(
            "[1,\n{{\"a\":\n 2}},{{\"a\" s3cret}},\n\"{}\",{{\"a\":3}}] rest\n[{{\"a\":4}}]",
            "x".repeat(2 * RECORD_BYTES_MAX)
        );
        let all = read(&text);
        assert_eq!(all.iter().map(|(line, ..)| *line).collect::<Vec<_>>(), [1, 2, 3, 4, 4, 4, 5]);
        let good: Vec<_> = all.iter().filter_map(|(_, raw, a)| a.as_ref().ok().map(|a| (raw.as_str(), a.clone()))).collect();
        assert_eq!(good, [("{\"a\":  2}", 2.into()), ("{\"a\":3}", 3.into()), ("{\"a\":4}", 4.into())]);
        assert!(all.iter().all(|(_, raw, _)| raw.len() <= RECORD_BYTES_MAX && !raw.contains('\n')));
        assert!(all.iter().all(|(.., a)| !format!("{a:?}").contains("s3cret")));
    }

    #[test]
    fn an_element_that_is_never_closed_swallows_the_rest_and_is_one_bad_record() {
        for open in ["{\"a\":1", "{\"a\":[1}", "{\"a\":\"1}"] {
            let all = read(&format!("[{{\"a\":0}},{open},{}", "{\"a\":2},\n".repeat(RECORD_BYTES_MAX)));
            assert_eq!((all.len(), &all[0].2), (2, &Ok(0.into())), "{open}");
            assert!(all[1].2.as_ref().unwrap_err().contains("never closed"), "{open}");
        }
    }
}
