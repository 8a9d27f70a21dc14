//! What programs send in the place of a token when they have none.

/// What the languages of front ends print for nothing, in lower case.
const PRINTED: [&str; 12] =
    ["", "null", "undefined", "none", "nil", "nan", "false", "(null)", "<null>", "<nil>", "[object object]", "[object promise]"];

/// Whether the text can be no token of any kind, and is what a program makes of the absence of one: `"Bearer " + null`.
#[must_use]
pub fn stands_for_nothing(text: &str) -> bool {
    let text = text.trim_matches(' ');
    let unquoted = ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(text);
    PRINTED.iter().any(|printed| unquoted.eq_ignore_ascii_case(printed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_front_ends_print_for_nothing_is_nothing() {
        for text in
            ["", " ", "null", "NULL", "undefined", "None", "nil", "NaN", "false", "[object Object]", "\"\"", "\"null\"", "''"]
        {
            assert!(stands_for_nothing(text), "{text:?}");
        }
    }

    #[test]
    fn whatever_could_be_a_token_is_not_nothing() {
        for text in ["nullable", "0", "true", "abc", "null.null.null", "\"", "\"a\"", "tgr_null", "undefined undefined"] {
            assert!(!stands_for_nothing(text), "{text:?}");
        }
    }
}
