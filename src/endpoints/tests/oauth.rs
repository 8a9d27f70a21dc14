//! Revocation, introspection and metadata, each with the errors of its RFC.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use super::{FORM, Fields, Gate, JSON, field, json, text};
use crate::domain::route::OwnEndpoint;
use crate::domain::time::Clock as _;
use crate::proxy::reply::Reply;
use crate::sessions::tests::{Fault, legacy_token};

const ID: &str = "reports & more";
const SECRET: &str = "a+secret/of:machines-0123456789abcdef%";

/// A gateway that knows one machine.
fn gate(text: &str) -> Gate {
    let client = format!("[[clients]]\nid = '{ID}'\nsecret = '{SECRET}'\n");
    let gate = Gate::new(&format!("{text}\n[login]\nscopes = ['/user/name']\n{client}"));
    gate.world.accept_access_tokens();
    gate
}

fn basic(id: &str, secret: &str) -> String {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret))))
}

fn form(parameters: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

async fn introspect(gate: &Gate, token: &str) -> Value {
    let fields = [FORM, ("authorization", &*basic(ID, SECRET))];
    let reply =
        gate.post(OwnEndpoint::Introspect, &fields, &form(&[("token", token), ("token_type_hint", "refresh_token")])).await;
    assert_eq!((reply.status().as_u16(), field(&reply, "cache-control")), (200, "no-store"));
    json(&reply)
}

async fn revoke(gate: &Gate, token: &str) -> Reply {
    gate.post(OwnEndpoint::Revoke, &[FORM], &form(&[("token", token)])).await
}

fn refused(reply: &Reply) -> (u16, String) {
    assert_eq!((field(reply, "content-type"), field(reply, "cache-control")), ("application/json", "no-store"));
    (reply.status().as_u16(), text(&json(reply), "error").to_owned())
}

#[tokio::test]
async fn introspection_says_what_living_tokens_say() {
    let gate = gate("");
    let pair = gate.log_in_granted().await;
    let access = introspect(&gate, text(&pair, "accessToken")).await;
    let now = gate.world.now().secs();
    assert_eq!(
        access,
        json!({
            "active": true, "scope": "Ada", "token_type": "Bearer", "exp": now + 900, "iat": now, "auth_time": now, "sub": "42",
            "aud": ["tokengate"], "iss": "tokengate", "jti": access["jti"], "sid": access["sid"],
        })
    );
    let refresh = introspect(&gate, text(&pair, "refreshToken")).await;
    assert_eq!((&refresh["active"], &refresh["sub"], &refresh["sid"]), (&true.into(), &"42".into(), &access["sid"]));
    assert_eq!(refresh["exp"], now + 7 * 86_400);
    assert!(refresh.get("token_type").is_none());
    let foreign = legacy_token(&json!({"iss": "https://issuer.example", "sub": "eve", "exp": now + 60, "iat": now, "jti": "7"}));
    let foreign = introspect(&gate, &foreign).await;
    assert_eq!((&foreign["iss"], &foreign["jti"]), (&"https://issuer.example".into(), &"7".into()));
}

#[tokio::test]
async fn of_a_dead_token_introspection_says_nothing_more() {
    let gate = gate("");
    let first = gate.log_in_granted().await;
    let second = gate.post(OwnEndpoint::Refresh, &[JSON], &json!({"refreshToken": first["refreshToken"]}).to_string()).await;
    let second = json(&second);
    let sid = introspect(&gate, text(&second, "refreshToken")).await["sid"].as_str().unwrap().to_owned();
    let session = crate::domain::ids::SessionId::parse(&sid).unwrap();
    gate.world.acknowledge(session, crate::domain::ids::Generation(2)).await;
    gate.world.clock.advance(std::time::Duration::from_secs(31));
    gate.world.node.replica.confirm(gate.world.clock.monotonic());
    let inactive = json!({"active": false});
    assert_eq!(introspect(&gate, text(&first, "refreshToken")).await, inactive, "spent");
    assert_eq!(introspect(&gate, text(&second, "refreshToken")).await["active"], true, "and asking was no reuse");
    for garbage in ["x", "tgr_x", "a.b.c", &format!("{}x", text(&second, "refreshToken"))] {
        assert_eq!(introspect(&gate, garbage).await, inactive, "{garbage}");
    }
    assert_eq!(revoke(&gate, text(&second, "refreshToken")).await.status(), 200);
    for token in [text(&second, "refreshToken"), text(&second, "accessToken")] {
        assert_eq!(introspect(&gate, token).await, inactive);
    }
}

#[tokio::test]
async fn introspection_is_for_clients_that_show_their_secret() {
    let gate = gate("");
    let ask = async |authorization: Option<String>, parameters: &[(&str, &str)]| {
        let mut fields = vec![FORM];
        fields.extend(authorization.as_deref().map(|value| ("authorization", value)));
        gate.post(OwnEndpoint::Introspect, &fields, &form(parameters)).await
    };
    let post = [("token", "x"), ("client_id", ID), ("client_secret", SECRET)];
    assert_eq!(ask(None, &post).await.status(), 200, "client_secret_post");
    assert_eq!(ask(Some(basic(ID, SECRET)), &[("token", "x")]).await.status(), 200, "client_secret_basic");
    let wrong: [(Option<String>, Fields<'_>); 8] = [
        (None, &[("token", "x")]),
        (None, &[("token", "x"), ("client_id", ID)]),
        (None, &[("token", "x"), ("client_secret", SECRET)]),
        (None, &[("token", "x"), ("client_id", ID), ("client_secret", "wrong")]),
        (Some(basic(ID, "wrong")), &[("token", "x")]),
        (Some(basic("another", SECRET)), &[("token", "x")]),
        (Some("Basic ???".to_owned()), &[("token", "x")]),
        (Some("Bearer x".to_owned()), &[("token", "x")]),
    ];
    for (authorization, parameters) in wrong {
        let reply = ask(authorization.clone(), parameters).await;
        assert_eq!(refused(&reply), (401, "invalid_client".to_owned()), "{authorization:?} {parameters:?}");
        assert!(field(&reply, "www-authenticate").starts_with("Basic realm="));
    }
    assert_eq!(refused(&ask(Some(basic(ID, SECRET)), &post).await), (400, "invalid_request".to_owned()), "in two places");
}

#[tokio::test]
async fn whoever_holds_a_token_revokes_it() {
    let gate = gate("");
    for kind in ["accessToken", "refreshToken"] {
        let pair = gate.log_in_granted().await;
        let reply = revoke(&gate, text(&pair, kind)).await;
        assert_eq!((reply.status().as_u16(), reply.body().len(), field(&reply, "cache-control")), (200, 0, "no-store"));
        let body = json!({"refreshToken": pair["refreshToken"]}).to_string();
        assert_eq!(gate.post(OwnEndpoint::Refresh, &[JSON], &body).await.status(), 401, "{kind} ends the session");
        assert_eq!(introspect(&gate, text(&pair, "accessToken")).await["active"], false);
        assert_eq!(revoke(&gate, text(&pair, kind)).await.status(), 200, "once more");
    }
    assert_eq!(revoke(&gate, "what is no token").await.status(), 200, "section 2.2: nothing is left to do");
}

#[tokio::test]
async fn revocation_answers_with_the_errors_of_its_rfc() {
    let gate = gate("");
    let cases: [(Fields<'_>, &str, u16, &str); 8] = [
        (&[JSON], "{\"token\":\"x\"}", 400, "invalid_request"),
        (&[], "token=x", 400, "invalid_request"),
        (&[FORM], "", 400, "invalid_request"),
        (&[FORM], "token=", 400, "invalid_request"),
        (&[FORM], "token=a&token=b", 400, "invalid_request"),
        (&[FORM], "token=a&client_id=reports+%26+more", 200, ""),
        (&[FORM], "token=a&client_id=public", 200, ""),
        (&[FORM], "token=a&client_id=public&client_secret=x", 401, "invalid_client"),
    ];
    for (fields, body, status, error) in cases {
        let reply = gate.post(OwnEndpoint::Revoke, fields, body).await;
        if status == 200 {
            assert_eq!(reply.status(), 200, "{body}");
        } else {
            assert_eq!(refused(&reply), (status, error.to_owned()), "{body}");
        }
    }
    let now = gate.world.now().secs();
    let nameless = legacy_token(&json!({"iss": "https://issuer.example", "sub": "eve", "exp": now + 60, "iat": now}));
    assert_eq!(refused(&revoke(&gate, &nameless).await), (400, "unsupported_token_type".to_owned()));
    let pair = gate.log_in_granted().await;
    gate.world.store.fail(Fault::Refuses);
    let reply = revoke(&gate, text(&pair, "refreshToken")).await;
    assert_eq!(refused(&reply).0, 503, "section 2.2.1: the client must assume that the token lives");
    assert!(field(&reply, "retry-after").parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn what_cannot_be_known_is_no_inactive_token() {
    let gate = gate("");
    let pair = gate.log_in_granted().await;
    gate.world.store.fail(Fault::Refuses);
    let ask = async |token: &str| {
        let fields = [FORM, ("authorization", &*basic(ID, SECRET))];
        gate.post(OwnEndpoint::Introspect, &fields, &form(&[("token", token)])).await.status().as_u16()
    };
    assert_eq!(ask(text(&pair, "refreshToken")).await, 503);
    assert_eq!(ask(text(&pair, "accessToken")).await, 200, "the store is not asked");
    gate.world.clock.advance(std::time::Duration::from_secs(31));
    assert_eq!(ask(text(&pair, "accessToken")).await, 503, "the revocations were not confirmed lately");
}

#[tokio::test]
async fn the_metadata_tells_what_is_configured_and_no_more() {
    let issuer = "tokens.issuer = 'https://auth.example.com'\nendpoints.token = '/oauth/token'\nendpoints.introspect = ''\nendpoints.revoke = ''\nendpoints.jwks = ''";
    let machine = format!("[[clients]]\nid = 'm'\nsecret = '{SECRET}'\ngrants = ['client_credentials']\n");
    let basic = json!(["none", "client_secret_basic", "client_secret_post"]);
    for (clients, grants, methods) in [
        (String::new(), json!(["refresh_token"]), json!(["none"])),
        (format!("{machine}disabled = true"), json!(["refresh_token"]), json!(["none"])),
        (machine.clone(), json!(["refresh_token", "client_credentials"]), basic.clone()),
        (machine.replace("grants = ['client_credentials']", ""), json!(["refresh_token"]), basic),
    ] {
        let gate = Gate::new(&format!("{issuer}\n{clients}"));
        let document = json(&gate.call(Method::GET, OwnEndpoint::Metadata, &[], "").await);
        assert_eq!(
            document,
            json!({
                "issuer": "https://auth.example.com",
                "response_types_supported": [],
                "grant_types_supported": grants,
                "token_endpoint": "https://auth.example.com/oauth/token",
                "token_endpoint_auth_methods_supported": methods,
            }),
            "{clients}"
        );
    }
}

#[tokio::test]
async fn the_metadata_says_where_everything_is() {
    let gate = gate("tokens.issuer = 'https://auth.example.com/tenant'\nendpoints.prefix = '/auth'\nendpoints.jwks = ''");
    let reply = gate.call(Method::GET, OwnEndpoint::Metadata, &[], "").await;
    assert_eq!((reply.status().as_u16(), field(&reply, "content-type")), (200, "application/json"));
    assert_eq!(
        json(&reply),
        json!({
            "issuer": "https://auth.example.com/tenant",
            "response_types_supported": [],
            "grant_types_supported": ["refresh_token"],
            "token_endpoint": "https://auth.example.com/auth/refresh",
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint": "https://auth.example.com/auth/oauth/revoke",
            "revocation_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
            "introspection_endpoint": "https://auth.example.com/auth/oauth/introspect",
            "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        })
    );
}
