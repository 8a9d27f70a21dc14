//! JSON pointers.

use std::str::FromStr;

use super::parse::{self, Parsed};
use super::reading::Reading;
use super::setting::open_settings;

/// A place in a JSON document (RFC 6901), such as `/user/id`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pointer(String);

impl Pointer {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Pointer {
    type Err = String;

    fn from_str(text: &str) -> Parsed<Self> {
        let escapes_are_whole = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        if text.starts_with('/') && escapes_are_whole {
            return Ok(Self(text.to_owned()));
        }
        Err("allowed is a JSON pointer (RFC 6901), such as \"/user/id\"".to_owned())
    }
}

open_settings!(Pointer);

pub(super) fn pointer() -> Reading<Pointer> {
    parse::text().like(r"^/([^~]|~[01])*$").then(|text| text.parse())
}
