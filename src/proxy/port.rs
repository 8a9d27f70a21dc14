//! The port of the data plane: who may listen there, and how the workers divide its connections.
//!
//! A port that is ours alone has one listening socket, without `SO_REUSEPORT`: the kernel then lets no other process listen there,
//! whatever that process sets. All workers accept from its queue, and each gives way while it has more connections than the others.
//! A port that other processes may share has a socket for each worker, and the kernel divides the connections.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::keepalive;

/// Connections that the kernel holds for the workers before they take them.
const BACKLOG: i32 = 4096;

/// How many connections more than the average a worker may have and still accept further ones, …
const LEAD_MIN: usize = 2;

/// … or this share of the average, if that is more.
const LEAD_SHARE: usize = 16;

/// A port that is bound, until it is given up.
#[derive(Debug)]
pub(super) struct Port {
    address: SocketAddr,
    held: Mutex<Option<Held>>,
}

/// What keeps the address for this process, also while a worker is built anew.
#[derive(Debug)]
enum Held {
    /// The one socket that listens here.
    Alone(std::net::TcpListener, Arc<Queue>),
    /// A socket that is bound and does not listen: processes that want the address alone do not get it.
    Shared { _claim: Socket },
}

impl Port {
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] where another process listens, unless it and this one share.
    pub(super) fn bind(address: SocketAddr, share: bool, write_timeout: Duration) -> io::Result<Self> {
        let (held, address) = if share {
            let claim = bind(address, true)?;
            let address = socket_address(&claim)?;
            // With it, a socket that does not listen would be in nobody's way.
            claim.set_reuse_address(false)?;
            (Held::Shared { _claim: claim }, address)
        } else {
            let listener = listen(address, false, write_timeout)?;
            let address = listener.local_addr()?;
            (Held::Alone(listener, Arc::default()), address)
        };
        Ok(Self { address, held: Mutex::new(Some(held)) })
    }

    /// With the port that the kernel chose, if it was to choose one.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where one worker accepts connections. `write_timeout`: see [`keepalive::watch_for_death`].
    ///
    /// # Errors
    /// When there is no socket to be had, or the port was given up.
    pub(super) fn open(&self, write_timeout: Duration) -> io::Result<Entrance> {
        match &*self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Held::Alone(listener, queue)) => Ok(Entrance { listener: listener.try_clone()?, queue: Arc::clone(queue) }),
            Some(Held::Shared { .. }) => {
                let listener = listen(self.address, true, write_timeout)?;
                Ok(Entrance { listener, queue: Arc::default() })
            }
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Keeps the address no longer: it is free once the workers have closed their listeners.
    pub(super) fn give_up(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn socket_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
}

fn listen(address: SocketAddr, share: bool, write_timeout: Duration) -> io::Result<std::net::TcpListener> {
    let socket = bind(address, share)?;
    // Accepted sockets inherit what is set here.
    socket.set_tcp_nodelay(true)?;
    keepalive::watch_for_death(&SockRef::from(&socket), write_timeout)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // For connections of a process before this one, which the kernel has not forgotten.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A listener for one worker, not yet on its runtime.
#[derive(Debug)]
pub(super) struct Entrance {
    listener: std::net::TcpListener,
    queue: Arc<Queue>,
}

impl Entrance {
    /// On the runtime of the worker that accepts here.
    pub(super) fn enter(self) -> io::Result<Acceptor> {
        let listener = TcpListener::from_std(self.listener)?;
        Ok(Acceptor { listener, part: Rc::new(Part::of(self.queue)) })
    }
}

/// A listener, and what its worker has accepted of the queue behind it.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
    part: Rc<Part>,
}

impl Acceptor {
    /// The next connection, unless others of the queue have to take it.
    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.part.turn().await;
        self.listener.accept().await
    }

    /// A connection that has come already, whoever ought to take it.
    pub(super) async fn accept_at_once(&self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        std::future::poll_fn(|cx| match self.listener.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    /// Of connections that come from now on.
    pub(super) fn expect_death_within(&self, write_timeout: Duration) -> io::Result<()> {
        keepalive::watch_for_death(&SockRef::from(&self.listener), write_timeout)
    }

    /// What the worker has.
    pub(super) const fn part(&self) -> &Rc<Part> {
        &self.part
    }
}

/// What all know who accept from one queue. Left alone, whoever wakes first would take most of what comes.
#[derive(Debug, Default)]
struct Queue {
    parts: AtomicUsize,
    /// Connections of all parts.
    open: AtomicUsize,
    /// Those who give way.
    waiting: AtomicUsize,
    /// Told to those who give way: somebody has more or fewer connections now.
    changed: Notify,
}

impl Queue {
    fn tell(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.changed.notify_waiters();
        }
    }
}

/// The connections of one worker, among those of all who accept from its queue.
#[derive(Debug)]
pub(super) struct Part {
    queue: Arc<Queue>,
    open: Cell<usize>,
}

impl Part {
    fn of(queue: Arc<Queue>) -> Self {
        queue.parts.fetch_add(1, Ordering::SeqCst);
        Self { queue, open: Cell::new(0) }
    }

    pub(super) const fn open(&self) -> usize {
        self.open.get()
    }

    /// Counts a connection for as long as it lives, whatever ends it.
    pub(super) fn count(self: &Rc<Self>) -> Open {
        self.open.set(self.open.get() + 1);
        self.queue.open.fetch_add(1, Ordering::SeqCst);
        self.queue.tell();
        Open(Rc::clone(self))
    }

    /// Waits while others have fewer connections: the one with fewest never waits.
    async fn turn(&self) {
        while self.is_ahead() {
            let mut changed = pin!(self.queue.changed.notified());
            let _waiting = Waiting::among(&self.queue.waiting);
            changed.as_mut().enable();
            // Or what happened before that is missed.
            if self.is_ahead() {
                changed.await;
            }
        }
    }

    fn is_ahead(&self) -> bool {
        let average = self.queue.open.load(Ordering::SeqCst) / self.queue.parts.load(Ordering::SeqCst).max(1);
        self.open.get() >= average + LEAD_MIN.max(average / LEAD_SHARE)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.queue.parts.fetch_sub(1, Ordering::SeqCst);
        self.queue.tell();
    }
}

/// One connection of a part.
#[derive(Debug)]
pub(super) struct Open(Rc<Part>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.queue.open.fetch_sub(1, Ordering::SeqCst);
        self.0.queue.tell();
    }
}

/// Counts one who waits, until it does no more.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn among(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_of_a_queue_gives_way_to_those_with_fewer_connections() {
        let queue = Arc::new(Queue::default());
        let (one, other) = (Rc::new(Part::of(Arc::clone(&queue))), Rc::new(Part::of(Arc::clone(&queue))));
        let mut of_one = Vec::new();
        while one.turn().now_or_never().is_some() {
            of_one.push(one.count());
        }
        assert_eq!(of_one.len(), 2 * LEAD_MIN - 1);
        let mut turn = pin!(one.turn());
        assert!(turn.as_mut().now_or_never().is_none());
        let of_other = [other.count(), other.count()];
        assert!(turn.as_mut().now_or_never().is_some(), "the other one has more now");
        drop(of_other);
        assert!(one.turn().now_or_never().is_none());
        drop(other);
        assert!(one.turn().now_or_never().is_some(), "nobody else is left");
    }

    #[test]
    fn whoever_is_alone_at_a_queue_never_waits() {
        let part = Rc::new(Part::of(Arc::default()));
        let open: Vec<Open> = (0..1000).map(|_| part.count()).collect();
        assert!(part.turn().now_or_never().is_some());
        drop(open);
        assert_eq!(part.open(), 0);
    }

    proptest! {
        #[test]
        fn somebody_always_accepts_and_nobody_gets_far_ahead(steps in prop::collection::vec((0_usize..4, any::<bool>()), 1..400)) {
            let queue = Arc::new(Queue::default());
            let parts: Vec<Rc<Part>> = (0..4).map(|_| Rc::new(Part::of(Arc::clone(&queue)))).collect();
            let mut open: Vec<Vec<Open>> = (0..4).map(|_| Vec::new()).collect();
            for (at, comes) in steps {
                if !comes {
                    open[at].pop();
                } else if parts[at].turn().now_or_never().is_some() {
                    open[at].push(parts[at].count());
                    let average = open.iter().map(Vec::len).sum::<usize>() / 4;
                    prop_assert!(open[at].len() <= average + LEAD_MIN.max(average / LEAD_SHARE) + 1);
                }
                prop_assert!(parts.iter().any(|part| !part.is_ahead()));
            }
        }
    }
}
