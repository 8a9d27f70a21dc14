//! All listeners of one worker.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::net::TcpStream;

use super::bound::BoundListener;
use super::client::arrival::Spoken;
use super::port::{Acceptor, Port, PortId};
use super::queue::Part;

/// A connection that was accepted, and has no seat yet.
#[derive(Debug)]
pub(super) struct Newcomer {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) origin: Rc<Origin>,
}

/// Where a connection came in, by the settings of that moment.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) port: PortId,
    pub(super) spoken: Spoken,
    /// What the worker has of the queue.
    pub(super) part: Rc<Part>,
}

/// One listener, on the runtime of the worker.
#[derive(Debug)]
pub(super) struct Entered {
    port: Arc<Port>,
    acceptor: Acceptor,
    origin: Rc<Origin>,
}

impl Entered {
    fn at(listener: &BoundListener, worker: usize) -> io::Result<Self> {
        let acceptor = listener.port.open(worker)?.enter()?;
        let origin =
            Rc::new(Origin { port: listener.port.id(), spoken: listener.spoken.clone(), part: Rc::clone(acceptor.part()) });
        Ok(Self { port: Arc::clone(&listener.port), acceptor, origin })
    }

    /// With the same queue, and what it is to speak from the next connection on.
    fn speaking(self, spoken: &Spoken) -> Self {
        let origin = Origin { port: self.origin.port, spoken: spoken.clone(), part: Rc::clone(&self.origin.part) };
        Self { origin: Rc::new(origin), ..self }
    }

    pub(super) fn port(&self) -> PortId {
        self.origin.port
    }

    /// A connection that has come already, whoever ought to take it.
    pub(super) async fn accept_at_once(&self) -> Option<io::Result<Newcomer>> {
        self.acceptor.accept_at_once().await.map(|accepted| self.newcomer(accepted))
    }

    fn newcomer(&self, accepted: io::Result<(TcpStream, SocketAddr)>) -> io::Result<Newcomer> {
        accepted.map(|(stream, peer)| Newcomer { stream, peer, origin: Rc::clone(&self.origin) })
    }
}

/// A worker's listeners, in the order of the settings.
#[derive(Debug)]
pub(super) struct Acceptors {
    worker: usize,
    entered: Vec<Entered>,
    /// Whether there is one that could not be entered yet.
    lacks_some: bool,
    /// The one that is asked first the next time, so that no listener keeps the others waiting.
    first: Cell<usize>,
}

impl Acceptors {
    /// On the runtime of the worker.
    pub(super) fn enter(listeners: &[BoundListener], worker: usize) -> io::Result<Self> {
        let entered = listeners.iter().map(|listener| Entered::at(listener, worker)).collect::<io::Result<_>>()?;
        Ok(Self { worker, entered, lacks_some: false, first: Cell::new(0) })
    }

    /// Accepts at these listeners from now on. One that stays keeps its queue. Returns those that are gone, which are still open.
    pub(super) fn follow(&mut self, listeners: &[BoundListener]) -> Vec<Entered> {
        let mut former = std::mem::take(&mut self.entered);
        self.lacks_some = false;
        for listener in listeners {
            let same = former.iter().position(|entered| Arc::ptr_eq(&entered.port, &listener.port));
            let entered = match same {
                Some(same) => Ok(former.swap_remove(same).speaking(&listener.spoken)),
                None => Entered::at(listener, self.worker),
            };
            match entered {
                Ok(entered) => self.entered.push(entered),
                Err(error) => {
                    self.lacks_some = true;
                    tracing::error!(%error, address = %listener.port.address(), "a worker cannot accept there, and tries again");
                }
            }
        }
        self.first.set(0);
        former
    }

    /// Whether [`Self::follow`] is to be tried again.
    pub(super) const fn lacks_some(&self) -> bool {
        self.lacks_some
    }

    /// All of them, which are still open.
    pub(super) fn leave(self) -> Vec<Entered> {
        self.entered
    }

    /// The next connection that this worker is to take.
    pub(super) async fn accept(&self) -> io::Result<Newcomer> {
        if let [only] = self.entered.as_slice() {
            return only.newcomer(only.acceptor.accept().await);
        }
        let first = self.first.get();
        let count = self.entered.len();
        if count == 0 {
            return std::future::pending().await;
        }
        let order = (first..count).chain(0..first);
        let accepting = order.map(|listener| Box::pin(async move { (listener, self.entered[listener].acceptor.accept().await) }));
        let ((listener, accepted), _, _) = select_all(accepting).await;
        self.first.set((listener + 1) % count);
        self.entered[listener].newcomer(accepted)
    }

    /// Of connections that come from now on.
    pub(super) fn expect_death_within(&self, write_timeout: Duration) -> io::Result<()> {
        self.entered.iter().try_for_each(|entered| entered.acceptor.expect_death_within(write_timeout))
    }
}
