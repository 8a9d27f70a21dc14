//! Secrets and the files that hold them.

use std::path::Path;

use base64::Engine as _;
use config::{Value, ValueKind};

use super::{Parsed, filled_text};
use crate::config::reading::{Form, Reader, Reading};
use crate::domain::deployment_secret::{DeploymentSecret, SecretError};
use crate::domain::secret::Secret;
use crate::files;

fn deployment_secret(value: &Value) -> Parsed<DeploymentSecret> {
    let ValueKind::String(text) = &value.kind else { return Err(SecretError::Encoding.to_string()) };
    DeploymentSecret::parse(text).map_err(|error| error.to_string())
}

pub(in crate::config) fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Of either alphabet, padded or not.
pub(in crate::config) fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    let unpadded = text.trim_end_matches('=');
    let engines = [&base64::engine::general_purpose::STANDARD_NO_PAD, &base64::engine::general_purpose::URL_SAFE_NO_PAD];
    engines.into_iter().find_map(|engine| engine.decode(unpadded).ok())
}

/// One secret, or several for rotation: a list, or one a line.
pub(in crate::config) fn deployment_secrets() -> Reading<Vec<DeploymentSecret>> {
    let text = Form::Text { pattern: "" };
    Reading::new(Form::Either(vec![text.clone(), Form::List(Box::new(text))]), secrets_of)
}

fn secrets_of(value: &Value) -> Parsed<Vec<DeploymentSecret>> {
    let texts: Vec<Value> = match &value.kind {
        ValueKind::Array(items) => items.clone(),
        ValueKind::String(text) => {
            text.split([',', '\n']).map(str::trim).filter(|line| !line.is_empty()).map(|line| Value::new(None, line)).collect()
        }
        _ => vec![value.clone()],
    };
    match texts.as_slice() {
        [] => Err("must not be empty".to_owned()),
        [one] => deployment_secret(one).map(|one| vec![one]),
        many => {
            let numbered = many.iter().enumerate();
            numbered.map(|(index, one)| deployment_secret(one).map_err(|e| format!("secret {}: {e}", index + 1))).collect()
        }
    }
}

/// A password or token: any text of one line.
pub(in crate::config) fn password() -> Reading<Secret<String>> {
    filled_text().then(|text| Ok(Secret::new(text)))
}

/// What a file holds, trailing line ends trimmed.
pub(in crate::config) fn content_of<T>(path: &Path, read: &Reader<T>) -> Parsed<T> {
    let text = files::read_text(path, files::SECRET_BYTES_MAX).map_err(|e| format!("the file cannot be read: {e}"))?;
    let trimmed = text.trim_end_matches(['\r', '\n']);
    if trimmed.is_empty() {
        return Err("the file is empty".to_owned());
    }
    read(&Value::new(None, trimmed)).map_err(|message| format!("what the file holds is refused: {message}"))
}
