//! What is wrong with the settings: all of it at once, each with its place and what is allowed there.

use std::fmt;

use config::{Value, ValueKind};

/// The longest value that an error repeats, in characters.
const VALUE_CHARS_MAX: usize = 80;

/// One fault of the settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Dotted, such as `listen.address` or `routes[0].prefix`; empty when the fault is not about a key.
    pub key: String,
    /// As it was given, shortened; `None` where it is absent or must not be shown.
    pub value: Option<String>,
    /// The file and line, the environment variable or the flag; `None` for what is absent.
    pub origin: Option<String>,
    /// What is wrong, what is allowed, and how to mend it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.key, &self.value) {
            (key, _) if key.is_empty() => {}
            (key, None) => f.write_str(key)?,
            (key, Some(value)) => write!(f, "{key} = {value}")?,
        }
        if let Some(origin) = &self.origin {
            write!(f, "{}({origin})", if self.key.is_empty() { "" } else { " " })?;
        }
        write!(f, "{}{}", if self.key.is_empty() && self.origin.is_none() { "" } else { ": " }, self.message)
    }
}

/// Settings that are refused, with every fault that was found. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalid(pub Vec<Problem>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} {} in the settings:", if count == 1 { "fault" } else { "faults" })?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Invalid {}

/// A value as TOML, in one line. Passwords and queries of URLs are blotted out.
pub(super) fn toml_text(value: &Value) -> String {
    match &value.kind {
        ValueKind::Nil => "nothing".to_owned(),
        ValueKind::Boolean(value) => value.to_string(),
        ValueKind::I64(value) => value.to_string(),
        ValueKind::I128(value) => value.to_string(),
        ValueKind::U64(value) => value.to_string(),
        ValueKind::U128(value) => value.to_string(),
        ValueKind::Float(value) => value.to_string(),
        ValueKind::String(text) => quoted(text),
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(toml_text).collect();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Table(table) if table.is_empty() => "{}".to_owned(),
        ValueKind::Table(table) => {
            let mut members: Vec<String> =
                table.iter().map(|(key, value)| format!("{} = {}", bare_key(key), toml_text(value))).collect();
            members.sort();
            format!("{{ {} }}", members.join(", "))
        }
    }
}

/// [`toml_text`], cut to a length that fits into an error.
pub(super) fn short_text(value: &Value) -> String {
    let text = toml_text(value);
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text;
    }
    text.chars().take(VALUE_CHARS_MAX).chain("…".chars()).collect()
}

/// A TOML key: bare where the grammar allows it, quoted otherwise.
pub(super) fn bare_key(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_bare { key.to_owned() } else { quoted(key) }
}

fn quoted(text: &str) -> String {
    toml::Value::String(shown_url(text)).to_string()
}

/// A text that may be a URL, as it may be shown: without user and password, and without what stands behind `?` or `#`, where keys of
/// other services are passed. A password that was not escaped may hold what ends a host elsewhere: the last `@` counts.
pub fn shown_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (blotted, rest) = match rest.rfind('@') {
        Some(at) => ("[redacted]", &rest[at..]),
        None => ("", rest),
    };
    match rest.find(['?', '#']) {
        Some(at) if rest.len() > at + 1 => format!("{scheme}://{blotted}{}[redacted]", &rest[..=at]),
        _ => format!("{scheme}://{blotted}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_inside_a_url_is_never_repeated() {
        let text = toml_text(&Value::new(None, "redis://user:hunter2@host:1/0"));
        assert_eq!(text, r#""redis://[redacted]@host:1/0""#);
        let unescaped = toml_text(&Value::new(None, "http://user:hunt/er#2?@host/a"));
        assert_eq!(unescaped, r#""http://[redacted]@host/a""#);
        assert_eq!(toml_text(&Value::new(None, "http://host/a")), r#""http://host/a""#);
    }

    #[test]
    fn the_query_of_a_url_is_never_repeated() {
        for (url, shown) in [
            ("https://host/jwks?code=hunter2", "https://host/jwks?[redacted]"),
            ("https://host/jwks?a=hunter2@x&b=@", "https://[redacted]@"),
            ("https://u:hunter2@host/jwks?sig=hunter2#hunter2", "https://[redacted]@host/jwks?[redacted]"),
            ("https://host/jwks#hunter2", "https://host/jwks#[redacted]"),
            ("https://host/jwks?", "https://host/jwks?"),
            ("where is it?", "where is it?"),
        ] {
            assert_eq!(shown_url(url), shown);
            assert!(!toml_text(&Value::new(None, vec![url])).contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn long_values_are_cut_and_control_characters_escaped() {
        let text = short_text(&Value::new(None, format!("a\nb{}", "x".repeat(200))));
        assert!(text.chars().count() == VALUE_CHARS_MAX + 1 && !text.contains('\u{1b}'), "{text}");
        assert!(!short_text(&Value::new(None, "a\u{1b}[31m")).contains('\u{1b}'));
    }
}
