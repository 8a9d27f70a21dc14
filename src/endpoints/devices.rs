//! `/sessions`: the caller's devices.

use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::options::EndpointOptions;
use super::refusal::Refusal;
use super::{Inner, take_cookies};
use crate::domain::claims::Denial;
use crate::domain::ids::SessionId;
use crate::domain::page::Page;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::proxy::control::OwnRequest;
use crate::proxy::reply::{self, Reply};
use crate::sessions::ListError;

impl Inner {
    pub(super) async fn list(&self, request: &OwnRequest) -> Result<Reply, Refusal> {
        let principal = request.caller.as_ref().map_err(Denial::clone)?;
        let page = page(request.head.uri.query().unwrap_or_default())?;
        let found = self.sessions.list(&principal.subject, page).await.map_err(|error| match error {
            ListError::NoSuchPlace => Refusal::Malformed("after: allowed is what a response had as next."),
            ListError::Store(error) => error.into(),
        })?;
        let sessions = found.sessions.iter().map(|session| Device::new(session, principal.session)).collect();
        Ok(reply::json(StatusCode::OK, &Devices { sessions, next: found.next }))
    }

    pub(super) async fn end(&self, request: &OwnRequest, id: SessionId, options: &EndpointOptions) -> Result<Reply, Refusal> {
        let principal = request.caller.as_ref().map_err(Denial::clone)?;
        self.sessions.end(&principal.subject, id).await?;
        let mut reply = Response::new(Bytes::new());
        *reply.status_mut() = StatusCode::NO_CONTENT;
        reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if principal.session == Some(id) {
            take_cookies(&mut reply, &request.head, options);
        }
        Ok(reply)
    }
}

/// What is asked for; other parameters say nothing here.
fn page(query: &str) -> Result<Page, Refusal> {
    let parameter = |wanted: &str| {
        let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == wanted).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (first, None) => Ok(first),
            (_, Some(_)) => Err(Refusal::Malformed("A parameter was sent twice.")),
        }
    };
    let (limit, after) = (parameter("limit")?, parameter("after")?);
    Page::read(limit.as_deref(), after.as_deref()).map_err(Refusal::Malformed)
}

#[derive(Serialize)]
struct Devices<'a> {
    /// Newest first.
    sessions: Vec<Device<'a>>,
    /// What `after` names to go on; without it these were the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<SessionId>,
}

/// A session as its owner sees it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Device<'a> {
    id: SessionId,
    created_at: String,
    last_used_at: String,
    /// Should it not be refreshed again.
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<std::net::IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
    /// Whether it is the one that asks.
    current: bool,
}

impl<'a> Device<'a> {
    fn new(session: &'a Session, own: Option<SessionId>) -> Self {
        Self {
            id: session.id,
            created_at: rfc3339(session.id.created_at()),
            last_used_at: rfc3339(session.last_used_at),
            expires_at: rfc3339(session.lifetime.ends_at()),
            address: session.client.address,
            user_agent: session.client.user_agent.as_deref(),
            current: own == Some(session.id),
        }
    }
}

pub(super) fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis()).unwrap_or_default().to_string()
}
