//! How often something may happen.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use config::{Value, ValueKind};

use super::measure::{duration_from, duration_text};
use crate::config::reading::{Form, Reading};
use crate::config::setting::open_settings;
use crate::domain::rate::Rate;

open_settings!(Rate);

/// `10/1m`, or `10/1m burst 20`; without a burst all permits of a period may be used at once.
pub(in crate::config) fn rate() -> Reading<Rate> {
    const PATTERN: &str = r"^\s*\+?[0-9]+/[0-9a-z]+(\s+burst\s+\+?[0-9]+)?\s*$";
    let read = |value: &Value| {
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
    Reading::new(Form::Text { pattern: PATTERN }, move |value| {
        read(value).ok_or_else(|| {
            "allowed is a rate such as \"10/1m\" or \"10/1m burst 20\" (period from 100ms to 1d), or \"\" for no limit".to_owned()
        })
    })
}

const RATE_PERIOD_MIN: Duration = Duration::from_millis(100);
const RATE_PERIOD_MAX: Duration = Duration::from_hours(24);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.permits, duration_text(self.period))?;
        if self.burst == self.permits { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}
