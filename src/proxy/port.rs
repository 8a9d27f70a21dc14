//! The ports of the data plane: who may listen there, and where each worker accepts.
//!
//! A port that is ours alone has one listening socket, without `SO_REUSEPORT`: the kernel then lets no other process listen there,
//! whatever that process sets. All workers accept from its queue, and each gives way while it has more connections than the others.
//! A port that other processes may share has a socket for each worker, and the kernel divides the connections.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::beside::{Neighbour, beside, each};
use super::coverage::Coverage;
use super::keepalive;
use super::queue::{Part, Queue};

/// Connections that the kernel holds for the workers before they take them.
const BACKLOG: i32 = 4096;

/// How long connections that have begun when a port lets no more begin may take to come.
pub const BEGUN_WITHIN: Duration = Duration::from_millis(100);

/// For the kernel: of all packets for a listener, it drops those with SYN and without ACK.
const NO_BEGINNINGS: [SockFilter; 5] = [
    // The octet of the TCP header that holds the flags.
    SockFilter::new(BPF_LD | BPF_B | BPF_ABS, 0, 0, 13),
    SockFilter::new(BPF_ALU | BPF_AND | BPF_K, 0, 0, SYN | ACK),
    SockFilter::new(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYN),
    SockFilter::new(BPF_RET | BPF_K, 0, 0, 0),
    SockFilter::new(BPF_RET | BPF_K, 0, 0, u32::MAX),
];

const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

// The words of a program for the classic packet filter (linux/bpf_common.h).
const BPF_LD: u16 = 0x00;
const BPF_ALU: u16 = 0x04;
const BPF_JMP: u16 = 0x05;
const BPF_RET: u16 = 0x06;
const BPF_B: u16 = 0x10;
const BPF_ABS: u16 = 0x20;
const BPF_AND: u16 = 0x50;
const BPF_JEQ: u16 = 0x10;
const BPF_K: u16 = 0x00;

/// Tells one port of this process from all others, those before it at the same address included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortId(u64);

impl PortId {
    fn next() -> Self {
        static GIVEN: AtomicU64 = AtomicU64::new(0);
        Self(GIVEN.fetch_add(1, Ordering::Relaxed))
    }
}

/// How a port is bound.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Whether other processes may listen there too.
    pub share: bool,
    pub workers: usize,
    /// See [`keepalive::watch_for_death`].
    pub write_timeout: Duration,
}

/// A port that is bound, until it is given up.
#[derive(Debug)]
pub struct Port {
    id: PortId,
    coverage: Coverage,
    shares: AtomicBool,
    /// Whether somebody else holds the socket too, and goes on to.
    is_lent: bool,
    held: Mutex<Held>,
}

/// What keeps the address for this process, also while a worker is built anew.
#[derive(Debug, Default)]
struct Held {
    /// One, or one for each worker. None once the port was given up.
    sockets: Vec<(std::net::TcpListener, Arc<Queue>)>,
    /// For each worker that has not come yet: nothing is left then that could fail for want of descriptors.
    entrances: Vec<Option<Entrance>>,
}

impl Port {
    /// The kernel takes connections there from now on. `others` are sockets of this process that may overlap for a while: whoever moves from
    /// all addresses to one, or the other way, binds the new one before the old one is given up.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] where another process listens, unless it and this one share.
    pub fn bind(address: SocketAddr, binding: Binding, others: &[&dyn Neighbour]) -> io::Result<Self> {
        let sockets = match listen_all(address, binding, binding.share) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => listen_beside(address, binding, others, error)?,
            listening => listening?,
        };
        Self::of(sockets, binding, false)
    }

    /// A socket that listens already, and belongs to the service manager. All workers accept from its queue.
    ///
    /// # Errors
    /// The system does not let it be used so.
    pub fn adopt(listener: std::net::TcpListener, binding: Binding) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        for_accepted(&SockRef::from(&listener), binding.write_timeout)?;
        Self::of(vec![listener], Binding { share: false, ..binding }, true)
    }

    fn of(sockets: Vec<std::net::TcpListener>, binding: Binding, is_lent: bool) -> io::Result<Self> {
        let coverage = coverage_of(&sockets[0])?;
        let sockets: Vec<_> = sockets.into_iter().map(|socket| (socket, Arc::default())).collect();
        let entrances = (0..binding.workers).map(|worker| entrance(&sockets, worker).map(Some)).collect::<io::Result<_>>()?;
        let held = Mutex::new(Held { sockets, entrances });
        Ok(Self { id: PortId::next(), coverage, shares: AtomicBool::new(binding.share), is_lent, held })
    }

    pub const fn id(&self) -> PortId {
        self.id
    }

    /// Whether the address stays taken when this process gives it up.
    pub const fn is_lent(&self) -> bool {
        self.is_lent
    }

    /// With the port that the kernel chose, if it was to choose one.
    pub const fn address(&self) -> SocketAddr {
        self.coverage.address
    }

    pub const fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Where one worker accepts connections.
    ///
    /// # Errors
    /// When there is no descriptor to be had, or the port was given up.
    pub(super) fn open(&self, worker: usize) -> io::Result<Entrance> {
        let mut held = self.held();
        match held.entrances.get_mut(worker).and_then(Option::take) {
            Some(entrance) => Ok(entrance),
            None => entrance(&held.sockets, worker),
        }
    }

    /// Whether other processes may listen here too.
    pub fn is_shared(&self) -> bool {
        self.shares.load(Ordering::Relaxed)
    }

    /// From now on they may. There is no way back: without the option on each, the kernel would give all connections to one of the
    /// sockets, and it remembers that the address may be shared.
    ///
    /// # Errors
    /// The system does not know the option.
    pub fn share(&self) -> io::Result<()> {
        self.allow_others(true)?;
        self.shares.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn allow_others(&self, allow: bool) -> io::Result<()> {
        each(&self.held().sockets, |(socket, _)| SockRef::from(socket).set_reuse_port(allow))
    }

    /// Lets no new connection begin; those that have begun are still coming. So the sockets can be closed, once these were accepted, and
    /// nobody is reset. Whoever comes meanwhile asks again after a second, as TCP does, and meets what is at the address then.
    pub fn let_none_begin(&self) {
        // A socket that others hold is not closed.
        if self.is_lent {
            return;
        }
        for (socket, _) in &self.held().sockets {
            if let Err(error) = SockRef::from(socket).attach_filter(&NO_BEGINNINGS) {
                tracing::warn!(%error, address = %self.address(), "connections that begin while the socket is closed may be reset");
            }
        }
    }

    /// Keeps the address no longer: it is free once the workers have closed their listeners.
    pub fn give_up(&self) {
        *self.held() = Held::default();
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Neighbour for Port {
    fn coverage(&self) -> Coverage {
        self.coverage
    }

    fn let_others_beside(&self, allow: bool) -> io::Result<()> {
        self.allow_others(allow || self.is_shared())
    }
}

/// What a listener at an address would take.
pub fn coverage_at(address: SocketAddr) -> Coverage {
    // As the system sets new sockets up; where it knows no IPv6, nobody listens by it.
    let both = || Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).and_then(|socket| socket.only_v6());
    Coverage { address, takes_both_families: address.ip() == Ipv6Addr::UNSPECIFIED && both().is_ok_and(|only| !only) }
}

fn coverage_of(listener: &std::net::TcpListener) -> io::Result<Coverage> {
    let address = listener.local_addr()?;
    let takes_both_families = address.ip() == Ipv6Addr::UNSPECIFIED && !SockRef::from(listener).only_v6()?;
    Ok(Coverage { address, takes_both_families })
}

fn entrance(sockets: &[(std::net::TcpListener, Arc<Queue>)], worker: usize) -> io::Result<Entrance> {
    let own = worker.checked_rem(sockets.len()).map(|own| &sockets[own]);
    let (listener, queue) = own.ok_or(io::ErrorKind::NotConnected)?;
    Ok(Entrance { listener: listener.try_clone()?, queue: Arc::clone(queue) })
}

/// Beside sockets of this process, whose address it may have for a moment.
fn listen_beside(
    address: SocketAddr,
    binding: Binding,
    others: &[&dyn Neighbour],
    in_use: io::Error,
) -> io::Result<Vec<std::net::TcpListener>> {
    let listening = beside(&coverage_at(address), others, in_use, || listen_all(address, binding, true))?;
    listening.iter().try_for_each(|socket| SockRef::from(socket).set_reuse_port(binding.share))?;
    Ok(listening)
}

fn listen_all(address: SocketAddr, binding: Binding, reuse_port: bool) -> io::Result<Vec<std::net::TcpListener>> {
    let first = listen(address, reuse_port, binding.write_timeout)?;
    let address = first.local_addr()?;
    let further = if binding.share { binding.workers.saturating_sub(1) } else { 0 };
    let further = (0..further).map(|_| listen(address, reuse_port, binding.write_timeout));
    std::iter::once(Ok(first)).chain(further).collect()
}

fn listen(address: SocketAddr, reuse_port: bool, write_timeout: Duration) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // For connections of a process before this one, which the kernel has not forgotten.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    for_accepted(&SockRef::from(&socket), write_timeout)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What accepted sockets inherit.
fn for_accepted(listener: &SockRef<'_>, write_timeout: Duration) -> io::Result<()> {
    listener.set_tcp_nodelay(true)?;
    keepalive::watch_for_death(listener, write_timeout)
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
