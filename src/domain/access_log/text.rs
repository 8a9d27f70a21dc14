//! How text stands in a line: without anything that ends it, and so that what it was made of can be told again.

use std::fmt::Write as _;

use crate::domain::visible::is_visible;

/// The most bytes of a line, with its end: pipes take so many as a whole or not at all (`PIPE_BUF`), so that two writers of one pipe
/// do not mix their lines.
pub const LINE_BYTES_MAX: usize = 4096;

/// How a line is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// An object.
    Json,
    /// `name=value` with spaces between them.
    Text,
}

/// A value that somebody may have chosen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text<'a> {
    /// Of a field, which need not be text: what is not is written as `\xHH`, and a backslash twice.
    Bytes(&'a [u8]),
    Plain(&'a str),
}

/// What is written between the quotes of one value.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Where `out` must end.
    end: usize,
    format: Format,
    /// Room for one escape.
    escape: String,
}

impl Writer<'_> {
    /// `None`: there is no room.
    fn push(&mut self, bytes: &[u8]) -> Option<()> {
        let fits = self.out.len() + bytes.len() <= self.end;
        fits.then(|| self.out.extend_from_slice(bytes))
    }

    fn text(&mut self, text: &str, is_of_bytes: bool) -> Option<()> {
        let mut rest = text;
        while !rest.is_empty() {
            let plain =
                rest.bytes().position(|byte| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\')).unwrap_or(rest.len());
            let room = self.end - self.out.len();
            self.push(&rest.as_bytes()[..plain.min(room)])?;
            if plain > room {
                return None;
            }
            rest = &rest[plain..];
            let Some(c) = rest.chars().next() else { break };
            self.one(c, is_of_bytes)?;
            rest = &rest[c.len_utf8()..];
        }
        Some(())
    }

    fn one(&mut self, c: char, is_of_bytes: bool) -> Option<()> {
        match (c, self.format) {
            ('"', _) => self.push(b"\\\""),
            // JSON has its own for each of the two.
            ('\\', Format::Json) if is_of_bytes => self.push(b"\\\\\\\\"),
            ('\\', _) => self.push(b"\\\\"),
            (c, _) if is_visible(c) => self.push(c.encode_utf8(&mut [0; 4]).as_bytes()),
            (c, format) => {
                self.escape.clear();
                match format {
                    Format::Json => {
                        for unit in c.encode_utf16(&mut [0; 2]) {
                            let _ = write!(self.escape, "\\u{unit:04x}");
                        }
                    }
                    Format::Text => {
                        let _ = write!(self.escape, "\\u{{{:x}}}", u32::from(c));
                    }
                }
                self.push_escape()
            }
        }
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        self.escape.clear();
        let backslash = match self.format {
            Format::Json => "\\\\",
            Format::Text => "\\",
        };
        let _ = write!(self.escape, "{backslash}x{byte:02x}");
        self.push_escape()
    }

    fn push_escape(&mut self) -> Option<()> {
        let escape = std::mem::take(&mut self.escape);
        let pushed = self.push(escape.as_bytes());
        self.escape = escape;
        pushed
    }

    fn write(&mut self, text: Text<'_>) -> Option<()> {
        match text {
            Text::Plain(text) => self.text(text, false),
            Text::Bytes(bytes) => bytes.utf8_chunks().try_for_each(|chunk| {
                self.text(chunk.valid(), true)?;
                chunk.invalid().iter().try_for_each(|byte| self.byte(*byte))
            }),
        }
    }
}

/// Writes a value with its quotes, of which at most `bytes_max` lie between them. Whether it is whole.
pub(super) fn write(text: Text<'_>, format: Format, bytes_max: usize, out: &mut Vec<u8>) -> bool {
    if format == Format::Text && is_plain(text, bytes_max) {
        out.extend_from_slice(text_bytes(text));
        return true;
    }
    out.push(b'"');
    let end = out.len() + bytes_max;
    let is_whole = Writer { end, format, escape: String::new(), out }.write(text).is_some();
    out.push(b'"');
    is_whole
}

const fn text_bytes(text: Text<'_>) -> &[u8] {
    match text {
        Text::Bytes(bytes) => bytes,
        Text::Plain(text) => text.as_bytes(),
    }
}

/// Whether a value ends where the next space is, and cannot be taken for anything else.
fn is_plain(text: Text<'_>, bytes_max: usize) -> bool {
    let bytes = text_bytes(text);
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'=' | b'"' | b'\\');
    (1..=bytes_max).contains(&bytes.len()) && bytes.iter().all(is_plain)
}
