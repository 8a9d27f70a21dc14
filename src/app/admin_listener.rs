//! The admin listener: where it is bound, and what becomes of it when the settings name another address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use super::StartError;
use super::addresses::{explained, resolve};
use crate::admin::{self, Latest};
use crate::config::{self, ListenAddress};
use crate::domain::network::KEEPALIVE_TIMEOUT;
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

/// What the settings say of the listener, as far as the system had to agree.
pub(super) enum Place {
    Off,
    /// Where it is already.
    Same,
    New(Bound),
}

impl Place {
    /// Binds what is not bound yet. `listeners` are those for clients at present.
    pub(super) async fn of(
        settings: &config::Admin,
        present: Option<&AdminListener>,
        listeners: &[SocketAddr],
    ) -> Result<Self, StartError> {
        let Some(named) = &settings.address else { return Ok(Self::Off) };
        let refused = |error| StartError::Listen { key: KEY.to_owned(), address: named.clone(), error };
        let present = present.map(|present| &present.bound);
        let same = present.filter(|bound| bound.named == *named);
        let address = match same {
            Some(bound) => bound.address,
            None => resolve(named).await.map_err(refused)?,
        };
        if named.is_loopback() && !address.ip().is_loopback() && settings.token.is_none() {
            return Err(refused(io::Error::other(format!("{address} is not of this machine alone: that needs admin.token"))));
        }
        if same.is_some() || present.is_some_and(|bound| bound.address == address) {
            return Ok(Self::Same);
        }
        let of_ours = listeners.iter().map(|listener| (*listener, "listener for clients"));
        let listener = listen(address, present).map_err(|error| refused(explained(error, address, of_ours)))?;
        keepalive::watch_for_death(&SockRef::from(&listener), KEEPALIVE_TIMEOUT).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self::New(Bound { named: named.clone(), address, listener: Arc::new(listener) }))
    }

    /// Serves there, and nowhere else.
    pub(super) fn take(self, present: &mut Option<AdminListener>, latest: &Arc<Latest>, supervisor: &Supervisor) {
        match self {
            Self::Same => {}
            Self::Off => *present = None,
            Self::New(bound) => *present = Some(AdminListener::serve(bound, latest, supervisor)),
        }
    }
}

/// Beside the listener that is served already, if that is what holds the address: it goes once the new one is served.
fn listen(address: SocketAddr, present: Option<&Bound>) -> io::Result<TcpListener> {
    let overlapping = present.filter(|bound| coverage_at(bound.address).overlaps(&coverage_at(address)));
    match (listen_at(address, false), overlapping) {
        (Err(error), Some(bound)) if error.kind() == io::ErrorKind::AddrInUse => {
            let held = SockRef::from(&*bound.listener);
            held.set_reuse_port(true)?;
            let listening = listen_at(address, true);
            held.set_reuse_port(false)?;
            let listening = listening?;
            SockRef::from(&listening).set_reuse_port(false)?;
            Ok(listening)
        }
        (listening, _) => listening,
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
    }
}
