//! A part of a list that may be long.

use super::ids::SessionId;

/// Which of a subject's sessions are told. A place in the list is a session's id: whatever comes and goes meanwhile, it stays one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// Only those that were created before it, itself left out, be it there or not.
    pub after: Option<SessionId>,
    /// At least one.
    pub limit: usize,
}

/// How many are told unless the caller says so.
pub const PAGE_LIMIT_DEFAULT: usize = 50;
/// How many are told at once.
pub const PAGE_LIMIT_MAX: usize = 200;

impl Page {
    /// As many as may be told at once, from the newest on.
    pub const FIRST: Self = Self { after: None, limit: PAGE_LIMIT_MAX };

    /// Reads what a caller asks for. The error is for the caller.
    pub fn read(limit: Option<&str>, after: Option<&str>) -> Result<Self, &'static str> {
        const LIMIT: &str = "limit: allowed is a number from 1 to 200.";
        let limit = match limit {
            None => PAGE_LIMIT_DEFAULT,
            Some(text) => {
                let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
                number.filter(|number| (1..=PAGE_LIMIT_MAX).contains(number)).ok_or(LIMIT)?
            }
        };
        let after =
            after.map(|text| SessionId::parse(text).ok_or("after: allowed is what a response had as next.")).transpose()?;
        Ok(Self { after, limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_bounded_and_begins_where_another_ended() {
        assert_eq!(Page::read(None, None), Ok(Page { after: None, limit: PAGE_LIMIT_DEFAULT }));
        let id = SessionId::from_bytes([3; 16]);
        assert_eq!(Page::read(Some("200"), Some(&id.to_string())), Ok(Page { after: Some(id), limit: 200 }));
        for limit in ["", "0", "-1", "+1", "201", "1.0", "1e1", " 1", "ten", "99999999999999999999"] {
            assert!(Page::read(Some(limit), None).is_err(), "{limit}");
        }
        for after in ["", "1", "null", "AAXF2cMmJ5gBAgMEBQYHC", "AAXF2cMmJ5gBAgMEBQYHCA="] {
            assert!(Page::read(None, Some(after)).is_err(), "{after}");
        }
    }
}
