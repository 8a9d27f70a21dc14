//! Holds each response against the description of what a gateway serves: a status, a media type, a code or a member that it does not name
//! fails the test.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use super::http::{Client, Message};

/// Of the admin listener, which no settings change.
static ADMIN: LazyLock<Arc<Value>> = LazyLock::new(|| {
    Arc::new(serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi-admin.json"))).unwrap())
});

/// A length of the ids of sessions.
const SESSION_ID_CHARS: usize = 22;

/// What a client's server serves.
#[derive(Clone)]
pub(crate) struct Described {
    document: Arc<Value>,
    /// Where there is a newer one after a reload.
    source: Option<SocketAddr>,
}

impl Described {
    pub(crate) fn admin() -> Self {
        Self { document: Arc::clone(&ADMIN), source: None }
    }

    /// The own endpoints of a gateway, by its admin listener. `None` where that asks for a token.
    pub(crate) fn own(admin: SocketAddr) -> Option<Self> {
        let document = fetched(admin)?;
        Some(Self { document: Arc::new(document), source: Some(admin) })
    }

    /// Fails the test unless the response to this request is described.
    pub(crate) fn check(&self, method: &str, target: &str, fields: &[(&str, &str)], response: &Message) {
        if is_for_somebody_else(fields) {
            return;
        }
        let Err(fault) = check(&self.document, method, target, response) else { return };
        let newer = self.source.and_then(fetched);
        let is_described = newer.is_some_and(|newer| newer != *self.document && check(&newer, method, target, response).is_ok());
        assert!(is_described, "{method} {target} is not described so: {fault}\n{} {}", response.first_line, response.text());
    }
}

fn fetched(admin: SocketAddr) -> Option<Value> {
    let response = Client::new(admin).send("GET", "/openapi.json", &[], None).ok()?;
    (response.status() == 200).then(|| response.json())
}

/// Pages go to the routes, and calls of gRPC are answered in its own way.
fn is_for_somebody_else(fields: &[(&str, &str)]) -> bool {
    fields.iter().any(|(name, value)| match name.to_ascii_lowercase().as_str() {
        "sec-fetch-mode" => *value == "navigate",
        "accept" => value.contains("text/html"),
        "content-type" => value.starts_with("application/grpc"),
        _ => false,
    })
}

fn check(document: &Value, method: &str, target: &str, response: &Message) -> Result<(), String> {
    let path = target.split('?').next().unwrap_or_default();
    let method = if method == "HEAD" { "get" } else { &method.to_ascii_lowercase() };
    let Some(operation) = operation(document, path, method) else { return Ok(()) };
    let status = response.status().to_string();
    let responses = &operation["responses"];
    let Some(described) = responses.get(&status).or_else(|| responses.get("default")) else {
        return Err(format!("the status {status}"));
    };
    let content = described.get("content").and_then(Value::as_object);
    let (Some(content), false) = (content, response.body.is_empty()) else { return Ok(()) };
    let given = essence(response.header("content-type").unwrap_or_default());
    let named = content.iter().find(|(media_type, _)| essence(media_type) == given).or_else(|| content.get_key_value("*/*"));
    let Some((media_type, media)) = named else { return Err(format!("the media type {given}")) };
    if !essence(media_type).ends_with("json") {
        return Ok(());
    }
    fits(document, &media["schema"], &response.json()).map_err(|fault| format!("its {media_type}: {fault}"))
}

fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

fn operation<'a>(document: &'a Value, path: &str, method: &str) -> Option<&'a Value> {
    let paths = document["paths"].as_object()?;
    let is_meant = |template: &str| match template.strip_suffix("{id}") {
        None => template == path,
        Some(before) => path.strip_prefix(before).is_some_and(|id| id.len() == SESSION_ID_CHARS && !id.contains('/')),
    };
    paths.iter().find(|(template, _)| is_meant(template))?.1.get(method)
}

/// What the descriptions use of JSON Schema.
fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = document.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("no {name}"));
        return fits(document, schema, value);
    }
    for schema in schema["allOf"].as_array().into_iter().flatten() {
        fits(document, schema, value)?;
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let faults: Vec<String> = any.iter().filter_map(|schema| fits(document, schema, value).err()).collect();
        if faults.len() == any.len() {
            return Err(faults.join("; or "));
        }
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Err(format!("{value} is none of {}", schema["enum"]));
    }
    if !schema["type"].is_null() && !is_of_type(&schema["type"], value) {
        return Err(format!("{value} is no {}", schema["type"]));
    }
    for item in value.as_array().into_iter().flatten().filter(|_| !schema["items"].is_null()) {
        fits(document, &schema["items"], item)?;
    }
    let Some(members) = value.as_object() else { return Ok(()) };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            return Err(format!("the member {name} is missing"));
        }
    }
    for (name, member) in members {
        let (known, others) = (&schema["properties"][name], &schema["additionalProperties"]);
        match (known.is_null(), others) {
            (false, _) => fits(document, known, member).map_err(|fault| format!("{name}: {fault}"))?,
            (true, Value::Bool(false)) => return Err(format!("the member {name}")),
            (true, Value::Object(_)) => fits(document, others, member).map_err(|fault| format!("{name}: {fault}"))?,
            (true, _) => {}
        }
    }
    Ok(())
}

fn is_of_type(wanted: &Value, value: &Value) -> bool {
    match wanted {
        Value::Array(any) => any.iter().any(|one| is_of_type(one, value)),
        _ => match wanted.as_str().unwrap_or_default() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => panic!("no type {other}"),
        },
    }
}

#[test]
fn what_is_not_described_is_found() {
    let response = |status: u16, body: &str| Message {
        first_line: format!("HTTP/1.1 {status} X"),
        headers: vec![("content-type".to_owned(), "application/problem+json".to_owned())],
        body: body.as_bytes().to_vec(),
    };
    let problem = |code: &str, more: &str| {
        format!(r#"{{"type":"about:blank","title":"x","status":503,"code":"{code}","detail":"x"{more}}}"#)
    };
    let judge = |status, body: &str| check(&ADMIN, "POST", "/sweep", &response(status, body));
    assert_eq!(judge(503, &problem("store_full", "")), Ok(()));
    assert!(judge(503, &problem("store_empty", "")).unwrap_err().contains("store_empty"));
    assert!(judge(503, &problem("store_full", r#","more":1"#)).unwrap_err().contains("more"));
    assert!(judge(503, r#"{"code":"store_full"}"#).unwrap_err().contains("missing"));
    assert_eq!(judge(418, "").unwrap_err(), "the status 418");
    assert_eq!(check(&ADMIN, "GET", "/elsewhere", &response(418, "")), Ok(()));
}
