//! Where settings come from: defaults < file < environment < flags, merged by the `config` crate.
//!
//! Every value remembers its origin: a line of the file, a variable, a flag.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use config::{Config, ConfigError, Source, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::problem::Problem;
use crate::files;

/// Every key with its default. Commented-out keys (`#key = …`) are examples, or the defaults of entries such as upstreams.
pub const DEFAULT_FILE: &str = include_str!("../../config/tokengate.toml");

/// What starts the name of each environment variable that is a setting: `TOKENGATE__SECTION__KEY`.
pub const VARIABLE_PREFIX: &str = "TOKENGATE__";

/// The largest position in a list that a variable or flag may name.
const INDEX_DIGITS_MAX: usize = 3;

/// Everything that settings are made of, already read from outside.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    pub file: Option<SettingsFile>,
    /// Names and values; those that do not start with [`VARIABLE_PREFIX`] are passed over.
    pub environment: Vec<(String, String)>,
    pub flags: Vec<Flag>,
}

#[derive(Clone, Debug)]
pub struct SettingsFile {
    /// Shown in errors.
    pub name: String,
    pub text: String,
}

impl SettingsFile {
    pub(super) fn digest(&self) -> FileDigest {
        FileDigest::of(&self.text)
    }
}

/// What a settings file says, as far as it has to be told from what it said before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileDigest(u64);

impl FileDigest {
    pub fn of(text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// A setting from the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag as it is typed, for errors: `--listen`.
    pub name: String,
    /// Dotted: `listen.address`.
    pub key: String,
    pub value: String,
}

/// Where the documented defaults say that they come from.
pub(super) const DEFAULT_ORIGIN: &str = "default";

/// The merged settings, and the documented defaults beside them.
#[derive(Clone)]
pub(super) struct Layers {
    pub(super) merged: Value,
    /// The default file with its examples switched on: holds a default for every key, for one entry of each list too.
    pub(super) documented: Value,
    /// Of files that the settings name and that are layers themselves: what is wrong with them.
    pub(super) faults: Vec<Problem>,
}

/// Values may be secrets.
impl std::fmt::Debug for Layers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layers").finish_non_exhaustive()
    }
}

/// Faults of form (a file that is no TOML) end here: nothing further could be said about it.
pub(super) fn merge(inputs: &Inputs) -> Result<Layers, Vec<Problem>> {
    let defaults = Document::parse(DEFAULT_ORIGIN, DEFAULT_FILE, Origins::Fixed)?;
    let documented = Document::parse(DEFAULT_ORIGIN, &uncommented(DEFAULT_FILE), Origins::Fixed)?;
    let mut builder = Config::builder().add_source(defaults);
    if let Some(file) = &inputs.file {
        builder = builder.add_source(Document::parse(&file.name, &file.text, Origins::Lines)?);
    }
    for assignment in assignments(inputs)? {
        builder = builder.add_source(assignment);
    }
    let mut merged = builder.build().map_err(|e| vec![shapeless(e.to_string())])?.cache;
    add_route_of_last_resort(&mut merged);
    let faults = add_clients_of_file(&mut merged).err().unwrap_or_default();
    Ok(Layers { merged, documented: Value::new(None, documented.0), faults })
}

/// Everything that is documented, as if it were set.
pub(super) fn reference() -> Result<Layers, Vec<Problem>> {
    let documented = Value::new(None, Document::parse(DEFAULT_ORIGIN, &uncommented(DEFAULT_FILE), Origins::Fixed)?.0);
    Ok(Layers { merged: documented.clone(), documented, faults: Vec::new() })
}

/// Without any route everything needs a token and goes to the one upstream, or to the one called `default`.
fn add_route_of_last_resort(merged: &mut Value) {
    let ValueKind::Table(sections) = &mut merged.kind else { return };
    let routes = sections.entry("routes".to_owned()).or_insert_with(|| Value::new(None, Vec::<Value>::new()));
    if let ValueKind::Array(entries) = &mut routes.kind
        && entries.is_empty()
    {
        let name = Value::new(Some(&"default".to_owned()), "default");
        entries.push(Value::new(None, HashMap::from([("name".to_owned(), name)])));
    }
}

/// The entries of the file that `oauth.clients_file` names come behind those of the settings.
fn add_clients_of_file(merged: &mut Value) -> Result<(), Vec<Problem>> {
    let ValueKind::Table(sections) = &mut merged.kind else { return Ok(()) };
    let named = sections.get("oauth").and_then(|oauth| match &oauth.kind {
        ValueKind::Table(keys) => keys.get("clients_file"),
        _ => None,
    });
    let Some((named, path)) = named.and_then(|named| match &named.kind {
        ValueKind::String(path) if !path.is_empty() => Some((named, path.clone())),
        _ => None,
    }) else {
        return Ok(());
    };
    let fault = |message: String| {
        vec![Problem {
            key: CLIENTS_FILE_KEY.to_owned(),
            value: Some(path.clone()),
            origin: named.origin().map(str::to_owned),
            message,
        }]
    };
    let text = files::read_text(Path::new(&path), files::SETTINGS_BYTES_MAX)
        .map_err(|error| fault(format!("cannot be read: {error}; make it with: tokengate clients add ID --file {path}")))?;
    let Document(mut found) = Document::parse(&path, &text, Origins::Lines)?;
    let entries = match found.remove("clients").map(|value| value.kind) {
        Some(ValueKind::Array(entries)) if found.is_empty() => entries,
        None if found.is_empty() => Vec::new(),
        _ => {
            let others: Vec<&str> = found.keys().map(String::as_str).collect();
            return Err(fault(format!(
                "may hold [[clients]] alone; it has {}",
                if others.is_empty() { "something else" } else { &others[0] }
            )));
        }
    };
    let clients = sections.entry("clients".to_owned()).or_insert_with(|| Value::new(None, Vec::<Value>::new()));
    if let ValueKind::Array(clients) = &mut clients.kind {
        clients.extend(entries);
    }
    Ok(())
}

/// Names the file of clients.
pub const CLIENTS_FILE_KEY: &str = "oauth.clients_file";

/// The default file with each `#key = …` and `#[section]` switched on. Prose comments have a space after the `#`.
pub(super) fn uncommented(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let is_example =
            line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '['));
        out.push_str(if is_example { &line[1..] } else { line });
        out.push('\n');
    }
    out
}

/// A TOML document whose values know where they stand.
#[derive(Clone, Debug)]
struct Document(HashMap<String, Value>);

#[derive(Clone, Copy)]
enum Origins {
    /// The document's name alone.
    Fixed,
    /// The name and the line.
    Lines,
}

impl Document {
    fn parse(name: &str, text: &str, origins: Origins) -> Result<Self, Vec<Problem>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let lines = Lines::of(text);
        let origin = |offset: usize| match origins {
            Origins::Fixed => name.to_owned(),
            Origins::Lines => format!("{name}, line {}", lines.line(offset)),
        };
        let mut problems: Vec<Problem> = errors
            .iter()
            .map(|error| Problem {
                key: String::new(),
                value: None,
                origin: Some(origin(error.span().map_or(0, |span| span.start))),
                // The error's own rendering would repeat the line, and a secret with it.
                message: format!("not TOML: {}", error.message()),
            })
            .collect();
        if problems.is_empty() {
            let table = table_of(table.into_inner(), &origin, &mut problems);
            if problems.is_empty() {
                return Ok(Self(table));
            }
        }
        Err(problems)
    }
}

impl Source for Document {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<HashMap<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

fn table_of(table: DeTable<'_>, origin: &dyn Fn(usize) -> String, problems: &mut Vec<Problem>) -> HashMap<String, Value> {
    table
        .into_iter()
        .map(|(key, value)| {
            let at = origin(key.span().start);
            (key.into_inner().into_owned(), value_of(value.into_inner(), &at, origin, problems))
        })
        .collect()
}

fn value_of(value: DeValue<'_>, at: &String, origin: &dyn Fn(usize) -> String, problems: &mut Vec<Problem>) -> Value {
    let mut refuse = |what: &str| {
        problems.push(Problem { key: String::new(), value: None, origin: Some(at.clone()), message: what.to_owned() });
        ValueKind::Nil
    };
    let kind = match value {
        DeValue::String(text) => ValueKind::String(text.into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| refuse("this number is too large"), ValueKind::I64),
        DeValue::Float(number) => number.as_str().parse().map_or_else(|_| refuse("not a number"), ValueKind::Float),
        DeValue::Boolean(value) => ValueKind::Boolean(value),
        DeValue::Datetime(moment) => ValueKind::String(moment.to_string()),
        DeValue::Array(items) => {
            let items = items.into_iter().map(|item| {
                let at = origin(item.span().start);
                value_of(item.into_inner(), &at, origin, problems)
            });
            ValueKind::Array(items.collect())
        }
        DeValue::Table(table) => ValueKind::Table(table_of(table, origin, problems)),
    };
    Value::new(Some(at), kind)
}

/// Finds the line of a byte offset.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    /// Counted from 1.
    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|&end| end < offset) + 1
    }
}

/// One key set from outside a file.
#[derive(Clone, Debug)]
struct Assignment {
    /// A path expression of the `config` crate: `routes[0].access`.
    path: String,
    value: Value,
}

impl Source for Assignment {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<HashMap<String, Value>, ConfigError> {
        Ok(HashMap::from([(self.path.clone(), self.value.clone())]))
    }
}

/// Environment first, sorted by name so that the outcome does not depend on its order; then the flags as they were typed.
fn assignments(inputs: &Inputs) -> Result<Vec<Assignment>, Vec<Problem>> {
    let mut variables: Vec<&(String, String)> =
        inputs.environment.iter().filter(|(name, _)| name.to_ascii_uppercase().starts_with(VARIABLE_PREFIX)).collect();
    variables.sort();
    let mut out = Vec::new();
    let mut problems = Vec::new();
    let mut add = |key: &str, text: &str, origin: &String| match path_expression(key) {
        Some(path) => out.push(Assignment { path, value: value_from_text(text, origin) }),
        None => problems.push(Problem {
            key: key.to_owned(),
            value: None,
            origin: Some(origin.clone()),
            message:
                "not a key: allowed are names separated by dots (in the environment by two underscores), and positions in a list \
                      up to 999"
                    .to_owned(),
        }),
    };
    for (name, text) in variables {
        let source = HashMap::from([(name.clone(), text.clone())]);
        let collected = config::Environment::with_prefix("TOKENGATE").separator("__").source(Some(source)).collect();
        for key in collected.map_err(|e| vec![shapeless(e.to_string())])?.keys() {
            add(key, text, name);
        }
    }
    for flag in &inputs.flags {
        add(&flag.key, &flag.value, &flag.name);
    }
    if problems.is_empty() { Ok(out) } else { Err(problems) }
}

/// `routes.0.access` → `routes[0].access`; `None` for what is no key.
fn path_expression(key: &str) -> Option<String> {
    let mut path = String::new();
    for segment in key.split('.') {
        let is_name = !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let is_index = is_name && segment.bytes().all(|b| b.is_ascii_digit());
        match (is_index, path.is_empty()) {
            (true, false) if segment.len() <= INDEX_DIGITS_MAX => {
                let _ = write!(path, "[{segment}]");
            }
            (false, true) if is_name => path.push_str(segment),
            (false, false) if is_name => {
                let _ = write!(path, ".{segment}");
            }
            (true | false, true | false) => return None,
        }
    }
    Some(path)
}

/// Lists and tables are written as in TOML; everything else is text, which each key reads in its own way.
fn value_from_text(text: &str, origin: &String) -> Value {
    if text.trim_start().starts_with(['[', '{'])
        && let Ok(Document(mut table)) = Document::parse(origin, &format!("v = {text}"), Origins::Fixed)
        && table.len() == 1
        && let Some(value) = table.remove("v")
    {
        return value;
    }
    Value::new(Some(origin), text)
}

fn shapeless(message: String) -> Problem {
    Problem { key: String::new(), value: None, origin: None, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_key_are_positions_and_bounded() {
        assert_eq!(path_expression("routes.0.access").as_deref(), Some("routes[0].access"));
        assert_eq!(path_expression("upstreams.my-api.url").as_deref(), Some("upstreams.my-api.url"));
        for bad in ["", ".", "a..b", "0.a", "routes.1000.x", "routes[5]", "a b"] {
            assert_eq!(path_expression(bad), None, "{bad}");
        }
    }

    #[test]
    fn lines_are_counted_from_one() {
        let lines = Lines::of("a\nb\n\nc");
        assert_eq!([0, 1, 2, 4, 5].map(|at| lines.line(at)), [1, 1, 2, 3, 4]);
    }

    #[test]
    fn text_that_only_looks_like_a_list_stays_text() {
        assert!(matches!(value_from_text("[1, 2", &String::new()).kind, ValueKind::String(_)));
        assert!(matches!(value_from_text("[1, 2]", &String::new()).kind, ValueKind::Array(_)));
        assert!(matches!(value_from_text("{}\nx = 1", &String::new()).kind, ValueKind::String(_)));
    }
}
