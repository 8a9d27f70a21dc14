//! What must hold for calls to own endpoints, and for responses to logins.

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Map, Value};

use super::accounts::{self, Reading};
use super::clients::basic;
use super::credentials::{self, Source};
use super::grant::{self, Granted, present_claims};
use super::json_object::JsonObject;
use super::options::EndpointOptions;
use super::refusal::Dialect;
use super::tokens;
use crate::config::Settings;
use crate::domain::cookies::{self, Sent};
use crate::domain::fuzz::Input;
use crate::domain::ids::{Generation, SessionId};
use crate::domain::media_type;
use crate::domain::secret::Secret;
use crate::domain::spelling;
use crate::proxy::control::UpstreamResponse;
use crate::sessions::TokenPair;

static OPTIONS: LazyLock<EndpointOptions> = LazyLock::new(|| {
    let text = "
        upstreams.default.url = 'http://127.0.0.1:1'
        cookies = { enabled = true, access_name = 'access', refresh_name = 'refresh' }
        [login]
        subject = ['/user/id', '/id']
        scopes = ['/scopes']
        claims = { role = '/user/role' }
        [login.members]
        access_token = ['accessToken', '/data/tokens/access']
        [[legacy]]
        name = 'old'
        algorithm = 'HS256'
        secret = '0123456789abcdef0123456789abcdef'
        accepted_until = '2027-03-31'
    ";
    EndpointOptions::from(&Settings::from_toml(text).unwrap_or_else(|error| panic!("{error}")))
});

/// Fields, then a body: the token of a call is one that stands there, once, in one place.
pub fn credentials_of_calls(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let headers = input.fields();
    let body = Bytes::copy_from_slice(input.rest());
    let mut request = Request::builder().method(Method::POST).uri("/refresh").body(()).expect("a request");
    *request.headers_mut() = headers.clone();
    let (head, ()) = request.into_parts();
    let from_login = credentials::old_refresh_token(&head, &body, &OPTIONS);
    let Ok(call) = credentials::read(&head, &body, &OPTIONS) else { return };
    assert_eq!(call.dialect == Dialect::OAuth, media_type::is(&headers, "application/x-www-form-urlencoded"));
    let Some((token, source)) = call.token else { return };
    let token = token.expose();
    assert!(!token.is_empty() && from_login.is_some_and(|other| other.text.expose() == token), "a login reads another token");
    let in_cookie = cookies::find(&headers, "refresh");
    match source {
        Source::Cookie => match in_cookie {
            Sent::Once(value) => assert_eq!(std::str::from_utf8(value).unwrap_or(cookies::NO_TEXT), token),
            Sent::Nothing | Sent::Repeatedly => panic!("a cookie that nobody sent"),
        },
        Source::Body => {
            assert_eq!(in_cookie, Sent::Nothing, "a token in two places");
            let named: Vec<String> = match call.dialect {
                Dialect::OAuth => {
                    let named = form_urlencoded::parse(&body).filter(|(name, _)| name == "refresh_token");
                    named.map(|(_, value)| value.into_owned()).collect()
                }
                Dialect::Json => {
                    let members: Map<String, Value> = serde_json::from_slice(&body).expect("a body of one object");
                    let named = ["refreshToken", "refresh_token", "token"].iter().filter_map(|name| members.get(*name)?.as_str());
                    named.map(str::to_owned).collect()
                }
            };
            assert!(named.iter().any(|value| value == token), "nobody sent {token}");
        }
    }
}

/// A content type as a line, then the body of a login: what strict readers find under the usual names is found here, and bounded.
pub fn accounts_in_bodies(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let content_type = HeaderValue::from_bytes(input.line());
    let body = input.rest();
    let mut request = Request::builder().method(Method::POST).uri("/login").body(()).expect("a request");
    if let Ok(content_type) = content_type {
        request.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    let (head, ()) = request.into_parts();
    let names = &OPTIONS.limits.login.account;
    let Ok(Reading { accounts, is_readable }) = accounts::read(&head, body, names) else { return };
    assert!(accounts.iter().map(|named| named.attempts).sum::<usize>() <= accounts::ACCOUNTS_MAX);
    assert!(accounts.iter().all(|named| named.attempts > 0 && !named.places.is_empty()), "{accounts:?}");
    let accounts: Vec<String> = accounts.into_iter().map(|named| named.account).collect();
    assert!(accounts.iter().all(|account| !account.is_empty() && spelling::account(account) == *account), "{accounts:?}");
    let is_found = |text: &str| {
        let account = spelling::account(text);
        account.is_empty() || accounts.contains(&account)
    };
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        // What seems to be a GraphQL document may be none.
        assert!(is_readable || has_text_with_brace(&value), "JSON can be read");
        for pointer in ["/email", "/username", "/user/login", "/0/email", "/email/0"] {
            if let Some(text) = value.pointer(pointer).and_then(Value::as_str) {
                assert!(is_found(text), "{text:?} at {pointer} of {value}");
            }
        }
    }
    if media_type::is(&head.headers, "application/x-www-form-urlencoded") {
        for (name, value) in form_urlencoded::parse(body) {
            assert!(!matches!(&*name, "email" | "user[email]" | "username") || is_found(&value), "{name}={value}");
        }
    }
}

fn has_text_with_brace(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('{'),
        Value::Array(items) => items.iter().any(has_text_with_brace),
        Value::Object(members) => members.values().any(has_text_with_brace),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A document of GraphQL: whatever it is, it is no danger; and any text that is an argument called like an account is found as one.
pub fn accounts_in_graphql(bytes: &[u8]) {
    let read = |document: &str| {
        let body = serde_json::to_vec(&serde_json::json!({ "query": document })).expect("JSON");
        let mut request = Request::builder().method(Method::POST).uri("/login").body(()).expect("a request");
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        accounts::read(&request.into_parts().0, &body, &OPTIONS.limits.login.account)
    };
    let text = String::from_utf8_lossy(bytes);
    if let Ok(Reading { accounts, .. }) = read(&text) {
        assert!(accounts.iter().map(|named| named.attempts).sum::<usize>() <= accounts::ACCOUNTS_MAX);
    }
    let quoted = serde_json::to_string(&*text).expect("JSON");
    let block = text.replace("\"\"\"", "\\\"\"\"");
    let is_block = !block.ends_with(['"', '\\']) && !block.contains("\\\\");
    let literals = std::iter::once(quoted).chain(is_block.then(|| format!("\"\"\"{block}\"\"\"")));
    let account = spelling::account(&text);
    for literal in literals {
        let document = format!("mutation {{ login(input: {{ password: \"x\", email: {literal} }}) {{ token }} }}");
        let reading = read(&document).expect("one account");
        let found: Vec<String> = reading.accounts.into_iter().map(|named| named.account).collect();
        assert!(
            reading.is_readable && found == [account.clone()].into_iter().filter(|a| !a.is_empty()).collect::<Vec<_>>(),
            "{literal}"
        );
    }
}

/// An id and a secret as lines: they arrive as they were sent (RFC 6749, section 2.3.1); and what is no Basic is none.
pub fn client_credentials(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        let _ = basic(&std::iter::once((AUTHORIZATION, value)).collect());
    }
    let (Some(id), Some(secret)) = (input.text(), input.text()) else { return };
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
    let field = HeaderValue::try_from(format!("Basic {pair}")).expect("base64 is a field value");
    let once: HeaderMap = std::iter::once((AUTHORIZATION, field.clone())).collect();
    assert_eq!(basic(&once).ok(), Some(Some((id.to_owned(), secret.to_owned()))));
    let twice: HeaderMap = [(AUTHORIZATION, field.clone()), (AUTHORIZATION, field)].into_iter().collect();
    assert!(basic(&twice).is_err());
}

/// A status and a content type as lines, then the response to a login: a session is only made of what says whose it is, and the client
/// gets all that the upstream said, with the tokens in their places.
pub fn login_response(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let Ok(status) = StatusCode::from_bytes(input.line()) else { return };
    let Ok(content_type) = HeaderValue::from_bytes(input.line()) else { return };
    let body = Bytes::copy_from_slice(input.rest());
    let mut response = Response::builder().status(status).body(()).expect("a response");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    let response = UpstreamResponse { head: response.into_parts().0, body: body.clone() };
    let Ok(Granted { subject, grant, mut object, id_at: _ }) =
        grant::judge(&response, &OPTIONS.login, OPTIONS.tokens_in_login_body())
    else {
        return;
    };
    assert!(matches!(status.as_u16(), 200 | 201));
    let before: Value = serde_json::from_slice(&body).expect("JSON");
    let deciding = ["/user/id", "/id"].iter().find_map(|pointer| before.pointer(pointer)).expect("somebody is named");
    let named = deciding.as_str().map_or_else(|| deciding.to_string(), str::to_owned);
    assert_eq!(named, subject.as_str(), "the first pointer that leads to anything decides: {before}");
    for refusing in ["error", "mfaRequired", "mfa_required"] {
        assert!(before.get(refusing).is_none_or(|value| !value.as_bool().unwrap_or_default()), "{before}");
    }
    assert_eq!(grant.claims.get("role"), before.pointer("/user/role"));
    assert!(grant.scopes.iter().all(|scope| !scope.is_empty() && scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"')));
    assert_eq!(present_claims(&before, &OPTIONS.login).claims, grant.claims);

    tokens::merge(&mut object, &pair(), &OPTIONS.login.members, true);
    let written = serde_json::to_vec(&object).expect("JSON");
    let mut after: Map<String, Value> = serde_json::from_slice(&written).expect("one object");
    assert_eq!(after.remove("accessToken"), Some("at".into()));
    assert_eq!(after.remove("refreshToken"), Some("rt".into()));
    assert_eq!(after.get("generation"), Some(&Value::from(3)));
    let Value::Object(mut before) = before else { panic!("one object") };
    for name in ["accessToken", "refreshToken"] {
        before.shift_remove(name);
    }
    // The nested place is made, unless something else stands on the way to it.
    let nested = |members: &Map<String, Value>| members.get("data").and_then(|data| data.pointer("/tokens/access")).cloned();
    let is_placed = nested(&after) == Some("at".into()) && nested(&before) != Some("at".into());
    if is_placed {
        take_nested(&mut after);
        take_nested(&mut before);
        // What had to be made for it is empty now.
        before.entry("data").and_modify(nothing_to_object).or_insert_with(|| Value::Object(Map::new()));
        if let Some(Value::Object(data)) = before.get_mut("data") {
            data.entry("tokens").and_modify(nothing_to_object).or_insert_with(|| Value::Object(Map::new()));
        }
    }
    for (name, value) in &before {
        let is_ours = ["tokenType", "expiresIn", "generation"].contains(&name.as_str());
        assert!(is_ours || after.get(name) == Some(value), "{name} became {:?}", after.get(name));
    }
}

fn take_nested(members: &mut Map<String, Value>) {
    if let Some(Value::Object(data)) = members.get_mut("data")
        && let Some(Value::Object(tokens)) = data.get_mut("tokens")
    {
        tokens.shift_remove("access");
    }
}

fn nothing_to_object(value: &mut Value) {
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
}

fn pair() -> TokenPair {
    TokenPair {
        access_token: Secret::new("at".to_owned()),
        refresh_token: Some(Secret::new("rt".to_owned())),
        expires_in: Duration::from_secs(900),
        session_ends_in: Duration::from_secs(1000),
        newest_for: Duration::ZERO,
        generation: Generation(3),
        session: SessionId::from_bytes([1; 16]),
        scopes: Vec::new(),
    }
}

/// JSON: written without a change it means what it meant, and a member that is set is there.
pub fn json_objects(bytes: &[u8]) {
    let Some(mut object) = JsonObject::parse(bytes) else { return };
    let written = serde_json::to_vec(&object).expect("JSON");
    let (before, after) = (serde_json::from_slice::<Value>(bytes), serde_json::from_slice::<Value>(&written));
    assert_eq!(before.ok(), after.ok());
    object.set("member", &1);
    assert_eq!(object.text(&["member"]).err(), Some(super::json_object::MemberError::NotText));
    let written = serde_json::to_vec(&object).expect("JSON");
    assert_eq!(JsonObject::parse(&written).map(|object| object.text(&["member"]).is_err()), Some(true));
}
