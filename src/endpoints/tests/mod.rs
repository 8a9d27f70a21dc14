//! Requests in, responses out, without sockets.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use serde_json::Value;

use super::{EndpointOptions, EndpointParts, EndpointRules, Endpoints};
use crate::config::Settings;
use crate::domain::claims::{Denial, Principal};
use crate::domain::login_kind::LoginKind;
use crate::domain::route::OwnEndpoint;
use crate::proxy::control::{ControlPlane as _, LoginRequest, OwnRequest, UpstreamResponse};
use crate::proxy::reply::Reply;
use crate::sessions::health::{Health, Needs};
use crate::sessions::tests::World;

mod bounds;
mod calls;
mod cookies;
mod current_session;
mod grants;
mod imports;
mod in_flight;
mod legacy_tokens;
mod login_limits;
mod logins;
mod oauth;

/// One node with its endpoints.
struct Gate {
    world: World,
    health: Arc<Health>,
    endpoints: ArcSwap<Endpoints>,
}

type Fields<'a> = &'a [(&'a str, &'a str)];

const JSON: (&str, &str) = ("content-type", "application/json");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const GRANTED: &str = r#"{"user":{"id":42,"name":"Ada"},"big":12345678901234567890123}"#;

fn settings(text: &str) -> Settings {
    Settings::from_toml(&format!("upstreams.default.url = 'http://127.0.0.1:1'\n{text}")).unwrap()
}

fn rules(world: &World, health: &Arc<Health>, settings: &Settings) -> EndpointRules {
    EndpointRules { sessions: world.node.sessions.clone(), health: health.clone() as _, options: EndpointOptions::from(settings) }
}

impl Gate {
    /// With these settings beside the defaults.
    fn new(text: &str) -> Self {
        let settings = settings(text);
        let world = World::with(settings.session_policy());
        world.node.replica.confirm(std::time::Duration::ZERO);
        let health = Arc::new(Health::new(
            world.node.sessions.clone(),
            world.node.replica.clone(),
            Arc::default(),
            world.clock.clone(),
            Needs {
                max_staleness: settings.revocation.max_staleness,
                issuers: Vec::new(),
                certificates: None,
                upstream_certificates: None,
                upstreams: Arc::new(Vec::new()),
            },
        ));
        let parts = EndpointParts {
            clock: world.clock.clone(),
            counters: world.node.counters.clone(),
            meters: Arc::default(),
            runtime: tokio::runtime::Handle::current(),
        };
        let endpoints = Endpoints::new(parts, rules(&world, &health, &settings));
        Self { world, health, endpoints: ArcSwap::from_pointee(endpoints) }
    }

    /// From now on with these settings beside the defaults.
    fn reload(&self, text: &str) {
        let next = self.endpoints().ruled_by(rules(&self.world, &self.health, &settings(text)));
        self.endpoints.store(Arc::new(next));
    }

    fn endpoints(&self) -> Arc<Endpoints> {
        self.endpoints.load_full()
    }

    async fn confirm(&self, principal: &Principal) -> Result<(), Denial> {
        self.endpoints().confirm(principal).await
    }

    async fn call(&self, method: Method, endpoint: OwnEndpoint, fields: Fields<'_>, body: &str) -> Reply {
        self.call_as(Err(Denial::NoToken), method, endpoint, fields, body).await
    }

    async fn call_as(
        &self,
        caller: Result<Principal, Denial>,
        method: Method,
        endpoint: OwnEndpoint,
        fields: Fields<'_>,
        body: &str,
    ) -> Reply {
        let request = OwnRequest {
            endpoint,
            head: head(method, fields),
            body: Bytes::copy_from_slice(body.as_bytes()),
            address: "192.0.2.1".parse().unwrap(),
            caller: caller.map(Arc::new),
            expired: None,
            token: None,
        };
        self.endpoints().respond(request).await
    }

    async fn post(&self, endpoint: OwnEndpoint, fields: Fields<'_>, body: &str) -> Reply {
        self.call(Method::POST, endpoint, fields, body).await
    }

    /// A login from admission to response, judged so by the upstream.
    async fn log_in(&self, fields: Fields<'_>, body: &str, upstream: Response<&str>) -> Reply {
        self.log_in_from("192.0.2.1", LoginKind::Login, fields, body, upstream).await
    }

    async fn log_in_from(
        &self,
        address: &str,
        kind: LoginKind,
        fields: Fields<'_>,
        body: &str,
        upstream: Response<&str>,
    ) -> Reply {
        let request = LoginRequest {
            kind,
            head: Arc::new(head(Method::POST, fields)),
            body: Bytes::copy_from_slice(body.as_bytes()),
            address: address.parse().unwrap(),
        };
        if let Err(reply) = self.endpoints().admit_login(&request) {
            return reply;
        }
        let (head, body) = upstream.into_parts();
        self.endpoints().complete_login(request, UpstreamResponse { head, body: Bytes::copy_from_slice(body.as_bytes()) }).await
    }

    async fn log_in_granted(&self) -> Value {
        json(&self.log_in(&[], "{}", granted()).await)
    }
}

fn head(method: Method, fields: Fields<'_>) -> Parts {
    let mut request = Request::builder().method(method).uri("/own").header("host", "api.example.com");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn granted() -> Response<&'static str> {
    Response::builder().header("content-type", "application/json; charset=utf-8").body(GRANTED).unwrap()
}

fn json(reply: &Reply) -> Value {
    serde_json::from_slice(reply.body()).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no text {name} in {value}"))
}

fn field<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply.headers().get(name).unwrap_or_else(|| panic!("no field {name}")).to_str().unwrap()
}

/// `name=value` of each cookie that is set, and its attributes.
fn cookies_of(reply: &Reply) -> Vec<(String, String)> {
    let fields = reply.headers().get_all("set-cookie").iter().map(|field| field.to_str().unwrap());
    fields
        .map(|field| field.split_once("; ").unwrap_or((field, "")))
        .map(|(pair, rest)| (pair.to_owned(), rest.to_owned()))
        .collect()
}
