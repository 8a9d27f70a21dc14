//! Where requests name the account that is to be logged in.

use std::str::FromStr;

use super::parse::Parsed;
use super::pointer::Pointer;
use super::setting::open_settings;
use crate::domain::spelling;

/// The name of a member or field: wherever it stands, or at one place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccountName {
    /// In its one spelling.
    Anywhere(String),
    /// The names on the way to it, and its own, each in its one spelling.
    At(Vec<String>),
}

open_settings!(AccountName);

impl FromStr for AccountName {
    type Err = String;

    fn from_str(text: &str) -> Parsed<Self> {
        if text.starts_with('/') {
            let pointer: Pointer = text.parse()?;
            let names = pointer.as_str().split('/').skip(1);
            return Ok(Self::At(names.map(|name| spelling::name(&name.replace("~1", "/").replace("~0", "~"))).collect()));
        }
        let name = spelling::name(text);
        if name.is_empty() || text.contains('/') {
            return Err("allowed is the name of a member or field such as \"email\", or a JSON pointer such as \"/user/email\""
                .to_owned());
        }
        Ok(Self::Anywhere(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_anywhere_and_pointers_at_their_place() {
        let read = |text: &str| text.parse::<AccountName>();
        assert_eq!(read("userName"), Ok(AccountName::Anywhere("username".to_owned())));
        assert_eq!(read("/User/e-mail"), Ok(AccountName::At(vec!["user".to_owned(), "email".to_owned()])));
        assert_eq!(read("/a~1b"), Ok(AccountName::At(vec!["a/b".to_owned()])));
        for bad in ["", "_", "user/email", "/a~2"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
