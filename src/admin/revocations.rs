//! `/revocations` and `DELETE /sessions/{id}`: what an administrator ends, and how far it has come.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::query::Query;
use super::response::{BoxedResponse, json, problem};
use super::sessions::rfc3339;
use super::{Admin, store_problem};
use crate::config::is_client_id;
use crate::domain::ids::{SessionId, Subject, TokenId};
use crate::domain::lag::LagFigures;
use crate::domain::node::{Node, NodeId};
use crate::domain::revocation::Target;
use crate::domain::time::Timestamp;
use crate::sessions::audit::audit;
use crate::sessions::{Order, OrderError};

/// Parameters of every call that ends something.
const PARAMETERS: [&str; 2] = ["wait", "timeout"];

fn note(target: &Target, ended: u64, peer: SocketAddr) {
    match target {
        Target::Session { session } => audit!(info, "revoked_by_administrator", session = session, ended = ended, peer = peer),
        Target::Subject { subject, issued_before } => {
            let issued_before = rfc3339(issued_before.sessions());
            audit!(
                info,
                "revoked_by_administrator",
                subject = subject,
                issued_before = issued_before,
                ended = ended,
                peer = peer
            );
        }
        Target::Token { issuer, token } => {
            audit!(info, "revoked_by_administrator", issuer = issuer, token = token, ended = ended, peer = peer);
        }
        Target::Everyone { issued_before } => {
            let issued_before = rfc3339(*issued_before);
            audit!(info, "revoked_by_administrator", everyone = true, issued_before = issued_before, ended = ended, peer = peer);
        }
    }
}

impl Admin {
    pub(super) async fn revoke(&self, request: &Request<Bytes>, peer: SocketAddr) -> BoxedResponse {
        match serde_json::from_slice::<Wanted>(request.body()).map_err(|error| error.to_string()).and_then(Wanted::order) {
            Ok(order) => self.carry_out(order, request, peer).await,
            Err(detail) => problem(StatusCode::BAD_REQUEST, "revocation_malformed", &detail),
        }
    }

    pub(super) async fn revoke_session(&self, id: SessionId, request: &Request<Bytes>, peer: SocketAddr) -> BoxedResponse {
        self.carry_out(Order::Session(id), request, peer).await
    }

    async fn carry_out(&self, order: Order, request: &Request<Bytes>, peer: SocketAddr) -> BoxedResponse {
        // Before anything is ended.
        let patience = match Query::parse(request.uri(), &PARAMETERS).and_then(|query| query.patience()) {
            Ok(patience) => patience,
            Err(detail) => return problem(StatusCode::BAD_REQUEST, "query_malformed", &detail),
        };
        let ended = match self.sessions.carry_out(order).await {
            Ok(ended) => ended,
            Err(OrderError::MomentAhead) => {
                let detail = "issuedBefore lies ahead: whoever logs in until then would be refused.";
                return problem(StatusCode::BAD_REQUEST, "moment_ahead", detail);
            }
            Err(OrderError::ClientTooLong) => {
                return problem(
                    StatusCode::BAD_REQUEST,
                    "revocation_malformed",
                    "client: is too long behind oauth.subject_prefix.",
                );
            }
            Err(OrderError::Store(error)) => return store_problem(&error),
        };
        note(&ended.target, ended.sessions, peer);
        let Some(patience) = patience else {
            return json(StatusCode::OK, &Done { ended: ended.sessions, nodes: None, detail: None });
        };
        match self.nodes.when_applied(&ended.target, patience).await {
            Ok(spread) => {
                let names = |nodes: &[Node]| nodes.iter().map(Named::from).collect::<Vec<_>>();
                let nodes = Reached { applied: names(&spread.applied), pending: names(&spread.pending) };
                let status = if nodes.pending.is_empty() { StatusCode::OK } else { StatusCode::ACCEPTED };
                json(status, &Done { ended: ended.sessions, nodes: Some(nodes), detail: None })
            }
            Err(error) => {
                tracing::warn!(%error, "a revocation was made, and how far it has come is not known");
                let detail = Some("It was recorded, but the store does not tell how far it has come.");
                json(StatusCode::ACCEPTED, &Done { ended: ended.sessions, nodes: None, detail })
            }
        }
    }

    /// What this node knows, and how well.
    pub(super) fn revocations(&self) -> BoxedResponse {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body {
            node: NodeId,
            counts: Counts,
            /// Since the log was last known to be here whole; `null` before it was read.
            confirmed_millis_ago: Option<u64>,
            lag: LagFigures,
        }
        #[derive(Serialize)]
        struct Counts {
            sessions: usize,
            subjects: usize,
            tokens: usize,
            everyone: usize,
        }
        let counts = self.replica.counts();
        let age = self.replica.confirmed_at().map(|at| self.clock.monotonic().saturating_sub(at));
        let body = Body {
            node: self.nodes.id(),
            counts: Counts {
                sessions: counts.sessions,
                subjects: counts.subjects,
                tokens: counts.tokens,
                everyone: counts.everyone,
            },
            confirmed_millis_ago: age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            lag: self.nodes.lag(),
        };
        json(StatusCode::OK, &body)
    }
}

/// The response of a call that ended something.
#[derive(Serialize)]
struct Done {
    /// Sessions whose records are gone by this call.
    ended: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Reached>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
}

/// 200 with nobody pending; 202 otherwise.
#[derive(Serialize)]
struct Reached {
    applied: Vec<Named>,
    pending: Vec<Named>,
}

#[derive(Serialize)]
struct Named {
    id: NodeId,
    name: String,
}

impl From<&Node> for Named {
    fn from(node: &Node) -> Self {
        Self { id: node.id, name: node.name.clone() }
    }
}

/// The body of `POST /revocations`. A misspelt member must not make it mean something else.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wanted {
    session: Option<String>,
    subject: Option<String>,
    /// The id of an OAuth client. What its tokens call it is the gateway's to know.
    client: Option<String>,
    jti: Option<String>,
    issuer: Option<String>,
    issued_before: Option<Value>,
    /// Must be there to end what is older than a moment for all subjects alike.
    #[serde(default)]
    everyone: bool,
}

const ALLOWED: &str = "Allowed is one of: {session}, {subject}, {subject, issuedBefore}, {client}, {jti}, {jti, issuer}, \
                       {issuedBefore, everyone: true}.";

impl Wanted {
    pub(super) fn order(self) -> Result<Order, String> {
        let issued_before = self.issued_before.as_ref().map(moment).transpose()?;
        if let Some(client) = self.client {
            let is_alone = self.session.is_none()
                && self.subject.is_none()
                && self.jti.is_none()
                && self.issuer.is_none()
                && issued_before.is_none()
                && !self.everyone;
            return match (is_alone, is_client_id(&client)) {
                (true, true) => Ok(Order::Client(client)),
                (true, false) => Err("client: not the id of a client.".to_owned()),
                (false, _) => Err(ALLOWED.to_owned()),
            };
        }
        match (self.session, self.subject, self.jti, self.issuer, issued_before, self.everyone) {
            (Some(session), None, None, None, None, false) => {
                SessionId::parse(&session).map(Order::Session).ok_or_else(|| "session: not a session id.".to_owned())
            }
            (None, Some(subject), None, None, issued_before, false) => {
                let subject = Subject::new(&subject).map_err(|error| format!("subject: {error}."))?;
                Ok(Order::Subject { subject, issued_before })
            }
            (None, None, Some(token), issuer, None, false) => {
                let token = TokenId::new(&token).map_err(|error| format!("jti: {error}."))?;
                Ok(Order::Token { issuer: issuer.map(Into::into), token })
            }
            (None, None, None, None, Some(issued_before), true) => Ok(Order::Everyone { issued_before }),
            _ => Err(ALLOWED.to_owned()),
        }
    }
}

/// RFC 3339 with an offset, or seconds since the epoch, as `iat` counts them.
fn moment(value: &Value) -> Result<Timestamp, String> {
    let read = match value {
        Value::String(text) => text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp::from_millis(at.as_millisecond())),
        Value::Number(seconds) => seconds.as_i64().map(Timestamp::from_secs),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    read.ok_or_else(|| "issuedBefore: allowed is a moment such as \"2026-11-24T16:00:00Z\", or seconds since 1970.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(body: &str) -> Result<Order, String> {
        serde_json::from_str::<Wanted>(body).map_err(|error| error.to_string())?.order()
    }

    #[test]
    fn each_kind_of_order_is_read() {
        let id = SessionId::from_bytes([7; 16]);
        let subject = || Subject::new("ann").unwrap();
        let at = Timestamp::from_secs(1_790_000_000);
        for (body, expected) in [
            (format!(r#"{{"session":"{id}"}}"#), Order::Session(id)),
            (r#"{"subject":"ann"}"#.to_owned(), Order::Subject { subject: subject(), issued_before: None }),
            (
                r#"{"subject":"ann","issuedBefore":1790000000}"#.to_owned(),
                Order::Subject { subject: subject(), issued_before: Some(at) },
            ),
            (r#"{"client":"reports"}"#.to_owned(), Order::Client("reports".to_owned())),
            (r#"{"jti":"t"}"#.to_owned(), Order::Token { issuer: None, token: TokenId::new("t").unwrap() }),
            (
                r#"{"jti":"t","issuer":"https://i"}"#.to_owned(),
                Order::Token { issuer: Some("https://i".into()), token: TokenId::new("t").unwrap() },
            ),
            (r#"{"issuedBefore":"2026-09-21T14:13:20Z","everyone":true}"#.to_owned(), Order::Everyone { issued_before: at }),
        ] {
            assert_eq!(order(&body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn what_could_end_more_than_was_meant_is_refused() {
        for body in [
            "{}",
            "[]",
            "",
            r#"{"subject":""}"#,
            r#"{"subject":null,"issuedBefore":1790000000}"#,
            r#"{"issuedBefore":1790000000}"#,
            r#"{"everyone":true}"#,
            r#"{"subject":"ann","everyone":true}"#,
            r#"{"subject":"ann","session":"x"}"#,
            r#"{"subject":"ann","issuedbefore":1}"#,
            r#"{"subject":"ann","subject":"bob"}"#,
            r#"{"session":"short"}"#,
            r#"{"client":""}"#,
            r#"{"client":" a"}"#,
            r#"{"client":"a","subject":"ann"}"#,
            r#"{"client":"a","issuedBefore":1790000000}"#,
            r#"{"client":"a","everyone":true}"#,
            r#"{"issuer":"https://i"}"#,
            r#"{"subject":"ann","issuedBefore":"yesterday"}"#,
            r#"{"subject":"ann","issuedBefore":1.5}"#,
            r#"{"subject":"ann","issuedBefore":"2026-11-24"}"#,
        ] {
            assert!(order(body).is_err(), "{body}");
        }
    }
}
