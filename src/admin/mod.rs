//! The admin listener: what operators and their probes ask. On loopback unless set otherwise; never on the traffic's port.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderValue, Method, Request, StatusCode};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::domain::secret::Secret;
use crate::sessions::health::{Dependency, Readiness};

pub mod answer;
mod guard;
pub mod server;

use answer::{Answer, json, problem};
use guard::Guard;
use server::Limits;

/// What the admin listener answers from.
pub struct Admin {
    readiness: Arc<dyn Readiness>,
    guard: Guard,
}

impl Admin {
    /// `token` is the bearer token that everything but the probes asks for; without one, only a loopback address may listen.
    pub fn new(readiness: Arc<dyn Readiness>, token: Option<Secret<String>>) -> Self {
        Self { readiness, guard: Guard::new(token) }
    }

    /// Serves until `stop`.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let admin = Arc::new(self);
        let handler = move |request, peer| {
            let admin = Arc::clone(&admin);
            async move { admin.answer(&request, peer).await }
        };
        server::serve(listener, Limits::default(), handler, stop).await;
    }

    async fn answer(&self, request: &Request<Bytes>, _peer: SocketAddr) -> Answer {
        let reading = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/healthz" | "/readyz" if !reading => method_not_allowed("GET, HEAD"),
            "/healthz" => json(StatusCode::OK, &Health { status: "alive" }),
            "/readyz" => readiness_answer(self.readiness.dependencies().await),
            _ => self
                .guard
                .refuse(request)
                .unwrap_or_else(|| problem(StatusCode::NOT_FOUND, "not_found", "There is nothing here.")),
        }
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

/// 200 when all are ready; otherwise 503, and those that are not are named first.
fn readiness_answer(mut dependencies: Vec<Dependency>) -> Answer {
    #[derive(Serialize)]
    struct Body {
        status: &'static str,
        dependencies: Vec<Dependency>,
    }
    dependencies.sort_by_key(|dependency| dependency.ready);
    let ready = dependencies.iter().all(|dependency| dependency.ready);
    let (code, status) = if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "unready") };
    json(code, &Body { status, dependencies })
}

fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This resource has no such method.");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[async_trait::async_trait]
    impl Readiness for Vec<Dependency> {
        async fn dependencies(&self) -> Vec<Dependency> {
            self.clone()
        }
    }

    const TOKEN: &str = "a token of many characters";

    async fn ask_with(token: Option<&str>, field: (&str, &str)) -> StatusCode {
        let admin = Admin::new(Arc::new(Vec::new()), token.map(|token| Secret::new(token.to_owned())));
        let request = Request::get("/sessions").header(field.0, field.1).body(Bytes::new()).unwrap();
        admin.answer(&request, ([127, 0, 0, 1], 1).into()).await.status()
    }

    #[tokio::test]
    async fn with_a_token_set_only_its_bearer_gets_in() {
        assert_eq!(ask_with(Some(TOKEN), ("authorization", &format!("bearer {TOKEN}"))).await, StatusCode::NOT_FOUND);
        for wrong in [format!("Bearer {TOKEN}x"), "Bearer ".to_owned(), TOKEN.to_owned(), format!("Basic {TOKEN}")] {
            assert_eq!(ask_with(Some(TOKEN), ("authorization", &wrong)).await, StatusCode::UNAUTHORIZED, "{wrong}");
        }
    }

    #[tokio::test]
    async fn without_a_token_a_web_page_gets_nothing() {
        for host in ["127.0.0.1:9090", "localhost:9090", "[::1]:9090", "LOCALHOST"] {
            assert_eq!(ask_with(None, ("host", host)).await, StatusCode::NOT_FOUND, "{host}");
        }
        for (name, value) in
            [("host", "rebound.example:9090"), ("host", "localhost.example"), ("origin", "http://localhost:3000")]
        {
            assert_eq!(ask_with(None, (name, value)).await, StatusCode::FORBIDDEN, "{name}: {value}");
        }
    }

    fn dependency(name: &'static str, fault: Option<&'static str>) -> Dependency {
        Dependency { name, ready: fault.is_none(), detail: fault, alarms: Vec::new() }
    }

    async fn ask(admin: &Admin, method: Method, path: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).body(Bytes::new()).unwrap();
        let answer = admin.answer(&request, ([127, 0, 0, 1], 1).into()).await;
        let (head, body) = answer.into_parts();
        (head.status, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing() {
        let admin = Admin::new(Arc::new(vec![dependency("revocations", None), dependency("store", Some("timed out"))]), None);
        let (status, body) = ask(&admin, Method::GET, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            body,
            r#"{"status":"unready","dependencies":[{"name":"store","ready":false,"detail":"timed out"},{"name":"revocations","ready":true}]}"#
        );
    }

    #[tokio::test]
    async fn an_alarm_is_told_and_takes_no_node_out_of_service() {
        let store = Dependency { alarms: vec!["eviction"], ..dependency("store", None) };
        let (status, body) = ask(&Admin::new(Arc::new(vec![store]), None), Method::GET, "/readyz").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(body, r#"{"status":"ready","dependencies":[{"name":"store","ready":true,"alarms":["eviction"]}]}"#);
    }

    #[tokio::test]
    async fn a_live_process_is_healthy_whatever_it_waits_for() {
        let admin = Admin::new(Arc::new(vec![dependency("store", Some("gone"))]), None);
        assert_eq!(ask(&admin, Method::GET, "/healthz").await, (StatusCode::OK, r#"{"status":"alive"}"#.to_owned()));
        assert_eq!(ask(&admin, Method::POST, "/healthz").await.0, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(ask(&admin, Method::GET, "/").await.0, StatusCode::NOT_FOUND);
    }
}
