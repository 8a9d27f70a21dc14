//! One JSON object of a file, and what stands around it.

use std::io::{self, BufRead};

use serde_json::{Map, Value};

use super::record::Record;

/// An object as it stands in the file.
pub(super) type JsonRecord = Record<Map<String, Value>>;

/// Passes over space; returns how many lines end in it.
pub(super) fn pass_over_space(input: &mut impl BufRead) -> io::Result<u64> {
    let mut lines = 0;
    loop {
        let buffer = input.fill_buf()?;
        let space = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let (is_over, passed) = (space < buffer.len() || buffer.is_empty(), &buffer[..space]);
        lines += memchr::memchr_iter(b'\n', passed).count() as u64;
        input.consume(space);
        if is_over {
            return Ok(lines);
        }
    }
}

/// What the text of an object holds. Not what serde says of one that is none: it may quote the token.
pub(super) fn members(text: &[u8]) -> Result<Map<String, Value>, String> {
    serde_json::from_slice(text).map_err(|error| format!("is no JSON object (column {})", error.column()))
}
