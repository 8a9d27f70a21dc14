//! Settings in effect as TOML, with the origin of each.

use std::fmt::Write as _;

use super::notes::{REDACTED, Shown};
use super::problem::{bare_key, toml_text};

/// Where the comments begin, in characters, unless the value is longer.
const COMMENT_COLUMN: usize = 48;

pub(super) fn toml(shown: &[Shown]) -> String {
    let mut out = String::new();
    let mut section = None;
    for key in shown {
        if section != Some(&key.section) {
            let gap = if out.is_empty() { "" } else { "\n" };
            let _ = writeln!(out, "{gap}{}", key.header);
            section = Some(&key.section);
        }
        let value = if key.is_secret() { format!("\"{REDACTED}\"") } else { toml_text(&key.value) };
        let assignment = format!("{} = {value}", bare_key(&key.key));
        let _ = writeln!(out, "{assignment:COMMENT_COLUMN$} # {}", key.origin);
    }
    out
}
