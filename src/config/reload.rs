//! Which new settings a running process takes over, and which need a restart.
//!
//! A process never runs with settings that were not validated: a reload takes the new value of each key that it can take over and the
//! old value of each that it cannot, and reads the whole anew. So whatever follows from a key that needs a restart, as the time
//! that revocations are kept follows from the issuers, stays as it is together with the key.

mod effects;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::LazyLock;

use config::{Value, ValueKind};

use super::layers::Layers;
use super::problem::Problem;
use super::setting::EffectiveKey;
use super::{Invalid, Loaded, Settings};
use crate::files;

/// What becomes of a key's new value when the settings are read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Effect {
    /// It is taken over.
    Reloads,
    /// The old one stays in force.
    NeedsRestart,
    /// The same, for the name of a file that is read at start: its content counts too.
    FileNeedsRestart,
}

impl Effect {
    /// `None` for what is no key with a value.
    fn of(pattern: &str) -> Option<Self> {
        effects::EFFECTS.iter().find(|(key, _)| *key == pattern).map(|(_, effect)| *effect)
    }

    /// Of the entries of a list of tables or of named tables.
    fn of_entries(pattern: &str) -> Option<Self> {
        let is_within =
            |key: &str| key.strip_prefix(pattern).is_some_and(|rest| rest.starts_with("[].") || rest.starts_with(".NAME."));
        let mut within = effects::EFFECTS.iter().filter(|(key, _)| is_within(key)).map(|(_, effect)| *effect).peekable();
        within.peek()?;
        Some(if within.all(|effect| effect == Self::Reloads) { Self::Reloads } else { Self::NeedsRestart })
    }
}

/// The settings that a process runs with.
#[derive(Debug)]
pub struct InForce {
    loaded: Loaded,
    files: Files,
}

/// Settings that a running process can take over as a whole: they differ from those in force in nothing that needs a restart.
#[derive(Debug)]
pub struct Reload {
    in_force: InForce,
    /// Keys whose new values are not among them.
    needs_restart: Vec<String>,
}

impl Reload {
    pub fn settings(&self) -> &Settings {
        &self.in_force.loaded.settings
    }

    /// Once they were taken over: what is in force then, and the keys that go on with their old values.
    pub fn done(self) -> (InForce, Vec<String>) {
        (self.in_force, self.needs_restart)
    }
}

impl InForce {
    /// Right before a process starts with them.
    pub fn new(loaded: Loaded) -> Self {
        let files = Files::of(&loaded);
        Self { loaded, files }
    }

    pub fn settings(&self) -> &Settings {
        &self.loaded.settings
    }

    /// Of new settings what can be taken over; everything else as it is.
    ///
    /// # Errors
    /// When the new values of some keys do not fit to the old values of those that need a restart.
    pub fn reload(&self, new: &Loaded) -> Result<Reload, Invalid> {
        let needs_restart = self.needs_restart(new);
        let merged = kept(&self.loaded.layers.merged, &new.layers.merged, "");
        let layers = Layers { merged, documented: new.layers.documented.clone(), faults: Vec::new() };
        let loaded = super::validated(layers).map_err(|Invalid(mut problems)| {
            if !needs_restart.is_empty() {
                let keys = needs_restart.join(", ");
                let message = format!("only a restart takes these settings over: {keys} cannot be changed before");
                problems.push(Problem { key: String::new(), value: None, origin: None, message });
            }
            Invalid(problems)
        })?;
        // The files are those that were read at start.
        let in_force = Self { loaded, files: self.files.clone() };
        Ok(Reload { in_force, needs_restart })
    }

    /// The keys whose new values need a restart, in alphabetical order. Of an entry that is new or gone, the entry.
    fn needs_restart(&self, new: &Loaded) -> Vec<String> {
        let (old_keys, new_keys) = (&self.loaded.effective, &new.effective);
        let entries = |keys: &BTreeMap<String, EffectiveKey>| -> BTreeSet<String> {
            keys.iter().filter_map(|(path, key)| entry_of(path, &key.pattern)).collect()
        };
        let (old_entries, new_entries) = (entries(old_keys), entries(new_keys));
        let new_files = Files::of(new);
        let mut changed = BTreeSet::new();
        for (path, key) in old_keys.iter().chain(new_keys) {
            let is_same = match Effect::of(&key.pattern) {
                Some(Effect::Reloads) => continue,
                Some(Effect::FileNeedsRestart) => self.files.0.get(path) == new_files.0.get(path),
                Some(Effect::NeedsRestart) | None => true,
            };
            if is_same && old_keys.get(path).map(|key| &key.value) == new_keys.get(path).map(|key| &key.value) {
                continue;
            }
            let entry = entry_of(path, &key.pattern);
            let lone_entry = entry.filter(|entry| old_entries.contains(entry) != new_entries.contains(entry));
            changed.insert(lone_entry.unwrap_or_else(|| path.clone()));
        }
        changed.into_iter().collect()
    }
}

/// The entry of a list or of named tables that a key belongs to: `issuers[0]`, `upstreams.api`.
fn entry_of(path: &str, pattern: &str) -> Option<String> {
    let key = pattern.rsplit_once("[].").or_else(|| pattern.rsplit_once(".NAME.")).map(|(_, key)| key)?;
    path.strip_suffix(key)?.strip_suffix('.').map(str::to_owned)
}

/// The new values of all keys that can be taken over, the old ones of all others. Both are valid: they hold no unknown keys.
fn kept(old: &Value, new: &Value, pattern: &str) -> Value {
    let members = |value: &Value| match &value.kind {
        ValueKind::Table(table) => table.clone(),
        _ => HashMap::new(),
    };
    let (old_members, mut new_members) = (members(old), members(new));
    let names: BTreeSet<String> = old_members.keys().chain(new_members.keys()).cloned().collect();
    let mut merged = HashMap::new();
    for name in names {
        let pattern = if pattern.is_empty() { name.clone() } else { format!("{pattern}.{name}") };
        let (old, new) = (old_members.get(&name), new_members.remove(&name));
        let value = match Effect::of(&pattern).or_else(|| Effect::of_entries(&pattern)) {
            Some(Effect::Reloads) => new,
            Some(Effect::NeedsRestart | Effect::FileNeedsRestart) => old.cloned(),
            // Nobody says what becomes of it.
            None if [old, new.as_ref()].into_iter().flatten().any(|value| !is_table(value)) => old.cloned(),
            // A section, whose keys are of different kinds.
            None => {
                let absent = Value::new(None, HashMap::<String, Value>::new());
                Some(kept(old.unwrap_or(&absent), new.as_ref().unwrap_or(&absent), &pattern))
            }
        };
        if let Some(value) = value {
            merged.insert(name, value);
        }
    }
    Value::new(None, ValueKind::Table(merged))
}

const fn is_table(value: &Value) -> bool {
    matches!(value.kind, ValueKind::Table(_))
}

/// What the files hold that are read at start, by the path of the key that names each.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Files(BTreeMap<String, Option<u64>>);

impl Files {
    fn of(loaded: &Loaded) -> Self {
        let named = loaded.effective.iter().filter(|(_, key)| Effect::of(&key.pattern) == Some(Effect::FileNeedsRestart));
        Self(named.map(|(path, _)| (path.clone(), loaded.text_at(path).and_then(|file| content(Path::new(&file))))).collect())
    }
}

/// A digest that this process alone can compare; `None` for what cannot be read.
fn content(path: &Path) -> Option<u64> {
    static DIGEST: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let bytes = files::read(path, files::PEM_BYTES_MAX).ok()?;
    Some(DIGEST.hash_one(bytes.as_slice()))
}

impl Loaded {
    /// The text of a key, as it was given.
    fn text_at(&self, path: &str) -> Option<String> {
        let shown = self.shown.iter().find(|shown| shown.path() == path)?;
        match &shown.value.kind {
            ValueKind::String(text) => Some(text.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
