//! All listeners of one worker.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::net::TcpStream;

use super::port::{Acceptor, Entrance, Part};

/// A connection that was accepted, and has no seat yet.
#[derive(Debug)]
pub(super) struct Newcomer {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    /// By which of the listeners it came.
    pub(super) listener: usize,
}

/// A worker's listeners, in the order of the settings. Never empty.
#[derive(Debug)]
pub(super) struct Acceptors {
    acceptors: Vec<Acceptor>,
    /// The one that is asked first the next time, so that no listener keeps the others waiting.
    first: Cell<usize>,
}

impl Acceptors {
    /// On the runtime of the worker.
    pub(super) fn enter(entrances: Vec<Entrance>) -> io::Result<Self> {
        let acceptors = entrances.into_iter().map(Entrance::enter).collect::<io::Result<_>>()?;
        Ok(Self { acceptors, first: Cell::new(0) })
    }

    /// The next connection that this worker is to take.
    pub(super) async fn accept(&self) -> io::Result<Newcomer> {
        if let [only] = self.acceptors.as_slice() {
            return Self::newcomer(0, only.accept().await);
        }
        let first = self.first.get();
        let count = self.acceptors.len();
        let order = (first..count).chain(0..first);
        let accepting = order.map(|listener| Box::pin(async move { (listener, self.acceptors[listener].accept().await) }));
        let ((listener, accepted), _, _) = select_all(accepting).await;
        self.first.set((listener + 1) % count);
        Self::newcomer(listener, accepted)
    }

    /// A connection that has come already, whoever ought to take it.
    pub(super) async fn accept_at_once(&self) -> Option<io::Result<Newcomer>> {
        for (listener, acceptor) in self.acceptors.iter().enumerate() {
            if let Some(accepted) = acceptor.accept_at_once().await {
                return Some(Self::newcomer(listener, accepted));
            }
        }
        None
    }

    fn newcomer(listener: usize, accepted: io::Result<(TcpStream, SocketAddr)>) -> io::Result<Newcomer> {
        accepted.map(|(stream, peer)| Newcomer { stream, peer, listener })
    }

    /// Of connections that come from now on.
    pub(super) fn expect_death_within(&self, write_timeout: Duration) -> io::Result<()> {
        self.acceptors.iter().try_for_each(|acceptor| acceptor.expect_death_within(write_timeout))
    }

    /// What the worker has of each listener.
    pub(super) fn parts(&self) -> Vec<Rc<Part>> {
        self.acceptors.iter().map(|acceptor| Rc::clone(acceptor.part())).collect()
    }
}
