//! What the data plane asks of the control plane. Implemented by the endpoints, called by the gateway.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::request::Parts;

use self::joint_answer::JointAnswer;
use super::reply::Reply;
use crate::domain::claims::{Denial, Principal};
use crate::domain::cookies::NewCookies;
use crate::domain::in_flight::Due;
use crate::domain::login_kind::LoginKind;
use crate::domain::route::OwnEndpoint;
use crate::domain::secret::Secret;

pub mod joint_answer;

/// A request to one of the gateway's own endpoints, its body read whole within the endpoint's limit.
#[derive(Debug)]
pub struct OwnRequest {
    pub endpoint: OwnEndpoint,
    pub head: Parts,
    pub body: Bytes,
    /// The client, as far as trusted peers vouch for it.
    pub address: IpAddr,
    /// The access token that came along, judged as on any protected route.
    pub caller: Result<Arc<Principal>, Denial>,
    /// Whose access token it was, where it was good and merely expired. Looked for at logouts alone.
    pub expired: Option<Arc<Principal>>,
    /// The text of the caller's token, for a ticket that is to stand for it; `None` at all other endpoints.
    pub token: Option<Secret<String>>,
}

/// A login (or registration) before and after the upstream has judged it.
#[derive(Debug, Clone)]
pub struct LoginRequest {
    pub kind: LoginKind,
    pub head: Arc<Parts>,
    pub body: Bytes,
    pub address: IpAddr,
}

/// The upstream's response to a login, its body read whole within the limit.
#[derive(Debug)]
pub struct UpstreamResponse {
    pub head: http::response::Parts,
    pub body: Bytes,
}

/// A browser's request that is to bring the browser new tokens.
#[derive(Debug)]
pub struct Renewal {
    pub head: Parts,
    pub address: IpAddr,
    /// From the cookie.
    pub refresh_token: Secret<String>,
    /// [`Due::Soon`]: the request does not wait long for them.
    pub due: Due,
}

/// What came of a refresh on the way of a request.
#[derive(Debug)]
pub struct Renewed {
    /// Speaks for the request. Its client has it only once the cookies have reached it.
    pub access_token: Secret<String>,
    pub cookies: NewCookies,
    /// By the monotonic clock: from then on, the browser may have newer ones.
    pub kept_until: Duration,
    /// By the same clock: from then on, it is the result for others no more. Never after `kept_until`.
    pub shared_until: Duration,
    /// Whether the store still knows the session, for all responses that are to bring the cookies at once.
    pub is_known: JointAnswer,
}

/// Answers what the data plane does not decide by itself. Called on a data-plane thread; the work is done on the control plane.
#[async_trait]
pub trait ControlPlane: Send + Sync + 'static {
    /// Answers a request to an own endpoint, by one of its methods.
    async fn respond(&self, request: OwnRequest) -> Reply;

    /// Whether a login may be tried: `Err` is the response to give instead of asking the upstream (429, 400, 403).
    #[expect(clippy::result_large_err, reason = "made once, and passed on at once")]
    fn admit_login(&self, request: &LoginRequest) -> Result<(), Reply>;

    /// Turns the upstream's response into a session where it grants one; passes it through unchanged otherwise.
    async fn complete_login(&self, request: LoginRequest, response: UpstreamResponse) -> Reply;

    /// The token for which the ticket stands on this path. `Err` when nobody can say.
    async fn read_ticket(&self, ticket: Secret<String>, path: &str) -> Result<Option<Secret<String>>, Denial>;

    /// Whether the ticket stood for a token on this path, which it does no more. `Err` when nobody can say.
    async fn spend_ticket(&self, ticket: Secret<String>, path: &str) -> Result<bool, Denial>;

    /// The next tokens of a browser, for it and for the request that came from it. `Err` also when nobody can say.
    async fn renew(&self, renewal: Renewal) -> Result<Arc<Renewed>, Denial>;

    /// One store read: is the principal's session still there? `Err` also when nobody can say.
    async fn confirm(&self, principal: &Principal) -> Result<(), Denial>;
}
