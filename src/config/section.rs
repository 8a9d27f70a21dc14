//! Reads one table of the merged settings key by key, and notes every fault instead of stopping at the first.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::path::PathBuf;

use config::{Value, ValueKind};

use super::problem::{Problem, short_text};
use super::reload::{Effective, EffectiveKey};

/// A reading of a value, or what is wrong with it and what is allowed.
pub(super) type Parsed<T> = Result<T, String>;

/// How alike two keys must be for one to be taken for a typo of the other.
const LIKENESS_MIN: f64 = 0.8;

/// The same for keys of other tables, which are many.
const LIKENESS_ELSEWHERE_MIN: f64 = 0.93;

/// Collects what the sections note while they are read.
#[derive(Default)]
pub(super) struct Notes {
    problems: RefCell<Vec<Problem>>,
    /// In the order of reading.
    shown: RefCell<Vec<Shown>>,
    known: RefCell<BTreeSet<String>>,
    /// Of `known`, those that hold a value and no further keys.
    leaves: RefCell<BTreeSet<String>>,
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
    pub(super) leaves: BTreeSet<String>,
    pub(super) problems: Vec<Problem>,
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
    pub(super) secret: bool,
}

/// A value, and the file that it was read from; `None`: the settings hold it themselves.
#[derive(Clone, Debug)]
pub struct FromFile<T> {
    pub value: T,
    pub file: Option<PathBuf>,
}

/// Values may be secrets.
impl Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("key", &self.path()).field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Shown {
    /// `routes[0].prefix`.
    pub(super) fn path(&self) -> String {
        let key = super::problem::bare_key(&self.key);
        if self.section.is_empty() { key } else { format!("{}.{key}", self.section) }
    }
}

struct Unknown {
    /// As it is: `routes[0].prefx`.
    key: String,
    /// The table's keys are listed in `known` under this: `routes[]`.
    pattern: String,
    name: String,
    origin: Option<String>,
}

impl Notes {
    pub(super) fn problem(&self, key: &str, value: Option<&Value>, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem {
            key: key.to_owned(),
            value: value.map(short_text),
            origin: value.and_then(Value::origin).map(str::to_owned),
            message: message.into(),
        });
    }

    /// Whether a fault of the key, or of its `_file` sibling, was noted.
    pub(super) fn has_problem(&self, key: &str) -> bool {
        self.problems.borrow().iter().any(|problem| problem.key == key || problem.key.strip_suffix("_file") == Some(key))
    }

    /// Every key that was asked for, entries of lists as `routes[].prefix`.
    #[cfg(test)]
    pub(super) fn known(&self) -> BTreeSet<String> {
        self.known.borrow().clone()
    }

    /// Of [`Notes::known`], those that hold a value.
    #[cfg(test)]
    pub(super) fn leaves(&self) -> BTreeSet<String> {
        self.leaves.borrow().clone()
    }

    pub(super) fn finish(self) -> Noted {
        let known = self.known.into_inner();
        let mut problems = self.problems.into_inner();
        problems.extend(self.unknown.into_inner().into_iter().map(|unknown| {
            // Never with its value: a mistyped `secret` would show it.
            Problem { message: unknown_message(&unknown, &known), key: unknown.key, value: None, origin: unknown.origin }
        }));
        Noted {
            shown: self.shown.into_inner(),
            effective: self.effective.into_inner(),
            secret_files: self.secret_files.into_inner(),
            leaves: self.leaves.into_inner(),
            problems,
        }
    }
}

fn unknown_message(unknown: &Unknown, known: &BTreeSet<String>) -> String {
    let siblings: Vec<&str> = known
        .iter()
        .filter_map(|key| {
            let rest = if unknown.pattern.is_empty() { key } else { key.strip_prefix(&unknown.pattern)?.strip_prefix('.')? };
            (!rest.contains('.')).then(|| rest.trim_end_matches("[]"))
        })
        .collect();
    // A path in the place of a name: `listen_adress`.
    let as_name = |key: &str| key.replace('.', "_");
    let is_path = |key: &&String| key.contains('.') && likeness(&as_name(key), &unknown.name) >= LIKENESS_ELSEWHERE_MIN;
    if unknown.pattern.is_empty()
        && let Some(key) = known.iter().find(is_path)
    {
        return format!("unknown key; did you mean `{key}`?");
    }
    if let Some(nearest) = nearest(siblings.iter().copied(), &unknown.name, LIKENESS_MIN) {
        return format!("unknown key; did you mean `{nearest}`?");
    }
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let elsewhere: Vec<&str> = known.iter().map(String::as_str).filter(|key| last(key) == unknown.name).take(3).collect();
    if !elsewhere.is_empty() {
        return format!("unknown key here; it exists as {}", elsewhere.join(", "));
    }
    if let Some(key) = known.iter().find(|key| likeness(&last(key), &unknown.name) >= LIKENESS_ELSEWHERE_MIN) {
        return format!("unknown key here; did you mean `{key}`?");
    }
    format!("unknown key; allowed here: {}", siblings.join(", "))
}

fn nearest<'a>(candidates: impl Iterator<Item = &'a str>, name: &str, least: f64) -> Option<&'a str> {
    let best = candidates.max_by(|a, b| likeness(a, name).total_cmp(&likeness(b, name)))?;
    (likeness(best, name) >= least).then_some(best)
}

/// How alike two keys are, from 0 to 1: `headerTimeout`, `header-timeout` and `header_timeout` are one.
pub(super) fn likeness(one: &str, other: &str) -> f64 {
    strsim::jaro_winkler(&spelling(one), &spelling(other))
}

fn spelling(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase()).collect()
}

/// One table of the settings.
pub(super) struct Section<'a> {
    path: String,
    pattern: String,
    header: String,
    here: Option<&'a HashMap<String, Value>>,
    documented: Option<&'a HashMap<String, Value>>,
    keys: BTreeSet<&'static str>,
    notes: &'a Notes,
}

impl<'a> Section<'a> {
    pub(super) fn root(merged: &'a Value, documented: &'a Value, notes: &'a Notes) -> Self {
        let path = String::new();
        Self {
            pattern: path.clone(),
            header: path.clone(),
            path,
            here: table(merged),
            documented: table(documented),
            keys: BTreeSet::new(),
            notes,
        }
    }

    /// Reads the table `key` with `read`; afterwards every key that `read` did not ask for is noted as unknown.
    pub(super) fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'a>) -> T) -> T {
        let path = self.path_of(key);
        let value = self.note_key(key);
        let here = self.table_at(&path, value);
        let documented = self.documented.and_then(|table_here| table_here.get(key)).and_then(table);
        let pattern = self.pattern_of(key);
        let header = format!("[{path}]");
        let mut section = Section { path, pattern, header, here, documented, keys: BTreeSet::new(), notes: self.notes };
        let out = read(&mut section);
        section.close();
        out
    }

    /// The entries of a table of tables, by name in alphabetical order. Defaults come from the documented entry `NAME`.
    pub(super) fn named<T>(&mut self, key: &'static str, mut read: impl FnMut(&str, &mut Section<'a>) -> T) -> Vec<T> {
        let path = self.path_of(key);
        let value = self.note_key(key);
        let pattern = format!("{}.NAME", self.pattern_of(key));
        let documented = self
            .documented
            .and_then(|table_here| table_here.get(key))
            .and_then(table)
            .and_then(|entries| entries.get("NAME"))
            .and_then(table);
        let mut entries: Vec<(&String, &Value)> = self.table_at(&path, value).into_iter().flatten().collect();
        entries.sort_by_key(|(name, _)| *name);
        let read_entry = |(name, value): (&'a String, &'a Value)| {
            let path = format!("{path}.{}", super::problem::bare_key(name));
            let here = self.table_at(&path, Some(value));
            let header = format!("[{path}]");
            let mut section =
                Section { path, pattern: pattern.clone(), header, here, documented, keys: BTreeSet::new(), notes: self.notes };
            let out = read(name, &mut section);
            section.close();
            out
        };
        entries.into_iter().map(read_entry).collect()
    }

    /// The entries of a list of tables. Defaults come from the documented entry.
    pub(super) fn list<T>(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'a>) -> T) -> Vec<T> {
        let path = self.path_of(key);
        let pattern = format!("{}[]", self.pattern_of(key));
        let documented = self.documented.and_then(|table_here| table_here.get(key)).and_then(first_table);
        let entries = match self.note_key(key).map(|value| (value, &value.kind)) {
            None => &[],
            Some((_, ValueKind::Array(entries))) => entries.as_slice(),
            Some((value, _)) => {
                self.notes.problem(&path, Some(value), format!("allowed is a list of tables: [[{path}]]"));
                &[]
            }
        };
        let read_entry = |(index, value): (usize, &'a Value)| {
            let header = format!("[[{path}]]");
            let path = format!("{path}[{index}]");
            let here = self.table_at(&path, Some(value));
            let mut section =
                Section { path, pattern: pattern.clone(), header, here, documented, keys: BTreeSet::new(), notes: self.notes };
            let out = read(&mut section);
            section.close();
            out
        };
        entries.iter().enumerate().map(read_entry).collect()
    }

    /// A key that always has a value: the one given, or the documented default.
    pub(super) fn read<T: Debug>(&mut self, key: &'static str, parse: impl Fn(&Value) -> Parsed<T>) -> T {
        let default = self.documented.and_then(|table| table.get(key)).expect("every key is documented with its default");
        let given = self.note_leaf(key);
        let parsed = given.and_then(|value| self.note_fault(key, value, false, &parse));
        self.note_shown(key, given.unwrap_or(default), false);
        let parsed = parsed.unwrap_or_else(|| parse(default).expect("documented defaults are valid"));
        self.note_effective(key, Effective::plain(&parsed));
        parsed
    }

    /// A key that may be left out, or be empty text.
    pub(super) fn optional<T: Debug>(&mut self, key: &'static str, parse: impl Fn(&Value) -> Parsed<T>) -> Option<T> {
        let given = self.note_leaf(key).filter(|value| !is_empty(value))?;
        self.note_shown(key, given, false);
        let parsed = self.note_fault(key, given, false, &parse)?;
        self.note_effective(key, Effective::plain(&parsed));
        Some(parsed)
    }

    /// [`Section::optional`] for a file that holds a key.
    pub(super) fn key_file(&mut self, key: &'static str) -> Option<PathBuf> {
        let path = self.optional(key, super::parse::path)?;
        self.notes.secret_files.borrow_mut().push((self.path_of(key), path.clone()));
        Some(path)
    }

    /// A key that must be given. `None` only after the fault was noted.
    pub(super) fn require<T: Debug>(&mut self, key: &'static str, parse: impl Fn(&Value) -> Parsed<T>) -> Option<T> {
        if let Some(given) = self.note_leaf(key) {
            self.note_shown(key, given, false);
            let parsed = self.note_fault(key, given, false, &parse)?;
            self.note_effective(key, Effective::plain(&parsed));
            return Some(parsed);
        }
        let example = self.documented.and_then(|table| table.get(key)).map(super::problem::toml_text);
        let message = format!("is missing; an example: {key} = {}", example.unwrap_or_default());
        self.notes.problem(&self.path_of(key), None, message);
        None
    }

    /// A secret: the value itself, or the path of a file that holds it, trailing line ends trimmed. Both at once is a fault.
    pub(super) fn secret<T>(
        &mut self,
        key: &'static str,
        file_key: &'static str,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<T> {
        self.secret_or_file(key, file_key, parse).map(|read| read.value)
    }

    /// [`Section::secret`] whose file is read again later.
    pub(super) fn secret_or_file<T>(
        &mut self,
        key: &'static str,
        file_key: &'static str,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<FromFile<T>> {
        let direct = self.note_leaf(key).filter(|value| !is_empty(value));
        let file = self.note_leaf(file_key).filter(|value| !is_empty(value));
        if let Some(value) = file {
            self.note_shown(file_key, value, false);
            self.note_secret_file(file_key, value);
            self.note_effective(file_key, Effective::plain(&super::problem::toml_text(value)));
        }
        if let Some(value) = direct {
            self.note_shown(key, value, true);
            self.note_effective(key, Effective::hidden(value));
        }
        match (direct, file) {
            (None, None) => None,
            (Some(value), None) => self.note_fault(key, value, true, &parse).map(|value| FromFile { value, file: None }),
            (None, Some(path)) => self.note_fault(file_key, path, false, &|path| {
                let value = parse_file(path, &parse)?;
                Ok(FromFile { value, file: super::parse::path(path).ok() })
            }),
            (Some(_), Some(path)) => {
                let message = format!("`{key}` is given too; allowed is one of the two");
                self.notes.problem(&self.path_of(file_key), Some(path), message);
                None
            }
        }
    }

    /// [`Section::read`] for a value that may hold a secret.
    pub(super) fn read_secret<T>(&mut self, key: &'static str, parse: impl Fn(&Value) -> Parsed<T>) -> T {
        let default = self.documented.and_then(|table| table.get(key)).expect("every key is documented with its default");
        let given = self.note_leaf(key).unwrap_or(default);
        self.note_shown(key, given, false);
        self.note_effective(key, Effective::hidden(given));
        self.note_fault(key, given, true, &parse).unwrap_or_else(|| parse(default).expect("documented defaults are valid"))
    }

    /// A table with keys of the operator's choice, in alphabetical order.
    pub(super) fn map<T: Debug>(&mut self, key: &'static str, parse: impl Fn(&str, &Value) -> Parsed<T>) -> Vec<(String, T)> {
        let path = self.path_of(key);
        let Some(value) = self.note_leaf(key) else { return Vec::new() };
        self.note_shown(key, value, false);
        let mut entries: Vec<(&String, &Value)> = self.table_at(&path, Some(value)).into_iter().flatten().collect();
        entries.sort_by_key(|(name, _)| *name);
        let mut out = Vec::new();
        for (name, value) in entries {
            match parse(name, value) {
                Ok(parsed) => out.push((name.clone(), parsed)),
                Err(message) => self.notes.problem(&format!("{path}.{}", super::problem::bare_key(name)), Some(value), message),
            }
        }
        self.note_effective(key, Effective::plain(&out));
        out
    }

    /// Whether one of the keys was given, be it well or badly.
    pub(super) fn has_any(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.here.and_then(|table| table.get(*key)).is_some_and(|value| !is_empty(value)))
    }

    /// Whether a key has its documented default, given or not.
    pub(super) fn has_default(&self, key: &str) -> bool {
        let kind = |table: Option<&'a HashMap<String, Value>>| table.and_then(|table| table.get(key)).map(|value| &value.kind);
        kind(self.here).is_none_or(|given| Some(given) == kind(self.documented))
    }

    /// Notes a fault of a key of this section: one that lies in how it fits to another.
    pub(super) fn fault(&self, key: &str, message: impl Into<String>) {
        let value = self
            .here
            .and_then(|table| table.get(key))
            .filter(|_| !matches!(key, "secret" | "password" | "sentinel_password" | "token"));
        self.notes.problem(&self.path_of(key), value, message);
    }

    /// A key that is no more: whoever still gives it is told what has taken its place.
    pub(super) fn retired(&mut self, key: &'static str, successor: &str) {
        self.keys.insert(key);
        if self.here.is_some_and(|table| table.contains_key(key)) {
            self.fault(key, format!("is no more: {successor}"));
        }
    }

    fn close(self) {
        let mut unknown: Vec<(&String, &Value)> =
            self.here.into_iter().flatten().filter(|(key, _)| !self.keys.contains(key.as_str())).collect();
        unknown.sort_by_key(|(name, _)| *name);
        let found = unknown.into_iter().map(|(name, value)| Unknown {
            key: self.path_of(name),
            pattern: self.pattern.clone(),
            name: name.clone(),
            origin: origin_of(value),
        });
        self.notes.unknown.borrow_mut().extend(found);
    }

    /// Closes the outermost table.
    pub(super) fn finish(self) {
        self.close();
    }

    fn note_key(&mut self, key: &'static str) -> Option<&'a Value> {
        self.keys.insert(key);
        self.notes.known.borrow_mut().insert(self.pattern_of(key));
        self.here.and_then(|table| table.get(key)).filter(|value| !matches!(value.kind, ValueKind::Nil))
    }

    /// [`Section::note_key`] of a key that holds a value and no further keys.
    fn note_leaf(&mut self, key: &'static str) -> Option<&'a Value> {
        self.notes.leaves.borrow_mut().insert(self.pattern_of(key));
        self.note_key(key)
    }

    fn note_secret_file(&self, key: &str, value: &Value) {
        if let Ok(path) = super::parse::path(value) {
            self.notes.secret_files.borrow_mut().push((self.path_of(key), path));
        }
    }

    fn note_effective(&self, key: &str, value: Effective) {
        let of_key = EffectiveKey { pattern: self.pattern_of(key), value };
        self.notes.effective.borrow_mut().insert(self.path_of(key), of_key);
    }

    fn note_shown(&self, key: &str, value: &Value, secret: bool) {
        self.notes.shown.borrow_mut().push(Shown {
            header: self.header.clone(),
            section: self.path.clone(),
            key: key.to_owned(),
            value: value.clone(),
            origin: origin_of(value).unwrap_or_else(|| "default".to_owned()),
            secret,
        });
    }

    fn note_fault<T>(&self, key: &str, value: &Value, secret: bool, parse: &impl Fn(&Value) -> Parsed<T>) -> Option<T> {
        parse(value)
            .map_err(|message| {
                let at = self.path_of(key);
                self.notes.problem(&at, Some(value), message);
                if secret && let Some(problem) = self.notes.problems.borrow_mut().last_mut() {
                    problem.value = Some("[redacted]".to_owned());
                }
            })
            .ok()
    }

    fn table_at(&self, path: &str, value: Option<&'a Value>) -> Option<&'a HashMap<String, Value>> {
        let value = value?;
        let found = table(value);
        if found.is_none() {
            self.notes.problems.borrow_mut().push(Problem {
                key: path.to_owned(),
                value: None,
                origin: origin_of(value),
                message: "allowed is a table of keys, not a single value".to_owned(),
            });
        }
        found
    }

    fn path_of(&self, key: &str) -> String {
        let key = super::problem::bare_key(key);
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    fn pattern_of(&self, key: &str) -> String {
        if self.pattern.is_empty() { key.to_owned() } else { format!("{}.{key}", self.pattern) }
    }
}

fn table(value: &Value) -> Option<&HashMap<String, Value>> {
    match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

fn first_table(value: &Value) -> Option<&HashMap<String, Value>> {
    match &value.kind {
        ValueKind::Array(entries) => entries.first().and_then(table),
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    matches!(&value.kind, ValueKind::String(text) if text.is_empty())
}

/// Where a value came from; for a table where the first of its members did.
fn origin_of(value: &Value) -> Option<String> {
    if let Some(origin) = value.origin() {
        return Some(origin.to_owned());
    }
    let members = table(value)?;
    members.keys().min().and_then(|first| origin_of(&members[first]))
}

fn parse_file<T>(path: &Value, parse: &impl Fn(&Value) -> Parsed<T>) -> Parsed<T> {
    let path = super::parse::path(path)?;
    let text = std::fs::read_to_string(&path).map_err(|e| format!("the file cannot be read: {e}"))?;
    let text = zeroize::Zeroizing::new(text);
    let trimmed = text.trim_end_matches(['\r', '\n']);
    if trimmed.is_empty() {
        return Err("the file is empty".to_owned());
    }
    parse(&Value::new(None, trimmed)).map_err(|message| format!("what the file holds is refused: {message}"))
}
