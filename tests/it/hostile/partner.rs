//! Another issuer, whose tokens tests make as they like.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::old_api::{now, signed};

pub(super) const SECRET: &str = "what the partner signs with, shared with the gateway in a file";

pub(super) const ISSUER: &str = "https://partner.example";

/// Its key set lies in a folder that ends with it.
pub(super) struct Partner {
    folder: TempDir,
}

impl Partner {
    pub(super) fn new() -> Self {
        let partner = Self { folder: tempfile::tempdir().unwrap() };
        partner.publish(SECRET);
        partner
    }

    pub(super) fn publish(&self, secret: &str) {
        use base64::Engine as _;
        let secret = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret);
        let set = json!({"keys": [{"kty": "oct", "kid": "p1", "alg": "HS256", "k": secret}]});
        std::fs::write(self.folder.path().join("jwks.json"), set.to_string()).unwrap();
    }

    /// Settings under which its tokens are accepted; `subjects` says whose users they name.
    pub(super) fn accepted(&self, subjects: &str) -> String {
        let file = self.folder.path().join("jwks.json");
        format!(
            "[store]\nkind = \"memory\"\n[identity]\nclaims = {{ role = \"x-auth-role\", plan = \"x-auth-plan\" }}\n\
             [[issuers]]\nissuer = \"{ISSUER}\"\naudiences = [\"api\"]\nalgorithms = [\"HS256\"]\ntypes = []\n\
             jwks_file = \"{}\"\n{subjects}\n",
            file.display()
        )
    }
}

/// A good token of the subject, and these claims over it.
pub(super) fn token(subject: &str, further: &Value) -> String {
    let mut claims = json!({"iss": ISSUER, "sub": subject, "aud": "api", "iat": now(), "exp": now() + 3600});
    for (name, value) in further.as_object().unwrap() {
        claims[name] = value.clone();
    }
    signed(SECRET, &json!({"alg": "HS256", "typ": "JWT", "kid": "p1"}), &claims)
}
