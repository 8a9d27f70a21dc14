//! GraphQL documents (the specification of October 2021, section 2): the strings and numbers that are arguments, and what variables are
//! used for.
//!
//! Fields are not known here, so nothing is checked but what is needed to follow the document to its end.

use super::found::Found;
use super::json;
use crate::domain::spelling;

/// How deeply selections, lists and objects may nest.
const DEPTH_MAX: usize = 64;

/// No document, or one that is not followed. What came before was found all the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

impl From<json::Malformed> for Malformed {
    fn from(_: json::Malformed) -> Self {
        Self
    }
}

pub(super) fn read(document: &[u8], found: &mut Found<'_>) -> Result<(), Malformed> {
    Reader { bytes: document, found }.document()
}

enum Token<'a> {
    /// One of `! $ & ( ) : = @ [ ] { | }`, or a dot of three.
    Sign(u8),
    Name(&'a str),
    Number(&'a str),
    Text(String),
}

/// What a value is given to.
#[derive(Clone, Copy)]
enum Owner<'a> {
    Field,
    /// The default of a variable.
    Variable(&'a str),
}

struct Reader<'a, 'f, 'n> {
    /// What is still to be read.
    bytes: &'a [u8],
    found: &'f mut Found<'n>,
}

impl<'a> Reader<'a, '_, '_> {
    fn document(&mut self) -> Result<(), Malformed> {
        while let Some(token) = self.next()? {
            match token {
                Token::Sign(b'{') => self.selection(1)?,
                Token::Sign(b'(') => self.definitions()?,
                Token::Sign(b'@') => self.directive()?,
                Token::Sign(_) | Token::Name(_) | Token::Number(_) | Token::Text(_) => {}
            }
        }
        Ok(())
    }

    /// After the brace.
    fn selection(&mut self, depth: usize) -> Result<(), Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed);
        }
        loop {
            match self.expect()? {
                Token::Sign(b'}') => return Ok(()),
                Token::Sign(b'{') => self.selection(depth + 1)?,
                Token::Sign(b'(') => {
                    self.found.next_login();
                    self.arguments()?;
                }
                Token::Sign(b'@') => self.directive()?,
                Token::Sign(_) | Token::Name(_) => {}
                Token::Number(_) | Token::Text(_) => return Err(Malformed),
            }
        }
    }

    fn directive(&mut self) -> Result<(), Malformed> {
        self.name()?;
        if self.takes(b'(') { self.arguments() } else { Ok(()) }
    }

    /// After the bracket.
    fn arguments(&mut self) -> Result<(), Malformed> {
        let mut path = Vec::new();
        self.members(b')', Owner::Field, &mut path)
    }

    /// `name: value` until `end`.
    fn members(&mut self, end: u8, owner: Owner<'_>, path: &mut Vec<String>) -> Result<(), Malformed> {
        loop {
            match self.expect()? {
                Token::Sign(sign) if sign == end => return Ok(()),
                Token::Name(name) => {
                    self.sign(b':')?;
                    path.push(spelling::name(name));
                    self.value(owner, path)?;
                    path.pop();
                }
                Token::Sign(_) | Token::Number(_) | Token::Text(_) => return Err(Malformed),
            }
        }
    }

    fn value(&mut self, owner: Owner<'_>, path: &mut Vec<String>) -> Result<(), Malformed> {
        let token = self.expect()?;
        self.value_of(token, owner, path)
    }

    fn value_of(&mut self, token: Token<'_>, owner: Owner<'_>, path: &mut Vec<String>) -> Result<(), Malformed> {
        if path.len() > DEPTH_MAX {
            return Err(Malformed);
        }
        match token {
            Token::Text(text) => self.literal(owner, path, &text),
            Token::Number(number) => self.literal(owner, path, &json::number_text(number)?),
            // True, false, null, or one of an enumeration.
            Token::Name(_) => {}
            Token::Sign(b'$') => {
                let variable = spelling::name(self.name()?);
                self.found.argument_of_variable(variable, path);
            }
            Token::Sign(b'{') => self.members(b'}', owner, path)?,
            Token::Sign(b'[') => {
                path.push("0".to_owned());
                loop {
                    match self.expect()? {
                        Token::Sign(b']') => break,
                        token => self.value_of(token, owner, path)?,
                    }
                }
                path.pop();
            }
            Token::Sign(_) => return Err(Malformed),
        }
        Ok(())
    }

    fn literal(&mut self, owner: Owner<'_>, path: &[String], text: &str) {
        match owner {
            Owner::Field => self.found.argument(path, text),
            Owner::Variable(name) => {
                let path = [&[name.to_owned()], path].concat();
                self.found.value_of_variable(&path, text);
            }
        }
    }

    /// The variables of an operation, after the bracket.
    fn definitions(&mut self) -> Result<(), Malformed> {
        let mut variable = String::new();
        loop {
            match self.expect()? {
                Token::Sign(b')') => return Ok(()),
                Token::Sign(b'$') => variable = spelling::name(self.name()?),
                Token::Sign(b'=') => self.value(Owner::Variable(&variable), &mut Vec::new())?,
                Token::Sign(b'@') => self.directive()?,
                // Their types, and what is said of them.
                Token::Sign(b':' | b'!' | b'[' | b']') | Token::Name(_) | Token::Text(_) => {}
                Token::Sign(_) | Token::Number(_) => return Err(Malformed),
            }
        }
    }

    fn expect(&mut self) -> Result<Token<'a>, Malformed> {
        self.next()?.ok_or(Malformed)
    }

    fn name(&mut self) -> Result<&'a str, Malformed> {
        match self.expect()? {
            Token::Name(name) => Ok(name),
            Token::Sign(_) | Token::Number(_) | Token::Text(_) => Err(Malformed),
        }
    }

    fn sign(&mut self, wanted: u8) -> Result<(), Malformed> {
        if self.takes(wanted) { Ok(()) } else { Err(Malformed) }
    }

    fn takes(&mut self, sign: u8) -> bool {
        self.skip_ignored();
        let is_there = self.bytes.first() == Some(&sign);
        if is_there {
            self.bytes = &self.bytes[1..];
        }
        is_there
    }

    /// Whitespace, commas, marks of byte order, and comments.
    fn skip_ignored(&mut self) {
        loop {
            self.bytes = match self.bytes {
                [b' ' | b'\t' | b'\n' | b'\r' | b',', rest @ ..] | [0xef, 0xbb, 0xbf, rest @ ..] => rest,
                [b'#', rest @ ..] => &rest[rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len())..],
                _ => return,
            }
        }
    }

    fn next(&mut self) -> Result<Option<Token<'a>>, Malformed> {
        self.skip_ignored();
        let Some(&first) = self.bytes.first() else { return Ok(None) };
        let token = match first {
            b'"' => Token::Text(self.text()?),
            b'!' | b'$' | b'&' | b'(' | b')' | b':' | b'=' | b'@' | b'[' | b']' | b'{' | b'|' | b'}' | b'.' => {
                self.bytes = &self.bytes[1..];
                Token::Sign(first)
            }
            b'_' | b'A'..=b'Z' | b'a'..=b'z' => Token::Name(self.word(|byte| byte == b'_' || byte.is_ascii_alphanumeric())?),
            b'-' | b'0'..=b'9' => {
                Token::Number(self.word(|byte| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))?)
            }
            _ => return Err(Malformed),
        };
        Ok(Some(token))
    }

    fn word(&mut self, belongs: impl Fn(u8) -> bool) -> Result<&'a str, Malformed> {
        let end = self.bytes.iter().position(|byte| !belongs(*byte)).unwrap_or(self.bytes.len());
        let (word, rest) = self.bytes.split_at(end);
        self.bytes = rest;
        std::str::from_utf8(word).map_err(|_| Malformed)
    }

    /// A string, or a block string: whose common indentation is no part of it, but whitespace around an account never is.
    fn text(&mut self) -> Result<String, Malformed> {
        let Some(mut block) = self.bytes.strip_prefix(br#"""""#) else {
            let (text, rest) = json::string(self.bytes, json::BracedEscapes::Allowed)?;
            self.bytes = rest;
            return Ok(text);
        };
        let mut text = Vec::new();
        loop {
            block = match block {
                [b'\\', b'"', b'"', b'"', rest @ ..] => {
                    text.extend_from_slice(br#"""""#);
                    rest
                }
                [b'"', b'"', b'"', rest @ ..] => {
                    self.bytes = rest;
                    return Ok(String::from_utf8_lossy(&text).into_owned());
                }
                [byte, rest @ ..] => {
                    text.push(*byte);
                    rest
                }
                [] => return Err(Malformed),
            }
        }
    }
}
