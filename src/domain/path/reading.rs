//! What lenient upstreams may take a canonical path for.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use super::{CanonicalTarget, PathError, decode};

/// How often a path may have been encoded over and over for its readings to be known.
const DECODINGS_MAX: usize = 3;

/// How many scripts a path may go through for its readings to be known.
const SCRIPTS_MAX: usize = 2;

/// The ways in which a path may be read. Of those that no route can tell apart, one stands for all.
///
/// A reading is bytes, each segment with a slash before it, no empty segments, no slash at the end: the root is empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Readings<'a> {
    /// As it is, apart from slashes at the end.
    Plain(&'a [u8]),
    Lenient(Lenient),
}

/// What is made of a path that is not plain.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Lenient {
    /// Folded: see [`segments_folded`].
    readings: Vec<Vec<u8>>,
    /// What scripts among the segments may take for the path of their own: `/index.php/admin` is `/admin` to them.
    behind_scripts: Vec<Vec<u8>>,
    /// There is a way to read it that leads anywhere.
    boundless: bool,
}

impl<'a> Readings<'a> {
    pub(super) fn of(path: &'a str, plain: bool) -> Self {
        if plain {
            return Self::Plain(path.strip_suffix('/').unwrap_or(path).as_bytes());
        }
        Self::Lenient(Lenient::of(path))
    }

    /// Those that scripts among the segments take for their own paths: they lead out of the folder that the path is in.
    pub fn behind_scripts(&self) -> impl Iterator<Item = Readings<'_>> {
        let readings = match self {
            Self::Plain(_) => &[][..],
            Self::Lenient(lenient) => &lenient.behind_scripts,
        };
        readings.iter().map(|reading| Readings::Plain(reading))
    }
}

impl Lenient {
    /// At each level of decoding, with what follows a `;` in a segment and without it.
    fn of(path: &str) -> Self {
        let mut all = Self::default();
        let mut texts = vec![path.as_bytes().to_vec()];
        for _ in 0..=DECODINGS_MAX {
            let mut decoded: Vec<Vec<u8>> = Vec::new();
            for text in &texts {
                all.add(text);
                for text in [Cow::Borrowed(&text[..]), Cow::Owned(without_parameters(text))] {
                    if let Some(next) = decoded_once(&text).filter(|next| !decoded.contains(next)) {
                        decoded.push(next);
                    }
                }
            }
            if decoded.is_empty() {
                return all;
            }
            texts = decoded;
        }
        all.boundless = true;
        all
    }

    fn add(&mut self, text: &[u8]) {
        for ends in [Ends::Cut, Ends::Kept] {
            let Some(segments) = segments_folded(text, ends) else {
                self.boundless = true;
                return;
            };
            let whole = joined(&segments);
            if !self.readings.contains(&whole) {
                self.readings.push(whole);
                self.add_of_scripts(&segments);
            }
        }
    }

    /// A script may go by its name without the extension (`/tasks.php/1`), or hear what follows it as its path.
    fn add_of_scripts(&mut self, segments: &[String]) {
        let name = |segment: &str| {
            segment.rsplit_once('.').filter(|(_, end)| is_of_script(end.as_bytes())).map(|(name, _)| name.to_owned())
        };
        let scripts = segments.iter().filter(|segment| name(segment).is_some()).count();
        if scripts > SCRIPTS_MAX {
            self.boundless = true;
            return;
        }
        // A digit for each script: it stays, loses its extension, or goes.
        for mut choices in 1..3_u32.pow(u32::try_from(scripts).unwrap_or(0)) {
            let mut drops = false;
            let mut reading = String::new();
            for segment in segments {
                let choice = if let Some(name) = name(segment) {
                    let choice = choices % 3;
                    choices /= 3;
                    drops |= choice == 2;
                    [Some(segment.clone()), Some(name), None][choice as usize].clone()
                } else {
                    Some(segment.clone())
                };
                if let Some(segment) = choice {
                    reading.push('/');
                    reading.push_str(&segment);
                }
            }
            if drops { &mut self.behind_scripts } else { &mut self.readings }.push(reading.into_bytes());
        }
    }
}

fn joined(segments: &[String]) -> Vec<u8> {
    segments.iter().flat_map(|segment| ["/", segment]).collect::<String>().into_bytes()
}

/// Where something is guarded: a path of the settings, in the form in which readings are compared with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place(Vec<u8>);

impl Place {
    /// `None` for a path that is not canonical, or has more than one reading by itself.
    pub fn of(path: &str) -> Option<Self> {
        let target = CanonicalTarget::parse(path).ok().filter(|target| target.path() == path)?;
        let is_trimmed = path == "/" || !path.ends_with('/');
        let is_odd = ["//", ";", "%25", "%2F", "%5C", "%3B", "%3F", "%23"].iter().any(|odd| target.path().contains(odd));
        if !is_trimmed || is_odd {
            return None;
        }
        let decoded = decoded_once(path.as_bytes()).unwrap_or_else(|| path.as_bytes().to_vec());
        let segments = segments_folded(&decoded, Ends::AsNamed)?;
        let is_whole = path == "/" || segments.len() == path.matches('/').count();
        is_whole.then(|| Self(joined(&segments)))
    }

    /// Whether a path may be read as this place, or, unless `alone`, as one below it by whole segments.
    pub fn may_hold(&self, readings: &Readings<'_>, alone: bool) -> bool {
        match readings {
            Readings::Plain(reading) => self.holds(reading, alone),
            Readings::Lenient(Lenient { readings, behind_scripts, boundless }) => {
                *boundless || readings.iter().chain(behind_scripts).any(|reading| self.holds(reading, alone))
            }
        }
    }

    /// Whether `other` is this place, or below it by whole segments.
    pub fn is_above(&self, other: &Self) -> bool {
        other.0.strip_prefix(&self.0[..]).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }

    /// Whether one of both is the other with an extension: somebody who sets rules for each means it.
    pub fn differs_by_extension(&self, other: &Self) -> bool {
        let extends = |one: &Self, other: &Self| {
            other.0.strip_prefix(&one.0[..]).is_some_and(|rest| rest.first() == Some(&b'.') && is_extension(rest))
        };
        extends(self, other) || extends(other, self)
    }

    fn holds(&self, reading: &[u8], alone: bool) -> bool {
        self.is_met_by(reading, alone) || self.is_extended_from(reading, alone)
    }

    fn is_met_by(&self, reading: &[u8], alone: bool) -> bool {
        let Some((start, rest)) = reading.split_at_checked(self.0.len()) else { return false };
        let follows = match rest.first() {
            None => true,
            Some(b'/') => !alone || is_index(&rest[1..]),
            Some(b'.' | b'+') => !self.0.is_empty() && is_extension(rest),
            Some(_) => false,
        };
        follows && start.eq_ignore_ascii_case(&self.0)
    }

    /// Whether a server that adds extensions by itself (`try_files $uri.html`, `MultiViews`) may find this place by a name without: the
    /// place itself, and what lies below a script.
    fn is_extended_from(&self, reading: &[u8], alone: bool) -> bool {
        let Some((stem, extension)) = self.stem() else { return false };
        let Some((start, rest)) = reading.split_at_checked(stem.len()) else { return false };
        let follows = match rest.first() {
            None => true,
            Some(b'/') => !alone && is_of_script(&extension[1..]),
            // Of several extensions, the first ones.
            Some(b'.') => {
                !rest.contains(&b'/') && extension.len() > rest.len() && extension[rest.len()] == b'.' && {
                    extension[..rest.len()].eq_ignore_ascii_case(rest)
                }
            }
            Some(_) => false,
        };
        follows && start.eq_ignore_ascii_case(stem)
    }

    /// The place without the extensions of its last segment, and these.
    fn stem(&self) -> Option<(&[u8], &[u8])> {
        let name_at = self.0.iter().rposition(|byte| *byte == b'/')? + 1;
        // A name that begins with a dot has no extension in that.
        let dot = self.0.iter().skip(name_at + 1).position(|byte| *byte == b'.')?;
        Some(self.0.split_at(name_at + 1 + dot))
    }
}

/// Whether what follows a name is an extension of the last segment: frameworks that choose a format by it (`tasks.json`) serve the
/// same as without, some of them with several (`tasks.a.b`).
fn is_extension(rest: &[u8]) -> bool {
    let spaces = rest.iter().take_while(|byte| **byte == b'+').count();
    rest[spaces..].starts_with(b".") && !rest.contains(&b'/')
}

/// Whether a segment is what many servers and frameworks serve for its folder.
fn is_index(segment: &[u8]) -> bool {
    let name = segment.split(|byte| *byte == b'.').next().unwrap_or(segment);
    let is_named = name.eq_ignore_ascii_case(b"index") || name.eq_ignore_ascii_case(b"default") && name.len() < segment.len();
    is_named && !segment.contains(&b'/')
}

/// Whether an extension is one of programs that take what follows their name for a path of their own.
pub(super) fn is_of_script(extension: &[u8]) -> bool {
    const EXTENSIONS: [&[u8]; 11] = [b"asp", b"aspx", b"cfm", b"cgi", b"dll", b"exe", b"fcgi", b"jsp", b"phtml", b"pl", b"py"];
    let is_php = extension.len() <= 5 && extension.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"php"));
    is_php || EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// What becomes of spaces, and of `+` that may be one, at the end of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ends {
    /// They go, as on Windows.
    Cut,
    /// They stay, as elsewhere.
    Kept,
    /// Spaces go and `+` stays: whoever writes `/c++` into the settings means it.
    AsNamed,
}

/// The segments of a text that is not decoded further, in the form in which everything is equal that some server or framework takes
/// for equal:
///
/// - cut at `?` and `#`, which some parse again after decoding;
/// - backslashes as slashes, and what Windows makes slashes of; no empty segments;
/// - no parameters behind `;`, no streams of NTFS behind `::` and `:$`, no spaces in front, no dots at the end;
/// - a space as `+`, which is one to some; at the end of a segment both may go;
/// - letters without case, accents and width (NFKD), by full case mapping: `ſ` is `s`, the Kelvin sign `k`, `ß` `ss`, `İ` and `ı` `i`.
///
/// `None` for what may lead anywhere: a dot segment, or something encoded, that is none before.
fn segments_folded(text: &[u8], ends: Ends) -> Option<Vec<String>> {
    let folded = folded(text);
    // A percent sign of full width, say, before two digits.
    if !text.is_ascii() && decoded_once(text).is_none() && decoded_once(folded.as_bytes()).is_some() {
        return None;
    }
    let path = folded.split(['?', '#']).next().unwrap_or(&folded);
    let mut segments = Vec::new();
    for segment in path.split(['/', '\\']) {
        let segment = before_stream(before_parameter(segment));
        let is_cut = |end: char| match ends {
            Ends::Cut => end == '.' || end == '+' || end.is_whitespace(),
            Ends::Kept => end == '.',
            Ends::AsNamed => end == '.' || end.is_whitespace(),
        };
        let named = match ends {
            Ends::Cut => segment.trim_start_matches(|start: char| start == '+' || start.is_whitespace()),
            Ends::Kept | Ends::AsNamed => segment.trim_start(),
        };
        let named = named.trim_end_matches(is_cut);
        match named {
            "" if matches!(without_spaces(segment), "." | "..") => return None,
            "" => {}
            named => segments.push(named.replace(' ', "+")),
        }
    }
    Some(segments)
}

fn without_spaces(segment: &str) -> &str {
    segment.trim_matches(|end: char| end == '+' || end.is_whitespace())
}

fn before_parameter(segment: &str) -> &str {
    segment.split(';').next().unwrap_or(segment)
}

fn before_stream(segment: &str) -> &str {
    let end = segment.find("::").into_iter().chain(segment.find(":$")).min();
    &segment[..end.unwrap_or(segment.len())]
}

fn folded(text: &[u8]) -> String {
    if text.is_ascii() {
        return String::from_utf8_lossy(text).to_ascii_lowercase();
    }
    let text = decoded_text(text);
    text.nfkd()
        .flat_map(char::to_lowercase)
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .nfkd()
        .filter(|letter| !is_combining_mark(*letter) && !is_invisible(*letter))
        .map(|letter| match letter {
            '\u{2044}' | '\u{2215}' => '/',
            '\u{2216}' => '\\',
            letter => letter,
        })
        .collect()
}

/// UTF-8; bytes that are none are read as Latin-1.
fn decoded_text(text: &[u8]) -> String {
    let mut letters = String::with_capacity(text.len() + 8);
    for chunk in text.utf8_chunks() {
        letters.push_str(chunk.valid());
        letters.extend(chunk.invalid().iter().copied().map(char::from));
    }
    letters
}

/// Characters that normal forms for comparing leave out (Unicode, `Default_Ignorable_Code_Point`).
const fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

fn without_parameters(text: &[u8]) -> Vec<u8> {
    let before = |segment: &[u8]| segment.split(|byte| *byte == b';').next().map(<[u8]>::to_vec).unwrap_or_default();
    text.split(|byte| *byte == b'/').map(before).collect::<Vec<_>>().join(&b'/')
}

/// One decoding, of `%uXXXX` too; `None` where there is nothing to decode.
fn decoded_once(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%'
            && let Some(value) = decode(rest, 1)
        {
            decoded.push(value);
            rest = &rest[3..];
        } else if byte == b'%'
            && let Some(letter) = wide_escape(after)
        {
            decoded.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[6..];
        } else {
            decoded.push(byte);
            rest = after;
        }
    }
    (decoded.len() < text.len()).then_some(decoded)
}

/// What `uXXXX` stands for behind a percent sign, to servers of Microsoft and `unescape` in scripts.
fn wide_escape(text: &[u8]) -> Option<char> {
    let digits = text.strip_prefix(b"u").or_else(|| text.strip_prefix(b"U"))?.get(..4)?;
    let digits = digits.iter().all(u8::is_ascii_hexdigit).then(|| std::str::from_utf8(digits).ok()).flatten()?;
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}

/// Refuses what some reading of a canonical path makes dangerous on any route.
pub(super) fn check(canonical: &str) -> Result<(), PathError> {
    let decoded = fully_decoded(canonical);
    let segments = decoded.split(|byte| matches!(byte, b'/' | b'\\'));
    let mut names = segments.map(|segment| segment.split(|byte| b";?#".contains(byte)).next().unwrap_or(segment));
    if names.any(|name| matches!(name, b"." | b"..")) {
        return Err(PathError::DotSegment);
    }
    // Overlong UTF-8 (RFC 3629, section 3) that a careless decoder takes for a dot, a slash or a backslash.
    let is_overlong = |pair: &[u8]| matches!(pair, [0xc0 | 0xc1, 0x80..=0xbf] | [0xe0, 0x80..=0x9f] | [0xf0, 0x80..=0x8f]);
    if decoded.windows(2).any(is_overlong) {
        return Err(PathError::BadEncoding);
    }
    // A further decoding must not reveal what the first may not.
    if decoded.iter().any(u8::is_ascii_control) {
        return Err(PathError::BadCharacter);
    }
    Ok(())
}

/// Whether no reader takes a canonical path for a URL that names a host: two slashes at its beginning, in any spelling.
pub(super) fn names_no_host(canonical: &str) -> bool {
    let decoded = fully_decoded(canonical);
    !String::from_utf8_lossy(&decoded).chars().nth(1).is_some_and(is_taken_for_a_slash)
}

/// Slashes, backslashes, and what programs turn into these that know few characters.
fn is_taken_for_a_slash(c: char) -> bool {
    const ALIKE: [char; 9] =
        ['\u{2044}', '\u{2215}', '\u{2216}', '\u{29f5}', '\u{29f8}', '\u{29f9}', '\u{fe68}', '\u{ff0f}', '\u{ff3c}'];
    matches!(c, '/' | '\\') || ALIKE.contains(&c)
}

/// A path decoded until there is nothing left to decode. What was decoded may be part of a further encoding, with what stands beside
/// it: `%25%2532e` is `%%32e`, then `%2e`, then a dot. The order does not matter, for no two encodings share a byte; this one looks at
/// each byte a few times only.
fn fully_decoded(path: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    for byte in path.bytes() {
        decoded.push(byte);
        while let Some(byte) = decoded.last_chunk::<3>().and_then(|end| if end[0] == b'%' { decode(end, 1) } else { None }) {
            decoded.truncate(decoded.len() - 3);
            decoded.push(byte);
        }
    }
    decoded
}
