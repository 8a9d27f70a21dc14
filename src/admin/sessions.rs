//! `/sessions` and `/nodes`: who is logged in, and on how many nodes.

use std::net::IpAddr;

use bytes::Bytes;
use http::{Request, StatusCode};
use serde::Serialize;

use super::query::Query;
use super::response::{BoxedResponse, json, problem};
use super::{Admin, store_problem};
use crate::domain::ids::{SessionId, Subject};
use crate::domain::lag::LagFigures;
use crate::domain::node::{Node, NodeId};
use crate::domain::page::Page;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::sessions::ListError;

impl Admin {
    pub(super) async fn sessions_of(&self, request: &Request<Bytes>) -> BoxedResponse {
        let asked = Query::parse(request.uri(), &["subject", "limit", "after"]).and_then(|query| {
            let name = query.value("subject").ok_or("Whose sessions? Say subject=….")?;
            let subject = Subject::new(name).map_err(|error| format!("subject: {error}."))?;
            Ok((subject, Page::read(query.value("limit"), query.value("after"))?))
        });
        let (subject, page) = match asked {
            Ok(asked) => asked,
            Err(detail) => return problem(StatusCode::BAD_REQUEST, "query_malformed", &detail),
        };
        match self.sessions.list(&subject, page).await {
            Ok(found) => {
                let sessions = found.sessions.iter().map(Listed::from).collect();
                json(StatusCode::OK, &Listing { subject: &subject, sessions, next: found.next })
            }
            Err(ListError::NoSuchPlace) => problem(
                StatusCode::BAD_REQUEST,
                "query_malformed",
                "after: allowed is what a response for this subject had as next.",
            ),
            Err(ListError::Store(error)) => store_problem(&error),
        }
    }

    pub(super) async fn all_nodes(&self) -> BoxedResponse {
        match self.nodes.all().await {
            Ok(nodes) => {
                let nodes = nodes.iter().map(Present::from).collect();
                json(StatusCode::OK, &Nodes { asked: self.nodes.id(), nodes })
            }
            Err(error) => store_problem(&error),
        }
    }
}

#[derive(Serialize)]
struct Listing<'a> {
    subject: &'a Subject,
    /// Newest first.
    sessions: Vec<Listed<'a>>,
    /// What `after` names to go on; without it these were the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<SessionId>,
}

/// A session as an administrator sees it; nothing from which a token could be made.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    id: SessionId,
    created_at: String,
    last_used_at: String,
    /// Should it not be refreshed again.
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
}

impl<'a> From<&'a Session> for Listed<'a> {
    fn from(session: &'a Session) -> Self {
        Self {
            id: session.id,
            created_at: rfc3339(session.id.created_at()),
            last_used_at: rfc3339(session.last_used_at),
            expires_at: rfc3339(session.lifetime.ends_at()),
            address: session.client.address,
            user_agent: session.client.user_agent.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct Nodes<'a> {
    /// The one that responds.
    asked: NodeId,
    nodes: Vec<Present<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Present<'a> {
    id: NodeId,
    name: &'a str,
    started_at: String,
    /// As of its last heartbeat.
    lag: LagFigures,
}

impl<'a> From<&'a Node> for Present<'a> {
    fn from(node: &'a Node) -> Self {
        Self { id: node.id, name: &node.name, started_at: rfc3339(node.started_at), lag: node.lag }
    }
}

pub(super) fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis()).unwrap_or_default().to_string()
}
