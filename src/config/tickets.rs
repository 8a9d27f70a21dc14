//! `[tickets]`: what opens one stream for a client that cannot send header fields.

use std::time::Duration;

use super::parse::{self, Parsed};
use super::section::Section;
use super::setting::open_settings;
use crate::domain::ticket::TicketTerms;
use crate::domain::ticket_parameter::TicketParameter;

/// How tickets are carried, and how many there may be. They are issued where `endpoints.ticket` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tickets {
    pub parameter: TicketParameter,
    pub terms: TicketTerms,
}

open_settings!(TicketParameter);

impl Tickets {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let parameter = s.read("parameter", parameter);
        let lifetime = s.read("lifetime", parse::duration(Duration::from_secs(1), Duration::from_mins(5)));
        let per_owner_max = s.read("per_session_max", parse::count(1, 10_000));
        Self { parameter, terms: TicketTerms { lifetime, per_owner_max: u32::try_from(per_owner_max).unwrap_or(u32::MAX) } }
    }
}

fn parameter(value: &config::Value) -> Parsed<TicketParameter> {
    let name = parse::filled_text(value)?;
    TicketParameter::new(&name).ok_or_else(|| "allowed are letters, digits, _ and -".to_owned())
}
