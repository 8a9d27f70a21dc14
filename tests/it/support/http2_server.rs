//! A server that speaks HTTP/2 by the crate h2, for tests of many requests or much of a body. What servers say against the rules is
//! said frame by frame, in `hostile/http2`.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};

use super::servers::Server;

/// Serves until the test's process ends.
pub(crate) struct Http2Server {
    address: SocketAddr,
    pub(crate) counts: Arc<Counts>,
}

/// What was asked of it.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// That were accepted.
    pub(crate) connections: AtomicUsize,
    /// Requests at once: now, and at most on one connection.
    pub(crate) under_way: AtomicUsize,
    pub(crate) most_on_one: AtomicUsize,
}

impl Http2Server {
    /// `serve` answers one request.
    pub(crate) fn start<F: Future<Output = Option<()>> + 'static>(
        serve: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (address, counts) = (listener.local_addr().unwrap(), Arc::<Counts>::default());
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::clone(&counts);
        run(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                spawn(connection(stream, serve.clone(), Arc::clone(&shared)));
            }
        });
        Self { address, counts }
    }

    /// The same at a socket of the machine. Nobody listens at its address.
    pub(crate) fn at_socket<F: Future<Output = Option<()>> + 'static>(
        path: &Path,
        serve: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + 'static,
    ) -> Arc<Counts> {
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let counts = Arc::<Counts>::default();
        let shared = Arc::clone(&counts);
        run(async move {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                spawn(connection(stream, serve.clone(), Arc::clone(&shared)));
            }
        });
        counts
    }
}

impl Server for Http2Server {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

/// On a thread of its own.
#[expect(clippy::disallowed_methods, reason = "it ends with the test's process")]
fn run(serving: impl Future<Output = ()> + Send + 'static) {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, serving);
    });
}

fn spawn(work: impl Future<Output = Option<()>> + 'static) {
    tokio::task::spawn_local(work);
}

async fn connection<F: Future<Output = Option<()>> + 'static>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    serve: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F,
    counts: Arc<Counts>,
) -> Option<()> {
    counts.connections.fetch_add(1, Ordering::SeqCst);
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 22).max_concurrent_streams(10_000);
    let mut connection = builder.handshake(stream).await.ok()?;
    let here = Arc::<AtomicUsize>::default();
    while let Some(Ok((request, responding))) = connection.accept().await {
        counts.under_way.fetch_add(1, Ordering::SeqCst);
        counts.most_on_one.fetch_max(here.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let serving = serve(request, responding);
        let (counts, here) = (Arc::clone(&counts), Arc::clone(&here));
        spawn(async move {
            let served = serving.await;
            counts.under_way.fetch_sub(1, Ordering::SeqCst);
            here.fetch_sub(1, Ordering::SeqCst);
            served
        });
    }
    Some(())
}

/// Sends a piece of a body, as the other side gives room.
pub(crate) async fn send(sending: &mut SendStream<Bytes>, mut piece: Bytes) -> Option<()> {
    while !piece.is_empty() {
        sending.reserve_capacity(piece.len());
        let room = poll_fn(|cx| sending.poll_capacity(cx)).await?.ok()?;
        sending.send_data(piece.split_to(room.min(piece.len())), false).ok()?;
    }
    Some(())
}
