//! Readings of single values: spans of time, sizes, addresses, names. Each error says what is allowed.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use config::{Value, ValueKind};
use http::uri::Authority;
use http::{HeaderName, Method, Uri};
use ipnet::IpNet;
use zeroize::Zeroizing;

use super::address::ListenAddress;
use super::section::Parsed;
use crate::domain::host::{Host, HostPattern, HostPatternError};
use crate::domain::origin::{OriginPattern, OriginPatternError};
use crate::domain::pace::ByteRate;
use crate::domain::secret::Secret;
use crate::domain::share::Share;
use crate::domain::time::Timestamp;

/// The fewest bytes of a secret that keys are derived from: as many as the output of HMAC-SHA-256 (RFC 7518, section 3.2).
pub const SECRET_BYTES_MIN: usize = 32;

/// How often something may happen: `permits` per `period` in the long run, up to `burst` at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    pub permits: NonZeroU32,
    pub period: Duration,
    pub burst: NonZeroU32,
}

/// A place in a JSON document (RFC 6901), such as `/user/id`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pointer(String);

impl Pointer {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Pointer {
    type Err = String;

    fn from_str(text: &str) -> Parsed<Self> {
        let escapes_are_whole = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        if text.starts_with('/') && escapes_are_whole {
            return Ok(Self(text.to_owned()));
        }
        Err("allowed is a JSON pointer (RFC 6901), such as \"/user/id\"".to_owned())
    }
}

pub(super) fn text(value: &Value) -> Parsed<String> {
    match &value.kind {
        ValueKind::String(text) if !text.chars().any(char::is_control) => Ok(text.clone()),
        ValueKind::String(_) => Err("control characters are not allowed".to_owned()),
        _ => Err("allowed is text in quotes".to_owned()),
    }
}

pub(super) fn filled_text(value: &Value) -> Parsed<String> {
    text(value).and_then(|text| if text.trim().is_empty() { Err("must not be empty".to_owned()) } else { Ok(text) })
}

pub(super) fn flag(value: &Value) -> Parsed<bool> {
    match &value.kind {
        ValueKind::Boolean(value) => Ok(*value),
        ValueKind::String(text) if text == "true" => Ok(true),
        ValueKind::String(text) if text == "false" => Ok(false),
        _ => Err("allowed: true, false".to_owned()),
    }
}

pub(super) fn number(min: u64, max: u64) -> impl Fn(&Value) -> Parsed<u64> {
    move |value| {
        let number = match &value.kind {
            ValueKind::I64(number) => u64::try_from(*number).ok(),
            ValueKind::U64(number) => Some(*number),
            ValueKind::String(text) => text.parse().ok(),
            _ => None,
        };
        number.filter(|n| (min..=max).contains(n)).ok_or_else(|| format!("allowed is a whole number from {min} to {max}"))
    }
}

/// A percentage in whole numbers.
pub(super) fn share(value: &Value) -> Parsed<Share> {
    let percent = number(0, 100)(value)?;
    u8::try_from(percent).ok().and_then(Share::new).ok_or_else(|| "allowed is a whole number from 0 to 100".to_owned())
}

/// [`number`] as a `usize`, which it fits into on every machine that this runs on.
pub(super) fn count(min: u32, max: u32) -> impl Fn(&Value) -> Parsed<usize> {
    move |value| number(min.into(), max.into())(value).and_then(|n| usize::try_from(n).map_err(|e| e.to_string()))
}

const UNITS_OF_TIME: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const UNITS_OF_SIZE: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A span of time within bounds, both included: `500ms`, `15m`, `1h30m`, `7d`.
pub(super) fn duration(min: Duration, max: Duration) -> impl Fn(&Value) -> Parsed<Duration> {
    move |value| {
        let parsed = match &value.kind {
            ValueKind::String(text) => duration_from(text),
            _ => None,
        };
        parsed.filter(|span| (min..=max).contains(span)).ok_or_else(|| {
            format!(
                "allowed is a span of time with its unit (ms, s, m, h, d), such as \"500ms\", \"15m\" or \"7d\", from {} to {}",
                duration_text(min),
                duration_text(max)
            )
        })
    }
}

/// `None` for anything but numbers with units, the larger units first.
pub(super) fn duration_from(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, after) = after.split_at(letters);
        let (_, millis) = UNITS_OF_TIME.into_iter().find(|(name, _)| *name == unit).filter(|(_, millis)| *millis < smallest)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(millis)?)?;
        smallest = millis;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

/// The shortest text that [`duration_from`] reads back.
pub(super) fn duration_text(span: Duration) -> String {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let (unit, size) =
        UNITS_OF_TIME.into_iter().rev().find(|(_, size)| millis != 0 && millis.is_multiple_of(*size)).unwrap_or(("s", 1_000));
    format!("{}{unit}", millis / size)
}

/// A moment (RFC 3339), or a day: its beginning in UTC.
pub(super) fn moment(value: &Value) -> Parsed<Timestamp> {
    let read = || {
        let ValueKind::String(text) = &value.kind else { return None };
        let is_day = text.len() == "2027-03-31".len();
        if is_day { format!("{text}T00:00:00Z").parse().ok() } else { text.parse().ok() }
    };
    read()
        .map(|at: jiff::Timestamp| Timestamp::from_millis(at.as_millisecond()))
        .ok_or_else(|| "allowed is a day such as \"2027-03-31\", or a moment such as \"2027-03-31T12:00:00Z\"".to_owned())
}

/// A number of bytes within bounds, both included: `512B`, `64KiB`, `1MiB`.
pub(super) fn size(min: u64, max: u64) -> impl Fn(&Value) -> Parsed<u64> {
    move |value| {
        let parsed = match &value.kind {
            ValueKind::String(text) => size_from(text),
            _ => None,
        };
        parsed.filter(|bytes| (min..=max).contains(bytes)).ok_or_else(|| {
            format!(
                "allowed is a size with its unit (B, KiB, MiB, GiB), such as \"64KiB\" or \"1MiB\", from {} to {}",
                size_text(min),
                size_text(max)
            )
        })
    }
}

/// [`size`] as a `usize`.
pub(super) fn memory(min: u64, max: u64) -> impl Fn(&Value) -> Parsed<usize> {
    move |value| size(min, max)(value).and_then(|n| usize::try_from(n).map_err(|e| e.to_string()))
}

/// The fewest bytes in a second: `256B/s`, or `256B`. 0: off.
pub(super) fn byte_rate(value: &Value) -> Parsed<Option<ByteRate>> {
    const BYTES_MAX: u64 = 1 << 30;
    let parsed = match &value.kind {
        ValueKind::I64(0) => Some(0),
        ValueKind::String(text) => match text.strip_suffix("/s").unwrap_or(text) {
            "0" => Some(0),
            size => size_from(size),
        },
        _ => None,
    };
    parsed.filter(|bytes| *bytes <= BYTES_MAX).map(ByteRate::new).ok_or_else(|| {
        format!(
            "allowed is a size for each second, such as \"256B/s\" or \"1KiB/s\", up to {}/s, or 0 for no limit",
            size_text(BYTES_MAX)
        )
    })
}

fn size_from(text: &str) -> Option<u64> {
    let (unit, bytes) = UNITS_OF_SIZE.into_iter().find(|(name, _)| text.ends_with(name))?;
    let number = &text[..text.len() - unit.len()];
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    if is_number { number.parse::<u64>().ok()?.checked_mul(bytes) } else { None }
}

fn size_text(bytes: u64) -> String {
    let (unit, size) = UNITS_OF_SIZE.into_iter().find(|(_, size)| bytes != 0 && bytes.is_multiple_of(*size)).unwrap_or(("B", 1));
    format!("{}{unit}", bytes / size)
}

/// `10/1m`, or `10/1m burst 20`; without a burst all permits of a period may be used at once.
pub(super) fn rate(value: &Value) -> Parsed<Rate> {
    let read = || {
        let ValueKind::String(text) = &value.kind else { return None };
        let mut words = text.split_whitespace();
        let (permits, period) = words.next()?.split_once('/')?;
        let permits: NonZeroU32 = permits.parse().ok()?;
        let period = duration_from(period).filter(|span| *span >= RATE_PERIOD_MIN && *span <= RATE_PERIOD_MAX)?;
        let burst = match (words.next(), words.next(), words.next()) {
            (None, ..) => permits,
            (Some("burst"), Some(burst), None) => burst.parse().ok()?,
            _ => return None,
        };
        Some(Rate { permits, period, burst })
    };
    read().ok_or_else(|| {
        "allowed is a rate such as \"10/1m\" or \"10/1m burst 20\" (period from 100ms to 1d), or \"\" for no limit".to_owned()
    })
}

const RATE_PERIOD_MIN: Duration = Duration::from_millis(100);
const RATE_PERIOD_MAX: Duration = Duration::from_hours(24);

/// A list; in the environment and in flags also `a,b`. An empty text is an empty list.
pub(super) fn list<T>(item: impl Fn(&Value) -> Parsed<T>) -> impl Fn(&Value) -> Parsed<Vec<T>> {
    let located = move |(index, value): (usize, &Value)| {
        item(value).map_err(|message| format!("item {} ({}): {message}", index + 1, super::problem::short_text(value)))
    };
    move |value| match &value.kind {
        ValueKind::Array(items) => items.iter().enumerate().map(&located).collect(),
        ValueKind::String(text) if text.is_empty() => Ok(Vec::new()),
        ValueKind::String(text) => {
            text.split(',').enumerate().map(|(index, part)| located((index, &Value::new(None, part.trim())))).collect()
        }
        _ => Err("allowed is a list, such as [\"a\", \"b\"]".to_owned()),
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(allowed: &'static [(&'static str, T)]) -> impl Fn(&Value) -> Parsed<T> {
    move |value| {
        let given = match &value.kind {
            ValueKind::String(text) => text.as_str(),
            _ => "",
        };
        allowed.iter().find(|(word, _)| *word == given).map(|(_, choice)| *choice).ok_or_else(|| {
            let words: Vec<String> = allowed.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            format!("allowed: {}", words.join(", "))
        })
    }
}

/// Anything with a text form of its own, described by `allowed`.
pub(super) fn parsed<T: FromStr>(allowed: &'static str) -> impl Fn(&Value) -> Parsed<T> {
    move |value| match &value.kind {
        ValueKind::String(text) => text.parse().map_err(|_| format!("allowed is {allowed}")),
        _ => Err(format!("allowed is {allowed}")),
    }
}

pub(super) fn address(value: &Value) -> Parsed<ListenAddress> {
    const ALLOWED: &str =
        "allowed is an IP address or a name, and a port, such as \"127.0.0.1:8080\", \"[::]:8080\" or \"localhost:8080\"";
    text(value)?.parse().map_err(|()| ALLOWED.to_owned())
}

/// A network; a single address is a network of one.
pub(super) fn network(value: &Value) -> Parsed<IpNet> {
    let text = text(value)?;
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map(|net: IpNet| net.trunc())
        .map_err(|_| "allowed is a network such as \"10.0.0.0/8\", or an IP address".to_owned())
}

pub(super) fn header_name(value: &Value) -> Parsed<HeaderName> {
    parsed("the name of a header field, such as \"x-auth-subject\"")(value)
}

pub(super) fn method(value: &Value) -> Parsed<Method> {
    let method: Method = parsed("a method, such as \"GET\"")(value)?;
    let is_upper_case = !method.as_str().bytes().any(|b| b.is_ascii_lowercase());
    match (is_upper_case, &method) {
        (true, &Method::CONNECT) => Err("CONNECT is never forwarded".to_owned()),
        (true, _) => Ok(method),
        (false, _) => Err("methods are written in upper case".to_owned()),
    }
}

pub(super) fn pointer(value: &Value) -> Parsed<Pointer> {
    text(value)?.parse()
}

pub(super) fn path(value: &Value) -> Parsed<PathBuf> {
    filled_text(value).map(PathBuf::from)
}

/// A path of URLs in its canonical form; a slash at the end is dropped.
pub(super) fn url_path(value: &Value) -> Parsed<String> {
    const ALLOWED: &str = "allowed is a path such as \"/api\": it starts with a slash and has no empty, \".\" or \"..\" segment, \
                           no query, and none of % ; \\ # or characters beyond ASCII";
    let text = text(value)?;
    match text.as_str() {
        "/" => Ok(text),
        path if is_url_path(path) && !path.is_empty() => Ok(path.strip_suffix('/').unwrap_or(path).to_owned()),
        _ => Err(ALLOWED.to_owned()),
    }
}

/// Whether a path is canonical, but for a slash at its end.
fn is_url_path(text: &str) -> bool {
    let is_segment = |segment: &str| {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&b);
        !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain)
    };
    let path = text.strip_suffix('/').unwrap_or(text);
    path.is_empty() || path.strip_prefix('/').is_some_and(|segments| segments.split('/').all(is_segment))
}

/// `scheme://host[:port][/path]` and nothing more.
pub(super) fn base_url(value: &Value) -> Parsed<Uri> {
    const ALLOWED: &str = "allowed is \"http://host:port\" or \"https://host:port\", and a path such as \"/v2\" where requests are to \
                           have one put before theirs: without user, query, fragment, empty, \".\" and \"..\" segments, \
                           and without % ; \\ or characters beyond ASCII";
    let text = text(value)?;
    // The URI that is read has lost it.
    let has_fragment = text.contains('#');
    let uri: Uri = text.parse().map_err(|_| ALLOWED.to_owned())?;
    let is_plain = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri
            .authority()
            .is_some_and(|authority| has_sound_port(authority) && Host::parse(authority.as_str().as_bytes()).is_ok())
        && is_url_path(uri.path())
        && uri.query().is_none()
        && !has_fragment;
    if is_plain { Ok(uri) } else { Err(ALLOWED.to_owned()) }
}

/// A host, and no port or one that can be connected to. (`Uri` lets `h:` and `h:99999` pass, as if there were none.)
pub(super) fn has_sound_port(authority: &Authority) -> bool {
    let ends_with_host = authority.as_str().ends_with(authority.host());
    !authority.host().is_empty() && authority.port_u16().map_or(ends_with_host, |port| port != 0)
}

/// An origin as browsers send it (RFC 6454), or those of all names below one.
pub(super) fn origin(value: &Value) -> Parsed<OriginPattern> {
    text(value)?.parse().map_err(|error: OriginPatternError| error.to_string())
}

/// One host without port, or all names below one. International names may be written as they are read.
pub(super) fn host_pattern(value: &Value) -> Parsed<HostPattern> {
    let text = text(value)?;
    let (below, name) = text.strip_prefix("*.").map_or(("", &*text), |name| ("*.", name));
    let ascii = if name.is_ascii() { Some(name.to_owned()) } else { url::Host::parse(name).ok().map(|host| host.to_string()) };
    let pattern = ascii.map_or(Err(HostPatternError), |name| format!("{below}{name}").parse());
    pattern.map_err(|error| error.to_string())
}

/// Key material in hex, base64 or base64url, at least [`SECRET_BYTES_MIN`] bytes.
pub(super) fn key_material(value: &Value) -> Parsed<Secret<String>> {
    const MEND: &str = "allowed are 32 bytes or more in base64 or hex; make one with: openssl rand -base64 32";
    let ValueKind::String(text) = &value.kind else { return Err(MEND.to_owned()) };
    let text = text.trim();
    let bytes = key_bytes(text).map(Zeroizing::new).ok_or_else(|| format!("neither hex nor base64; {MEND}"))?;
    if bytes.len() < SECRET_BYTES_MIN {
        return Err(format!("only {} bytes; {MEND}", bytes.len()));
    }
    if bytes.iter().all(|byte| *byte == bytes[0]) {
        return Err(format!("repeats one byte, so anyone can guess it; {MEND}"));
    }
    Ok(Secret::new(text.to_owned()))
}

fn key_bytes(text: &str) -> Option<Vec<u8>> {
    hex_bytes(text).or_else(|| base64_bytes(text))
}

pub(super) fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Of either alphabet, padded or not.
pub(super) fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    let unpadded = text.trim_end_matches('=');
    let engines = [&base64::engine::general_purpose::STANDARD_NO_PAD, &base64::engine::general_purpose::URL_SAFE_NO_PAD];
    engines.into_iter().find_map(|engine| engine.decode(unpadded).ok())
}

/// One secret, or several for rotation: a list, or one a line.
pub(super) fn key_materials(value: &Value) -> Parsed<Vec<Secret<String>>> {
    let texts: Vec<Value> = match &value.kind {
        ValueKind::Array(items) => items.clone(),
        ValueKind::String(text) => {
            text.split([',', '\n']).map(str::trim).filter(|line| !line.is_empty()).map(|line| Value::new(None, line)).collect()
        }
        _ => vec![value.clone()],
    };
    match texts.as_slice() {
        [] => Err("must not be empty".to_owned()),
        [one] => key_material(one).map(|one| vec![one]),
        many => {
            let numbered = many.iter().enumerate();
            numbered.map(|(index, one)| key_material(one).map_err(|e| format!("secret {}: {e}", index + 1))).collect()
        }
    }
}

/// A password or token: any text of one line.
pub(super) fn password(value: &Value) -> Parsed<Secret<String>> {
    filled_text(value).map(Secret::new)
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.permits, duration_text(self.period))?;
        if self.burst == self.permits { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}

/// [`number`] as a `u32`.
pub(super) fn number_u32(min: u32, max: u32) -> impl Fn(&Value) -> Parsed<u32> {
    move |value| number(min.into(), max.into())(value).and_then(|n| u32::try_from(n).map_err(|e| e.to_string()))
}

/// Something that an empty text switches off.
pub(super) fn or_off<T>(parse: impl Fn(&Value) -> Parsed<T>) -> impl Fn(&Value) -> Parsed<Option<T>> {
    move |value| match &value.kind {
        ValueKind::String(text) if text.is_empty() => Ok(None),
        _ => parse(value).map(Some).map_err(|message| format!("{message}; \"\" switches it off")),
    }
}

#[cfg(test)]
mod tests;
