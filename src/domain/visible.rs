//! Characters that may stand in a log as they are.

/// Whether a character is seen as what it is, wherever a log is read: no control character, no separator of lines, no terminal's command,
/// nothing that changes how others are seen. Letters of all languages are visible.
#[must_use]
pub fn is_visible(c: char) -> bool {
    matches!(c, ' '..='~') || !c.is_ascii() && c.escape_debug().len() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_act_on_a_terminal_or_divide_a_line_is_not_visible() {
        for c in [
            '\n', '\r', '\t', '\0', '\u{1b}', '\u{7f}', '\u{85}', '\u{9b}', '\u{2028}', '\u{2029}', '\u{202e}', '\u{200b}',
            '\u{feff}',
        ] {
            assert!(!is_visible(c), "{c:?}");
        }
        for c in [' ', '"', '\'', '\\', '~', 'ö', '日', '€', '😀'] {
            assert!(is_visible(c), "{c:?}");
        }
    }
}
