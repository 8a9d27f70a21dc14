//! JSON, read to its end: every member of every object, repeated ones too.
//!
//! Not by `serde_json`, which gives up where others go on: at lone surrogates, at bytes that are no UTF-8, at control characters, at NaN.

use super::found::Found;
use crate::domain::spelling;

/// How deeply a body may nest.
const DEPTH_MAX: usize = 64;

/// Values that are neither text nor numbers, those included that Python reads and writes.
const WORDS: [&str; 6] = ["true", "false", "null", "NaN", "Infinity", "-Infinity"];

/// Not JSON, or something behind it. What came before was found all the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

pub(super) fn read(bytes: &[u8], found: &mut Found<'_>) -> Result<(), Malformed> {
    read_inside(bytes, Vec::new(), found)
}

/// JSON within something else, and the names that lead to it.
pub(super) fn read_inside(bytes: &[u8], path: Vec<String>, found: &mut Found<'_>) -> Result<(), Malformed> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = Reader { bytes, path, found };
    reader.value()?;
    reader.skip_whitespace();
    if reader.bytes.is_empty() { Ok(()) } else { Err(Malformed) }
}

struct Reader<'a, 'f, 'n> {
    /// What is still to be read.
    bytes: &'a [u8],
    /// Names and positions on the way to where we are.
    path: Vec<String>,
    found: &'f mut Found<'n>,
}

impl Reader<'_, '_, '_> {
    fn value(&mut self) -> Result<(), Malformed> {
        self.skip_whitespace();
        match self.bytes.first() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => {
                let text = self.string()?;
                super::read_text(&self.path, &text, self.found);
                Ok(())
            }
            Some(_) => {
                let Some(word) = WORDS.into_iter().find(|word| self.bytes.starts_with(word.as_bytes())) else {
                    return self.number();
                };
                self.bytes = &self.bytes[word.len()..];
                Ok(())
            }
            None => Err(Malformed),
        }
    }

    fn object(&mut self) -> Result<(), Malformed> {
        self.enter()?;
        if self.takes(b'}') {
            return Ok(());
        }
        loop {
            self.skip_whitespace();
            let name = spelling::name(&self.string()?);
            if !self.takes(b':') {
                return Err(Malformed);
            }
            self.inside(name)?;
            match (self.takes(b','), self.takes(b'}')) {
                (true, false) => {}
                (false, true) => return Ok(()),
                (true, true) | (false, false) => return Err(Malformed),
            }
        }
    }

    fn array(&mut self) -> Result<(), Malformed> {
        self.enter()?;
        if self.takes(b']') {
            return Ok(());
        }
        for position in 0_usize.. {
            if self.path.is_empty() {
                // Calls in a batch, each of which may be a login.
                self.found.next_login();
            }
            self.inside(position.to_string())?;
            match (self.takes(b','), self.takes(b']')) {
                (true, false) => {}
                (false, true) => return Ok(()),
                (true, true) | (false, false) => return Err(Malformed),
            }
        }
        Err(Malformed)
    }

    /// Passes the bracket.
    fn enter(&mut self) -> Result<(), Malformed> {
        self.bytes = &self.bytes[1..];
        if self.path.len() < DEPTH_MAX { Ok(()) } else { Err(Malformed) }
    }

    fn inside(&mut self, step: String) -> Result<(), Malformed> {
        self.path.push(step);
        self.value()?;
        self.path.pop();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Malformed> {
        let end = self.bytes.iter().position(|byte| !matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'));
        let (digits, rest) = self.bytes.split_at(end.unwrap_or(self.bytes.len()));
        self.bytes = rest;
        let text = number_text(std::str::from_utf8(digits).map_err(|_| Malformed)?)?;
        self.found.value(&self.path, &text);
        Ok(())
    }

    fn string(&mut self) -> Result<String, Malformed> {
        let (text, rest) = string(self.bytes, BracedEscapes::Malformed)?;
        self.bytes = rest;
        Ok(text)
    }

    fn takes(&mut self, byte: u8) -> bool {
        self.skip_whitespace();
        let is_there = self.bytes.first() == Some(&byte);
        if is_there {
            self.bytes = &self.bytes[1..];
        }
        is_there
    }

    fn skip_whitespace(&mut self) {
        let begin = self.bytes.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        self.bytes = &self.bytes[begin.unwrap_or(self.bytes.len())..];
    }
}

/// A number as most print it: `42.0` and `4.2e1` are 42.
pub(super) fn number_text(text: &str) -> Result<String, Malformed> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let is_integer = unsigned.bytes().all(|byte| byte.is_ascii_digit());
    if unsigned.len() > 1 && unsigned.starts_with('0') && is_integer {
        return Err(Malformed);
    }
    let number: f64 = text.parse().map_err(|_| Malformed)?;
    let is_whole = !is_integer && number.fract() == 0.0 && number.abs() < 9.0e15;
    Ok(if is_whole { format!("{number:.0}") } else { text.to_owned() })
}

/// Whether `\u{1F600}` is an escape, as it is in GraphQL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BracedEscapes {
    Allowed,
    Malformed,
}

/// The text of a quoted string at the beginning of `bytes`, and what follows it.
pub(super) fn string(bytes: &[u8], braced: BracedEscapes) -> Result<(String, &[u8]), Malformed> {
    let mut text = Vec::new();
    let mut bytes = bytes.strip_prefix(b"\"").ok_or(Malformed)?;
    loop {
        let (&byte, rest) = bytes.split_first().ok_or(Malformed)?;
        bytes = rest;
        match byte {
            b'"' => break,
            b'\\' => {
                let (&escape, rest) = bytes.split_first().ok_or(Malformed)?;
                bytes = rest;
                match escape {
                    b'"' | b'\\' | b'/' => text.push(escape),
                    b'b' => text.push(8),
                    b'f' => text.push(12),
                    b'n' => text.push(b'\n'),
                    b'r' => text.push(b'\r'),
                    b't' => text.push(b'\t'),
                    b'u' => {
                        let is_braced = braced == BracedEscapes::Allowed && bytes.starts_with(b"{");
                        let (c, rest) = if is_braced { braced_escape(bytes)? } else { escaped(bytes)? };
                        bytes = rest;
                        text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                    _ => return Err(Malformed),
                }
            }
            plain => text.push(plain),
        }
    }
    Ok((String::from_utf8_lossy(&text).into_owned(), bytes))
}

/// The character behind `\u` in braces.
fn braced_escape(bytes: &[u8]) -> Result<(char, &[u8]), Malformed> {
    let end = bytes.iter().position(|byte| *byte == b'}').ok_or(Malformed)?;
    let digits = std::str::from_utf8(&bytes[1..end]).map_err(|_| Malformed)?;
    let code = u32::from_str_radix(digits, 16).map_err(|_| Malformed)?;
    Ok((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), &bytes[end + 1..]))
}

/// The character behind `\u`. A surrogate without its other half is a replacement character, as it is to those that go on.
fn escaped(bytes: &[u8]) -> Result<(char, &[u8]), Malformed> {
    let (unit, rest) = unit(bytes)?;
    if (0xd800..0xdc00).contains(&unit)
        && let Some(low) = rest.strip_prefix(b"\\u")
        && let Ok((second, rest)) = self::unit(low)
        && let Some(Ok(c)) = char::decode_utf16([unit, second]).next()
    {
        return Ok((c, rest));
    }
    Ok((char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER), rest))
}

fn unit(bytes: &[u8]) -> Result<(u16, &[u8]), Malformed> {
    let (digits, rest) = bytes.split_at_checked(4).ok_or(Malformed)?;
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    Ok((u16::from_str_radix(text.ok_or(Malformed)?, 16).map_err(|_| Malformed)?, rest))
}
