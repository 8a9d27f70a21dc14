//! Requests of our own to one upstream, over connections that are kept for the next one; the caller bounds the time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tower::Service;

use super::fetch::{HEAD_BYTES_MAX, cause, collect};
use super::flood::{Paced, of_few_interim_responses};
use crate::proxy::upstream::backends::{Backend, Backends};
use crate::proxy::upstream::connect::Stream;

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

/// A pool of connections for the whole process. Its tasks end with it.
#[derive(Debug)]
pub(super) struct KeptConnections {
    client: Client<Dialer, Full<Bytes>>,
    backends: Arc<Backends>,
    idle_max: usize,
}

/// Why one backend gave no response.
enum Failed {
    /// It cannot be connected to: another may be asked.
    Connecting(String),
    Asking(String),
}

impl KeptConnections {
    pub(super) fn new(server: Server) -> Self {
        let (idle_max, backends) = (server.idle_max, Arc::clone(&server.backends));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(server.idle_timeout)
            .pool_max_idle_per_host(idle_max)
            .set_host(false)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_max_buf_size(HEAD_BYTES_MAX as usize)
            .build(Dialer(Arc::new(server)));
        Self { client, backends, idle_max }
    }

    /// Like [`super::fetch::fetch`], from a server that gets requests; those that cannot be connected to are passed over.
    pub(super) async fn fetch(&self, request: Request<Full<Bytes>>, bytes_max: usize) -> Result<Response<Bytes>, String> {
        let mut tried = Vec::new();
        let mut failure = "there is no server".to_owned();
        while let Some(backend) = self.backends.pick(&tried) {
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
        backend: &Backend,
        mut request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<Response<Bytes>, Failed> {
        *request.uri_mut() = Dialer::uri(backend, request.uri()).map_err(|error| Failed::Asking(error.to_string()))?;
        // Each loss uses up one of those that are kept; then there is a new one.
        for _ in 0..=self.idle_max {
            let asking = of_few_interim_responses(request.clone(), |request| self.client.request(request));
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

/// Opens connections to the backends, which are known to the pool by the hosts of its URIs.
#[derive(Clone, Debug)]
struct Dialer(Arc<Server>);

impl Dialer {
    /// The same on connections to this backend alone.
    fn uri(backend: &Backend, uri: &Uri) -> Result<Uri, http::Error> {
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        // Whether it goes over TLS is not for the URI to say here.
        Uri::builder().scheme(Scheme::HTTP).authority(format!("backend-{}", backend.id())).path_and_query(path).build()
    }

    /// `None`: it is there no more.
    fn backend(&self, uri: &Uri) -> Option<Arc<Backend>> {
        let id = uri.host()?.strip_prefix("backend-")?.parse().ok()?;
        self.0.backends.of_id(id)
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Paced<Stream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (backend, limit) = (self.backend(&uri), self.0.connect_timeout);
        Box::pin(async move {
            let backend = backend.ok_or(io::ErrorKind::NotFound)?;
            let opened = tokio::time::timeout(limit, backend.connect()).await;
            opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map(|stream| TokioIo::new(Paced::new(stream)))
        })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().extra(HasServed::default())
    }
}
