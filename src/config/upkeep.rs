//! `[sweeper]` and `[statistics]`: what is done beside requests, and when.

use std::cmp::Ordering;
use std::time::Duration;

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::time::{CivilDate, CivilDateTime, CivilTime, CronDateTime, Resolution, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, ZonedDateTime};

use super::parse;
use super::reading::Reading;
use super::section::Section;
use super::setting::open_settings;
use crate::domain::time::Timestamp;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug)]
pub struct Sweeper {
    /// When what has ended by itself is removed from the store; `None`: on demand alone.
    pub schedule: Option<Schedule>,
}

impl Sweeper {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let pattern = s.read("schedule", parse::or_off(pattern()));
        let zone = s.read("time_zone", time_zone());
        Self { schedule: pattern.map(|pattern| Schedule { pattern, zone }) }
    }
}

#[derive(Clone, Debug)]
pub struct Statistics {
    /// How often each node brings what it counted into the store.
    pub flush_interval: Duration,
    /// How often one node measures the store.
    pub measure_interval: Duration,
}

impl Statistics {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        Self {
            flush_interval: s.read("flush_interval", parse::duration(SECOND / 10, HOUR)),
            measure_interval: s.read("measure_interval", parse::duration(SECOND, 24 * HOUR)),
        }
    }
}

/// Moments that come again, by the wall clock of a place.
#[derive(Clone, Debug)]
pub struct Schedule {
    pattern: croner::Cron,
    zone: TimeZone,
}

impl Schedule {
    /// The first moment after `at`; `None` when there is none any more. What falls into an hour that a change of the clock skips
    /// is due at its end; what falls into one that comes twice is due once.
    #[must_use]
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        let at = jiff::Timestamp::from_millisecond(at.millis()).ok()?.to_zoned_datetime(self.zone.clone());
        let next = self.pattern.find_next_occurrence(&Moment(at), false).ok()?;
        Some(Timestamp::from_millis(next.0.timestamp().as_millisecond()))
    }
}

open_settings!(croner::Cron, TimeZone);

fn pattern() -> Reading<croner::Cron> {
    parse::filled_text().then(|text| {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        parser.parse(&text).map_err(|error| {
            format!("{error}; allowed are the five fields of cron, minute, hour, day, month, weekday, such as \"0 2 * * *\"")
        })
    })
}

fn time_zone() -> Reading<TimeZone> {
    parse::filled_text().then(|text| {
        TimeZone::get(&text)
            .map_err(|_| "allowed is a name of the IANA time zone database, such as \"UTC\" or \"Europe/Berlin\"".to_owned())
    })
}

/// A moment as croner looks at it. (Its own support is for an earlier jiff.)
#[derive(Clone)]
struct Moment(ZonedDateTime);

impl Moment {
    fn at(datetime: jiff::civil::DateTime, zone: &TimeZone) -> Resolution<Result<Self, jiff::Error>> {
        let ambiguous = zone.to_ambiguous_zoned_datetime(datetime);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => Resolution::Single(ambiguous.compatible().map(Self)),
            AmbiguousOffset::Fold { .. } => {
                Resolution::Ambiguous(ambiguous.clone().earlier().map(Self), ambiguous.later().map(Self))
            }
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        }
    }
}

impl CronDateTime for Moment {
    fn to_civil(&self) -> CivilDateTime {
        let (date, time) = (self.0.date(), self.0.time());
        let date = CivilDate::from_parts_unchecked(date.year().into(), unsigned(date.month()), unsigned(date.day()));
        let time = CivilTime::from_parts_unchecked(unsigned(time.hour()), unsigned(time.minute()), unsigned(time.second()));
        CivilDateTime::new(date, time)
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(unsigned(self.0.weekday().to_sunday_zero_offset()))
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let part = |part: u32| i8::try_from(part).map_err(|_| CronError::InvalidDate);
        let year = i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?;
        let date = jiff::civil::Date::new(year, part(civil.month())?, part(civil.day())?).map_err(|_| CronError::InvalidDate)?;
        let datetime = date.at(part(civil.hour())?, part(civil.minute())?, part(civil.second())?, 0);
        let invalid = |_| CronError::InvalidTime;
        Ok(match Self::at(datetime, self.0.time_zone()) {
            Resolution::Single(moment) => Resolution::Single(moment.map_err(invalid)?),
            Resolution::Ambiguous(earlier, later) => Resolution::Ambiguous(earlier.map_err(invalid)?, later.map_err(invalid)?),
            Resolution::Gap => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.timestamp().cmp(&other.0.timestamp())
    }
}

/// Parts of a date are never negative.
fn unsigned(part: i8) -> u32 {
    part.unsigned_abs().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(fields: &str, zone: &str) -> Schedule {
        let value = |text: &str| config::Value::new(None, text);
        Schedule { pattern: pattern().of(&value(fields)).unwrap(), zone: time_zone().of(&value(zone)).unwrap() }
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn two_at_night_is_two_at_night_where_the_operator_lives() {
        for (zone, after, next) in [
            ("UTC", "2026-11-24T01:59:59.999Z", "2026-11-24T02:00:00Z"),
            ("UTC", "2026-11-24T02:00:00Z", "2026-11-25T02:00:00Z"),
            ("UTC", "2026-12-31T12:00:00Z", "2027-01-01T02:00:00Z"),
            ("Europe/Berlin", "2026-11-24T00:30:00Z", "2026-11-24T01:00:00Z"),
            ("Asia/Kolkata", "2026-11-24T00:00:00Z", "2026-11-24T20:30:00Z"),
        ] {
            assert_eq!(schedule("0 2 * * *", zone).next_after(at(after)), Some(at(next)), "{zone} {after}");
        }
    }

    #[test]
    fn a_change_of_the_clock_neither_skips_nor_doubles_a_day() {
        let berlin = schedule("30 2 * * *", "Europe/Berlin");
        // On 2026-03-29 there is no 02:30, on 2026-10-25 there are two.
        for (from, days) in [("2026-03-27T12:00:00Z", 4), ("2026-10-23T12:00:00Z", 4)] {
            let mut moments = vec![berlin.next_after(at(from)).unwrap()];
            for _ in 1..days {
                moments.push(berlin.next_after(*moments.last().unwrap()).unwrap());
            }
            for pair in moments.windows(2) {
                let apart = pair[1].since(pair[0]);
                assert!((22 * HOUR..=26 * HOUR).contains(&apart), "{from}: {apart:?}");
            }
        }
    }

    #[test]
    fn a_day_that_never_comes_is_no_moment() {
        assert_eq!(schedule("0 2 31 2 *", "UTC").next_after(at("2026-01-01T00:00:00Z")), None);
    }
}
