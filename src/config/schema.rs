//! The settings as a JSON Schema, for editors and for programs that write settings.
//!
//! The forms come from the readers, the texts and defaults from the reference.

use std::collections::BTreeMap;

use config::{Value, ValueKind};
use serde_json::{Map, Value as Json, json};

use super::notes::{Leaf, Notes, Presence};
use super::parse::{duration_text, size_text};
use super::problem::Invalid;
use super::reading::Form;
use super::{DEFAULT_FILE, Settings, layers, reference};

/// What editors of TOML understand.
const DIALECT: &str = "http://json-schema.org/draft-07/schema#";

const ABOUT: &str = "Settings of Tokengate. Written by `tokengate schema`, from the readers of the settings and config/tokengate.toml. What \
                     several keys must have in common, and bounds of durations and sizes, no schema says: `tokengate check` does.";

const DURATION: &str = "^(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";

const SIZE: &str = "^[0-9]+(B|KiB|MiB|GiB)$";

const NUMBER: &str = r"^\+?[0-9]+$";

/// JSON Schema (draft 7) of a settings file.
///
/// # Errors
/// Faults of the reference itself.
pub fn schema() -> Result<Json, Invalid> {
    let layers = layers::reference().map_err(Invalid)?;
    let notes = Notes::default();
    // All that is documented at once has faults of fit. What matters is what was asked for.
    let _ = Settings::read(&layers, &notes);
    let texts = reference::texts(DEFAULT_FILE);
    let mut root = Table::default();
    for (pattern, leaf) in notes.finish().leaves {
        let path: Vec<&str> = pattern.split('.').collect();
        let text = texts.get(&pattern).cloned().unwrap_or_default();
        let example = documented(&layers.documented, &path);
        root.insert(&path, leaf.presence == Presence::Required, leaf_schema(&leaf, &text, example));
    }
    let Json::Object(tables) = root.schema("", &texts) else { return Ok(Json::Null) };
    let mut schema = Map::from_iter([
        ("$schema".to_owned(), json!(DIALECT)),
        ("title".to_owned(), json!("Tokengate")),
        ("description".to_owned(), json!(ABOUT)),
    ]);
    schema.extend(tables);
    Ok(Json::Object(schema))
}

/// What stands at one name of a table.
enum Entry {
    Value(Json),
    Table(Table),
    /// A list of tables.
    List(Table),
    /// A table of tables with names of the operator's choice.
    Named(Table),
}

#[derive(Default)]
struct Table {
    entries: BTreeMap<String, Entry>,
    required: Vec<String>,
}

impl Table {
    fn insert(&mut self, path: &[&str], is_required: bool, schema: Json) {
        let entry_of = |table: &mut Self, key: &str, new: fn(Self) -> Entry| {
            table.entries.entry(key.to_owned()).or_insert_with(|| new(Self::default()));
        };
        let (key, rest) = match path {
            [] => return,
            [key] => {
                if is_required {
                    self.required.push((*key).to_owned());
                }
                self.entries.insert((*key).to_owned(), Entry::Value(schema));
                return;
            }
            [key, "NAME", rest @ ..] => {
                entry_of(self, key, Entry::Named);
                (*key, rest)
            }
            [key, rest @ ..] => {
                let name = key.trim_end_matches("[]");
                entry_of(self, name, if name == *key { Entry::Table } else { Entry::List });
                (name, rest)
            }
        };
        match self.entries.get_mut(key) {
            Some(Entry::Table(table) | Entry::List(table) | Entry::Named(table)) => table.insert(rest, is_required, schema),
            Some(Entry::Value(_)) | None => {}
        }
    }

    fn schema(self, pattern: &str, texts: &BTreeMap<String, String>) -> Json {
        let below = |key: &str| if pattern.is_empty() { key.to_owned() } else { format!("{pattern}.{key}") };
        let properties: Map<String, Json> = self
            .entries
            .into_iter()
            .map(|(key, entry)| {
                let schema = match entry {
                    Entry::Value(schema) => schema,
                    Entry::Table(table) => table.schema(&below(&key), texts),
                    Entry::List(table) => {
                        json!({ "type": "array", "items": table.schema(&format!("{}[]", below(&key)), texts) })
                    }
                    Entry::Named(table) => {
                        json!({ "type": "object", "additionalProperties": table.schema(&format!("{}.NAME", below(&key)), texts) })
                    }
                };
                (key, schema)
            })
            .collect();
        let mut schema = Map::new();
        if let Some(text) = texts.get(pattern).filter(|text| !text.is_empty()) {
            schema.insert("description".to_owned(), json!(text));
        }
        schema.extend([
            ("type".to_owned(), json!("object")),
            ("properties".to_owned(), Json::Object(properties)),
            ("additionalProperties".to_owned(), json!(false)),
        ]);
        if !self.required.is_empty() {
            schema.insert("required".to_owned(), json!(self.required));
        }
        Json::Object(schema)
    }
}

fn leaf_schema(leaf: &Leaf, text: &str, example: Option<&Value>) -> Json {
    let form = match leaf.presence {
        Presence::Defaulted | Presence::Required => leaf.form.clone(),
        Presence::Optional => leaf.form.clone().or_empty(),
    };
    let bounds = bounds(&form);
    let gap = if text.is_empty() || bounds.is_empty() { "" } else { "\n" };
    let mut schema = Map::from_iter([("description".to_owned(), json!(format!("{text}{gap}{bounds}")))]);
    if let Some(example) = example.filter(|_| !leaf.is_secret) {
        let example = json_of(example);
        match leaf.presence {
            Presence::Defaulted => schema.insert("default".to_owned(), example),
            Presence::Optional | Presence::Required => schema.insert("examples".to_owned(), json!([example])),
        };
    }
    if let Json::Object(form) = form_schema(&form) {
        schema.extend(form);
    }
    Json::Object(schema)
}

fn form_schema(form: &Form) -> Json {
    match form {
        Form::Flag => json!({ "anyOf": [{ "type": "boolean" }, { "enum": ["true", "false"] }] }),
        Form::Integer { min, max } => {
            json!({ "anyOf": [{ "type": "integer", "minimum": min, "maximum": max }, { "type": "string", "pattern": NUMBER }] })
        }
        Form::WholeNumber => json!({ "type": "integer" }),
        Form::Text { pattern: "" } => json!({ "type": "string" }),
        Form::Text { pattern } => json!({ "type": "string", "pattern": pattern }),
        Form::Words(words) => json!({ "enum": words }),
        Form::Duration { .. } => json!({ "type": "string", "pattern": DURATION }),
        Form::Size { .. } => json!({ "type": "string", "pattern": SIZE }),
        Form::List(item) => json!({ "anyOf": [{ "type": "array", "items": form_schema(item) }, { "type": "string" }] }),
        Form::Table(value) => json!({ "type": "object", "additionalProperties": form_schema(value) }),
        Form::Either(forms) => json!({ "anyOf": forms.iter().map(form_schema).collect::<Vec<_>>() }),
    }
}

/// What a pattern cannot say of a form.
fn bounds(form: &Form) -> String {
    match form {
        Form::Duration { min, max } => {
            format!("From {} to {} (ms, s, m, h, d).", duration_text(*min), duration_text(*max))
        }
        Form::Size { min, max } => format!("From {} to {} (B, KiB, MiB, GiB).", size_text(*min), size_text(*max)),
        Form::List(inner) | Form::Table(inner) => bounds(inner),
        Form::Either(forms) => forms.iter().map(bounds).collect(),
        Form::Flag | Form::Integer { .. } | Form::WholeNumber | Form::Text { .. } | Form::Words(_) => String::new(),
    }
}

/// The documented value of a key.
fn documented<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    let Some((key, rest)) = path.split_first() else { return Some(value) };
    let ValueKind::Table(table) = &value.kind else { return None };
    let Some(key) = key.strip_suffix("[]") else { return documented(table.get(*key)?, rest) };
    let ValueKind::Array(entries) = &table.get(key)?.kind else { return None };
    documented(entries.first()?, rest)
}

fn json_of(value: &Value) -> Json {
    match &value.kind {
        ValueKind::Nil => Json::Null,
        ValueKind::Boolean(value) => json!(value),
        ValueKind::I64(value) => json!(value),
        ValueKind::I128(value) => json!(value.to_string()),
        ValueKind::U64(value) => json!(value),
        ValueKind::U128(value) => json!(value.to_string()),
        ValueKind::Float(value) => json!(value),
        ValueKind::String(text) => json!(text),
        ValueKind::Array(items) => items.iter().map(json_of).collect(),
        ValueKind::Table(table) => {
            let sorted: BTreeMap<&String, Json> = table.iter().map(|(key, value)| (key, json_of(value))).collect();
            json!(sorted)
        }
    }
}
