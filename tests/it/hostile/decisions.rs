//! Questions of other proxies: the same verdict as at the gateway's own door, and no way for a client to ask instead of the proxy.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};

use super::client::{Client, Response};
use super::rig::{PATIENCE, Rig};
use super::upstream::Upstream;

const DECISION: &str = r#"
    [store]
    kind = "memory"
    [decision]
    address = "127.0.0.1:0"
    [cookies]
    enabled = true
    tokens_in_body = true
    [endpoints]
    ticket = "/ticket"
    "#;

const ROUTES: &str = r#"
    [[routes]]
    name = "office"
    prefix = "/office"
    access = "public"
    allow = ["192.0.2.0/24"]
    [[routes]]
    name = "few"
    prefix = "/few"
    access = "public"
    limit = "1/1d"
    [[routes]]
    name = "moved"
    prefix = "/moved"
    access = "public"
    redirect = { to = "https://new.example{rest}", status = 308 }
    [[routes]]
    name = "gone"
    prefix = "/gone"
    access = "public"
    respond = { status = 410, body = "gone" }
    [[routes]]
    name = "hello"
    prefix = "/hello"
    access = "public"
    respond = { status = 200, body = "hello" }
    [[routes]]
    name = "admin"
    host = "admin.example.com"
    scopes = ["admin"]
    [[routes]]
    name = "optional"
    prefix = "/optional"
    access = "optional"
    "#;

fn rig(upstream: &Upstream) -> Rig {
    Rig::start_from(upstream.address, &format!("{DECISION}{ROUTES}"), |settings| {
        // What the proxy is for the gateway, the test's client is for it too.
        settings.listen.trusted_peers = vec!["127.0.0.0/8".parse().unwrap()];
    })
}

/// How a proxy says which request it asks about.
#[derive(Clone, Copy, Debug)]
enum Dialect {
    Url,
    Uri,
    Forwarded,
    Path,
}

const DIALECTS: [Dialect; 4] = [Dialect::Url, Dialect::Uri, Dialect::Forwarded, Dialect::Path];

/// The client, as the proxy tells of it.
const CLIENT: &str = "X-Forwarded-For: 192.0.2.7\r\n";

/// A request that comes to the proxy.
#[derive(Clone, Copy, Debug)]
struct Case<'a> {
    method: &'a str,
    host: &'a str,
    target: &'a str,
    /// Each ends its line.
    fields: &'a str,
}

impl Case<'_> {
    /// At the gateway's own door.
    fn request(&self) -> String {
        let Self { method, host, target, fields } = self;
        format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{CLIENT}{fields}\r\n")
    }

    fn question(&self, dialect: Dialect) -> String {
        let Self { method, host, target, fields } = self;
        let asked = match dialect {
            Dialect::Url => format!("X-Original-URL: http://{host}{target}\r\nX-Original-Method: {method}\r\nHost: g\r\n"),
            Dialect::Uri => {
                format!("X-Original-URI: {target}\r\nX-Forwarded-Host: {host}\r\nX-Original-Method: {method}\r\nHost: g\r\n")
            }
            Dialect::Forwarded => {
                format!("X-Forwarded-Uri: {target}\r\nX-Forwarded-Host: {host}\r\nX-Forwarded-Method: {method}\r\nHost: g\r\n")
            }
            Dialect::Path => format!("Host: {host}\r\n"),
        };
        let line = match dialect {
            Dialect::Path => format!("{method} /ext_authz{target}"),
            Dialect::Url | Dialect::Uri | Dialect::Forwarded => "GET /auth".to_owned(),
        };
        format!("{line} HTTP/1.1\r\n{asked}{CLIENT}{fields}\r\n")
    }
}

fn ask(rig: &Rig, question: &str) -> Response {
    let mut client = Client::connect(rig.decision_address());
    client.send(question);
    client.response()
}

fn decide(rig: &Rig, fields: &str) -> Response {
    ask(rig, &format!("GET /auth HTTP/1.1\r\nHost: g\r\n{fields}\r\n"))
}

/// What an upstream, or a proxy that was told yes, knows of the caller.
fn subject_of(response: &Response) -> String {
    let of_echo =
        response.body.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("x-auth-subject: ").map(str::to_owned));
    response.field("x-auth-subject").map(str::to_owned).or(of_echo).unwrap_or_default()
}

#[test]
fn both_doors_give_the_same_verdict() {
    let upstream = Upstream::echo();
    let rig = rig(&upstream);
    let token = rig.log_in().access;
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let cookie = format!("Cookie: __Host-access={token}\r\n");
    let twice = format!("{bearer}{bearer}");
    let forged = format!("Authorization: Bearer {}x\r\n", &token[..token.len() - 1]);
    let handshake = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let foreign = format!("{cookie}Origin: https://evil.example\r\n");
    let foreign_handshake = format!("{foreign}{handshake}Connection: upgrade\r\nUpgrade: websocket\r\n");
    let grpc = format!("{forged}Content-Type: application/grpc\r\n");
    let get = |target, fields| Case { method: "GET", host: "a.example", target, fields };
    let case = |method, host, target, fields| Case { method, host, target, fields };
    let cases: Vec<Case<'_>> = [
        // Whose it is.
        get("/api/x?y=1", &bearer[..]),
        get("/api", &cookie),
        get("/api", ""),
        get("/api", &twice),
        get("/api", &forged),
        get("/api", "Authorization: Basic YTpi\r\n"),
        get("/public/x", &bearer),
        get("/public", ""),
        get("/optional", ""),
        get("/optional", &bearer),
        get("/scoped", &bearer),
        case("POST", "a.example", "/api", &foreign),
        get("/api", &foreign),
        get("/api", "Cookie: __Host-access=a; __Host-access=b\r\n"),
        // Where it goes.
        case("GET", "admin.example.com", "/public", &bearer),
        case("GET", "ADMIN.example.com.:8443", "/public", ""),
        case("GET", "a b", "/public", ""),
        case("GET", "u@a.example", "/public", ""),
        case("GET", "127.1", "/public", ""),
        case("GET", "a.example:99999", "/public", ""),
        case("POST", "a.example", "/written", &bearer),
        case("PUT", "a.example", "/written", &bearer),
        case("CONNECT", "a.example", "/public", ""),
        case("BREW", "a.example", "/public", ""),
        get("/nothing", &bearer),
        get("/office", ""),
        get("/office", "X-Forwarded-For: 198.51.100.1\r\n"),
        // What a path can be taken for.
        get("/public/../api", ""),
        get("/public/%2e%2e/api", ""),
        get("/public/..;x/api", ""),
        get("/public%2f..%2fapi", ""),
        get("//public", ""),
        get("/public\\..\\api", ""),
        get("/public/%00", ""),
        get("/public/%zz", ""),
        get("/%61pi", ""),
        get("/%61pi", &bearer),
        get("/Api", ""),
        get("/api.json", ""),
        get("/login%3F", ""),
        get("*", ""),
        // What the gateway says itself.
        get("/moved/x?y", ""),
        get("/gone", ""),
        get("/few", ""),
        get("/few", ""),
        // What has a form of its own at the gateway's door.
        get("/api", &foreign_handshake),
        case("POST", "a.example", "/api", &grpc),
    ]
    .into();
    let mut faults = Vec::new();
    for case in cases {
        // The limit of the route counts questions too, by client and not by door.
        let dialects = if case.target == "/few" { &DIALECTS[..1] } else { &DIALECTS[..] };
        let mut own = rig.client();
        own.send(case.request());
        let own = own.response();
        for dialect in dialects {
            let decision = ask(&rig, &case.question(*dialect));
            let is_yes = own.status == 200 && own.field("grpc-status").is_none() || own.status == 101;
            let is_same = if is_yes {
                decision.status == 200 && subject_of(&decision) == subject_of(&own)
            } else if own.field("grpc-status").is_some() {
                decision.status == 401
            } else {
                decision.status == own.status
                    // What is malformed is malformed in other words.
                    && (own.status == 400 || decision.body == own.body)
                    && decision.field("www-authenticate") == own.field("www-authenticate")
                    && decision.field("location") == own.field("location")
            };
            // The limit is one: whoever asks second at either door is the second.
            let is_same = is_same || case.target == "/few" && decision.status == 429;
            if !is_same {
                faults.push(format!("{dialect:?} {case:?}\n  own: {own:?}\n  decision: {decision:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn yes_names_the_caller_and_overwrites_what_a_client_sent() {
    let rig = rig(&Upstream::echo());
    let token = rig.log_in().access;
    let case = Case {
        method: "GET",
        host: "a",
        target: "/api",
        fields: &format!("Authorization: Bearer {token}\r\nX-Request-Id: r-1\r\n"),
    };
    let yes = ask(&rig, &case.question(Dialect::Url));
    assert_eq!((yes.status, yes.field("x-auth-subject"), yes.field("x-request-id")), (200, Some("user-1"), Some("r-1")));
    assert_eq!((yes.field("x-auth-session").unwrap().is_empty(), yes.field("cache-control")), (false, Some("no-store")));
    let life: u64 = yes.field("x-auth-expires-in").unwrap().parse().unwrap();
    assert!((1..=900).contains(&life), "{life}");
    assert_eq!((yes.field("x-auth-scopes"), yes.field("x-auth-certificate-subject")), (Some(""), Some("")), "said to be nothing");

    let nobody = ask(&rig, &Case { target: "/public", fields: "X-Auth-Subject: root\r\n", ..case }.question(Dialect::Url));
    for name in ["x-auth-subject", "x-auth-session", "x-auth-scopes", "x-auth-issuer", "x-auth-expires-in"] {
        assert_eq!(nobody.field(name), Some(""), "{name}: {nobody:?}");
    }
    for lie in ["X_Auth_Subject", "x.auth.subject", "X-Auth_Session"] {
        let fields = format!("{lie}: root\r\n");
        let answer = ask(&rig, &Case { target: "/public", fields: &fields, ..case }.question(Dialect::Url));
        assert_eq!(answer.status, 400, "no proxy overwrites {lie}");
    }
    let honest = "X-Auth-Token: t\r\nX-Auth-Subjects: s\r\nX_Own: o\r\n";
    assert_eq!(ask(&rig, &Case { target: "/public", fields: honest, ..case }.question(Dialect::Url)).status, 200);
}

#[test]
fn what_leaves_room_for_doubt_is_refused() {
    let rig = rig(&Upstream::echo());
    let url = "X-Original-URL: http://a/public\r\n";
    let method = "X-Original-Method: GET\r\n";
    let forwarded = "X-Forwarded-Method: GET\r\nX-Forwarded-Host: a\r\nX-Forwarded-Uri: /public\r\n";
    assert_eq!(decide(&rig, &format!("{url}{method}{CLIENT}")).status, 200);
    assert_eq!(decide(&rig, &format!("{forwarded}{CLIENT}")).status, 200);
    for fields in [
        String::new(),
        CLIENT.to_owned(),
        format!("{url}{CLIENT}"),
        format!("{method}{CLIENT}"),
        format!("{url}{method}"),
        forwarded.to_owned(),
        format!("{url}{method}X-Forwarded-For: unknown\r\n"),
        format!("{url}{method}X-Forwarded-For: 192.0.2.7, _hidden\r\n"),
        format!("{url}{url}{method}{CLIENT}"),
        format!("{url}{method}{method}{CLIENT}"),
        format!("{url}{method}X-Original-URI: /api\r\n{CLIENT}"),
        format!("{url}{method}{forwarded}{CLIENT}"),
        format!("{url}{method}X-Forwarded-Uri: /public\r\n{CLIENT}"),
        format!("{forwarded}X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n{CLIENT}"),
        format!("{forwarded}X-Forwarded-Host: b\r\n{CLIENT}"),
        format!("X-Original-URL: /public\r\n{method}{CLIENT}"),
        format!("X-Original-URL: http://a\r\n{method}{CLIENT}"),
        format!("X-Original-URI: http://a/public\r\nX-Forwarded-Host: a\r\n{method}{CLIENT}"),
        format!("{url}X-Original-Method: GET, POST\r\n{CLIENT}"),
        format!("{url}X-Original-Method: \r\n{CLIENT}"),
    ] {
        let answer = decide(&rig, &fields);
        assert_eq!((answer.status, answer.code()), (400, "request_malformed".to_owned()), "{fields:?}");
    }
    // A proxy that was not told what to say asks about nothing, wherever it asks.
    for target in ["/", "/public", "/ext_authz", "/ext_authzx/public", "/public?x=/ext_authz/"] {
        let answer = ask(&rig, &format!("GET {target} HTTP/1.1\r\nHost: a\r\n{CLIENT}\r\n"));
        assert_eq!(answer.status, 400, "{target}");
    }
}

#[test]
fn what_the_gateway_answers_itself_is_no_yes() {
    let upstream = Upstream::echo();
    let rig = Rig::start_from(
        upstream.address,
        &format!("{DECISION}{ROUTES}[cors]\nallowed_origins = [\"https://app.example\"]\nallow_credentials = true\n"),
        |_| {},
    );
    let preflight = "Origin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n";
    for (method, target, fields) in [
        ("POST", "/login", ""),
        ("POST", "/refresh", ""),
        ("POST", "/logout", ""),
        ("GET", "/healthz", ""),
        ("GET", "/.well-known/jwks.json", ""),
        ("GET", "/hello", ""),
        ("OPTIONS", "/api", preflight),
        ("OPTIONS", "/login", preflight),
    ] {
        for dialect in DIALECTS {
            let answer = ask(&rig, &Case { method, host: "a", target, fields }.question(dialect));
            assert_eq!((answer.status, answer.code()), (421, "own_endpoint".to_owned()), "{dialect:?} {method} {target}");
        }
    }
    // A page may read what it was told, by whichever door.
    for target in ["/moved", "/gone", "/nothing", "/api"] {
        let case = Case { method: "GET", host: "a", target, fields: "Origin: https://app.example\r\n" };
        for answer in [rig.ask(case.request()), ask(&rig, &case.question(Dialect::Url))] {
            assert_eq!(answer.field("access-control-allow-origin"), Some("https://app.example"), "{target}: {answer:?}");
        }
    }
    let page = ask(&rig, &Case { method: "GET", host: "a", target: "/login", fields: "" }.question(Dialect::Url));
    assert_eq!(page.status, 405, "no page is there, as at the gateway's own door");
    assert_eq!(upstream.heard(), [""; 0]);
}

#[test]
fn a_websocket_is_known_by_what_proxies_pass_of_its_handshake() {
    let rig = rig(&Upstream::echo());
    let token = rig.log_in().access;
    let cookie = format!("Cookie: __Host-access={token}\r\nOrigin: https://evil.example\r\n");
    let key = format!("{cookie}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    let version = format!("{cookie}Sec-WebSocket-Version: 13\r\n");
    let status =
        |fields: &str| ask(&rig, &Case { method: "GET", host: "a", target: "/api", fields }.question(Dialect::Forwarded)).status;
    assert_eq!([status(&cookie), status(&key), status(&version)], [200, 403, 403]);
    let own = format!("Cookie: __Host-access={token}\r\nOrigin: http://localhost\r\nSec-WebSocket-Version: 13\r\n");
    let case = Case { method: "GET", host: "localhost", target: "/api", fields: &own };
    assert_eq!(ask(&rig, &case.question(Dialect::Forwarded)).status, 200);
}

/// The own door cuts a fragment off and forwards the rest; a proxy would pass on what it has asked about.
#[test]
fn a_target_with_a_fragment_is_not_passed_on() {
    let rig = rig(&Upstream::echo());
    for target in ["/public#/../api", "/public?x#y", "/public#"] {
        for dialect in [Dialect::Url, Dialect::Uri, Dialect::Forwarded] {
            let case = Case { method: "GET", host: "a", target, fields: "" };
            assert_eq!(ask(&rig, &case.question(dialect)).status, 400, "{dialect:?} {target}");
        }
    }
}

#[test]
fn a_ticket_opens_once_whoever_asks() {
    let rig = rig(&Upstream::echo());
    let token = rig.log_in().access;
    let body = r#"{"path":"/api/events"}"#;
    let issued = rig.ask(format!(
        "POST /ticket HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(issued.status, 200, "{issued:?}");
    let body: serde_json::Value = serde_json::from_str(&issued.body).unwrap();
    let target = format!("/api/events?access_ticket={}", body["ticket"].as_str().unwrap());
    let case = Case { method: "GET", host: "a", target: &target, fields: "Accept: text/event-stream\r\n" };
    // Nobody would take it out of what the proxy passes on.
    let public = target.replace("/api/", "/public/");
    let misused = ask(&rig, &Case { target: &public, ..case }.question(Dialect::Url));
    assert_eq!((misused.status, misused.code()), (400, "ticket_misused".to_owned()), "{misused:?}");
    let first = ask(&rig, &case.question(Dialect::Url));
    assert_eq!((first.status, subject_of(&first)), (200, "user-1".to_owned()), "{first:?}");
    assert_eq!(ask(&rig, &case.question(Dialect::Url)).status, 401);
}

#[test]
fn nobody_asks_but_the_proxies() {
    let upstream = Upstream::echo();
    let settings = "[store]\nkind = \"memory\"\n[decision]\naddress = \"127.0.0.1:0\"\npeers = [\"127.0.0.9\"]\n";
    let rig = Rig::start_from(upstream.address, settings, |_| {});
    let question = Case { method: "GET", host: "a", target: "/public", fields: "" }.question(Dialect::Url);
    let mut proxy = Client::connect_from(Ipv4Addr::new(127, 0, 0, 9), rig.decision_address());
    proxy.send(&question);
    assert_eq!(proxy.response().status, 200);
    let mut stranger = TcpStream::connect(rig.decision_address()).unwrap();
    stranger.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut told = Vec::new();
    // Closed, or reset where it has sent something.
    let _ = stranger.read_to_end(&mut told);
    assert_eq!(told, b"");
}

#[test]
fn a_connection_carries_many_questions_whatever_their_answers() {
    let rig = rig(&Upstream::echo());
    let mut proxy = Client::connect(rig.decision_address());
    let mut questions = String::new();
    let targets = ["/public", "/api", "/public/../api", "/public", "//x", "/nothing", "/public"];
    for target in targets {
        let case = Case { method: "POST", host: "a", target, fields: "Content-Type: application/grpc\r\n" };
        questions.push_str(&case.question(Dialect::Forwarded));
    }
    proxy.send(questions);
    let statuses = targets.map(|_| proxy.response().status);
    assert_eq!(statuses, [200, 401, 400, 200, 400, 404, 200]);
}

#[test]
fn a_session_that_has_ended_is_no_longer_vouched_for() {
    let rig = rig(&Upstream::echo());
    let token = rig.log_in().access;
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let question = Case { method: "GET", host: "a", target: "/api", fields: &bearer }.question(Dialect::Path);
    assert_eq!(ask(&rig, &question).status, 200);
    let out = rig.ask(format!("POST /logout HTTP/1.1\r\nHost: a\r\n{bearer}Content-Length: 0\r\n\r\n"));
    assert!(out.status < 300, "{out:?}");
    let answer = ask(&rig, &question);
    assert_eq!((answer.status, answer.code()), (401, "token_revoked".to_owned()));
}
