//! What lenient readers take for one and the same: names of members and fields, and accounts.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// `userName`, `user_name` and `USER-NAME` are one name.
#[must_use]
pub fn name(text: &str) -> String {
    folded(text).filter(|c| !matches!(c, '_' | '-' | '.') && !c.is_whitespace()).collect()
}

/// An account, as databases compare them that mind neither case nor accents, nor what cannot be seen.
#[must_use]
pub fn account(text: &str) -> String {
    folded(text).collect::<String>().trim().to_owned()
}

fn folded(text: &str) -> impl Iterator<Item = char> + '_ {
    let seen = text.nfkd().filter(|c| !is_combining_mark(*c) && !is_unseen(*c));
    // Upper case first: it is what ß, ſ and final sigmas have in common with their kin.
    let cased = seen.flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    cased.filter(|c| !is_combining_mark(*c)).flat_map(plain)
}

/// Controls, and characters that only say how others are to be shown.
fn is_unseen(c: char) -> bool {
    let is_control = c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    let is_format = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    is_control || is_format
}

/// Letters that have no decomposition, and yet are sorted with their plain kin.
fn plain(c: char) -> impl Iterator<Item = char> {
    let (first, second) = match c {
        'ø' => ('o', None),
        'ł' => ('l', None),
        'đ' => ('d', None),
        'ħ' => ('h', None),
        'ŧ' => ('t', None),
        'æ' => ('a', Some('e')),
        'œ' => ('o', Some('e')),
        other => (other, None),
    };
    std::iter::once(first).chain(second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_account_has_one_spelling() {
        for other in [
            " Ada@Example.com\t",
            "ADA@EXAMPLE.COM",
            "\u{ff21}da@example.com",
            "a\u{301}da@example.com",
            "\u{e1}da@example.com",
            "ada\u{200b}@example.com",
            "\u{feff}ada@example.com",
            "ada@exam\u{ad}ple.com\0",
        ] {
            assert_eq!(account(other), "ada@example.com", "{other:?}");
        }
        assert_eq!(account("Straße \u{212a}"), account("strasse k"));
        assert_eq!((account("\u{130}\u{131}"), account("Łódź Ærø")), ("ii".to_owned(), "lodz aero".to_owned()));
        assert_ne!(account("ada+1@example.com"), account("ada@example.com"), "another mailbox, for all that is known");
        assert_ne!(account("a.da@example.com"), account("ada@example.com"));
    }

    #[test]
    fn one_name_has_one_spelling() {
        for other in ["userName", "user_name", "USER-NAME", "u\u{17f}ername", " user.name ", "User Name", "username\0"] {
            assert_eq!(name(other), "username", "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_folded_is_folded(text in "\\PC{0,20}") {
            prop_assert_eq!(account(&account(&text)), account(&text));
            prop_assert_eq!(name(&name(&text)), name(&text));
        }
    }
}
