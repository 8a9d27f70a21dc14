//! How a line is written.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

use super::entry::{Entry, Last};
use super::field::Field;
use super::text::{self, Format, LINE_BYTES_MAX, Text};
use crate::domain::meters::{Label as _, RowName, Spans};
use crate::domain::time::Timestamp;

/// The member that names what was cut.
pub(super) const CUT: &str = "cut";

/// What is left of each text of a line that is too long, at the least.
const TEXT_BYTES_MIN: usize = 64;

/// In what form lines are, and what they tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    pub format: Format,
    /// In this order. No field comes twice.
    pub fields: Vec<Field>,
}

/// What a field holds.
enum Value<'a> {
    Text(Text<'a>),
    Number(u64),
    /// Written as seconds.
    Nanos(u64),
    Moment(Timestamp),
    Address(IpAddr),
    Socket(SocketAddr),
}

impl Layout {
    #[must_use]
    pub fn has(&self, field: Field) -> bool {
        self.fields.contains(&field)
    }

    /// Writes a line with its end. What is not known is left out. If it would be too long, texts are cut, the longest of them first, and
    /// are named in one more member.
    pub fn write(&self, entry: &Entry, last: &Last<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        let mut text_bytes_max = LINE_BYTES_MAX;
        loop {
            self.try_write(entry, last, text_bytes_max, out);
            if out.len() - start <= LINE_BYTES_MAX || text_bytes_max <= TEXT_BYTES_MIN {
                return;
            }
            out.truncate(start);
            text_bytes_max /= 2;
        }
    }

    fn try_write(&self, entry: &Entry, last: &Last<'_>, text_bytes_max: usize, out: &mut Vec<u8>) {
        let start = out.len();
        let mut cut: Vec<Field> = Vec::new();
        for field in &self.fields {
            let Some(value) = value(*field, entry, last) else { continue };
            self.begin_member(field.name(), out.len() == start, out);
            if !self.write_value(&value, text_bytes_max, out) {
                cut.push(*field);
            }
        }
        if !cut.is_empty() {
            self.begin_member(CUT, out.len() == start, out);
            let names: Vec<&str> = cut.into_iter().map(Field::name).collect();
            text::write(Text::Plain(&names.join(",")), self.format, LINE_BYTES_MAX, out);
        }
        match self.format {
            Format::Json if out.len() == start => out.extend_from_slice(b"{}\n"),
            Format::Json => out.extend_from_slice(b"}\n"),
            Format::Text => out.push(b'\n'),
        }
    }

    fn begin_member(&self, name: &str, is_first: bool, out: &mut Vec<u8>) {
        match self.format {
            Format::Json => {
                out.extend_from_slice(if is_first { b"{\"" } else { b",\"" });
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
            }
            Format::Text => {
                if !is_first {
                    out.push(b' ');
                }
                out.extend_from_slice(name.as_bytes());
                out.push(b'=');
            }
        }
    }

    /// Whether it is whole.
    fn write_value(&self, value: &Value<'_>, text_bytes_max: usize, out: &mut Vec<u8>) -> bool {
        match value {
            Value::Text(text) => text::write(*text, self.format, text_bytes_max, out),
            Value::Number(number) => {
                push_number(*number, out);
                true
            }
            Value::Nanos(nanos) => {
                push_number(nanos / NANOS_PER_SECOND, out);
                out.push(b'.');
                push_digits(nanos % NANOS_PER_SECOND / 1_000, 6, out);
                true
            }
            Value::Moment(moment) => self.write_short(out, |short| write_rfc3339(*moment, short)),
            Value::Address(address) => self.write_short(out, |short| write!(short, "{address}")),
            Value::Socket(address) => self.write_short(out, |short| write!(short, "{address}")),
        }
    }

    fn write_short(&self, out: &mut Vec<u8>, write: impl FnOnce(&mut Short) -> fmt::Result) -> bool {
        let mut short = Short::new();
        // The longest address and the farthest moment fit.
        write(&mut short).is_ok() && text::write(Text::Plain(short.as_str()), self.format, LINE_BYTES_MAX, out)
    }
}

fn value<'a>(field: Field, entry: &'a Entry, last: &'a Last<'_>) -> Option<Value<'a>> {
    let plain = |text| Some(Value::Text(Text::Plain(text)));
    let seconds = |of: fn(&Spans) -> Option<u64>| last.spans.as_ref().and_then(of).map(Value::Nanos);
    match field {
        Field::Time => Some(Value::Moment(last.time)),
        Field::Client => entry.client.map(Value::Address),
        Field::Peer => entry.peer.map(Value::Socket),
        Field::Route => match last.met {
            RowName::Route(name) => plain(name),
            RowName::Endpoint(_) => None,
        },
        Field::Endpoint => match last.met {
            RowName::Route(_) => None,
            RowName::Endpoint(endpoint) => plain(endpoint.name()),
        },
        Field::Status => last.status.map(|status| Value::Number(status.as_u16().into())),
        Field::Outcome => plain(last.outcome.name()),
        Field::Code => entry.code.and_then(|code| plain(code.as_str())),
        Field::RequestBytes => Some(Value::Number(last.request_bytes)),
        Field::ResponseBytes => Some(Value::Number(last.response_bytes)),
        Field::Duration => seconds(|spans| Some(spans.total)),
        Field::GatewayDuration => seconds(|spans| Some(spans.gateway)),
        Field::UpstreamDuration => seconds(|spans| spans.upstream),
        Field::UserAgent | Field::Referer => entry.text(field).map(|bytes| Value::Text(Text::Bytes(bytes))),
        Field::Node
        | Field::RequestId
        | Field::TraceId
        | Field::CertificateSubject
        | Field::Subject
        | Field::Session
        | Field::Method
        | Field::Scheme
        | Field::Host
        | Field::Path
        | Field::Query
        | Field::Protocol
        | Field::Upstream
        | Field::Target => {
            let bytes = entry.text(field)?;
            // They were text; one that was cut may end within a letter.
            let text = match std::str::from_utf8(bytes) {
                Ok(text) => Text::Plain(text),
                Err(_) => Text::Bytes(bytes),
            };
            Some(Value::Text(text))
        }
    }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

fn push_number(number: u64, out: &mut Vec<u8>) {
    push_digits(number, 1, out);
}

/// With zeros before it where it has fewer digits.
fn push_digits(number: u64, digits_min: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let (mut at, mut rest) = (digits.len(), number);
    while rest > 0 {
        at -= 1;
        digits[at] = b"0123456789"[(rest % 10) as usize];
        rest /= 10;
    }
    out.extend_from_slice(&digits[at.min(digits.len() - digits_min)..]);
}

/// Room for a short text.
struct Short {
    bytes: [u8; 64],
    len: usize,
}

impl Short {
    const fn new() -> Self {
        Self { bytes: [0; 64], len: 0 }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

/// UTC, in milliseconds (RFC 3339).
fn write_rfc3339(moment: Timestamp, out: &mut Short) -> fmt::Result {
    let millis = moment.millis();
    let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (seconds, millis) = (of_day / 1000, of_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a day since 1970, by the Gregorian calendar.
const fn civil(days: i64) -> (i64, i64, i64) {
    // Years begin in March here, so that a leap day is the last of its year; eras have 400 years.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months = (5 * of_year + 2) / 153;
    let day = of_year - (153 * months + 2) / 5 + 1;
    let month = if months < 10 { months + 3 } else { months - 9 };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::StatusCode;
    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;
    use crate::domain::meters::Outcome;
    use crate::domain::problem_code::ProblemCode;

    fn last(met: &RowName) -> Last<'_> {
        Last {
            time: Timestamp::from_millis(1_764_416_448_007),
            met,
            status: Some(StatusCode::FORBIDDEN),
            outcome: Outcome::Denied,
            request_bytes: 0,
            response_bytes: 1234,
            spans: Some(Spans { total: 2_001_234_567, gateway: 999, upstream: Some(5_000_000) }),
        }
    }

    fn line(format: Format, entry: &Entry, fields: &[Field]) -> String {
        let mut out = Vec::new();
        Layout { format, fields: fields.to_vec() }.write(entry, &last(&RowName::Route("api".into())), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn entry() -> Entry {
        let mut entry = Entry::default();
        entry.client = Some("192.0.2.7".parse().unwrap());
        entry.peer = Some("[2001:db8::1]:443".parse().unwrap());
        entry.code = Some(ProblemCode::ScopeInsufficient);
        entry.set(Field::Method, b"GET");
        entry.set(Field::Path, b"/a");
        entry.set(Field::Path, b"/a b");
        entry.set_shown(Field::Target, &"10.0.0.1:80");
        entry
    }

    #[test]
    fn a_line_has_what_was_chosen_in_its_order_and_nothing_that_is_not_known() {
        let fields = [
            Field::Status,
            Field::Time,
            Field::Client,
            Field::Peer,
            Field::Subject,
            Field::Path,
            Field::Route,
            Field::Endpoint,
            Field::Target,
            Field::Outcome,
            Field::Code,
            Field::ResponseBytes,
            Field::Duration,
            Field::GatewayDuration,
            Field::UpstreamDuration,
        ];
        assert_eq!(
            line(Format::Json, &entry(), &fields),
            "{\"status\":403,\"time\":\"2025-11-29T11:40:48.007Z\",\"client\":\"192.0.2.7\",\"peer\":\"[2001:db8::1]:443\",\
             \"path\":\"/a b\",\"route\":\"api\",\"target\":\"10.0.0.1:80\",\"outcome\":\"denied\",\"code\":\"scope_insufficient\",\
             \"response_bytes\":1234,\"duration\":2.001234,\"gateway_duration\":0.000000,\"upstream_duration\":0.005000}\n"
        );
        assert_eq!(
            line(Format::Text, &entry(), &fields),
            "status=403 time=2025-11-29T11:40:48.007Z client=192.0.2.7 peer=[2001:db8::1]:443 path=\"/a b\" route=api \
             target=10.0.0.1:80 outcome=denied code=scope_insufficient response_bytes=1234 duration=2.001234 \
             gateway_duration=0.000000 upstream_duration=0.005000\n"
        );
        assert_eq!(line(Format::Json, &Entry::default(), &[Field::Subject]), "{}\n");
    }

    #[test]
    fn moments_are_those_of_the_calendar() {
        let text = |millis: i64| {
            let mut short = Short::new();
            write_rfc3339(Timestamp::from_millis(millis), &mut short).unwrap();
            short.as_str().to_owned()
        };
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59.999Z");
        for day in (-700_000..2_900_000).step_by(97) {
            let millis = day * 86_400_000 + 45_296_789;
            let expected = jiff::Timestamp::from_millisecond(millis).unwrap();
            assert_eq!(text(millis), format!("{expected:.3}"));
        }
    }

    #[test]
    fn bytes_that_are_no_text_can_be_told_again() {
        let mut entry = Entry::default();
        entry.set(Field::UserAgent, b"a\\xff\xff\"\tz\xf6");
        assert_eq!(
            line(Format::Json, &entry, &[Field::UserAgent]),
            "{\"user_agent\":\"a\\\\\\\\xff\\\\xff\\\"\\u0009z\\\\xf6\"}\n"
        );
        assert_eq!(line(Format::Text, &entry, &[Field::UserAgent]), "user_agent=\"a\\\\xff\\xff\\\"\\u{9}z\\xf6\"\n");
        entry.set(Field::Subject, "AD\\zoë\u{2028}😀\u{202e}".as_bytes());
        let json = line(Format::Json, &entry, &[Field::Subject]);
        assert_eq!(serde_json::from_str::<Json>(&json).unwrap()["subject"], "AD\\zoë\u{2028}😀\u{202e}", "{json}");
        assert_eq!(json, "{\"subject\":\"AD\\\\zoë\\u2028😀\\u202e\"}\n");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_by_its_longest_texts_and_says_so() {
        let mut entry = entry();
        entry.set(Field::Path, "/\u{1b}".repeat(3_000).as_bytes());
        entry.set(Field::UserAgent, &[0xff; 1_000]);
        entry.set(Field::Host, b"app.example");
        for format in [Format::Json, Format::Text] {
            let line = line(format, &entry, &Field::ALL);
            assert!(line.len() <= LINE_BYTES_MAX && line.len() > LINE_BYTES_MAX / 4, "{}", line.len());
            assert!(line.contains("app.example") && line.contains("2.001234"), "{line}");
        }
        let json: Json = serde_json::from_str(&line(Format::Json, &entry, &Field::ALL)).unwrap();
        assert_eq!(json["cut"], "path,user_agent");
        assert!(json["path"].as_str().unwrap().starts_with("/\u{1b}/"));
        let mut all = Entry::default();
        for field in Field::ALL {
            all.set(field, "\u{7f}".repeat(LINE_BYTES_MAX).as_bytes());
        }
        let met = RowName::Route("\u{7f}".repeat(LINE_BYTES_MAX).into());
        for format in [Format::Json, Format::Text] {
            let mut out = Vec::new();
            Layout { format, fields: Field::ALL.to_vec() }.write(&all, &last(&met), &mut out);
            assert!(out.len() <= LINE_BYTES_MAX, "{}", out.len());
        }
    }

    #[test]
    fn every_field_is_documented_and_every_documented_field_is_there() {
        let operations = include_str!("../../../docs/operations.md");
        let (_, section) = operations.split_once("\n## The access log\n").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let first_cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
        let documented: BTreeSet<&str> = first_cells.flat_map(|cell| cell.split('`').step_by(2)).collect();
        let fields: BTreeSet<&str> = Field::ALL.into_iter().map(Field::name).chain([CUT]).collect();
        let undocumented: Vec<_> = fields.difference(&documented).collect();
        let missing: Vec<_> = documented.difference(&fields).collect();
        assert!(undocumented.is_empty() && missing.is_empty(), "undocumented: {undocumented:?}, not there: {missing:?}");
    }

    #[test]
    fn the_example_in_the_documentation_is_a_line() {
        let operations = include_str!("../../../docs/operations.md");
        let (_, section) = operations.split_once("\n## The access log\n").unwrap();
        let example = section.lines().find(|line| line.starts_with("{\"time\"")).unwrap();
        let example: serde_json::Map<String, Json> = serde_json::from_str(example).unwrap();
        assert!(example.len() > 10 && example.keys().all(|name| Field::named(name).is_some()), "{example:?}");
    }

    /// The values of a line of text, and what stands outside of quotes.
    fn outside(line: &str) -> String {
        let (mut quoted, mut escapes, mut outside) = (false, false, String::new());
        for c in line.chars() {
            match (quoted, escapes, c) {
                (true, true, _) => escapes = false,
                (true, false, '\\') => escapes = true,
                (_, false, '"') => quoted = !quoted,
                (false, _, c) => outside.push(c),
                (true, false, _) => {}
            }
        }
        outside
    }

    proptest! {
        #[test]
        fn no_bytes_end_a_line_or_a_field_and_all_come_back(bytes in prop::collection::vec(any::<u8>(), 0..40), text: String) {
            let mut entry = Entry::default();
            entry.set(Field::UserAgent, &bytes);
            entry.set(Field::Subject, text.as_bytes());
            let fields = [Field::UserAgent, Field::Subject, Field::Status];
            let json = line(Format::Json, &entry, &fields);
            let one_line = json.strip_suffix('\n').unwrap();
            prop_assert!(one_line.chars().all(crate::domain::visible::is_visible), "{}", json);
            let read: Json = serde_json::from_str(one_line).unwrap();
            prop_assert_eq!(read["subject"].as_str().unwrap(), text.as_str());
            prop_assert_eq!(bytes_of(read["user_agent"].as_str().unwrap()), bytes.clone());
            let plain = line(Format::Text, &entry, &fields);
            let one_line = plain.strip_suffix('\n').unwrap();
            prop_assert!(one_line.chars().all(crate::domain::visible::is_visible), "{}", plain);
            let outside = outside(one_line);
            prop_assert_eq!(outside.matches('=').count(), 3, "{}", plain);
            prop_assert_eq!(outside.split(' ').count(), 3, "{}", plain);
        }
    }

    /// As an operator would read a value of a field.
    fn bytes_of(text: &str) -> Vec<u8> {
        let (mut out, mut rest) = (Vec::new(), text);
        while let Some(c) = rest.chars().next() {
            if let Some(hex) = rest.strip_prefix("\\x") {
                out.push(u8::from_str_radix(&hex[..2], 16).unwrap());
                rest = &hex[2..];
            } else if let Some(after) = rest.strip_prefix("\\\\") {
                out.push(b'\\');
                rest = after;
            } else {
                out.extend_from_slice(&rest.as_bytes()[..c.len_utf8()]);
                rest = &rest[c.len_utf8()..];
            }
        }
        out
    }
}
