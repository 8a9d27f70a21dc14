//! The type of a body, as any API might understand it.

/// Character sets in which names and ASCII accounts have the bytes that they have in UTF-8.
const CHARSETS: [&str; 11] = [
    "utf-8",
    "utf8",
    "us-ascii",
    "ascii",
    "iso-8859-1",
    "iso8859-1",
    "latin1",
    "latin-1",
    "iso-8859-15",
    "windows-1252",
    "cp1252",
];

/// The longest boundary that is followed; RFC 2046 allows 70.
const BOUNDARY_BYTES_MAX: usize = 200;

pub(super) struct ContentType {
    /// In lower case.
    media_type: String,
    /// Names in lower case.
    parameters: Vec<(String, String)>,
}

impl ContentType {
    pub(super) fn parse(field: &[u8]) -> Self {
        let text = String::from_utf8_lossy(field);
        let mut pieces = split_unquoted(&text).into_iter();
        let media_type = pieces.next().unwrap_or_default().trim().to_ascii_lowercase();
        let parameters = pieces
            .map(|piece| {
                let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
                (name.trim().to_ascii_lowercase(), unquoted(value.trim()))
            })
            .collect();
        Self { media_type, parameters }
    }

    /// Some compare the whole type, some look for a word in it.
    pub(super) fn is(&self, word: &str) -> bool {
        self.media_type.contains(word)
    }

    /// Whether everybody who knows the type reads one JSON value: not lines of JSON, sequences and other kin.
    pub(super) fn promises_json(&self) -> bool {
        let subtype = self.media_type.split_once('/').map_or("", |(_, subtype)| subtype);
        matches!(subtype, "json" | "x-json") || subtype.ends_with("+json")
    }

    /// A character set that was not named is UTF-8, or like it.
    pub(super) fn has_known_charset(&self) -> bool {
        let mut named = self.parameters.iter().filter(|(name, _)| name.starts_with("charset"));
        named.all(|(name, value)| name == "charset" && CHARSETS.contains(&value.trim().to_ascii_lowercase().as_str()))
    }

    /// `None`: there is none, or more than one, or one that readers take differently.
    pub(super) fn boundary(&self) -> Option<&str> {
        let mut named = self.parameters.iter().filter(|(name, _)| name.starts_with("boundary"));
        let (name, value) = named.next()?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?~*&^%$#@!|{}".contains(&byte);
        let is_sound = name == "boundary"
            && named.next().is_none()
            && (1..=BOUNDARY_BYTES_MAX).contains(&value.len())
            && value.bytes().all(is_plain);
        is_sound.then_some(value)
    }
}

/// The pieces between semicolons that no quotes hold together.
fn split_unquoted(text: &str) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(|c| {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ';' => return !is_quoted,
            _ => {}
        }
        false
    })
    .collect()
}

/// The text of a quoted string, its escapes undone, or the token as it is.
pub(super) fn unquoted(text: &str) -> String {
    let Some(quoted) = text.strip_prefix('"') else { return text.to_owned() };
    let mut out = String::new();
    let mut characters = quoted.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => break,
            '\\' => out.extend(characters.next()),
            plain => out.push(plain),
        }
    }
    out
}
