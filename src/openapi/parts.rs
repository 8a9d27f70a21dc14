//! What a description is made of.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Map, Value, json};

/// One method at one path.
pub struct Operation {
    pub path: String,
    pub method: Method,
    /// Unique in its document.
    pub id: String,
    pub summary: &'static str,
    /// Names of `components.securitySchemes`; each is enough. Empty: none is asked for.
    pub security: &'static [&'static str],
    /// In OpenAPI's own form.
    pub parameters: Vec<Value>,
    pub request: Vec<Body>,
    pub responses: Vec<Response>,
    /// Fields of every response.
    pub fields: &'static [(&'static str, &'static str)],
    /// Whether responses with other statuses pass as they are, from the upstream.
    pub passes_others: bool,
}

/// A body of one media type.
pub struct Body {
    pub media_type: &'static str,
    pub schema: Value,
}

/// Responses with one status. Of one status there may be several.
pub struct Response {
    pub status: u16,
    pub text: String,
    /// The field's name, and what it says.
    pub fields: &'static [(&'static str, &'static str)],
    pub bodies: Vec<Body>,
}

/// A document, whose operations are in the order of their paths.
pub fn document(title: &str, about: &str, operations: Vec<Operation>, components: &Value) -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for operation in operations {
        let (path, method) = (operation.path.clone(), operation.method.as_str().to_ascii_lowercase());
        paths.entry(path).or_default().insert(method, described(operation));
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": title, "version": env!("CARGO_PKG_VERSION"), "description": about },
        "paths": paths,
        "components": components,
    })
}

fn described(operation: Operation) -> Value {
    let Operation { path: _, method: _, id, summary, security, parameters, request, responses, fields, passes_others } =
        operation;
    let mut described = Map::from_iter([
        ("operationId".to_owned(), json!(id)),
        ("summary".to_owned(), json!(summary)),
        ("responses".to_owned(), by_status(responses, fields, passes_others)),
    ]);
    if !security.is_empty() {
        let each: Vec<Value> = security.iter().map(|name| json!({ *name: [] })).collect();
        described.insert("security".to_owned(), json!(each));
    }
    if !parameters.is_empty() {
        described.insert("parameters".to_owned(), json!(parameters));
    }
    if !request.is_empty() {
        described.insert("requestBody".to_owned(), json!({ "content": content(request) }));
    }
    Value::Object(described)
}

/// What responses of one status have.
#[derive(Default)]
struct Gathered {
    texts: Vec<String>,
    headers: Map<String, Value>,
    bodies: Vec<Body>,
}

fn by_status(responses: Vec<Response>, of_all: &[(&str, &str)], passes_others: bool) -> Value {
    let mut by_status: BTreeMap<u16, Gathered> = BTreeMap::new();
    for Response { status, text, fields, bodies } in responses {
        let gathered = by_status.entry(status).or_default();
        if !gathered.texts.contains(&text) {
            gathered.texts.push(text);
        }
        for (name, says) in of_all.iter().chain(fields) {
            gathered.headers.insert((*name).to_owned(), json!({ "description": says, "schema": { "type": "string" } }));
        }
        gathered.bodies.extend(bodies);
    }
    let mut out = Map::new();
    for (status, Gathered { texts, headers, bodies }) in by_status {
        let mut response = Map::from_iter([("description".to_owned(), json!(texts.join("\n\n")))]);
        if !headers.is_empty() {
            response.insert("headers".to_owned(), Value::Object(headers));
        }
        if !bodies.is_empty() {
            response.insert("content".to_owned(), content(bodies));
        }
        out.insert(status.to_string(), Value::Object(response));
    }
    if passes_others {
        out.insert("default".to_owned(), json!({ "description": "The upstream's response, as it is." }));
    }
    Value::Object(out)
}

/// Of one media type there may be several schemas.
fn content(bodies: Vec<Body>) -> Value {
    let mut by_type: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for Body { media_type, schema } in bodies {
        let schemas = by_type.entry(media_type).or_default();
        if !schemas.contains(&schema) {
            schemas.push(schema);
        }
    }
    let media = by_type.into_iter().map(|(media_type, mut schemas)| {
        let schema = match schemas.len() {
            1 => schemas.remove(0),
            _ => json!({ "anyOf": schemas }),
        };
        (media_type.to_owned(), json!({ "schema": schema }))
    });
    Value::Object(media.collect())
}

/// An object of these members and no others. All are there, unless [`optional`].
pub fn object(members: &[(&str, Value)]) -> Value {
    let is_optional = |schema: &Value| schema.get("x-optional").is_some();
    let required: Vec<&str> = members.iter().filter(|(_, schema)| !is_optional(schema)).map(|(name, _)| *name).collect();
    let properties: Map<String, Value> = members
        .iter()
        .map(|(name, schema)| {
            let mut schema = schema.clone();
            if let Some(schema) = schema.as_object_mut() {
                schema.shift_remove("x-optional");
            }
            ((*name).to_owned(), schema)
        })
        .collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// A member that may be left out.
pub fn optional(mut schema: Value) -> Value {
    schema["x-optional"] = json!(true);
    schema
}

pub fn text() -> Value {
    json!({ "type": "string" })
}

pub fn list(items: &Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// A schema of `components.schemas`.
pub fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}
