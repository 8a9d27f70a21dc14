//! Sockets that the service manager opened before this process, and passed to it (socket activation).

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::SockRef;

/// They are kept for the life of the process: the service manager goes on to hold them, so nobody else could bind their addresses.
#[derive(Debug, Default)]
pub struct PassedSockets(Vec<PassedSocket>);

/// One that listens.
#[derive(Debug)]
pub(super) struct PassedSocket {
    name: String,
    address: SocketAddr,
    listener: TcpListener,
}

impl PassedSockets {
    /// Takes those that the environment speaks of. To be called once.
    ///
    /// # Errors
    /// One of them is no TCP socket that listens.
    pub fn of_environment(environment: &[(String, String)]) -> Result<Self, String> {
        let names = environment.iter().find(|(key, _)| key == "LISTEN_FDNAMES").map(|(_, names)| names.as_str());
        let mut names = names.unwrap_or_default().split(':');
        let mut passed = ListenFd::from_env();
        let sockets = (0..passed.len()).filter_map(|index| {
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
            let fault = |error: io::Error| format!("the socket {name} that the service manager passed cannot be used: {error}");
            match passed.take_tcp_listener(index) {
                Ok(listener) => Some(PassedSocket::new(name.clone(), listener?).map_err(fault)),
                Err(error) => Some(Err(fault(error))),
            }
        });
        sockets.collect::<Result<_, _>>().map(Self)
    }

    /// # Errors
    /// There is none of this name, or more than one.
    pub(super) fn named(&self, name: &str) -> Result<&PassedSocket, String> {
        let mut named = self.0.iter().filter(|socket| socket.name == name);
        match (named.next(), named.next()) {
            (Some(socket), None) => Ok(socket),
            (Some(_), Some(_)) => {
                Err("several of the sockets that the service manager passed have this name: give each a FileDescriptorName"
                    .to_owned())
            }
            (None, _) if self.0.is_empty() => Err("the service manager passed no sockets".to_owned()),
            (None, _) => Err(format!("the service manager passed no socket of this name, but {}", listed(&self.0))),
        }
    }

    pub(super) fn at(&self, address: SocketAddr) -> Option<&PassedSocket> {
        self.0.iter().find(|socket| socket.address == address)
    }

    /// # Errors
    /// Names those whose addresses no listener has: connections would come there, and nobody would take them.
    pub(super) fn all_taken_by(&self, listeners: &[SocketAddr]) -> Result<(), String> {
        let left: Vec<_> = self.0.iter().filter(|socket| !listeners.contains(&socket.address)).collect();
        if left.is_empty() {
            return Ok(());
        }
        let mend = "give a listener its address, or address = \"systemd:NAME\", or stop its socket unit";
        Err(format!("no listener takes a socket that the service manager passed: {}; {mend}", listed(left)))
    }
}

fn listed<'a>(sockets: impl IntoIterator<Item = &'a PassedSocket>) -> String {
    sockets.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl PassedSocket {
    fn new(name: String, listener: TcpListener) -> io::Result<Self> {
        if !SockRef::from(&listener).is_listener()? {
            return Err(io::Error::other("it does not listen; its unit must not say Accept=yes"));
        }
        Ok(Self { name, address: listener.local_addr()?, listener })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The socket with its queue, once more.
    pub(super) fn listener(&self) -> io::Result<TcpListener> {
        self.listener.try_clone()
    }
}

impl fmt::Display for PassedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(names: &[&str]) -> PassedSockets {
        let socket = |name: &&str| PassedSocket::new((*name).to_owned(), TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        PassedSockets(names.iter().map(socket).collect())
    }

    #[test]
    fn one_is_found_by_its_name_or_its_address_and_what_is_left_is_named() {
        let sockets = passed(&["web", "twice", "twice"]);
        let web = sockets.named("web").unwrap();
        assert_eq!(sockets.at(web.address()).unwrap().name, "web");
        assert!(sockets.at("127.0.0.1:1".parse().unwrap()).is_none());
        assert!(sockets.named("twice").unwrap_err().contains("several"));
        let fault = sockets.named("other").unwrap_err();
        assert!(fault.contains(&format!("web ({})", web.address())), "{fault}");
        assert!(passed(&[]).named("web").is_err());
        let all: Vec<_> = sockets.0.iter().map(PassedSocket::address).collect();
        assert_eq!(sockets.all_taken_by(&all), Ok(()));
        let fault = sockets.all_taken_by(&all[1..]).unwrap_err();
        assert!(fault.contains("web (127.0.0.1:") && !fault.contains("twice"), "{fault}");
    }

    #[test]
    fn what_does_not_listen_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = TcpListener::from(std::os::fd::OwnedFd::from(connection));
        assert!(PassedSocket::new("web".to_owned(), socket).is_err());
    }
}
