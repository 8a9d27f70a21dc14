//! What requests and responses of the own endpoints hold.

use serde_json::{Map, Value, json};

use crate::config::{MemberPath, Settings};
use crate::domain::problem_code::ProblemCode;
use crate::openapi::{list, object, optional, text};

pub(super) fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

pub(super) fn word(words: &[&str]) -> Value {
    json!({ "enum": words })
}

fn moment() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// The members of a pair, at the places of `login.members`.
fn pair(settings: &Settings) -> Value {
    let members = &settings.login.members;
    let mut pair = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    let texts = [&members.access_token, &members.refresh_token, &members.token_type].into_iter().flatten();
    let numbers = [&members.expires_in, &members.generation].into_iter().flatten();
    for (place, schema) in texts.map(|place| (place, text())).chain(numbers.map(|place| (place, count()))) {
        put(&mut pair, place, schema);
    }
    pair
}

fn put(object: &mut Value, place: &MemberPath, schema: Value) {
    let Some((last, way)) = place.names().split_last() else { return };
    let mut at = object;
    for name in way {
        let inner = &mut at["properties"][name];
        if inner.is_null() {
            *inner = json!({ "type": "object", "properties": {}, "additionalProperties": false });
        }
        at = inner;
    }
    at["properties"][last] = schema;
}

pub(super) fn components(settings: &Settings) -> Value {
    let codes: Vec<&str> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
    let problem = object(&[
        ("type", json!({ "type": "string", "format": "uri" })),
        ("title", text()),
        ("status", json!({ "type": "integer" })),
        ("code", word(&codes)),
        ("detail", text()),
        ("error", optional(text())),
        ("error_description", optional(text())),
    ]);
    let device = object(&[
        ("id", text()),
        ("createdAt", moment()),
        ("lastUsedAt", moment()),
        ("expiresAt", moment()),
        ("address", optional(text())),
        ("userAgent", optional(text())),
        ("current", json!({ "type": "boolean" })),
    ]);
    let current = object(&[
        ("subject", text()),
        ("session", optional(text())),
        ("scopes", list(&text())),
        ("claims", json!({ "type": "object" })),
        ("loggedInAt", optional(moment())),
        ("expiresAt", moment()),
    ]);
    let oauth_pair = object(&[
        ("access_token", optional(text())),
        ("issued_token_type", optional(text())),
        ("token_type", optional(text())),
        ("expires_in", count()),
        ("refresh_token", optional(text())),
        ("scope", optional(text())),
        ("generation", optional(count())),
    ]);
    let introspection = object(&[
        ("active", json!({ "type": "boolean" })),
        ("scope", optional(text())),
        ("client_id", optional(text())),
        ("token_type", optional(text())),
        ("exp", optional(json!({ "type": "integer" }))),
        ("iat", optional(json!({ "type": "integer" }))),
        ("nbf", optional(json!({ "type": "integer" }))),
        ("auth_time", optional(json!({ "type": "integer" }))),
        ("sub", optional(text())),
        ("aud", optional(list(&text()))),
        ("iss", optional(text())),
        ("jti", optional(text())),
        ("sid", optional(text())),
    ]);
    let texts = || optional(list(&text()));
    let metadata = object(&[
        ("issuer", text()),
        ("response_types_supported", list(&text())),
        ("grant_types_supported", list(&text())),
        ("token_endpoint", optional(text())),
        ("token_endpoint_auth_methods_supported", texts()),
        ("jwks_uri", optional(text())),
        ("revocation_endpoint", optional(text())),
        ("revocation_endpoint_auth_methods_supported", texts()),
        ("introspection_endpoint", optional(text())),
        ("introspection_endpoint_auth_methods_supported", texts()),
    ]);
    let dependency =
        object(&[("name", text()), ("ready", json!({ "type": "boolean" })), ("detail", optional(text())), ("alarms", texts())]);
    let form = |names: &[&str]| {
        let properties: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), text())).collect();
        json!({ "type": "object", "properties": properties })
    };
    let schemas = json!({
        "Problem": problem,
        "Pair": pair(settings),
        "OAuthPair": oauth_pair,
        "RefreshRequest": form(&["refreshToken"]),
        "LogoutRequest": { "type": "object", "properties": { "refreshToken": text(), "scope": word(&["session", "others", "all"]) } },
        "LogoutForm": form(&["refresh_token", "scope"]),
        "TokenForm": form(&["grant_type", "refresh_token", "scope", "client_id", "client_secret", "audience", "resource", "subject_token", "subject_token_type"]),
        "TokenQuestion": form(&["token", "token_type_hint", "client_id", "client_secret"]),
        "Devices": object(&[("sessions", list(&device)), ("next", optional(text()))]),
        "CurrentSession": current,
        "Ticket": object(&[("ticket", text()), ("parameter", text()), ("expiresIn", count())]),
        "Introspection": introspection,
        "Metadata": metadata,
        "Readiness": object(&[("status", word(&["ready", "unready"])), ("dependencies", list(&dependency))]),
    });
    let cookie = settings.cookies.as_ref().map_or("__Host-access", |cookies| cookies.own.access_name());
    json!({
        "schemas": schemas,
        "securitySchemes": {
            "accessToken": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
            "accessCookie": { "type": "apiKey", "in": "cookie", "name": cookie },
            "client": { "type": "http", "scheme": "basic" },
        },
    })
}
