//! Tickets in the targets of requests. They go no further than the gateway.
//!
//! What a parameter is called is for clients to know, and each server reads names in its own way: some in any case, some after a
//! semicolon, some with a dot for `_`. So a ticket of ours is known by itself, whatever it stands under, also after the parameter was given
//! another name.

use std::borrow::Cow;

use percent_encoding::{percent_decode, percent_decode_str};

use super::secret::Secret;
use super::ticket::{PREFIX, TEXT_LEN};

/// What the parameter is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TicketParameter(String);

/// The tickets that came with a request.
#[derive(Debug)]
pub enum TicketsSent {
    None,
    One(Secret<String>),
    /// Nobody can say which of them counts.
    Several,
}

/// A ticket stands where it is no value of a parameter: in the path, or within another value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Misplaced;

/// A query, and what was taken out of it.
#[derive(Debug)]
pub struct Taken {
    /// What is left, byte for byte, with its question mark; empty where nothing is.
    pub query: String,
    pub tickets: TicketsSent,
}

/// How often a text is decoded in search of a ticket: so often servers behind each other may do that.
const DECODED_MAX: usize = 3;

/// Of so many texts that look like tickets is looked whether they are ours: each costs a MAC. Nobody needs more in one target.
const LOOKED_AT_MAX: usize = 8;

/// Takes out of a query what the parameter holds, in whatever percent-encoding its name is, and every ticket that `is_ours`, under any
/// name; `None`: there is none. Without a parameter, tickets are off, and those of ours are taken out all the same.
///
/// # Errors
/// One of ours is left that cannot be taken out.
pub fn take(
    query: &str,
    parameter: Option<&TicketParameter>,
    is_ours: impl Fn(&str) -> bool,
) -> Result<Option<Taken>, Misplaced> {
    if parameter.is_none() && !may_hold_ticket(query) {
        return Ok(None);
    }
    let is_ticket = |one: &&str| {
        let (name, value) = one.split_once('=').unwrap_or((one, ""));
        parameter.is_some_and(|parameter| parameter.is_called(name)) || is_ours(&decoded(value))
    };
    let parameters = query.strip_prefix('?').unwrap_or(query).split('&');
    let (tickets, others): (Vec<&str>, Vec<&str>) = parameters.partition(is_ticket);
    let left = others.join("&");
    if holds_ticket(&left, &is_ours) {
        return Err(Misplaced);
    }
    let tickets = match tickets[..] {
        [] => return Ok(None),
        [one] => TicketsSent::One(value_of(one)),
        [..] => TicketsSent::Several,
    };
    // Where it stood alone, no ampersand is left either.
    let query = if left.bytes().all(|byte| byte == b'&') { String::new() } else { format!("?{left}") };
    Ok(Some(Taken { query, tickets }))
}

/// Whether a ticket that `is_ours` stands anywhere in a text, in any percent-encoding. Of more texts that look like tickets than
/// `LOOKED_AT_MAX`, one is taken for ours.
#[must_use]
pub fn holds_ticket(text: &str, is_ours: impl Fn(&str) -> bool) -> bool {
    if !may_hold_ticket(text) {
        return false;
    }
    let mut reading = Cow::Borrowed(text.as_bytes());
    for _ in 0..=DECODED_MAX {
        let mut candidates = tickets_in(&reading);
        if candidates.by_ref().take(LOOKED_AT_MAX).any(&is_ours) || candidates.next().is_some() {
            return true;
        }
        drop(candidates);
        let next: Vec<u8> = percent_decode(&reading).collect();
        if next == *reading {
            return false;
        }
        reading = Cow::Owned(next);
    }
    false
}

fn may_hold_ticket(text: &str) -> bool {
    text.len() >= TEXT_LEN && (text.contains('%') || text.contains(PREFIX))
}

/// What may be a ticket by its beginning, its length and its signs.
fn tickets_in(text: &[u8]) -> impl Iterator<Item = &str> {
    let is_sign = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let begins = text.windows(PREFIX.len()).enumerate().filter(|(_, bytes)| *bytes == PREFIX.as_bytes());
    let texts = begins.filter_map(|(at, _)| text.get(at..at + TEXT_LEN));
    texts.filter(move |text| text.iter().all(is_sign)).filter_map(|text| str::from_utf8(text).ok())
}

fn decoded(value: &str) -> Cow<'_, str> {
    percent_decode_str(value).decode_utf8_lossy()
}

fn value_of(parameter: &str) -> Secret<String> {
    let value = parameter.split_once('=').map_or("", |(_, value)| value);
    // What is no text is no ticket.
    Secret::new(percent_decode_str(value).decode_utf8().map(Into::into).unwrap_or_default())
}

impl TicketParameter {
    /// `None` for what is not made of letters, digits, `_` and `-`.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        is_name.then(|| Self(name.to_owned()))
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whatever the case of its digits. No name of ours has a plus sign, which some read as a space.
    fn is_called(&self, name: &str) -> bool {
        percent_decode_str(name).eq(self.0.bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The ticket that is ours in these tests.
    fn ticket() -> String {
        format!("{PREFIX}{}", "T".repeat(TEXT_LEN - PREFIX.len()))
    }

    fn taken_with(query: &str, parameter: Option<&TicketParameter>) -> Option<(String, Result<String, &'static str>)> {
        let ours = ticket();
        let Ok(taken) = take(query, parameter, |text| text == ours) else { return Some((String::new(), Err("misplaced"))) };
        let taken = taken?;
        let tickets = match taken.tickets {
            TicketsSent::One(ticket) => Ok(ticket.expose().clone()),
            TicketsSent::None => Err("none"),
            TicketsSent::Several => Err("several"),
        };
        Some((taken.query, tickets))
    }

    fn taken(query: &str) -> Option<(String, Result<String, &'static str>)> {
        taken_with(query, TicketParameter::new("access_ticket").as_ref())
    }

    #[test]
    fn what_stands_beside_it_stays_as_it_is() {
        let one = |query: &str, ticket: &str| Some((query.to_owned(), Ok(ticket.to_owned())));
        assert_eq!(taken("?access_ticket=t1"), one("", "t1"));
        assert_eq!(taken("?access_ticket=t1&"), one("", "t1"));
        assert_eq!(taken("?&access_ticket=t1"), one("", "t1"));
        assert_eq!(taken("?a=%41&access_ticket=t1&b"), one("?a=%41&b", "t1"));
        assert_eq!(taken("?access_ticket=t%31&&a=access_ticket"), one("?&a=access_ticket", "t1"));
        assert_eq!(taken("?access_ticket"), one("", ""));
        assert_eq!(taken("?access_ticket=%ff"), one("", ""));
        for other in ["", "?", "?a=1", "?Access_ticket=t", "?access_tickets=t", "?x=access_ticket=t", "?ticket=ST-1", "?a=tgt_x"]
        {
            assert_eq!(taken(other), None, "{other}");
        }
    }

    #[test]
    fn it_is_known_in_every_encoding_of_its_name_and_counts_once_alone() {
        for name in ["access%5Fticket", "access%5fticket", "%61ccess_ticket", "%61%63%63%65%73%73%5f%74%69%63%6b%65%74"] {
            assert_eq!(taken(&format!("?{name}=t1")), Some((String::new(), Ok("t1".to_owned()))), "{name}");
            assert_eq!(taken(&format!("?access_ticket=t1&x&{name}=t1")), Some(("?x".to_owned(), Err("several"))), "{name}");
        }
    }

    #[test]
    fn a_ticket_of_ours_is_known_whatever_it_stands_under_and_also_while_tickets_are_off() {
        let ours = ticket();
        let encoded = ours.replace('t', "%74").replace('_', "%5F");
        for name in ["ticket", "Access_Ticket", "access.ticket", "access ticket", "access_ticket[]", "?access_ticket", ""] {
            for value in [&ours, &encoded] {
                let expected = Some(("?a=1".to_owned(), Ok(ours.clone())));
                assert_eq!(taken(&format!("?a=1&{name}={value}")), expected, "{name}");
                assert_eq!(taken_with(&format!("?a=1&{name}={value}"), None), expected, "{name}");
            }
        }
        let another = format!("{PREFIX}{}", "U".repeat(TEXT_LEN - PREFIX.len()));
        assert_eq!(taken(&format!("?ticket={another}")), None, "it is somebody else's");
        assert_eq!(taken_with("?access_ticket=t1", None), None, "it is nobody's");
    }

    #[test]
    fn a_ticket_of_ours_within_something_else_is_misplaced() {
        let ours = ticket();
        for query in [
            format!("?a=1;access_ticket={ours}"),
            format!("?next=/ws?access_ticket={ours}"),
            format!("?next=%2Fws%3Faccess_ticket%3D{ours}"),
            format!("?next=%2Fws%3Faccess_ticket%3D{}", ours.replace('_', "%255F")),
            format!("?{ours}"),
            format!("?access_ticket=t1&a=x{ours}"),
        ] {
            assert_eq!(taken(&query), Some((String::new(), Err("misplaced"))), "{query}");
        }
        assert!(holds_ticket(&format!("/ws%3Faccess_ticket={ours}"), |text| text == ours));
        assert!(!holds_ticket("/ws/tgt_x", |text| text == ours));
    }

    #[test]
    fn no_target_costs_more_than_a_few_macs() {
        for target in [format!("/?x={}", "tgt_AA".repeat(2000)), format!("/{}%25252541", "tgt_AA".repeat(2000))] {
            let looked_at = std::cell::Cell::new(0);
            let looks = |_: &str| {
                looked_at.set(looked_at.get() + 1);
                false
            };
            assert!(holds_ticket(&target, looks), "nobody knows what is among so many");
            assert_eq!(looked_at.get(), LOOKED_AT_MAX);
        }
        let several = [ticket().replace('T', "U"), ticket().replace('T', "V")].join("/");
        assert!(!holds_ticket(&several, |text| text == ticket()), "some that are somebody else's pass");
    }

    proptest! {
        #[test]
        fn nothing_of_it_is_left(query in "\\??([&=;]|access|_ticket|%5[Ff]ticket|a|tgt_T{67}|tgt%5fT{67}){0,12}") {
            let parameter = TicketParameter::new("access_ticket").unwrap();
            let ours = ticket();
            let is_ours = |text: &str| text == ours;
            match take(&query, Some(&parameter), is_ours) {
                Err(Misplaced) => prop_assert!(holds_ticket(&query, is_ours)),
                Ok(Some(taken)) => {
                    prop_assert!(take(&taken.query, Some(&parameter), is_ours).is_ok_and(|left| left.is_none()));
                    prop_assert!(taken.query.len() < query.len());
                    prop_assert!(!holds_ticket(&taken.query, is_ours));
                }
                Ok(None) => prop_assert!(!holds_ticket(&query, is_ours)),
            }
        }
    }
}
