//! An API with sessions of its own, as it was before the gateway: its tokens, and its responses to logins.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokengate::app::Ambient;
use tokengate::crypto::key::SigningKey;
use tokengate::domain::algorithm::Algorithm;

use super::http::Message;
use super::upstream::{PASSWORD, Upstream};

/// What it signs its tokens with.
pub(crate) const SECRET: &str = "what the API has signed with for years";

/// Settings under which its tokens are accepted, until a day that is far away.
pub(crate) const LEGACY: [(&str, &str); 4] = [
    ("legacy.0.name", "old-api"),
    ("legacy.0.algorithm", "HS256"),
    ("legacy.0.secret", SECRET),
    ("legacy.0.accepted_until", "2099-12-31"),
];

/// How long its tokens live.
const LIFETIME_SECS: i64 = 30 * 86_400;

/// `POST /login` takes `email` and `password` and answers `{"token", "user"}`. Everything else is answered with what came.
pub(crate) fn start() -> Upstream {
    Upstream::saying(|request| {
        let call: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let (status, body) = match request.target() {
            "/login" if call["password"] == PASSWORD => {
                let email = call["email"].as_str().unwrap();
                (200, json!({"token": token(email), "user": {"id": email, "name": "Somebody"}}))
            }
            "/login" => (401, json!({"error": "wrong password"})),
            _ => (200, json!({"target": request.target(), "headers": request.headers})),
        };
        let body = body.to_string();
        let length = body.len();
        format!("HTTP/1.1 {status} Told\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
    })
}

/// One as it makes them: nothing but who, from when and until when.
pub(crate) fn token(user: &str) -> String {
    let now = now();
    signed(SECRET, &json!({"alg": "HS256", "typ": "JWT"}), &json!({"id": user, "iat": now, "exp": now + LIFETIME_SECS}))
}

/// Any header and claims, under any secret of 32 bytes or more.
pub(crate) fn signed(secret: &str, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let (key, _) = SigningKey::hmac(Algorithm::Hs256, secret.as_bytes()).unwrap();
    format!("{signed}.{}", key.sign(signed.as_bytes()).unwrap())
}

/// Seconds since the epoch.
pub(crate) fn now() -> i64 {
    Ambient::of_system().clock.now().secs()
}

/// What the response to a login holds.
pub(crate) fn token_of(response: &Message) -> String {
    response.member("token")
}
