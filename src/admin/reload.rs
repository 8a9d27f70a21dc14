//! `POST /reload`: what SIGHUP does, with a response.

use std::time::Duration;

use http::StatusCode;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::response::{self, BoxedResponse, problem};

/// How long reading the settings may take.
const RELOAD_MAX: Duration = Duration::from_secs(30);

/// The response to a request to read the settings again: what came of it, or why they were refused.
pub type ReloadReply = oneshot::Sender<Result<Reloaded, String>>;

/// What came of settings that were taken over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reloaded {
    /// Keys whose new values are not in force before a restart.
    pub needs_restart: Vec<String>,
}

#[derive(Serialize)]
struct Body {
    status: &'static str,
    #[serde(flatten)]
    reloaded: Reloaded,
}

/// One at a time; whoever comes meanwhile waits.
#[must_use]
pub fn reload_channel() -> (ReloadSender, mpsc::Receiver<ReloadReply>) {
    let (sender, receiver) = mpsc::channel(1);
    (ReloadSender(sender), receiver)
}

#[derive(Clone, Debug)]
pub struct ReloadSender(mpsc::Sender<ReloadReply>);

impl ReloadSender {
    pub(super) async fn reload(&self) -> BoxedResponse {
        let (reply, response) = oneshot::channel();
        let asked = async {
            self.0.send(reply).await.ok()?;
            response.await.ok()
        };
        match tokio::time::timeout(RELOAD_MAX, asked).await {
            Ok(Some(Ok(reloaded))) => response::json(StatusCode::OK, &Body { status: "reloaded", reloaded }),
            Ok(Some(Err(cause))) => problem(StatusCode::UNPROCESSABLE_ENTITY, "settings_refused", &cause),
            Ok(None) | Err(_) => {
                problem(StatusCode::SERVICE_UNAVAILABLE, "reload_unavailable", "This process does not read settings again.")
            }
        }
    }
}
