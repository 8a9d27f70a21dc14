//! `[tickets]`: what opens one stream for a client that cannot send header fields.

use std::time::Duration;

use super::Settings;
use super::account_name::AccountName;
use super::notes::Notes;
use super::parse;
use super::reading::Reading;
use super::section::Section;
use super::setting::open_settings;
use crate::domain::spelling;
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
    /// `is_on`: tickets are issued.
    pub(super) fn read(s: &mut Section<'_>, is_on: bool) -> Self {
        let parameter = s.read("parameter", parameter());
        let lifetime = s.read("lifetime", parse::duration(Duration::from_secs(1), Duration::from_mins(5)));
        let per_owner_max = s.read("per_session_max", parse::count(1, 10_000));
        for key in ["parameter", "lifetime", "per_session_max"] {
            if !is_on && !s.has_default(key) {
                s.fault(key, "has no meaning without endpoints.ticket, which says where tickets are issued");
            }
        }
        Self { parameter, terms: TicketTerms { lifetime, per_owner_max: u32::try_from(per_owner_max).unwrap_or(u32::MAX) } }
    }
}

fn parameter() -> Reading<TicketParameter> {
    parse::filled_text().then(|name| {
        if READ_BY_OWN_ENDPOINTS.contains(&name.as_str()) {
            return Err(format!("an own endpoint reads this parameter; not allowed: {}", READ_BY_OWN_ENDPOINTS.join(", ")));
        }
        TicketParameter::new(&name).ok_or_else(|| "allowed are letters, digits, _ and -".to_owned())
    })
}

/// `GET /sessions` reads the first two, and logins by GraphQL the others.
const READ_BY_OWN_ENDPOINTS: [&str; 6] = ["limit", "after", "query", "mutation", "document", "graphql"];

/// What names an account in the query of a login is the upstream's, and counts.
pub(super) fn parameter_names_no_account(settings: &Settings, notes: &Notes) {
    let name = spelling::name(settings.tickets.parameter.name());
    let is_it = |account: &&AccountName| match account {
        AccountName::Anywhere(named) => *named == name,
        AccountName::At(path) => path.last() == Some(&name),
    };
    if settings.endpoints.paths.ticket.is_some() && settings.limits.login.account.iter().any(|account| is_it(&account)) {
        let message = "is one of limits.login.account: it would be taken out of the queries of logins";
        notes.problem("tickets.parameter", None, message);
    }
}
