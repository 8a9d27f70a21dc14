//! Keys of another issuer that are late, missing or rotated.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokengate::app::StartError;
use tokengate::crypto::key::{SigningKey, VerifyingKey};
use tokengate::domain::stats::Counter;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::partner::{self, Partner, token};
use super::rig::{Rig, eventually};
use super::upstream::Upstream;
use crate::support::gateway::Gateway;
use crate::support::old_api::{now, signed};
use crate::support::upstream as judged;

const IDP: &str = "https://idp.example";

/// Another gateway plays the issuer: its tokens are its own, and its key set is what it publishes.
fn idp() -> (Rig, String) {
    let rig = Rig::start_with(Upstream::echo().address, |settings| IDP.clone_into(&mut settings.tokens.issuer));
    let keys = rig.ask("GET /.well-known/jwks.json HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(keys.status, 200, "{keys:?}");
    (rig, keys.body)
}

/// A server of key sets that answers as it is told to; `None`: 503.
struct KeyServer {
    upstream: Upstream,
    keys: Arc<Mutex<Option<String>>>,
}

impl KeyServer {
    fn start(keys: Option<&str>) -> Self {
        let keys = Arc::new(Mutex::new(keys.map(str::to_owned)));
        let answered = Arc::clone(&keys);
        let upstream = Upstream::start(move |conversation| {
            while conversation.request().is_some() {
                let keys = answered.lock().unwrap().clone();
                let (status, body) = keys.map_or(("503 Later", String::new()), |keys| ("200 OK", keys));
                conversation.say(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
            }
        });
        Self { upstream, keys }
    }

    fn publish(&self, keys: &str) {
        *self.keys.lock().unwrap() = Some(keys.to_owned());
    }

    /// From now on it has none to give.
    fn withhold(&self) {
        *self.keys.lock().unwrap() = None;
    }

    fn accepted(&self, further: &str) -> String {
        format!(
            "[store]\nkind = \"memory\"\n[[issuers]]\nissuer = \"{IDP}\"\naudiences = [\"tokengate\"]\nalgorithms = [\"ES256\", \"EdDSA\"]\n\
             jwks_url = \"http://{}/keys\"\nsubject_prefix = \"idp:\"\n{further}\n",
            self.upstream.address
        )
    }
}

#[test]
fn tokens_of_an_issuer_whose_keys_never_came_are_asked_to_come_later() {
    let (idp, keys) = idp();
    let server = KeyServer::start(None);
    let rig =
        Rig::start_from(Upstream::echo().address, &server.accepted("minimum_interval = \"2s\"\nfetch_timeout = \"1s\""), |_| {});
    let theirs = idp.log_in().access;
    let refused = rig.get("/api", &theirs);
    assert_eq!((refused.status, refused.code().as_str()), (503, "issuer_keys_unavailable"), "{refused:?}");
    assert!(refused.field("retry-after").is_some_and(|after| after.parse::<u64>().unwrap() >= 1), "{refused:?}");
    assert!(rig.counted(Counter::RejectedIssuerKeysUnavailable) >= 1);
    let ready = rig.ask("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(ready.status, 200, "a partner that is down takes no node out: {ready:?}");
    assert_eq!(rig.get("/api", &rig.log_in().access).status, 200, "our own are none of its business");
    assert_eq!(rig.get("/api", "a.b.c").code(), "token_invalid");
    server.publish(&keys);
    eventually("the keys are fetched again", || rig.get("/api", &theirs).status == 200);
}

#[test]
fn the_first_token_of_a_key_that_was_rotated_in_waits_for_it() {
    let ((before, old_keys), (after, new_keys)) = (idp(), idp());
    let server = KeyServer::start(Some(&old_keys));
    let rig =
        Rig::start_from(Upstream::echo().address, &server.accepted("minimum_interval = \"2s\"\nfetch_timeout = \"10s\""), |_| {});
    let old = before.log_in().access;
    eventually("the keys are there", || rig.get("/api", &old).status == 200);
    server.publish(&new_keys);
    let seen = rig.get("/api", &after.log_in().access);
    assert_eq!(seen.status, 200, "one call, and no refusal: {seen:?}");
    assert!(seen.body.to_ascii_lowercase().contains("x-auth-subject: idp:user-1"), "{seen:?}");
    assert_eq!(rig.get("/api", &old).code(), "token_invalid", "the key is gone, and nobody waits for it twice");
    assert!(
        (2..=4).contains(&server.upstream.heard().len()),
        "at the start, and at most once for each time that a key was missing"
    );
}

#[test]
fn keys_that_nobody_has_cost_no_more_than_a_fetch_in_each_interval() {
    let (idp, keys) = idp();
    let (stranger, _) = self::idp();
    let server = KeyServer::start(Some(&keys));
    let rig = Rig::start_from(
        Upstream::echo().address,
        &server.accepted("minimum_interval = \"1h\"\nrefresh_interval = \"1h\""),
        |_| {},
    );
    let good = idp.log_in().access;
    eventually("the keys are there", || rig.get("/api", &good).status == 200);
    let forged = stranger.log_in().access;
    let began_at = tokio::time::Instant::now();
    for _ in 0..50 {
        let refused = rig.get("/api", &forged);
        assert_eq!((refused.status, refused.code().as_str()), (503, "issuer_keys_unavailable"), "it might be published by now");
    }
    assert!(began_at.elapsed() < Duration::from_secs(5), "nobody waits for what is not due");
    assert_eq!((server.upstream.heard().len(), rig.get("/api", &good).status), (1, 200));
}

/// A key of an issuer's, and tokens that it signs under a name.
struct IssuerKey {
    signing: SigningKey,
    verifying: VerifyingKey,
}

impl IssuerKey {
    fn new() -> Self {
        let der = rcgen::KeyPair::generate().unwrap().serialize_der();
        let (signing, verifying) = SigningKey::from_pkcs8(&der).unwrap();
        Self { signing, verifying }
    }

    fn set(&self, kid: &str) -> String {
        json!({"keys": [self.verifying.jwk(kid).unwrap()]}).to_string()
    }

    fn token(&self, kid: &str, subject: &Value) -> String {
        let claims = json!({"iss": IDP, "sub": subject, "aud": "tokengate", "iat": now(), "exp": now() + 600});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "ES256", "kid": kid})), part(&claims));
        format!("{signed}.{}", self.signing.sign(signed.as_bytes()).unwrap())
    }
}

#[test]
fn the_first_token_of_a_key_that_was_replaced_under_its_name_waits_for_it() {
    let (before, after) = (IssuerKey::new(), IssuerKey::new());
    let server = KeyServer::start(Some(&before.set("one")));
    let further = "types = []\nminimum_interval = \"2s\"\nfetch_timeout = \"10s\"";
    let rig = Rig::start_from(Upstream::echo().address, &server.accepted(further), |_| {});
    let old = before.token("one", &json!(7));
    eventually("the keys are there", || rig.get("/api", &old).status == 200);
    server.publish(&after.set("one"));
    let seen = rig.get("/api", &after.token("one", &json!(7)));
    assert_eq!(seen.status, 200, "one call, and no refusal: {seen:?}");
    assert!(seen.body.to_ascii_lowercase().contains("x-auth-subject: idp:7\r\n"), "{seen:?}");
    assert_eq!(rig.get("/api", &old).code(), "token_invalid");
}

#[test]
fn signatures_that_are_made_up_under_a_name_that_is_known_are_401_and_cost_no_more_than_a_fetch_in_each_interval() {
    let (theirs, stranger) = (IssuerKey::new(), IssuerKey::new());
    let server = KeyServer::start(Some(&theirs.set("one")));
    let further = "types = []\nminimum_interval = \"1h\"\nrefresh_interval = \"1h\"";
    let rig = Rig::start_from(Upstream::echo().address, &server.accepted(further), |_| {});
    let good = theirs.token("one", &json!("7"));
    eventually("the keys are there", || rig.get("/api", &good).status == 200);
    let began_at = tokio::time::Instant::now();
    for n in 0..50 {
        let refused = rig.get("/api", &stranger.token("one", &json!(n)));
        assert_eq!((refused.status, refused.code().as_str()), (401, "token_invalid"));
    }
    assert!(began_at.elapsed() < Duration::from_secs(5), "nobody waits for what is not due");
    assert_eq!((server.upstream.heard().len(), rig.get("/api", &good).status), (1, 200));
}

#[test]
fn what_an_issuers_token_is_worth_is_not_said_while_its_keys_are_not_at_hand() {
    let (theirs, stranger) = (IssuerKey::new(), IssuerKey::new());
    let server = KeyServer::start(None);
    let client = "[[clients]]\nid = \"reports\"\nsecret = \"0123456789abcdef0123456789abcdef\"";
    let further = format!("types = []\nminimum_interval = \"2s\"\nfetch_timeout = \"1s\"\n{client}");
    let rig = Rig::start_from(Upstream::echo().address, &server.accepted(&further), |_| {});
    let post = |path: &str, token: &str| {
        let form = format!("token={token}");
        let credentials = STANDARD.encode("reports:0123456789abcdef0123456789abcdef");
        rig.ask(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {credentials}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        ))
    };
    let token = theirs.token("one", &json!("7"));
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        let told = post(path, &token);
        assert_eq!((told.status, told.code().as_str()), (503, "issuer_keys_unavailable"), "{path}: {told:?}");
        assert!(told.field("retry-after").is_some_and(|after| after.parse::<u64>().unwrap() >= 1), "{told:?}");
        assert!(told.body.contains("temporarily_unavailable"), "{told:?}");
    }
    assert_eq!(rig.counted(Counter::StoreErrors), 0, "no store was at fault");
    server.publish(&theirs.set("one"));
    eventually("the keys are there", || post("/oauth/introspect", &token).body.contains("\"active\":true"));
    let forged = stranger.token("one", &json!("7"));
    assert_eq!(post("/oauth/introspect", &forged).body, "{\"active\":false}");
    assert_eq!(post("/oauth/revoke", &forged).status, 200);
    assert_eq!(rig.get("/api", &token).status, 200, "a forgery ends nothing");
}

#[test]
fn a_key_file_that_changes_is_taken_over_while_the_gateway_runs() {
    let partner = Partner::new();
    let rig = Rig::start_from(Upstream::echo().address, &partner.accepted("subject_prefix = \"p:\""), |_| {});
    let theirs = token("7", &serde_json::json!({}));
    assert_eq!(rig.get("/api", &theirs).status, 200);
    partner.publish("another secret, as long as it has to be for this algorithm");
    eventually("the old key is gone", || rig.get("/api", &theirs).status == 401);
    partner.publish(super::partner::SECRET);
    eventually("and back", || rig.get("/api", &theirs).status == 200);
}

#[test]
fn a_node_whose_required_issuer_has_no_keys_is_not_ready() {
    let (idp, keys) = idp();
    let ready = |rig: &Rig| rig.ask("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").status;
    for (required, without_keys) in [(true, 503), (false, 200)] {
        let server = KeyServer::start(Some(&keys));
        let settings = server.accepted(&format!("required = {required}\nminimum_interval = \"1s\"\nfetch_timeout = \"1s\""));
        let rig = Rig::start_from(Upstream::echo().address, &settings, |_| {});
        let theirs = idp.log_in().access;
        eventually("the keys are there", || rig.get("/api", &theirs).status == 200);
        server.withhold();
        // Longer than keys go on without a fetch that succeeds; a key that nobody has makes for the next one.
        rig.clock.advance(Duration::from_secs(25 * 3600));
        let stranger = self::idp().0.log_in().access;
        eventually("the keys are dropped", || {
            rig.get("/api", &stranger);
            rig.get("/api", &theirs).code() == "issuer_keys_unavailable"
        });
        eventually("readiness follows", || ready(&rig) == without_keys);
        server.publish(&keys);
        eventually("and comes back", || ready(&rig) == 200 && rig.get("/api", &theirs).code() == "token_expired");
    }
}

#[test]
fn keys_that_never_came_are_an_alarm_in_readyz() {
    let issuer = [
        ("issuers.0.issuer", IDP),
        ("issuers.0.audiences", "tokengate"),
        ("issuers.0.algorithms", "ES256"),
        ("issuers.0.subject_prefix", "idp:"),
        ("issuers.0.fetch_timeout", "1s"),
    ];
    let url = format!("http://{}/keys", Upstream::nowhere());
    for (required, status) in [("false", 200), ("true", 503)] {
        let folder = tempfile::tempdir().unwrap();
        let further = [("issuers.0.jwks_url", url.as_str()), ("issuers.0.required", required)];
        let set = [issuer.as_slice(), &further].concat();
        let gateway = Gateway::launch(folder.path(), &judged::Upstream::start(), &set);
        let of_issuers = || {
            let told = gateway.admin().get("/readyz", None);
            let of_issuers =
                told.json()["dependencies"].as_array().unwrap().iter().find(|one| one["name"] == "issuer_keys").cloned();
            (told.status(), of_issuers.unwrap())
        };
        eventually("all else is ready", || of_issuers().0 == status);
        let (_, told) = of_issuers();
        assert_eq!((&told["ready"], &told["alarms"]), (&json!(required == "false"), &json!(["unavailable"])), "{told}");
    }
}

/// Serves one document over TLS, under a certificate for this host, and ends each connection without a word, as simple servers do.
fn tls_server(certified: &str, document: String) -> (SocketAddr, String) {
    let (key, authority_key) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let authority = rcgen::Issuer::new(authority, authority_key);
    let mut params = rcgen::CertificateParams::new(vec![certified.to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, certified);
    let certificate = params.signed_by(&key, &authority).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let config = Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            // Whoever does not trust us does not ask.
            if stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", document.len());
                stream.write_all((head + &document).as_bytes()).unwrap();
            }
        }
    };
    thread::Builder::new().spawn(serve).unwrap();
    (address, authority_pem)
}

#[test]
fn the_server_of_a_key_set_is_held_to_the_authority_that_is_named_for_it() {
    let (idp, keys) = idp();
    let (address, authority) = tls_server("127.0.0.1", keys.clone());
    let (misnamed, authority_of_misnamed) = tls_server("idp.example", keys);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    let start = |address: SocketAddr, authority: &str| {
        std::fs::write(&file, authority).unwrap();
        let settings = format!(
            "[store]\nkind = \"memory\"\n[[issuers]]\nissuer = \"{IDP}\"\naudiences = [\"tokengate\"]\nalgorithms = [\"ES256\"]\n\
             jwks_url = \"https://{address}/keys\"\nsubject_prefix = \"idp:\"\nca_file = \"{}\"\n",
            file.display()
        );
        Rig::try_start_from(Upstream::echo().address, &settings, |_| {})
    };
    let theirs = idp.log_in().access;
    let rig = start(address, &authority).unwrap();
    eventually("the keys are there", || rig.get("/api", &theirs).status == 200);
    for (address, authority) in [(address, &authority_of_misnamed), (misnamed, &authority_of_misnamed)] {
        let rig = start(address, authority).unwrap();
        for _ in 0..3 {
            assert_eq!(rig.get("/api", &theirs).code(), "issuer_keys_unavailable");
        }
    }
    for nothing in ["", "no certificate"] {
        let refused = start(address, nothing).err();
        assert!(matches!(refused, Some(StartError::Issuer { .. })), "{nothing}: {refused:?}");
    }
}

#[test]
fn tokens_of_keycloak_and_cognito_pass_and_say_who_calls() {
    let partner = Partner::new();
    let keycloak = |audience: &str| {
        json!({
            "exp": now() + 330, "iat": now() + 30, "auth_time": now() + 29, "jti": "onrtac:1", "iss": partner::ISSUER,
            "aud": [audience, "account"], "sub": "f:1:ada", "typ": "Bearer", "azp": "spa", "sid": "5c", "acr": "1",
            "allowed-origins": ["/*"], "realm_access": {"roles": ["offline_access", "admin"]}, "nonce": null,
            "resource_access": {"account": {"roles": ["view-profile"]}}, "scope": "openid email", "email_verified": true,
        })
    };
    let cognito = |client: &str| {
        json!({
            "sub": "aa-bb", "cognito:groups": ["admin"], "iss": partner::ISSUER, "version": 2, "client_id": client, "origin_jti": "o",
            "event_id": "e", "token_use": "access", "scope": "aws.cognito.signin.user.admin", "auth_time": now() - 5,
            "exp": now() + 3595, "iat": now() - 5, "jti": "j", "username": "ada",
        })
    };
    let of_keycloak = "scope_claims = [\"scope\", \"/realm_access/roles\"]";
    let of_cognito = "audience_claims = [\"client_id\"]\nscope_claims = [\"scope\", \"cognito:groups\"]";
    for (claims, further, subject) in [(&keycloak as &dyn Fn(&str) -> _, of_keycloak, "f:1:ada"), (&cognito, of_cognito, "aa-bb")]
    {
        let settings = partner.accepted(&format!("subject_prefix = \"idp:\"\n{further}"));
        let rig = Rig::start_from(Upstream::echo().address, &settings, |_| {});
        for header in
            [json!({"alg": "HS256", "typ": "JWT", "kid": "p1"}), json!({"alg": "HS256", "kid": "p1"}), json!({"alg": "HS256"})]
        {
            let theirs = |audience: &str| signed(partner::SECRET, &header, &claims(audience));
            let seen = rig.get("/scoped", &theirs("api"));
            assert!(seen.body.to_ascii_lowercase().contains(&format!("x-auth-subject: idp:{subject}\r\n")), "{header}: {seen:?}");
            assert_eq!(rig.get("/scoped", &theirs("another")).code(), "token_invalid", "{header}");
        }
    }
}
