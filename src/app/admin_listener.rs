//! The admin listener: where it is bound, and what becomes of it when the settings name another address.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use super::StartError;
use super::addresses::{explained, resolve};
use super::listeners::{FormerAdmin, Listeners};
use crate::admin::{self, Latest};
use crate::config::{self, ListenAddress};
use crate::domain::network::KEEPALIVE_TIMEOUT;
use crate::proxy::beside::{Neighbour, beside};
use crate::proxy::coverage::Coverage;
use crate::proxy::keepalive;
use crate::proxy::port::coverage_at;
use crate::tasks::supervisor::Supervisor;

const KEY: &str = "admin.address";

/// A listener that was bound for an address of the settings.
pub(super) struct Bound {
    named: ListenAddress,
    address: SocketAddr,
    listener: Arc<TcpListener>,
}

/// The listener that is served. Dropped, it ends once the requests under way have their responses.
pub(super) struct AdminListener {
    bound: Bound,
    stop: CancellationToken,
}

/// Where the settings want the listener, beside the one that is served.
pub(super) struct Plan<'a> {
    present: Option<&'a Bound>,
    wanted: Wanted,
}

enum Wanted {
    Nowhere,
    /// Where it is already.
    There,
    At(ListenAddress, SocketAddr),
}

/// What the settings say of the listener, as far as the system had to agree.
pub(super) enum Place {
    Off,
    /// Where it is already.
    Same,
    New(Bound),
}

impl<'a> Plan<'a> {
    /// # Errors
    /// The address cannot be used, whatever the system says.
    pub(super) async fn of(settings: &config::Admin, present: Option<&'a AdminListener>) -> Result<Self, StartError> {
        let present = present.map(|present| &present.bound);
        let Some(named) = &settings.address else { return Ok(Self { present, wanted: Wanted::Nowhere }) };
        let same = present.filter(|bound| bound.named == *named);
        let address = match same {
            Some(bound) => bound.address,
            None => resolve(named).await.map_err(|error| refused(named, error))?,
        };
        if named.is_loopback() && !address.ip().is_loopback() && settings.token.is_none() {
            let fault = format!("{address} is not of this machine alone: that needs admin.token");
            return Err(refused(named, io::Error::other(fault)));
        }
        let is_there = same.is_some() || present.is_some_and(|bound| bound.address == address);
        Ok(Self { present, wanted: if is_there { Wanted::There } else { Wanted::At(named.clone(), address) } })
    }

    /// The one that is served, as the listeners for clients see it.
    pub(super) fn former(&self) -> Option<FormerAdmin<'a>> {
        let present = self.present?;
        Some(match self.wanted {
            Wanted::There => FormerAdmin::Stays(present.address),
            Wanted::Nowhere | Wanted::At(..) => FormerAdmin::Leaves(present),
        })
    }

    /// Binds what is not bound yet: beside `listeners`, and where those of `former` are that leave.
    ///
    /// # Errors
    /// The system does not let it listen there.
    pub(super) fn bind(self, listeners: &Listeners, former: Option<&Listeners>) -> Result<Place, StartError> {
        let (named, address) = match self.wanted {
            Wanted::Nowhere => return Ok(Place::Off),
            Wanted::There => return Ok(Place::Same),
            Wanted::At(named, address) => (named, address),
        };
        let leaving = former.into_iter().flat_map(|former| former.leaving(listeners));
        let leaving: Vec<_> = leaving.chain(self.present.map(|present| present as &dyn Neighbour)).collect();
        let of_ours = listeners.addresses().map(|listener| (listener, "listener for clients"));
        // Where others may share the ports of clients, the system would let it listen there.
        let is_taken = listeners.coverages().any(|listener| listener.overlaps(&coverage_at(address)));
        let listening = if is_taken { Err(io::ErrorKind::AddrInUse.into()) } else { listen(address, &leaving) };
        let bound = listening.map_err(|error| explained(error, address, of_ours)).and_then(|listener| {
            keepalive::watch_for_death(&SockRef::from(&listener), KEEPALIVE_TIMEOUT)?;
            Ok(Bound { named: named.clone(), address: listener.local_addr()?, listener: Arc::new(listener) })
        });
        bound.map(Place::New).map_err(|error| refused(&named, error))
    }
}

fn refused(named: &ListenAddress, error: io::Error) -> StartError {
    StartError::Listen { key: KEY.to_owned(), address: named.clone(), error }
}

impl Place {
    /// Serves there, and nowhere else.
    pub(super) fn take(self, present: &mut Option<AdminListener>, latest: &Arc<Latest>, supervisor: &Supervisor) {
        match self {
            Self::Same => {}
            Self::Off => *present = None,
            Self::New(bound) => *present = Some(AdminListener::serve(bound, latest, supervisor)),
        }
    }
}

impl Neighbour for Bound {
    fn coverage(&self) -> Coverage {
        coverage_at(self.address)
    }

    fn let_others_beside(&self, allow: bool) -> io::Result<()> {
        SockRef::from(&*self.listener).set_reuse_port(allow)
    }
}

/// Beside what leaves, if that is what holds the address.
fn listen(address: SocketAddr, leaving: &[&dyn Neighbour]) -> io::Result<TcpListener> {
    match listen_at(address, false) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let listening = beside(&coverage_at(address), leaving, error, || listen_at(address, true))?;
            SockRef::from(&listening).set_reuse_port(false)?;
            Ok(listening)
        }
        listening => listening,
    }
}

fn listen_at(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    /// Connections that wait until they are taken.
    const BACKLOG: u32 = 1024;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuse_port)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl AdminListener {
    fn serve(bound: Bound, latest: &Arc<Latest>, supervisor: &Supervisor) -> Self {
        let ended = CancellationToken::new();
        let (listener, latest, stop) = (Arc::clone(&bound.listener), Arc::clone(latest), ended.clone());
        supervisor.supervise("admin listener", move |shutdown| {
            let (listener, latest, ended) = (Arc::clone(&listener), Arc::clone(&latest), ended.clone());
            async move {
                let stop = CancellationToken::new();
                let serving = admin::serve(&latest, &listener, stop.clone());
                let ending = async {
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = ended.cancelled() => {}
                    }
                    stop.cancel();
                };
                tokio::join!(serving, ending);
            }
        });
        Self { bound, stop }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.bound.address
    }
}

impl Drop for AdminListener {
    fn drop(&mut self) {
        self.stop.cancel();
        // While the last requests have their responses, nothing waits there that nobody takes: another listener may have the address.
        if let Err(error) = SockRef::from(&*self.bound.listener).shutdown(Shutdown::Read) {
            tracing::debug!(%error, "the admin listener closes with its last request");
        }
    }
}
