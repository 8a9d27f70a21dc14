//! Asks an upstream for the present claims of a session's subject.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::uri::Authority;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::kept::{KeptConnections, Server};
use crate::domain::media_type;
use crate::domain::secret::Secret;
use crate::domain::session::Session;

/// Questions under way at once; more wait, within their time.
const QUESTIONS_MAX: usize = 256;

/// Where to ask, and how much patience to have.
#[derive(Debug)]
pub struct ClaimsClientOptions {
    pub server: Server,
    /// For the Host field.
    pub authority: Authority,
    pub path: String,
    /// `Bearer` and the token by which the upstream knows the gateway.
    pub authorization: Option<Secret<String>>,
    /// From the question to the end of the response.
    pub timeout: Duration,
    pub response_bytes_max: usize,
}

/// What the upstream says.
#[derive(Clone, PartialEq, Debug)]
pub enum ClaimsResponse {
    /// 200, and a JSON object.
    Object(Value),
    /// 410, or a 404 with JSON: it knows no such subject.
    Gone,
}

/// One for the process.
#[derive(Debug)]
pub struct ClaimsClient {
    options: ClaimsClientOptions,
    connections: KeptConnections,
    questions: Semaphore,
}

impl ClaimsClient {
    #[must_use]
    pub fn new(options: ClaimsClientOptions) -> Self {
        let connections = KeptConnections::new(options.server.clone());
        Self { options, connections, questions: Semaphore::new(QUESTIONS_MAX) }
    }

    /// # Errors
    /// No response in time, or none that can be used: the text is for the log.
    pub async fn ask(&self, session: &Session) -> Result<ClaimsResponse, String> {
        let asking = async {
            let _turn = self.questions.acquire().await.map_err(|error| error.to_string())?;
            self.connections.fetch(self.request(session)?, self.options.response_bytes_max).await
        };
        let response =
            tokio::time::timeout(self.options.timeout, asking).await.map_err(|_| "no response in time".to_owned())??;
        match response.status() {
            StatusCode::OK => match serde_json::from_slice(response.body()) {
                Ok(object @ Value::Object(_)) => Ok(ClaimsResponse::Object(object)),
                Ok(_) | Err(_) => Err("the response is not one JSON object".to_owned()),
            },
            StatusCode::GONE => Ok(ClaimsResponse::Gone),
            StatusCode::NOT_FOUND if is_of_the_api(&response) => Ok(ClaimsResponse::Gone),
            StatusCode::NOT_FOUND => Err("answered 404 without JSON, as whoever does not know the path".to_owned()),
            other => Err(format!("answered {}", other.as_u16())),
        }
    }

    fn request(&self, session: &Session) -> Result<Request<Full<Bytes>>, String> {
        let body = json!({"subject": session.subject, "session": session.id}).to_string();
        let mut request = Request::post(&self.options.path)
            .header(HOST, self.options.authority.as_str())
            .header(ACCEPT, "application/json")
            // Nothing here would unpack it.
            .header(ACCEPT_ENCODING, "identity")
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("tokengate/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.options.authorization {
            let mut value = HeaderValue::from_str(authorization.expose()).map_err(|error| error.to_string())?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Full::from(body)).map_err(|error| error.to_string())
    }
}

/// Whether whoever was asked has answered itself: a proxy before it, a server without that path, or one that is being deployed says 404
/// too, with a page for people or with nothing.
fn is_of_the_api(response: &Response<Bytes>) -> bool {
    media_type::is_json(response.headers()) && serde_json::from_slice::<serde::de::IgnoredAny>(response.body()).is_ok()
}
