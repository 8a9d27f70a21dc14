//! What is noted while the sections are read: faults, values in effect, keys.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};
use std::path::PathBuf;

use config::Value;

use super::problem::{Problem, bare_key, short_text};
use super::reading::Form;
use super::setting::{Disclosure, EffectiveKey};
use super::unknown::Unknown;

/// Stands for a value that is not shown.
pub(super) const REDACTED: &str = "[redacted]";

/// Collects what the sections note.
#[derive(Default)]
pub(super) struct Notes {
    problems: RefCell<Vec<Problem>>,
    /// In the order of reading.
    shown: RefCell<Vec<Shown>>,
    known: RefCell<BTreeSet<String>>,
    /// Of `known`, those that hold a value and no further keys.
    leaves: RefCell<BTreeMap<String, Leaf>>,
    effective: RefCell<BTreeMap<String, EffectiveKey>>,
    secret_files: RefCell<Vec<(String, PathBuf)>>,
    unknown: RefCell<Vec<Unknown>>,
}

/// What was read, and what is wrong with it.
pub(super) struct Noted {
    pub(super) shown: Vec<Shown>,
    /// By path: `routes[0].prefix`.
    pub(super) effective: BTreeMap<String, EffectiveKey>,
    /// Files that hold secrets, each with the key that names it.
    pub(super) secret_files: Vec<(String, PathBuf)>,
    /// Every key that there is and that holds a value: `routes[].prefix`.
    pub(super) leaves: BTreeMap<String, Leaf>,
    pub(super) problems: Vec<Problem>,
}

/// A key that holds a value.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) form: Form,
    pub(super) presence: Presence,
    /// Whether its value is shown nowhere, or not as it is.
    pub(super) is_secret: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Presence {
    /// Left out, it has its documented value.
    Defaulted,
    /// An empty text is the same as to leave it out.
    Optional,
    Required,
}

/// A key in effect.
#[derive(Clone)]
pub(super) struct Shown {
    /// The table's header: `[listen]`, `[[routes]]`.
    pub(super) header: String,
    /// The table itself, to tell two entries of a list apart: `routes[0]`.
    pub(super) section: String,
    pub(super) key: String,
    pub(super) value: Value,
    pub(super) origin: String,
    pub(super) disclosure: Disclosure,
}

/// Values may be secrets.
impl Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("key", &self.path()).field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Shown {
    /// `routes[0].prefix`.
    pub(super) fn path(&self) -> String {
        let key = bare_key(&self.key);
        if self.section.is_empty() { key } else { format!("{}.{key}", self.section) }
    }

    pub(super) fn is_secret(&self) -> bool {
        match self.disclosure {
            Disclosure::Open | Disclosure::Credentials => false,
            Disclosure::Secret => true,
        }
    }
}

impl Notes {
    /// A fault of a key whose value may be shown, or that has none.
    pub(super) fn problem(&self, key: &str, value: Option<&Value>, message: impl Into<String>) {
        self.problem_of(key, value, Disclosure::Open, message);
    }

    pub(super) fn problem_of(&self, key: &str, value: Option<&Value>, disclosure: Disclosure, message: impl Into<String>) {
        let shown = |value: &Value| match disclosure {
            Disclosure::Open => short_text(value),
            Disclosure::Credentials | Disclosure::Secret => REDACTED.to_owned(),
        };
        self.problems.borrow_mut().push(Problem {
            key: key.to_owned(),
            value: value.map(shown),
            origin: value.and_then(Value::origin).map(str::to_owned),
            message: message.into(),
        });
    }

    /// A fault of a table or a list of tables, whose values are not repeated.
    pub(super) fn problem_of_table(&self, path: &str, origin: Option<String>, message: impl Into<String>) {
        let problem = Problem { key: path.to_owned(), value: None, origin, message: message.into() };
        self.problems.borrow_mut().push(problem);
    }

    /// Whether a fault of the key, or of its `_file` sibling, was noted.
    pub(super) fn has_problem(&self, key: &str) -> bool {
        self.problems.borrow().iter().any(|problem| problem.key == key || problem.key.strip_suffix("_file") == Some(key))
    }

    /// A key that a section reads: `routes[].prefix`.
    pub(super) fn know(&self, pattern: String) {
        self.known.borrow_mut().insert(pattern);
    }

    /// A key that a section reads and that holds a value.
    pub(super) fn know_leaf(&self, pattern: String, leaf: Leaf) {
        self.leaves.borrow_mut().insert(pattern, leaf);
    }

    pub(super) fn show(&self, shown: Shown) {
        self.shown.borrow_mut().push(shown);
    }

    pub(super) fn effective(&self, path: String, key: EffectiveKey) {
        self.effective.borrow_mut().insert(path, key);
    }

    pub(super) fn secret_file(&self, key: String, file: PathBuf) {
        self.secret_files.borrow_mut().push((key, file));
    }

    pub(super) fn unknown(&self, keys: impl Iterator<Item = Unknown>) {
        self.unknown.borrow_mut().extend(keys);
    }

    /// Every key that a section reads, entries of lists as `routes[].prefix`.
    #[cfg(test)]
    pub(super) fn known(&self) -> BTreeSet<String> {
        self.known.borrow().clone()
    }

    /// Of [`Notes::known`], those that hold a value.
    #[cfg(test)]
    pub(super) fn leaves(&self) -> BTreeSet<String> {
        self.leaves.borrow().keys().cloned().collect()
    }

    pub(super) fn finish(self) -> Noted {
        let known = self.known.into_inner();
        let mut problems = self.problems.into_inner();
        problems.extend(self.unknown.into_inner().into_iter().map(|unknown| unknown.problem(&known)));
        Noted {
            shown: self.shown.into_inner(),
            effective: self.effective.into_inner(),
            secret_files: self.secret_files.into_inner(),
            leaves: self.leaves.into_inner(),
            problems,
        }
    }
}
