//! Moments as databases and languages print them. What could mean two things means none.

use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::tz::Offset;

use crate::domain::time::Timestamp;

/// Moments that a column of a table of tokens can hold as a number. Within them seconds, milliseconds, microseconds and nanoseconds
/// never meet, and other counts (ticks since the year 1 or 1601, seconds since 2001, days, digits of a date) lie outside.
const PLAUSIBLE_SECS: std::ops::RangeInclusive<i64> = 946_684_800..=4_133_980_799;

/// How many of a unit make a second.
const UNITS_PER_SEC: [i64; 4] = [1, 1_000, 1_000_000, 1_000_000_000];

/// What a cell says of a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moment {
    At(Timestamp),
    /// What databases and languages write in the place of none: zero, and the first moments of their calendars.
    Never,
}

/// # Errors
/// What is wrong; the text is not repeated.
pub(super) fn read(text: &str) -> Result<Moment, String> {
    let text = text.trim();
    if let Some(number) = Number::of(text) {
        return number.moment();
    }
    if is_zero_date(text) {
        return Ok(Moment::Never);
    }
    if is_end_of_time(text) {
        return Ok(Moment::At(END_OF_TIME));
    }
    // As PostgreSQL prints them.
    if text.eq_ignore_ascii_case("infinity") {
        return Ok(Moment::At(END_OF_TIME));
    }
    if text.eq_ignore_ascii_case("-infinity") {
        return Ok(Moment::At(BEGINNING_OF_TIME));
    }
    let moment = in_words(text)
        .ok_or("is no moment; allowed is one such as 2026-11-24T16:00:00Z or \"2026-11-24 16:00:00 UTC\", or a Unix time")?;
    let is_never = moment == jiff::Timestamp::UNIX_EPOCH || moment.as_second() < YEAR_1_ENDS;
    if is_never {
        return Ok(Moment::Never);
    }
    if moment.as_second() < *PLAUSIBLE_SECS.start() {
        return Err("lies before the year 2000: is it in the form of another column?".to_owned());
    }
    Ok(Moment::At(Timestamp::from_millis(moment.as_millisecond())))
}

/// The end of the year 1, where some calendars begin.
const YEAR_1_ENDS: i64 = -62_104_060_800;

/// A count of seconds or of parts of them.
struct Number<'a> {
    whole: i64,
    fraction: &'a str,
}

impl<'a> Number<'a> {
    /// `None` for what does not look like a number. One in scientific notation lost the digits that count.
    fn of(text: &'a str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_number = fraction.bytes().all(|b| b.is_ascii_digit()) && !whole.starts_with('+');
        Some(Self { whole: whole.parse().ok().filter(|_| is_number)?, fraction })
    }

    fn moment(&self) -> Result<Moment, String> {
        if self.whole == 0 && self.fraction.bytes().all(|digit| digit == b'0') {
            return Ok(Moment::Never);
        }
        let per_sec = UNITS_PER_SEC.into_iter().find(|per_sec| PLAUSIBLE_SECS.contains(&self.whole.div_euclid(*per_sec)));
        let Some(per_sec) = per_sec else {
            return Err(
                "is no plausible Unix time: in seconds, milliseconds, microseconds and nanoseconds it lies outside of the \
                        years 2000 to 2100"
                    .to_owned(),
            );
        };
        let millis = match per_sec {
            1 => self.whole * 1000 + self.fraction.chars().chain("000".chars()).take(3).fold(0, |n, c| n * 10 + digit(c)),
            1_000 => self.whole,
            _ => self.whole / (per_sec / 1000),
        };
        Ok(Moment::At(Timestamp::from_millis(millis)))
    }
}

fn digit(c: char) -> i64 {
    c.to_digit(10).map_or(0, i64::from)
}

/// `0000-00-00`, with any time, as `MySQL` writes it.
fn is_zero_date(text: &str) -> bool {
    text.starts_with("0000-00-00") && text.bytes().all(|b| matches!(b, b'0' | b'-' | b':' | b'.' | b' ' | b'T' | b'Z'))
}

/// The last second of the year 9999, which is how many tables say that a token never expires.
pub(super) const END_OF_TIME: Timestamp = Timestamp::from_secs(253_402_300_799);

/// Before everything that a table of tokens speaks of.
const BEGINNING_OF_TIME: Timestamp = Timestamp::from_millis(0);

/// The last two days of the year 9999, in any zone: some of their moments lie beyond what is reckoned with.
fn is_end_of_time(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_digit() || matches!(b, b'-' | b':' | b'.' | b'+' | b' ' | b'T' | b'Z');
    let is_last_day = text.starts_with("9999-12-31") || text.starts_with("9999-12-30");
    is_last_day && without_zone_name(text).bytes().all(is_part)
}

fn in_words(text: &str) -> Option<jiff::Timestamp> {
    let text = without_zone_name(text);
    // What has no zone is UTC: so Prisma writes, and so do most.
    let without_zone = || Offset::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok();
    let joined = || with_joined_offset(text)?.parse().ok();
    let of_mail = || rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    text.parse().ok().or_else(joined).or_else(without_zone).or_else(of_mail)
}

/// Without ` UTC` or ` GMT`, which says the same as nothing, and as an offset of zero before it.
fn without_zone_name(text: &str) -> &str {
    let bare = ["UTC", "GMT"].into_iter().find_map(|name| text.strip_suffix(name)).filter(|rest| rest.ends_with(' '));
    match bare.map(str::trim_end) {
        // An offset with a name behind it says two things unless it is zero.
        Some(rest) if has_offset(rest) && !["+00", "+0000", "+00:00"].iter().any(|zero| rest.ends_with(zero)) => text,
        // What mail writes needs its zone.
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit() && rest.contains('-')) => rest,
        _ => text,
    }
}

/// Whether the text ends with what could be an offset, behind a space.
fn has_offset(text: &str) -> bool {
    text.rsplit_once(' ').is_some_and(|(_, last)| last.starts_with(['+', '-']))
}

/// `2026-01-01 00:00:00 +0100` without the space before the offset, `2026-01-01 00:00:00 Z` the same.
fn with_joined_offset(text: &str) -> Option<String> {
    let (moment, offset) = text.rsplit_once(' ')?;
    let is_offset = offset == "Z" || offset.strip_prefix(['+', '-']).is_some_and(|rest| rest.len() >= 2);
    (is_offset && moment.contains(':')).then(|| format!("{}{offset}", moment.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 1_795_536_000_123;

    #[expect(clippy::unnecessary_wraps, reason = "compared with what reading gives")]
    fn at(millis: i64) -> Result<Moment, String> {
        Ok(Moment::At(Timestamp::from_millis(millis)))
    }

    #[test]
    fn a_moment_is_read_in_every_form_that_databases_and_languages_print() {
        for text in [
            "2026-11-24T16:00:00.123Z",
            "2026-11-24 16:00:00.123",
            "2026-11-24T16:00:00.123",
            "2026-11-24 16:00:00.123 UTC",
            "2026-11-24 16:00:00.123 GMT",
            "2026-11-24 16:00:00.123Z",
            "2026-11-24 16:00:00.123 Z",
            "2026-11-24 16:00:00.123+00",
            "2026-11-24 16:00:00.123+0000",
            "2026-11-24 16:00:00.123 +0000",
            "2026-11-24 16:00:00.123 +0000 UTC",
            "2026-11-24 16:00:00.1230000 +00:00",
            "2026-11-24 17:00:00.123000 +0100",
            "2026-11-24 18:00:00.123456+02",
            "2026-11-24T21:30:00.123+05:30",
            " 2026-11-24T16:00:00.123000000Z ",
        ] {
            assert_eq!(read(text), at(AT), "{text}");
        }
        for text in ["Tue, 24 Nov 2026 16:00:00 GMT", "Tue, 24 Nov 2026 16:00:00 +0000", "2026-11-24 16:00:00"] {
            assert_eq!(read(text), at(1_795_536_000_000), "{text}");
        }
        assert_eq!(read("2026-11-24"), at(1_795_478_400_000));
        assert_eq!(read("-infinity"), at(0));
        for never in [
            "infinity",
            "Infinity",
            "9999-12-31",
            "9999-12-31 23:59:59",
            "9999-12-31T23:59:59.999Z",
            "9999-12-31 23:59:59.9999999 +00:00",
        ] {
            assert_eq!(read(never), at(253_402_300_799_000), "{never}");
        }
    }

    #[test]
    fn the_unit_of_a_number_is_told_by_its_size() {
        for text in ["1795536000.123", "1795536000123", "1795536000123456", "1795536000123456789"] {
            assert_eq!(read(text), at(AT), "{text}");
        }
        assert_eq!(read("1795536000"), at(1_795_536_000_000));
        assert_eq!(read("946684800"), at(946_684_800_000), "the year 2000");
        assert_eq!(read("4102444800000000"), at(4_102_444_800_000), "the year 2100");
    }

    #[test]
    fn a_number_of_another_count_is_refused() {
        for text in [
            "1",
            "-1795536000",
            "946684799",
            "4133980800",
            // Ticks since the year 1 and since 1601, seconds since 2001, days, digits, hundredths.
            "639151056000000000",
            "134400096000000000",
            "817228800",
            "20416",
            "2461369",
            "20261124",
            "20261124160000",
            "179553600012",
            "1.7955e9",
            "1.795536E+12",
            "99999999999999999999",
            "0x6b04",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_stands_for_no_moment_is_none() {
        for text in [
            "0",
            "0.0",
            "0000-00-00 00:00:00",
            "0000-00-00",
            "0001-01-01T00:00:00Z",
            "0001-01-01 00:00:00",
            "1970-01-01 00:00:00",
            "1970-01-01T00:00:00.000Z",
        ] {
            assert_eq!(read(text), Ok(Moment::Never), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_or_could_be_two_is_refused() {
        for text in [
            "tomorrow",
            "inf",
            "infinity UTC",
            "2026-13-01 00:00:00",
            "11/24/2026",
            "24.11.2026 16:00",
            "2026-11-24 16:00:00 EST",
            "2026-11-24 16:00:00 +0100 UTC",
            "1999-12-31 23:59:59",
            "1970-01-02",
            "12:00:00",
            "",
            "UTC",
            "-",
            "+01",
            "9999-12-31 or so",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
