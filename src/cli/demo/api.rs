//! The API behind the demo's gateway: what an API looks like that knows nothing of tokens. It checks passwords, and believes
//! the identity header, because nobody but the gateway can reach it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderValue, Method, Request, StatusCode};
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;

use super::page;
use super::users::{Refused, User, Users};
use crate::admin::response::{BoxedResponse, json, problem, stream};
use crate::crypto::entropy::Entropy;
use crate::domain::secret::Secret;
use crate::domain::time::Clock;

/// Set by the gateway; never by a client.
pub const SUBJECT_HEADER: &str = "x-auth-subject";
pub const SESSION_HEADER: &str = "x-auth-session";
pub const SCOPES_HEADER: &str = "x-auth-scopes";

/// The user who is there from the start, with the same id after every start.
pub const ADA: Seed = Seed { id: "user-ada", email: "ada@example.com", name: "Ada", password: "correct horse battery" };

#[derive(Clone, Copy, Debug)]
pub struct Seed {
    pub id: &'static str,
    pub email: &'static str,
    pub name: &'static str,
    pub password: &'static str,
}

const EVENT_PERIOD: Duration = Duration::from_secs(1);
const FIELD_BYTES_MAX: usize = 254;
const PASSWORD_BYTES_MAX: usize = 1024;
const ORDERS_PER_USER_MAX: usize = 100;
const QUANTITY_MAX: u32 = 1000;

pub struct DemoApi {
    users: Arc<Users>,
    orders: Mutex<HashMap<String, Vec<Order>>>,
    clock: Arc<dyn Clock>,
    streams: TaskTracker,
}

#[derive(Clone, Debug, Serialize)]
struct Order {
    id: usize,
    item: String,
    quantity: u32,
}

impl DemoApi {
    /// With [`ADA`] and her orders in it. Blocks for the time that hashing her password takes.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let users = Users::new(entropy);
        let password = Secret::new(ADA.password.to_owned());
        users.register(Some(ADA.id), ADA.email, ADA.name, &password).expect("the first user has no rival");
        let orders = ["a difference engine", "punched cards"];
        let orders = orders.iter().zip(1..).map(|(item, id)| Order { id, item: (*item).to_owned(), quantity: 1 }).collect();
        let orders = Mutex::new(HashMap::from([(ADA.id.to_owned(), orders)]));
        Self { users: Arc::new(users), orders, clock, streams: TaskTracker::new() }
    }

    pub async fn respond(&self, request: Request<Bytes>) -> BoxedResponse {
        let path: Vec<&str> = request.uri().path().split('/').skip(1).collect();
        let reading = matches!(*request.method(), Method::GET | Method::HEAD);
        let posting = request.method() == Method::POST;
        let response = match path.as_slice() {
            ["login"] if posting => self.log_in(request.body()).await,
            ["register"] if posting => self.register(request.body()).await,
            ["quick-register"] if posting => self.register_quickly(request.body()),
            ["public", "hello"] if reading => Ok(json(StatusCode::OK, &Greeting { hello: "whoever you are" })),
            ["api", "me"] if reading => self.caller(&request).map(|user| describe_caller(user, &request)),
            ["api", "orders"] if reading => self.caller(&request).map(|user| self.list_orders(&user)),
            ["api", "orders"] if posting => self.caller(&request).and_then(|user| self.place_order(&user, request.body())),
            ["api", "orders", id] if reading => self.caller(&request).and_then(|user| self.show_order(&user, id)),
            ["api", "events"] if reading => self.caller(&request).map(|user| self.stream_events(user)),
            _ if reading => page::file(request.uri().path()).ok_or(Refusal::NotFound),
            _ => Err(Refusal::NotFound),
        };
        response.unwrap_or_else(Refusal::into_response)
    }

    async fn register(&self, body: &[u8]) -> Result<BoxedResponse, Refusal> {
        #[derive(Deserialize)]
        struct Registration {
            email: String,
            password: String,
            name: Option<String>,
        }
        let Registration { email, password, name } = parse(body)?;
        let (email, password) = (checked_email(email)?, checked_password(password)?);
        let name = match name {
            Some(name) => checked("name", name)?,
            None => email.split('@').next().unwrap_or_default().to_owned(),
        };
        let users = Arc::clone(&self.users);
        let user = tokio::task::spawn_blocking(move || users.register(None, &email, &name, &password)).await;
        Ok(logged_in(StatusCode::CREATED, user.map_err(|_| Refusal::Failed)??))
    }

    fn register_quickly(&self, body: &[u8]) -> Result<BoxedResponse, Refusal> {
        #[derive(Deserialize)]
        struct Registration {
            name: String,
        }
        let Registration { name } = parse(body)?;
        let user = self.users.register_quickly(&checked("name", name)?)?;
        Ok(logged_in(StatusCode::CREATED, user))
    }

    async fn log_in(&self, body: &[u8]) -> Result<BoxedResponse, Refusal> {
        #[derive(Deserialize)]
        struct Login {
            email: String,
            password: String,
        }
        let Login { email, password } = parse(body)?;
        let (email, password) = (checked("email", email)?, checked_password(password)?);
        let users = Arc::clone(&self.users);
        let user = tokio::task::spawn_blocking(move || users.log_in(&email, &password)).await;
        let user = user.map_err(|_| Refusal::Failed)?.ok_or(Refusal::WrongCredentials)?;
        Ok(logged_in(StatusCode::OK, user))
    }

    fn caller(&self, request: &Request<Bytes>) -> Result<User, Refusal> {
        let subject = header(request, SUBJECT_HEADER).ok_or(Refusal::NoIdentity)?;
        self.users.find(subject).ok_or(Refusal::UnknownUser)
    }

    fn list_orders(&self, user: &User) -> BoxedResponse {
        #[derive(Serialize)]
        struct Orders<'a> {
            orders: &'a [Order],
        }
        self.orders_of(user, |orders| json(StatusCode::OK, &Orders { orders }))
    }

    fn show_order(&self, user: &User, id: &str) -> Result<BoxedResponse, Refusal> {
        let found = self.orders_of(user, |orders| orders.iter().find(|order| order.id.to_string() == id).cloned());
        found.map(|order| json(StatusCode::OK, &order)).ok_or(Refusal::NotFound)
    }

    fn place_order(&self, user: &User, body: &[u8]) -> Result<BoxedResponse, Refusal> {
        #[derive(Deserialize)]
        struct Wish {
            item: String,
            quantity: Option<u32>,
        }
        let Wish { item, quantity } = parse(body)?;
        let (item, quantity) = (checked("item", item)?, quantity.unwrap_or(1));
        if !(1..=QUANTITY_MAX).contains(&quantity) {
            return Err(Refusal::BadField("quantity"));
        }
        let order = self.orders_of(user, |orders| {
            if orders.len() >= ORDERS_PER_USER_MAX {
                return Err(Refusal::Full);
            }
            let order = Order { id: orders.len() + 1, item, quantity };
            orders.push(order.clone());
            Ok(order)
        })?;
        let mut response = json(StatusCode::CREATED, &order);
        if let Ok(location) = HeaderValue::try_from(format!("/api/orders/{}", order.id)) {
            response.headers_mut().insert(LOCATION, location);
        }
        Ok(response)
    }

    fn orders_of<T>(&self, user: &User, work: impl FnOnce(&mut Vec<Order>) -> T) -> T {
        work(self.orders.lock().unwrap_or_else(PoisonError::into_inner).entry(user.id.clone()).or_default())
    }

    /// One event a second until the client goes away, or whoever stands in between ends it.
    fn stream_events(&self, user: User) -> BoxedResponse {
        #[derive(Serialize)]
        struct Event<'a> {
            tick: u64,
            time: i64,
            user: &'a str,
        }
        let (mut sender, response) = stream(StatusCode::OK, "text/event-stream");
        let clock = Arc::clone(&self.clock);
        self.streams.spawn(async move {
            let mut period = tokio::time::interval(EVENT_PERIOD);
            for tick in 1.. {
                period.tick().await;
                let event = Event { tick, time: clock.now().secs(), user: &user.id };
                let data = serde_json::to_string(&event).expect("an event serialises");
                if sender.send_data(Bytes::from(format!("id: {tick}\ndata: {data}\n\n"))).await.is_err() {
                    return;
                }
            }
        });
        response
    }
}

impl std::fmt::Debug for DemoApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DemoApi").finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Greeting {
    hello: &'static str,
}

/// What the gateway turns into a session.
fn logged_in(status: StatusCode, user: User) -> BoxedResponse {
    #[derive(Serialize)]
    struct Body {
        user: User,
    }
    json(status, &Body { user })
}

fn describe_caller(user: User, request: &Request<Bytes>) -> BoxedResponse {
    #[derive(Serialize)]
    struct Body<'a> {
        user: User,
        session: Option<&'a str>,
        scopes: Vec<&'a str>,
    }
    let scopes = header(request, SCOPES_HEADER).unwrap_or_default().split_whitespace().collect();
    json(StatusCode::OK, &Body { user, session: header(request, SESSION_HEADER), scopes })
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refusal {
    NotJson,
    BadField(&'static str),
    WrongCredentials,
    EmailTaken,
    Full,
    NoIdentity,
    UnknownUser,
    NotFound,
    Failed,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::EmailTaken => Self::EmailTaken,
            Refused::Full => Self::Full,
        }
    }
}

impl Refusal {
    fn into_response(self) -> BoxedResponse {
        match self {
            Self::NotJson => {
                problem(StatusCode::BAD_REQUEST, "body_invalid", "The body is not JSON with the fields that this needs.")
            }
            Self::BadField(name) => {
                let detail = format!("The field {name} is empty, too long or malformed.");
                problem(StatusCode::UNPROCESSABLE_ENTITY, "field_invalid", &detail)
            }
            Self::WrongCredentials => {
                problem(StatusCode::UNAUTHORIZED, "credentials_invalid", "No user has this email and password.")
            }
            Self::EmailTaken => problem(StatusCode::CONFLICT, "email_taken", "A user has this email already."),
            Self::Full => problem(StatusCode::INSUFFICIENT_STORAGE, "full", "The demo keeps no more than it has."),
            Self::NoIdentity => {
                problem(StatusCode::UNAUTHORIZED, "identity_missing", "The gateway sent no identity with this request.")
            }
            Self::UnknownUser => {
                problem(StatusCode::NOT_FOUND, "user_unknown", "The demo forgets its users when it stops: register again.")
            }
            Self::NotFound => problem(StatusCode::NOT_FOUND, "not_found", "The demo has nothing here."),
            Self::Failed => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The demo failed."),
        }
    }
}

fn header<'a>(request: &'a Request<Bytes>, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::NotJson)
}

fn checked(name: &'static str, value: String) -> Result<String, Refusal> {
    let good = !value.trim().is_empty() && value.len() <= FIELD_BYTES_MAX && !value.chars().any(char::is_control);
    if good { Ok(value) } else { Err(Refusal::BadField(name)) }
}

fn checked_email(email: String) -> Result<String, Refusal> {
    let email = checked("email", email)?;
    let good = email.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    if good && !email.contains(char::is_whitespace) { Ok(email) } else { Err(Refusal::BadField("email")) }
}

fn checked_password(password: String) -> Result<Secret<String>, Refusal> {
    let good = !password.is_empty() && password.len() <= PASSWORD_BYTES_MAX;
    if good { Ok(Secret::new(password)) } else { Err(Refusal::BadField("password")) }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::Value;

    use super::*;
    use crate::domain::time::Timestamp;

    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(1_790_000_000)
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    fn api() -> DemoApi {
        DemoApi::new(Arc::new(Fixed), Arc::new(crate::crypto::entropy::SystemEntropy::new()))
    }

    async fn post(api: &DemoApi, path: &str, body: &str) -> (u16, Value) {
        ask(api, Request::post(path).body(Bytes::copy_from_slice(body.as_bytes())).unwrap()).await
    }

    async fn get(api: &DemoApi, path: &str, subject: Option<&str>) -> (u16, Value) {
        let request = subject.into_iter().fold(Request::get(path), |request, subject| request.header(SUBJECT_HEADER, subject));
        ask(api, request.body(Bytes::new()).unwrap()).await
    }

    async fn ask(api: &DemoApi, request: Request<Bytes>) -> (u16, Value) {
        let (head, body) = api.respond(request).await.into_parts();
        (head.status.as_u16(), serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap())
    }

    #[tokio::test]
    async fn a_registered_user_logs_in_and_is_found_by_id() {
        let api = api();
        let (status, registered) = post(&api, "/register", r#"{"email":"Bob@example.com","password":"p","name":"Bob"}"#).await;
        assert_eq!(status, 201);
        let (status, logged_in) = post(&api, "/login", r#"{"email":"bob@example.com","password":"p"}"#).await;
        assert_eq!((status, &logged_in), (200, &registered));
        let (status, me) = get(&api, "/api/me", registered["user"]["id"].as_str()).await;
        assert_eq!((status, &me["user"]["name"]), (200, &Value::from("Bob")));
    }

    #[tokio::test]
    async fn wrong_credentials_do_not_tell_what_is_wrong_with_them() {
        let api = api();
        let unknown = post(&api, "/login", r#"{"email":"nobody@example.com","password":"p"}"#).await;
        let wrong = post(&api, "/login", &format!(r#"{{"email":"{}","password":"p"}}"#, ADA.email)).await;
        assert_eq!(unknown.0, 401);
        assert_eq!(unknown, wrong);
    }

    #[tokio::test]
    async fn an_email_is_taken_once_whatever_its_case() {
        let (status, _) = post(&api(), "/register", r#"{"email":"ADA@example.com","password":"p"}"#).await;
        assert_eq!(status, 409);
    }

    #[tokio::test]
    async fn bad_input_is_refused() {
        let api = api();
        let long = "x".repeat(300);
        for (path, body) in [
            ("/login", String::new()),
            ("/login", "[]".to_owned()),
            ("/login", r#"{"email":1,"password":"p"}"#.to_owned()),
            ("/login", r#"{"email":"a@b","password":""}"#.to_owned()),
            ("/register", r#"{"email":"no-at","password":"p"}"#.to_owned()),
            ("/register", format!(r#"{{"email":"{long}@b","password":"p"}}"#)),
            ("/quick-register", r#"{"name":" "}"#.to_owned()),
            ("/quick-register", r#"{"name":"a\nb"}"#.to_owned()),
        ] {
            let (status, _) = post(&api, path, &body).await;
            assert!(status == 400 || status == 422, "{path} {body}: {status}");
        }
    }

    #[tokio::test]
    async fn orders_belong_to_their_user() {
        let api = api();
        let (_, quick) = post(&api, "/quick-register", r#"{"name":"Eve"}"#).await;
        let eve = quick["user"]["id"].as_str();
        assert_eq!(get(&api, "/api/orders", eve).await.1, serde_json::json!({ "orders": [] }));
        assert_eq!(get(&api, "/api/orders/1", eve).await.0, 404);
        let (status, order) = get(&api, "/api/orders/1", Some(ADA.id)).await;
        assert_eq!((status, &order["item"]), (200, &Value::from("a difference engine")));
        let request = Request::post("/api/orders").header(SUBJECT_HEADER, ADA.id);
        let (status, order) = ask(&api, request.body(Bytes::from_static(br#"{"item":"oil"}"#)).unwrap()).await;
        assert_eq!((status, &order["id"]), (201, &Value::from(3)));
    }

    #[tokio::test]
    async fn nothing_private_is_told_without_an_identity() {
        let api = api();
        for path in ["/api/me", "/api/orders", "/api/orders/1", "/api/events"] {
            assert_eq!(get(&api, path, None).await.0, 401, "{path}");
            assert_eq!(get(&api, path, Some("user-gone")).await.0, 404, "{path}");
        }
        assert_eq!(get(&api, "/public/hello", None).await.0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn events_come_one_a_second() {
        let api = api();
        let request = Request::get("/api/events").header(SUBJECT_HEADER, ADA.id).body(Bytes::new()).unwrap();
        let mut body = api.respond(request).await.into_body();
        for tick in 1..=3 {
            let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(frame.starts_with(format!("id: {tick}\ndata: {{").as_bytes()) && frame.ends_with(b"}\n\n"), "{frame:?}");
        }
    }
}
