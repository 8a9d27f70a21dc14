//! The parameters of a form (RFC 6749, section 3.2): each at most once, and empty ones as good as absent.

use std::borrow::Cow;

use bytes::Bytes;
use http::request::Parts;

use super::refusal::Refusal;
use crate::domain::media_type;

/// How many parameters a form may have.
const PARAMETERS_MAX: usize = 32;

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
        if parameters.iter().enumerate().any(is_repeated) {
            return Err(Refusal::Malformed("A parameter was sent twice."));
        }
        Ok(Self(parameters))
    }

    pub(super) fn text(&self, wanted: &str) -> Option<&str> {
        self.0.iter().find(|(name, value)| name == wanted && !value.is_empty()).map(|(_, value)| value.as_ref())
    }
}
