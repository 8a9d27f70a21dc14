//! Unknown keys, and which key was probably meant.

use std::collections::BTreeSet;

use super::likeness::{likeness, nearest};
use super::problem::Problem;

/// How alike two keys must be for one to be taken for a typo of the other.
const LIKENESS_MIN: f64 = 0.8;

/// The same for keys of other tables, which are many.
const LIKENESS_ELSEWHERE_MIN: f64 = 0.93;

/// How many other places of a key are named.
const PLACES_MAX: usize = 3;

/// A key that was given and that no section reads.
pub(super) struct Unknown {
    /// As it is: `routes[0].prefx`.
    pub(super) key: String,
    /// The table's known keys begin with this: `routes[]`.
    pub(super) pattern: String,
    pub(super) name: String,
    pub(super) origin: Option<String>,
}

impl Unknown {
    /// `known` holds every key that there is, as `routes[].prefix`.
    pub(super) fn problem(self, known: &BTreeSet<String>) -> Problem {
        // Never with its value: a mistyped `secret` would show it.
        Problem { message: self.message(known), key: self.key, value: None, origin: self.origin }
    }

    fn message(&self, known: &BTreeSet<String>) -> String {
        let siblings: Vec<&str> = known.iter().filter_map(|key| self.sibling(key)).collect();
        if let Some(meant) = self.meant(&siblings, known) {
            return format!("unknown key; did you mean `{meant}`?");
        }
        let elsewhere: Vec<&str> =
            known.iter().map(String::as_str).filter(|key| last(key) == self.name).take(PLACES_MAX).collect();
        if !elsewhere.is_empty() {
            return format!("unknown key here; it exists as {}", elsewhere.join(", "));
        }
        if let Some(key) = known.iter().find(|key| likeness(last(key), &self.name) >= LIKENESS_ELSEWHERE_MIN) {
            return format!("unknown key here; did you mean `{key}`?");
        }
        format!("unknown key; allowed here: {}", siblings.join(", "))
    }

    /// The name of a known key of the same table.
    fn sibling<'a>(&self, key: &'a str) -> Option<&'a str> {
        let name = if self.pattern.is_empty() { key } else { key.strip_prefix(&self.pattern)?.strip_prefix('.')? };
        (!name.contains('.')).then(|| name.trim_end_matches("[]"))
    }

    /// A key of the same table or, at the top, a path in the place of a name: `listen_adress`.
    fn meant<'a>(&self, siblings: &[&'a str], known: &'a BTreeSet<String>) -> Option<&'a str> {
        let is_path = |key: &&String| key.contains('.') && likeness(&key.replace('.', "_"), &self.name) >= LIKENESS_ELSEWHERE_MIN;
        let path = known.iter().find(is_path).filter(|_| self.pattern.is_empty());
        path.map(String::as_str).or_else(|| nearest(siblings.iter().copied(), &self.name, LIKENESS_MIN))
    }
}

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or_default()
}
