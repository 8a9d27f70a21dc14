//! Reads one table of the merged settings key by key, and notes every fault instead of stopping at the first.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use config::{Value, ValueKind};

use super::layers::DEFAULT_ORIGIN;
use super::notes::{Leaf, Notes, Presence, Shown};
use super::parse::{self, Parsed};
use super::problem::{bare_key, toml_text};
use super::reading::{Form, Reading};
use super::setting::{Disclosure, EffectiveKey, FromFile, Setting};
use super::unknown::Unknown;

/// One table of the settings.
pub(super) struct Section<'a> {
    path: String,
    pattern: String,
    header: String,
    here: Option<&'a HashMap<String, Value>>,
    documented: Option<&'a HashMap<String, Value>>,
    /// The keys that were read, and how much of each may be shown; `None`: it holds further keys, or was removed.
    keys: BTreeMap<&'static str, Option<Disclosure>>,
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
            keys: BTreeMap::new(),
            notes,
        }
    }

    /// Reads the table `key` with `read`; afterwards every key that `read` did not ask for is noted as unknown.
    pub(super) fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'a>) -> T) -> T {
        let path = self.path_of(key);
        let value = self.note_key(key, None);
        let here = self.table_at(&path, value);
        let documented = self.documented.and_then(|table_here| table_here.get(key)).and_then(table);
        let pattern = self.pattern_of(key);
        let header = format!("[{}]", self.table_name(key));
        let mut section = Section { path, pattern, header, here, documented, keys: BTreeMap::new(), notes: self.notes };
        let out = read(&mut section);
        section.close();
        out
    }

    /// The entries of a table of tables, by name in alphabetical order. Defaults come from the documented entry `NAME`.
    pub(super) fn named<T>(&mut self, key: &'static str, mut read: impl FnMut(&str, &mut Section<'a>) -> T) -> Vec<T> {
        let path = self.path_of(key);
        let value = self.note_key(key, None);
        let tables = self.table_name(key);
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
            let header = format!("[{tables}.{}]", bare_key(name));
            let path = format!("{path}.{}", bare_key(name));
            let here = self.table_at(&path, Some(value));
            let mut section =
                Section { path, pattern: pattern.clone(), header, here, documented, keys: BTreeMap::new(), notes: self.notes };
            let out = read(name, &mut section);
            section.close();
            out
        };
        entries.into_iter().map(read_entry).collect()
    }

    /// The entries of a list of tables. Defaults come from the documented entry.
    pub(super) fn list<T>(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'a>) -> T) -> Vec<T> {
        let path = self.path_of(key);
        let header = format!("[[{}]]", self.table_name(key));
        let pattern = format!("{}[]", self.pattern_of(key));
        let documented = self.documented.and_then(|table_here| table_here.get(key)).and_then(first_table);
        let entries = match self.note_key(key, None).map(|value| (value, &value.kind)) {
            None => &[],
            Some((_, ValueKind::Array(entries))) => entries.as_slice(),
            Some((value, _)) => {
                self.notes.problem(&path, Some(value), format!("allowed is a list of tables: {header}"));
                &[]
            }
        };
        let read_entry = |(index, value): (usize, &'a Value)| {
            let path = format!("{path}[{index}]");
            let here = self.table_at(&path, Some(value));
            let mut section = Section {
                path,
                pattern: pattern.clone(),
                header: header.clone(),
                here,
                documented,
                keys: BTreeMap::new(),
                notes: self.notes,
            };
            let out = read(&mut section);
            section.close();
            out
        };
        entries.iter().enumerate().map(read_entry).collect()
    }

    /// A key that always has a value: the one given, or the documented default.
    pub(super) fn read<T: Setting + 'static>(&mut self, key: &'static str, reading: Reading<T>) -> T {
        let Reading { form, read } = reading;
        let default = self.documented.and_then(|table| table.get(key)).expect("every key is documented with its default");
        let given = self.note_leaf::<T>(key, form, Presence::Defaulted);
        let parsed = given.and_then(|value| self.parsed(key, value, &read));
        self.note_shown(key, given.unwrap_or(default));
        let parsed = parsed.unwrap_or_else(|| read(default).expect("documented defaults are valid"));
        self.note_effective(key, &parsed);
        parsed
    }

    /// A key that may be left out, or be empty text.
    pub(super) fn optional<T: Setting + 'static>(&mut self, key: &'static str, reading: Reading<T>) -> Option<T> {
        let Reading { form, read } = reading;
        let given = self.note_leaf::<T>(key, form, Presence::Optional).filter(|value| !is_empty(value))?;
        self.note_shown(key, given);
        let parsed = self.parsed(key, given, &read)?;
        self.note_effective(key, &parsed);
        Some(parsed)
    }

    /// [`Section::optional`] for a file that holds a key.
    pub(super) fn key_file(&mut self, key: &'static str) -> Option<PathBuf> {
        let path = self.optional(key, parse::path())?;
        self.notes.secret_file(self.path_of(key), path.clone());
        Some(path)
    }

    /// [`Section::require`] for a file that holds a key.
    pub(super) fn require_key_file(&mut self, key: &'static str) -> Option<PathBuf> {
        let path = self.require(key, parse::path())?;
        self.notes.secret_file(self.path_of(key), path.clone());
        Some(path)
    }

    /// A key that must be given. `None` only after the fault was noted.
    pub(super) fn require<T: Setting + 'static>(&mut self, key: &'static str, reading: Reading<T>) -> Option<T> {
        let Reading { form, read } = reading;
        if let Some(given) = self.note_leaf::<T>(key, form, Presence::Required) {
            self.note_shown(key, given);
            let parsed = self.parsed(key, given, &read)?;
            self.note_effective(key, &parsed);
            return Some(parsed);
        }
        let example = self.documented.and_then(|table| table.get(key)).map(toml_text);
        let message = format!("is missing; an example: {key} = {}", example.unwrap_or_default());
        self.notes.problem(&self.path_of(key), None, message);
        None
    }

    /// A secret: the value itself, or the path of a file that holds it, trailing line ends trimmed. Both at once is a fault.
    pub(super) fn secret<T: Setting + 'static>(
        &mut self,
        key: &'static str,
        file_key: &'static str,
        reading: Reading<T>,
    ) -> Option<T> {
        self.secret_or_file(key, file_key, reading).map(|read| read.value)
    }

    /// [`Section::secret`] whose file is read again later.
    pub(super) fn secret_or_file<T: Setting + 'static>(
        &mut self,
        key: &'static str,
        file_key: &'static str,
        reading: Reading<T>,
    ) -> Option<FromFile<T>> {
        let Reading { form, read } = reading;
        let direct = self.note_leaf::<T>(key, form, Presence::Optional).filter(|value| !is_empty(value));
        let path = parse::path();
        let file = self.note_leaf::<PathBuf>(file_key, path.form.clone(), Presence::Optional).filter(|value| !is_empty(value));
        if let Some(value) = file {
            self.note_shown(file_key, value);
            if let Ok(path) = path.of(value) {
                self.note_effective(file_key, &path);
                self.notes.secret_file(self.path_of(file_key), path);
            }
        }
        if let Some(value) = direct {
            self.note_shown(key, value);
        }
        match (direct, file) {
            (None, None) => None,
            (Some(value), None) => {
                let value = self.parsed(key, value, &read)?;
                self.note_effective(key, &value);
                Some(FromFile { value, file: None })
            }
            (None, Some(named)) => self.parsed(file_key, named, |named| {
                let path = path.of(named)?;
                Ok(FromFile { value: parse::content_of(&path, &read)?, file: Some(path) })
            }),
            (Some(_), Some(path)) => {
                let message = format!("`{key}` is given too; allowed is one of the two");
                self.notes.problem(&self.path_of(file_key), Some(path), message);
                None
            }
        }
    }

    /// A table with keys of the operator's choice, in alphabetical order. `judge` sees each key with what its value says.
    pub(super) fn map<T: Setting + 'static>(
        &mut self,
        key: &'static str,
        reading: Reading<T>,
        judge: impl Fn(&str, T) -> Parsed<T>,
    ) -> Vec<(String, T)> {
        let path = self.path_of(key);
        let Reading { form, read } = reading;
        let form = Form::Table(Box::new(form));
        let Some(value) = self.note_leaf::<T>(key, form, Presence::Defaulted) else { return Vec::new() };
        self.note_shown(key, value);
        let mut entries: Vec<(&String, &Value)> = self.table_at(&path, Some(value)).into_iter().flatten().collect();
        entries.sort_by_key(|(name, _)| *name);
        let mut out = Vec::new();
        for (name, value) in entries {
            match read(value).and_then(|parsed| judge(name, parsed)) {
                Ok(parsed) => out.push((name.clone(), parsed)),
                Err(message) => {
                    self.notes.problem_of(&format!("{path}.{}", bare_key(name)), Some(value), T::DISCLOSURE, message);
                }
            }
        }
        self.note_effective(key, &out);
        out
    }

    /// Whether one of the keys was given, valid or not.
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
        let (path, value) = (self.path_of(key), self.here.and_then(|table| table.get(key)));
        match self.keys.get(key).copied().flatten() {
            Some(disclosure) => self.notes.problem_of(&path, value, disclosure, message),
            None => self.notes.problem_of_table(&path, value.and_then(origin_of), message),
        }
    }

    /// A key that has no meaning beside others: a fault if anybody gives it. Its documented default is passed over.
    pub(super) fn meaningless<T: Setting + 'static>(&mut self, key: &'static str, reading: Reading<T>, message: &str) {
        let given = self.note_leaf::<T>(key, reading.form, Presence::Defaulted);
        if given.is_some_and(|value| origin_of(value).as_deref() != Some(DEFAULT_ORIGIN)) {
            self.fault(key, message);
        }
    }

    /// A key that was removed: the fault says what has replaced it.
    pub(super) fn retired(&mut self, key: &'static str, successor: &str) {
        self.keys.insert(key, None);
        if self.here.is_some_and(|table| table.contains_key(key)) {
            self.fault(key, format!("is no more: {successor}"));
        }
    }

    fn close(self) {
        let mut unknown: Vec<(&String, &Value)> =
            self.here.into_iter().flatten().filter(|(key, _)| !self.keys.contains_key(key.as_str())).collect();
        unknown.sort_by_key(|(name, _)| *name);
        self.notes.unknown(unknown.into_iter().map(|(name, value)| Unknown {
            key: self.path_of(name),
            pattern: self.pattern.clone(),
            name: name.clone(),
            origin: origin_of(value),
        }));
    }

    /// Closes the outermost table.
    pub(super) fn finish(self) {
        self.close();
    }

    fn note_key(&mut self, key: &'static str, disclosure: Option<Disclosure>) -> Option<&'a Value> {
        self.keys.insert(key, disclosure);
        self.notes.know(self.pattern_of(key));
        self.here.and_then(|table| table.get(key)).filter(|value| !matches!(value.kind, ValueKind::Nil))
    }

    /// [`Section::note_key`] of a key that holds a value of this type, and no further keys.
    fn note_leaf<T: Setting>(&mut self, key: &'static str, form: Form, presence: Presence) -> Option<&'a Value> {
        self.notes.know_leaf(self.pattern_of(key), Leaf { form, presence, is_secret: T::DISCLOSURE != Disclosure::Open });
        self.note_key(key, Some(T::DISCLOSURE))
    }

    fn note_effective(&self, key: &str, value: &impl Setting) {
        let of_key = EffectiveKey { pattern: self.pattern_of(key), value: value.effective() };
        self.notes.effective(self.path_of(key), of_key);
    }

    fn note_shown(&self, key: &str, value: &Value) {
        self.notes.show(Shown {
            header: self.header.clone(),
            section: self.path.clone(),
            key: key.to_owned(),
            value: value.clone(),
            origin: origin_of(value).unwrap_or_else(|| DEFAULT_ORIGIN.to_owned()),
            disclosure: self.disclosure(key),
        });
    }

    /// What parses the value, or `None` after the fault was noted.
    fn parsed<T>(&self, key: &str, value: &Value, parse: impl Fn(&Value) -> Parsed<T>) -> Option<T> {
        let refused = |message| self.notes.problem_of(&self.path_of(key), Some(value), self.disclosure(key), message);
        parse(value).map_err(refused).ok()
    }

    /// How much of a key's value may be shown. Nothing of a key that no section has read.
    fn disclosure(&self, key: &str) -> Disclosure {
        self.keys.get(key).copied().flatten().unwrap_or(Disclosure::Secret)
    }

    fn table_at(&self, path: &str, value: Option<&'a Value>) -> Option<&'a HashMap<String, Value>> {
        let value = value?;
        let found = table(value);
        if found.is_none() {
            self.notes.problem_of_table(path, origin_of(value), "allowed is a table of keys, not a single value");
        }
        found
    }

    /// As TOML names the table `key`: within an entry of a list without a number, since it belongs to the last entry.
    fn table_name(&self, key: &str) -> String {
        let (outer, key) = (self.header.trim_matches(['[', ']']), bare_key(key));
        if outer.is_empty() { key } else { format!("{outer}.{key}") }
    }

    fn path_of(&self, key: &str) -> String {
        let key = bare_key(key);
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
