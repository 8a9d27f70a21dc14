//! What is gathered of a request for its line.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

use http::StatusCode;

use super::field::Field;
use super::text::LINE_BYTES_MAX;
use crate::domain::meters::{Outcome, RowName, Spans};
use crate::domain::problem_code::ProblemCode;
use crate::domain::time::Timestamp;
use crate::domain::tokens_in_text::without_tokens;

/// What is gathered of a request on its way, for the line that is written at its end. It holds copies: a stream that stays open for hours
/// keeps nothing else of its head.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    texts: Vec<u8>,
    /// Of each field that is a text, its place among them.
    places: [Option<(u32, u32)>; Field::ALL.len()],
    pub client: Option<IpAddr>,
    pub peer: Option<SocketAddr>,
    pub code: Option<ProblemCode>,
}

/// What is known at the end alone.
#[derive(Clone, Copy, Debug)]
pub struct Last<'a> {
    pub time: Timestamp,
    pub met: &'a RowName,
    /// Of the final response; `None`: there was none.
    pub status: Option<StatusCode>,
    pub outcome: Outcome,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// `None`: nothing was measured, for the request was not read.
    pub spans: Option<Spans>,
}

impl Entry {
    /// The last word counts. Tokens are left out of every text, whoever chose it. No more is kept than a line can have, and a byte that says
    /// that there was more.
    pub fn set(&mut self, field: Field, text: &[u8]) {
        let text = without_tokens(text);
        let start = self.texts.len();
        self.texts.extend_from_slice(&text[..text.len().min(LINE_BYTES_MAX + 1)]);
        self.place(field, start);
    }

    /// The same of something with a text form, which is ours: no tokens are looked for.
    pub fn set_shown(&mut self, field: Field, shown: &impl fmt::Display) {
        let start = self.texts.len();
        let _ = write!(Kept(&mut self.texts), "{shown}");
        self.texts.truncate(start + LINE_BYTES_MAX + 1);
        self.place(field, start);
    }

    fn place(&mut self, field: Field, start: usize) {
        let place = |at: usize| u32::try_from(at).ok();
        self.places[field.index()] = place(start).zip(place(self.texts.len()));
    }

    /// Forgets it.
    pub const fn clear(&mut self, field: Field) {
        self.places[field.index()] = None;
    }

    #[must_use]
    pub fn text(&self, field: Field) -> Option<&[u8]> {
        let (start, end) = self.places[field.index()]?;
        self.texts.get(start as usize..end as usize)
    }
}

struct Kept<'a>(&'a mut Vec<u8>);

impl fmt::Write for Kept<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
