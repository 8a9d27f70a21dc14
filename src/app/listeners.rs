//! The listeners for clients: which of them stay over a reload, and which are bound for it.
//!
//! A listener is its address. Whatever the settings change about it, its port stays bound and its queue is kept.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::StartError;
use super::addresses::{self, explained};
use super::certificates::{Prepared, TlsListener};
use super::passed_sockets::{PassedSocket, PassedSockets};
use crate::config::{ListenAddress, ListenerProtocol, Settings};
use crate::crypto::tls_server::TlsServer;
use crate::proxy::beside::Neighbour;
use crate::proxy::bound::BoundListener;
use crate::proxy::client::arrival::Protocol;
use crate::proxy::coverage::Coverage;
use crate::proxy::port::{BEGUN_WITHIN, Binding, Port, coverage_at};

/// Those of one set of settings, in their order. Never empty.
pub(super) struct Listeners {
    all: Vec<Listener>,
    share: bool,
}

struct Listener {
    named: ListenAddress,
    bound: BoundListener,
}

/// What the listeners follow.
pub(super) struct Former<'a> {
    pub(super) listeners: &'a Listeners,
    pub(super) admin: Option<FormerAdmin<'a>>,
}

/// The admin listener that is served while these are bound.
pub(super) enum FormerAdmin<'a> {
    Stays(SocketAddr),
    /// Once these listen, so that one of them can have its address.
    Leaves(&'a dyn Neighbour),
}

/// Where one is to be.
enum Place<'a> {
    /// Where it is already.
    Kept(&'a Listener),
    /// Where the service manager listens.
    Passed(&'a PassedSocket),
    New(SocketAddr),
}

impl Place<'_> {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Kept(listener) => listener.bound.port.address(),
            Self::Passed(socket) => socket.address(),
            Self::New(address) => *address,
        }
    }
}

impl Listeners {
    /// Binds what is not bound yet. Nothing about those that stay is changed before [`Self::take_over`]. `prepared` is what each is to
    /// speak.
    ///
    /// # Errors
    /// A listener cannot be bound.
    pub(super) async fn of(
        settings: &Settings,
        prepared: Vec<Prepared>,
        workers: usize,
        passed: &PassedSockets,
        former: Option<Former<'_>>,
    ) -> Result<Self, StartError> {
        let former_listeners: &[Listener] = former.as_ref().map_or(&[], |former| &former.listeners.all);
        let places = places(settings, passed, former_listeners).await?;
        if former.is_none() {
            let addresses: Vec<_> = places.iter().map(Place::address).collect();
            passed.all_taken_by(&addresses).map_err(StartError::Sockets)?;
        }
        let listen = &settings.listen;
        let binding = Binding { share: listen.share_port, workers, write_timeout: listen.limits.write_timeout };
        let mut ports: Vec<_> = former_listeners.iter().map(|former| Arc::clone(&former.bound.port)).collect();
        let (admin, leaving_admin) = match former.as_ref().and_then(|former| former.admin.as_ref()) {
            Some(FormerAdmin::Stays(admin)) => (Some((*admin, "admin listener")), None),
            Some(FormerAdmin::Leaves(admin)) => (None, Some(*admin)),
            None => (None, None),
        };
        let mut all = Vec::new();
        for (index, ((place, prepared), named)) in places.into_iter().zip(prepared).zip(&settings.listeners).enumerate() {
            let named = named.address.clone();
            let spoken = prepared.spoken(tls_server(&place)).map_err(|error| unusable(index, &error))?;
            let port = match place {
                Place::Kept(listener) => Ok(Arc::clone(&listener.bound.port)),
                Place::Passed(socket) => socket.listener().and_then(|listener| Port::adopt(listener, binding)).map(Arc::new),
                Place::New(address) => {
                    let others = ports.iter().map(|port| &**port as &dyn Neighbour).chain(leaving_admin);
                    let bound = Port::bind(address, binding, &others.collect::<Vec<_>>()).map(Arc::new);
                    bound.map_err(|error| explained(error, address, admin))
                }
            };
            let port = port.map_err(|error| refused(settings, index, error))?;
            ports.push(Arc::clone(&port));
            all.push(Listener { named, bound: BoundListener { port, spoken } });
        }
        Ok(Self { all, share: listen.share_port })
    }

    /// Before these are in force: no connection begins any more at those of `former` that will be gone, and those that have begun come.
    pub(super) async fn before_taking_over(&self, former: &Self) {
        let gone = || former.all.iter().filter(|former| !former.is_among(self));
        for listener in gone() {
            listener.bound.port.let_none_begin();
        }
        if gone().next().is_some() {
            tokio::time::sleep(BEGUN_WITHIN).await;
        }
    }

    /// In the place of `former`, once these are in force: those that are gone are given up. Whether other processes may go on to listen at
    /// one that is to be ours alone.
    pub(super) fn take_over(&self, former: &Self) -> bool {
        for gone in former.all.iter().filter(|former| !former.is_among(self)) {
            gone.bound.port.give_up();
            tracing::info!(address = %gone.bound.port.address(), "no longer listening");
        }
        for listener in &self.all {
            let port = &listener.bound.port;
            if !listener.is_among(former) {
                tracing::info!(address = %port.address(), "listening too");
            }
            if self.share
                && let Err(error) = port.share()
            {
                tracing::warn!(%error, address = %port.address(), "the address cannot be shared");
            }
        }
        !self.share && self.all.iter().any(|listener| listener.bound.port.is_shared())
    }

    /// Before the end: no connection begins any more, and those that have begun come.
    pub(super) async fn let_none_begin(&self) {
        for listener in &self.all {
            listener.bound.port.let_none_begin();
        }
        tokio::time::sleep(BEGUN_WITHIN).await;
    }

    /// Keeps no address any longer, so that nobody listens there once the workers have ended.
    pub(super) fn give_up(&self) {
        for listener in &self.all {
            listener.bound.port.give_up();
        }
    }

    pub(super) fn bound(&self) -> Arc<[BoundListener]> {
        self.all.iter().map(|listener| listener.bound.clone()).collect()
    }

    /// Where they are, in the order of the settings.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.all.iter().map(|listener| listener.bound.port.address())
    }

    /// What they take.
    pub(super) fn coverages(&self) -> impl Iterator<Item = Coverage> {
        self.all.iter().map(|listener| *listener.bound.port.coverage())
    }

    /// Those whose address is free once `next` have taken over.
    pub(super) fn leaving(&self, next: &Self) -> impl Iterator<Item = &dyn Neighbour> {
        let leaving = self.all.iter().filter(|listener| !listener.is_among(next) && !listener.bound.port.is_lent());
        leaving.map(|listener| &*listener.bound.port as &dyn Neighbour)
    }

    /// Those that speak TLS.
    pub(super) fn tls(&self, settings: &Settings) -> Vec<TlsListener> {
        let pairs = settings.listeners.iter().zip(&self.all).enumerate();
        let tls = pairs.filter_map(|(position, (named, listener))| match (&named.protocol, &listener.bound.spoken.protocol) {
            (ListenerProtocol::Tls(tls), Protocol::Https(server)) => {
                Some(TlsListener { position, tls: tls.clone(), server: Arc::clone(server) })
            }
            (
                ListenerProtocol::Plain
                | ListenerProtocol::Tls(_)
                | ListenerProtocol::Redirect { .. }
                | ListenerProtocol::Decisions { .. },
                _,
            ) => None,
        });
        tls.collect()
    }
}

impl Listener {
    /// Whether its port stays with them.
    fn is_among(&self, listeners: &Listeners) -> bool {
        listeners.all.iter().any(|other| Arc::ptr_eq(&self.bound.port, &other.bound.port))
    }
}

fn tls_server<'a>(place: &Place<'a>) -> Option<&'a Arc<TlsServer>> {
    match place {
        Place::Kept(Listener { bound: BoundListener { spoken, .. }, .. }) => match &spoken.protocol {
            Protocol::Https(server) => Some(server),
            Protocol::Http | Protocol::Redirect(_) | Protocol::Decisions(_) => None,
        },
        Place::Passed(_) | Place::New(_) => None,
    }
}

/// One that is named as before stays, whatever its name means by now, and one that is named otherwise where it is already.
async fn places<'a>(
    settings: &Settings,
    passed: &'a PassedSockets,
    former: &'a [Listener],
) -> Result<Vec<Place<'a>>, StartError> {
    let mut left: Vec<&Listener> = former.iter().collect();
    let mut take = |is_it: &dyn Fn(&Listener) -> bool| left.iter().position(|one| is_it(one)).map(|index| left.remove(index));
    let named = &settings.listeners;
    let by_name: Vec<_> = named.iter().map(|listener| take(&|one| one.named == listener.address)).collect();
    let mut places = Vec::new();
    for (index, (listener, kept)) in named.iter().zip(by_name).enumerate() {
        let refused = |error| refused(settings, index, error);
        let place = match (kept, &listener.address) {
            (Some(kept), _) => Place::Kept(kept),
            (None, ListenAddress::Passed { name }) => {
                let socket = passed.named(name).map_err(|fault| refused(io::Error::other(fault)))?;
                take(&|one| one.bound.port.address() == socket.address()).map_or(Place::Passed(socket), Place::Kept)
            }
            (None, named @ (ListenAddress::Ip(_) | ListenAddress::Name { .. })) => {
                let address = addresses::resolve(named).await.map_err(refused)?;
                let kept = take(&|one| one.bound.port.address() == address).map(Place::Kept);
                kept.or_else(|| passed.at(address).map(Place::Passed)).unwrap_or(Place::New(address))
            }
        };
        places.push(place);
    }
    are_apart(settings, &places)?;
    Ok(places)
}

/// With a shared port the system would give a connection for one address to either; without, it lets addresses not even overlap.
fn are_apart(settings: &Settings, places: &[Place<'_>]) -> Result<(), StartError> {
    let coverage = |place: &Place<'_>| match place {
        Place::Kept(listener) => *listener.bound.port.coverage(),
        Place::Passed(socket) => coverage_at(socket.address()),
        Place::New(address) => coverage_at(*address),
    };
    for (index, place) in places.iter().enumerate() {
        let (address, own) = (place.address(), coverage(place));
        let is_taken = |earlier: &Place<'_>| {
            if settings.listen.share_port {
                address.port() != 0 && earlier.address() == address
            } else {
                own.overlaps(&coverage(earlier))
            }
        };
        if let Some(earlier) = places[..index].iter().position(is_taken) {
            let key = settings.listeners.address_key(earlier);
            let other = places[earlier].address();
            let error = if other == address {
                format!("{address} is where {key} listens")
            } else {
                format!(
                    "{address} and {other}, where {key} listens, overlap: leave one of them out, or set listen.share_port = true"
                )
            };
            return Err(refused(settings, index, io::Error::other(error)));
        }
    }
    Ok(())
}

fn unusable(index: usize, error: &rustls::Error) -> StartError {
    StartError::Certificates(format!("listeners[{index}].tls: {error}"))
}

fn refused(settings: &Settings, index: usize, error: io::Error) -> StartError {
    let address = settings.listeners.iter().nth(index).unwrap_or(settings.listeners.first()).address.clone();
    StartError::Listen { key: settings.listeners.address_key(index), address, error }
}
