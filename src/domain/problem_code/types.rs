//! The `type` of a problem (RFC 9457): where people read about its code.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;

use url::Url;

use super::ProblemCode;

/// What a problem has for a type where nobody says where its code is described.
const UNTYPED: &str = "about:blank";

/// Each problem carries it.
const BASE_BYTES_MAX: usize = 1024;

/// Makes the types of problems. By default they have none.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ProblemTypes(Option<Arc<str>>);

impl ProblemTypes {
    /// The base with the code at its end.
    #[must_use]
    pub fn of(&self, code: ProblemCode) -> Cow<'static, str> {
        self.0.as_ref().map_or(Cow::Borrowed(UNTYPED), |base| Cow::Owned(format!("{base}{code}")))
    }
}

/// The text is no absolute URI.
#[derive(PartialEq, Eq, Debug)]
pub struct NoBase;

impl FromStr for ProblemTypes {
    type Err = NoBase;

    /// Of an absolute URI, to whose end codes are put: `https://docs.example/errors#`.
    fn from_str(text: &str) -> Result<Self, NoBase> {
        let is_spelt_well = text.len() <= BASE_BYTES_MAX && text.bytes().all(is_of_a_uri) && text.matches('#').count() <= 1;
        let is_sound = is_spelt_well && escapes_are_whole(text);
        let url = Url::parse(text).ok().filter(|_| is_sound).ok_or(NoBase)?;
        // Everybody reads it.
        let has_credentials = !url.username().is_empty() || url.password().is_some();
        if has_credentials { Err(NoBase) } else { Ok(Self(Some(text.into()))) }
    }
}

/// RFC 3986, section 2.
const fn is_of_a_uri(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b':' | b'/' | b'?' | b'#' | b'[' | b']' | b'@')
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

/// Whether each `%` has its two digits. None may be left open at the end: a code that follows would be read as them.
fn escapes_are_whole(text: &str) -> bool {
    let mut behind = text.split('%').skip(1);
    behind.all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
}
