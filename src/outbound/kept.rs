//! Requests of our own to one upstream, over connections that are kept for the next one; the caller bounds the time.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tower::Service;

use super::fetch::{HEAD_BYTES_MAX, addressed, cause, collect};
use super::flood::{OfFewFrames, Paced, of_few_interim_responses};
use crate::proxy::upstream::backends::{Backend, Backends};
use crate::proxy::upstream::connect::{Protocol, Stream};

/// The servers of which one is asked, whichever it is.
#[derive(Clone, Debug)]
pub struct Server {
    /// Those of the data plane: what it knows of them counts here too.
    pub backends: Arc<Backends>,
    pub connect_timeout: Duration,
    /// How long a connection is kept without use.
    pub idle_timeout: Duration,
    /// How many unused connections are kept to each.
    pub idle_max: usize,
}

/// Pools of connections for the whole process. Their tasks end with them.
#[derive(Debug)]
pub(super) struct KeptConnections {
    server: Server,
    /// One for each backend, by its number: the URI of a request says what the backend hears, and not where it is.
    pools: Mutex<HashMap<u64, Pool>>,
}

type Pool = Client<Dialer, Full<Bytes>>;

/// Why one backend gave no response.
enum Failed {
    /// It cannot be connected to: another may be asked.
    Connecting(String),
    Asking(String),
}

impl KeptConnections {
    pub(super) fn new(server: Server) -> Self {
        Self { server, pools: Mutex::default() }
    }

    fn pool(&self, backend: &Arc<Backend>) -> Pool {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !pools.contains_key(&backend.id());
        if is_new {
            pools.retain(|&id, _| self.server.backends.of_id(id).is_some());
        }
        pools.entry(backend.id()).or_insert_with(|| self.new_pool(backend)).clone()
    }

    fn new_pool(&self, backend: &Arc<Backend>) -> Pool {
        Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.server.idle_timeout)
            .pool_max_idle_per_host(self.server.idle_max)
            .set_host(false)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_max_buf_size(HEAD_BYTES_MAX as usize)
            .http2_only(backend.target().protocol() == Protocol::Http2)
            .http2_max_header_list_size(HEAD_BYTES_MAX)
            .build(Dialer { backend: Arc::clone(backend), limit: self.server.connect_timeout })
    }

    /// Like [`super::fetch::fetch`], from a server that gets requests; those that cannot be connected to are passed over.
    pub(super) async fn fetch(&self, request: Request<Full<Bytes>>, bytes_max: usize) -> Result<Response<Bytes>, String> {
        let mut tried = Vec::new();
        let mut failure = "there is no server".to_owned();
        while let Some(backend) = self.server.backends.pick(&tried) {
            match self.ask(&backend, request.clone(), bytes_max).await {
                Ok(response) => return Ok(response),
                Err(Failed::Asking(cause)) => return Err(cause),
                Err(Failed::Connecting(cause)) => failure = cause,
            }
            tried.push(backend);
        }
        Err(failure)
    }

    /// For requests that do no harm when they come twice: one that is lost on a connection which had been kept is sent again. The other
    /// side may close those at any moment, also when it has read the request.
    async fn ask(
        &self,
        backend: &Arc<Backend>,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<Response<Bytes>, Failed> {
        let (pool, request) = (self.pool(backend), addressed(request, backend.target()).map_err(Failed::Asking)?);
        // Each loss uses up one of those that are kept; then there is a new one.
        for _ in 0..=self.server.idle_max {
            let asking = of_few_interim_responses(request.clone(), |request| pool.request(request));
            match asking.await.map_err(Failed::Asking)? {
                Ok(response) => {
                    if let Some(served) = response.extensions().get::<HasServed>() {
                        served.0.store(true, Ordering::Relaxed);
                    }
                    return collect(response, bytes_max).await.map_err(Failed::Asking);
                }
                Err(error) if was_kept(&error) => tracing::debug!(error = cause(&error), "a kept connection was lost"),
                Err(error) if error.is_connect() => return Err(Failed::Connecting(format!("cannot connect: {}", cause(&error)))),
                Err(error) => return Err(Failed::Asking(cause(&error))),
            }
        }
        Err(Failed::Asking("no kept connection was good, nor a new one".to_owned()))
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

/// Opens connections to one backend, whatever the URI says.
#[derive(Clone, Debug)]
struct Dialer {
    backend: Arc<Backend>,
    /// The most time that this takes.
    limit: Duration,
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<OfFewFrames<Paced<Stream>>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { backend, limit } = self.clone();
        Box::pin(async move {
            let opened = tokio::time::timeout(limit, backend.connect()).await;
            let stream = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
            Ok(TokioIo::new(OfFewFrames::new(Paced::new(stream), backend.target().protocol())))
        })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().extra(HasServed::default())
    }
}
