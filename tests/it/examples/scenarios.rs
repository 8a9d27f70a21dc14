//! What every example shows, and so what every API behind the gateway can rely on.

use serde_json::{Value, json};

use super::stage::Site;
use super::totp::Authenticator;
use crate::support::gateway::Tokens;
use crate::support::http::{Client, Message};

const PASSWORD: &str = "correct horse";

/// What it shows, and how; with users of its own.
type Scenario = (&'static str, fn(&dyn Site));

pub(super) const SCENARIOS: [Scenario; 7] = [
    ("a registration is a session", registration),
    ("who may not come in learns that from the API", refused_logins),
    ("nobody else can say who calls", forged_identity),
    ("a second factor comes before the session", second_factor),
    ("a role is a claim that a route demands", roles),
    ("a refresh goes on with the session", refresh),
    ("a logout counts at once", logout),
];

/// Whoever registered, and what they hold.
struct User {
    client: Client,
    email: String,
    /// As the API told it.
    account: Value,
    tokens: Tokens,
}

impl User {
    fn register(site: &dyn Site, name: &str) -> Self {
        let (mut client, email) = (site.client(), format!("{name}@example.com"));
        let response = client.post("/register", &json!({"email": email, "password": PASSWORD})).expect(201);
        Self { client, account: response.json()["user"].clone(), tokens: Tokens::of(&response), email }
    }

    /// The response to the right password.
    fn log_in(&mut self) -> Message {
        self.client.post("/login", &json!({"email": self.email, "password": PASSWORD})).expect(200)
    }

    fn get(&mut self, path: &str) -> Message {
        self.client.get(path, Some(&self.tokens.access))
    }

    fn post(&mut self, path: &str, json: &Value) -> Message {
        self.client.call("POST", path, Some(&self.tokens.access), Some(json))
    }
}

/// By the gateway itself: the API was not asked.
#[track_caller]
fn refused_here(response: &Message, status: u16, code: &str) {
    assert_eq!((response.status(), response.header("content-type")), (status, Some("application/problem+json")));
    assert_eq!(response.json()["code"], code);
}

/// By the API, whose response passes as it is.
#[track_caller]
fn refused_by_api(response: &Message, status: u16) {
    assert_eq!(response.status(), status, "{}", response.text());
    assert_ne!(response.header("content-type"), Some("application/problem+json"));
    assert_eq!(response.json().get("accessToken"), None);
}

fn registration(site: &dyn Site) {
    let (mut ann, mut ben) = (User::register(site, "ann"), User::register(site, "ben"));
    assert_eq!((&ann.account["email"], &ann.account["role"]), (&json!("ann@example.com"), &json!("user")));
    ann.post("/notes", &json!({"text": "buy milk"})).expect(201);
    let notes = ann.get("/notes").expect(200).json();
    assert_eq!((notes["notes"].as_array().unwrap().len(), &notes["notes"][0]["text"]), (1, &json!("buy milk")));
    assert_eq!(ben.get("/notes").expect(200).json(), json!({"notes": []}));
    refused_here(&site.client().get("/notes", None), 401, "token_missing");
    refused_here(&site.client().get("/notes", Some("nonsense")), 401, "token_invalid");
}

fn refused_logins(site: &dyn Site) {
    let mut cleo = User::register(site, "cleo");
    let credentials = |email: &str, password: &str| json!({"email": email, "password": password});
    refused_by_api(&cleo.client.post("/login", &credentials(&cleo.email, "wrong")), 401);
    refused_by_api(&cleo.client.post("/login", &credentials("nobody@example.com", PASSWORD)), 401);
    refused_by_api(&cleo.client.post("/register", &credentials(&cleo.email, PASSWORD)), 409);
    assert_eq!(cleo.log_in().json()["user"], cleo.account);
}

fn forged_identity(site: &dyn Site) {
    let (dora, mut eve) = (User::register(site, "dora"), User::register(site, "eve"));
    let authorization = format!("Bearer {}", eve.tokens.access);
    let id = dora.account["id"].as_str().map_or_else(|| dora.account["id"].to_string(), ToOwned::to_owned);
    for victim in [&id, &dora.email] {
        for name in ["X-Auth-Subject", "X_Auth_Subject", "x-auth_subject", "Remote-User", "X-Remote-User"] {
            let fields = [("authorization", authorization.as_str()), (name, victim.as_str())];
            let response = eve.client.send("GET", "/me", &fields, None).unwrap().expect(200);
            assert_eq!(response.json()["user"], eve.account, "{name}");
            refused_here(&eve.client.send("GET", "/me", &fields[1..], None).unwrap(), 401, "token_missing");
        }
    }
}

fn second_factor(site: &dyn Site) {
    let mut finn = User::register(site, "finn");
    let begun = finn.post("/me/2fa", &json!({})).expect(200).json();
    let secret = begun["secret"].as_str().unwrap();
    assert!(begun["uri"].as_str().unwrap().starts_with("otpauth://totp/"), "{begun}");
    let mut authenticator = Authenticator::of(secret);
    assert_eq!(Tokens::of(&finn.log_in()).access.split('.').count(), 3, "without a first code, it is not a factor yet");
    finn.post("/me/2fa/confirm", &json!({"code": authenticator.code()})).expect(200);
    finn.get("/me").expect(200);

    let due = finn.log_in().json();
    assert_eq!((&due["mfaRequired"], due.get("accessToken"), due.get("token")), (&json!(true), None, None));
    let pending = due["mfaToken"].as_str().unwrap();
    finn.client.get("/me", Some(pending)).expect(401);
    let code = authenticator.code();
    let second = |code: &str| json!({"mfaToken": pending, "code": code});
    let response = finn.client.post("/login/2fa", &second(&code)).expect(200);
    assert_eq!(response.json()["user"], finn.account);
    finn.tokens = Tokens::of(&response);
    assert_eq!(finn.get("/me").expect(200).json()["user"], finn.account);

    refused_by_api(&finn.client.post("/login/2fa", &second(&code)), 401);
    refused_by_api(&finn.client.post("/login/2fa", &json!({"mfaToken": "nonsense", "code": authenticator.code()})), 401);
}

fn roles(site: &dyn Site) {
    let mut gwen = User::register(site, "gwen");
    refused_here(&gwen.get("/admin/users"), 403, "claims_insufficient");
    site.promote(&gwen.email);
    refused_here(&gwen.get("/admin/users"), 403, "claims_insufficient");
    let response = gwen.log_in();
    assert_eq!(response.json()["user"]["role"], "admin");
    gwen.tokens = Tokens::of(&response);
    let users = gwen.get("/admin/users").expect(200).json();
    assert!(users["users"].as_array().unwrap().iter().any(|user| user["email"] == gwen.email.as_str()), "{users}");
    gwen.tokens = Tokens::of(&gwen.client.refresh(&gwen.tokens.refresh).expect(200));
    gwen.get("/admin/users").expect(200);
}

fn refresh(site: &dyn Site) {
    let mut hugo = User::register(site, "hugo");
    let response = hugo.client.refresh(&hugo.tokens.refresh).expect(200);
    let next = Tokens::of(&response);
    assert_eq!(response.json()["generation"], 2);
    assert!(next.access != hugo.tokens.access && next.refresh != hugo.tokens.refresh);
    hugo.tokens = next;
    assert_eq!(hugo.get("/me").expect(200).json()["user"], hugo.account);
    refused_here(&hugo.client.refresh("nonsense"), 401, "refresh_token_invalid");
}

fn logout(site: &dyn Site) {
    let mut ida = User::register(site, "ida");
    let phone = Tokens::of(&ida.log_in());
    let mut client = site.client();
    assert_eq!(client.log_out(&ida.tokens.access, "session").expect(200).json()["ended"], 1);
    refused_here(&ida.get("/me"), 401, "token_revoked");
    refused_here(&client.refresh(&ida.tokens.refresh), 401, "refresh_token_invalid");
    client.get("/me", Some(&phone.access)).expect(200);
    client.log_out(&phone.access, "all").expect(200);
    refused_here(&client.get("/me", Some(&phone.access)), 401, "token_revoked");
}
