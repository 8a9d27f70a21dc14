//! Requests of our own to one upstream, over connections that are kept for the next one; the caller bounds the time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tower::Service;

use super::fetch::{cause, collect};
use crate::proxy::upstream::connect::{Stream, Target};

/// The servers of which one is asked, whichever it is.
#[derive(Clone, Debug)]
pub struct Server {
    /// Not empty.
    pub targets: Vec<Target>,
    pub connect_timeout: Duration,
    /// How long a connection is kept without use.
    pub idle_timeout: Duration,
    /// How many unused connections are kept.
    pub idle_max: usize,
}

/// A pool of connections for the whole process. Its tasks end with it.
#[derive(Debug)]
pub(super) struct KeptConnections {
    client: Client<Dialer, Full<Bytes>>,
    idle_max: usize,
}

impl KeptConnections {
    pub(super) fn new(server: Server) -> Self {
        let idle_max = server.idle_max;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(server.idle_timeout)
            .pool_max_idle_per_host(idle_max)
            .set_host(false)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .build(Dialer { server: Arc::new(server), next: Arc::default() });
        Self { client, idle_max }
    }

    /// Like [`super::fetch::fetch`], for requests that do no harm when they come twice: one that is lost on a connection which had
    /// been kept is sent again. The other side may close those at any moment, also when it has read the request.
    pub(super) async fn fetch(&self, request: Request<Full<Bytes>>, bytes_max: usize) -> Result<Response<Bytes>, String> {
        // Each loss uses up one of those that are kept; then there is a new one.
        for _ in 0..=self.idle_max {
            match self.client.request(request.clone()).await {
                Ok(answer) => {
                    if let Some(served) = answer.extensions().get::<HasServed>() {
                        served.0.store(true, Ordering::Relaxed);
                    }
                    return collect(answer, bytes_max).await;
                }
                Err(error) if was_kept(&error) => tracing::debug!(error = cause(&error), "a kept connection was lost"),
                Err(error) if error.is_connect() => return Err(format!("cannot connect: {}", cause(&error))),
                Err(error) => return Err(cause(&error)),
            }
        }
        Err("no kept connection was good, nor a new one".to_owned())
    }
}

/// Marks a connection that answered before.
#[derive(Clone, Debug, Default)]
struct HasServed(Arc<AtomicBool>);

fn was_kept(error: &Error) -> bool {
    let mut marks = http::Extensions::new();
    if let Some(connection) = error.connect_info() {
        connection.get_extras(&mut marks);
    }
    marks.get::<HasServed>().is_some_and(|served| served.0.load(Ordering::Relaxed))
}

/// Opens connections to the servers in turn, whatever is asked for. One that cannot be connected to is passed over.
#[derive(Clone, Debug)]
struct Dialer {
    server: Arc<Server>,
    next: Arc<AtomicUsize>,
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (server, first) = (Arc::clone(&self.server), self.next.fetch_add(1, Ordering::Relaxed));
        Box::pin(async move {
            let count = server.targets.len();
            let mut outcome = Err(io::ErrorKind::NotFound.into());
            for target in server.targets.iter().cycle().skip(first % count.max(1)).take(count) {
                let opened = tokio::time::timeout(server.connect_timeout, Stream::open(target)).await;
                outcome = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                if outcome.is_ok() {
                    break;
                }
            }
            outcome.map(TokioIo::new)
        })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().extra(HasServed::default())
    }
}
