//! The parameter of a query that carries a ticket. It goes no further than the gateway.

use percent_encoding::percent_decode_str;

use super::secret::Secret;

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

/// A query, and what was taken out of it.
#[derive(Debug)]
pub struct Taken {
    /// What is left, byte for byte, with its question mark; empty where nothing is.
    pub query: String,
    pub tickets: TicketsSent,
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

    /// Takes the parameter out of a query, in whatever percent-encoding its name is; `None`: it is not there.
    #[must_use]
    pub fn take(&self, query: &str) -> Option<Taken> {
        let parameters = query.strip_prefix('?').unwrap_or(query).split('&');
        let (own, others): (Vec<_>, Vec<_>) = parameters.partition(|parameter| self.is_name_of(parameter));
        let tickets = match own[..] {
            [] => return None,
            [one] => TicketsSent::One(value_of(one)),
            [..] => TicketsSent::Several,
        };
        let query = if others.is_empty() { String::new() } else { format!("?{}", others.join("&")) };
        Some(Taken { query, tickets })
    }

    fn is_name_of(&self, parameter: &str) -> bool {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        // Whatever the case of its digits. No name of ours has a plus sign, which some read as a space.
        percent_decode_str(name).eq(self.0.bytes())
    }
}

fn value_of(parameter: &str) -> Secret<String> {
    let value = parameter.split_once('=').map_or("", |(_, value)| value);
    // What is no text is no ticket.
    Secret::new(percent_decode_str(value).decode_utf8().map(Into::into).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(query: &str) -> Option<(String, Option<String>)> {
        let taken = TicketParameter::new("access_ticket").unwrap().take(query)?;
        let ticket = match taken.tickets {
            TicketsSent::One(ticket) => Some(ticket.expose().clone()),
            TicketsSent::None | TicketsSent::Several => None,
        };
        Some((taken.query, ticket))
    }

    #[test]
    fn what_stands_beside_it_stays_as_it_is() {
        let one = |query: &str, ticket: &str| Some((query.to_owned(), Some(ticket.to_owned())));
        assert_eq!(taken("?access_ticket=t1"), one("", "t1"));
        assert_eq!(taken("?a=%41&access_ticket=t1&b"), one("?a=%41&b", "t1"));
        assert_eq!(taken("?access_ticket=t%31&&a=access_ticket"), one("?&a=access_ticket", "t1"));
        assert_eq!(taken("?access_ticket"), one("", ""));
        assert_eq!(taken("?access_ticket=%ff"), one("", ""));
        for other in ["", "?", "?a=1", "?Access_ticket=t", "?access_tickets=t", "?x=access_ticket=t", "?ticket=ST-1"] {
            assert_eq!(taken(other), None, "{other}");
        }
    }

    #[test]
    fn it_is_known_in_every_encoding_of_its_name_and_counts_once_alone() {
        for name in ["access%5Fticket", "access%5fticket", "%61ccess_ticket", "%61%63%63%65%73%73%5f%74%69%63%6b%65%74"] {
            assert_eq!(taken(&format!("?{name}=t1")), Some((String::new(), Some("t1".to_owned()))), "{name}");
            assert_eq!(taken(&format!("?access_ticket=t1&x&{name}=t1")), Some(("?x".to_owned(), None)), "{name}");
        }
    }

    proptest! {
        #[test]
        fn nothing_of_it_is_left(query in "\\??([&=]|access|_ticket|%5[Ff]ticket|a){0,12}") {
            let parameter = TicketParameter::new("access_ticket").unwrap();
            if let Some(taken) = parameter.take(&query) {
                prop_assert!(parameter.take(&taken.query).is_none());
                prop_assert!(taken.query.len() < query.len());
            }
        }
    }
}
