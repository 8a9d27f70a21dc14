//! `[headers]`: fields that are removed from every request.

use super::parse;
use super::reading::Reading;
use super::section::Section;
use crate::domain::headers::NamePattern;

/// What becomes of a request's fields beside those that the gateway sets.
#[derive(Clone, Debug)]
pub struct Headers {
    /// Taken out of every request, in every spelling.
    pub remove: Vec<NamePattern>,
}

impl Headers {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        Self { remove: s.read("remove", parse::list(removable())) }
    }
}

fn removable() -> Reading<NamePattern> {
    parse::text().then(|text| {
        let pattern: NamePattern = text.parse()?;
        match pattern.covers_kept() {
            None => Ok(pattern),
            Some("authorization") => {
                Err(format!("`{pattern}` covers authorization: [[routes]] decide on that, authorization = \"remove\""))
            }
            Some(kept) => Err(format!(
                "`{pattern}` covers {kept}, which the gateway sets itself or the request needs; allowed are other names"
            )),
        }
    })
}
