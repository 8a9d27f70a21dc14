//! The parameters of a form (RFC 6749, section 3.2): each at most once, and empty ones as good as absent. Those that may come several times
//! are named here.

use std::borrow::Cow;

use bytes::Bytes;
use http::request::Parts;

use super::refusal::Refusal;
use crate::domain::media_type;

/// How many parameters a form may have.
const PARAMETERS_MAX: usize = 32;

/// RFC 8693, section 2.1, and RFC 8707, section 2.
const REPEATABLE: [&str; 2] = ["audience", "resource"];

pub(super) struct Form<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// The form of a call that takes nothing else.
pub(super) fn of_request<'a>(head: &Parts, body: &'a Bytes) -> Result<Form<'a>, Refusal> {
    if !media_type::is(&head.headers, "application/x-www-form-urlencoded") {
        return Err(Refusal::FormExpected);
    }
    Form::parse(body)
}

impl<'a> Form<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Refusal> {
        let parameters: Vec<(Cow<'_, str>, Cow<'_, str>)> = form_urlencoded::parse(body).take(PARAMETERS_MAX + 1).collect();
        if parameters.len() > PARAMETERS_MAX {
            return Err(Refusal::Malformed("The form has too many parameters."));
        }
        let is_repeated = |(at, (name, _)): (usize, &(Cow<'_, str>, _))| parameters[..at].iter().any(|(other, _)| other == name);
        let must_be_single = |(_, (name, _)): &(usize, &(Cow<'_, str>, _))| !REPEATABLE.contains(&name.as_ref());
        if parameters.iter().enumerate().filter(must_be_single).any(is_repeated) {
            return Err(Refusal::Malformed("A parameter was sent twice."));
        }
        Ok(Self(parameters))
    }

    /// Of those that come at most once.
    pub(super) fn text(&self, wanted: &str) -> Option<&str> {
        debug_assert!(!REPEATABLE.contains(&wanted), "{wanted} may come several times");
        self.texts(wanted).next()
    }

    pub(super) fn texts(&self, wanted: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(name, value)| name == wanted && !value.is_empty()).map(|(_, value)| value.as_ref())
    }

    /// For whom tokens are asked for.
    pub(super) fn targets(&self) -> impl Iterator<Item = &str> {
        REPEATABLE.into_iter().flat_map(|name| self.texts(name))
    }
}
