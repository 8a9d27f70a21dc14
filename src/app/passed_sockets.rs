//! Sockets that the service manager opened before this process, and passed to it (socket activation).

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::SockRef;

/// They are kept for the life of the process: the service manager goes on to hold them, so nobody else could bind their addresses.
#[derive(Debug, Default)]
pub struct PassedSockets {
    sockets: Vec<PassedSocket>,
    /// Why sockets that the environment speaks of are not taken, if they are not.
    ignored: Option<String>,
}

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
    /// One of them is no TCP socket that listens, or two listen at one address, or their number is none.
    pub fn of_environment(environment: &[(String, String)]) -> Result<Self, String> {
        let variable = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let (count, pid) = (variable("LISTEN_FDS"), variable("LISTEN_PID").filter(|pid| !pid.is_empty()));
        let Some(count) = count else { return Ok(Self::default()) };
        if let Some(pid) = pid.filter(|pid| *pid != std::process::id().to_string()) {
            let cause = format!(
                "LISTEN_PID=\"{pid}\" is another process than this one, so the sockets that LISTEN_FDS speaks of are not taken"
            );
            return Ok(Self { sockets: Vec::new(), ignored: Some(cause) });
        }
        let invalid = |_| format!("LISTEN_FDS=\"{count}\": allowed is the number of sockets that are passed");
        let count = count.parse::<u16>().map_err(invalid)?;
        let mut names = variable("LISTEN_FDNAMES").unwrap_or_default().split(':');
        // It reads the environment of the process once more, and knows of a first descriptor other than 3 (systemfd's LISTEN_FDS_FIRST_FD).
        let mut passed = ListenFd::from_env();
        let sockets = (0..usize::from(count)).map(|index| {
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
            let taken =
                passed.take_tcp_listener(index).and_then(|listener| listener.ok_or_else(|| io::Error::other("it is not there")));
            let fault = |error: io::Error| format!("the socket {name} that the service manager passed cannot be used: {error}");
            taken.and_then(|listener| PassedSocket::new(name.clone(), listener)).map_err(fault)
        });
        Self::of(sockets.collect::<Result<_, _>>()?)
    }

    /// The kernel divides the connections for one address among its sockets, and a listener takes one: those of the others would hang.
    fn of(sockets: Vec<PassedSocket>) -> Result<Self, String> {
        for (index, socket) in sockets.iter().enumerate() {
            if let Some(other) = sockets[..index].iter().find(|other| other.address == socket.address) {
                return Err(format!(
                    "the service manager passed two sockets at one address, {other} and {socket}: pass one (ReusePort= is of no use \
                     here, all workers take connections from it)"
                ));
            }
        }
        Ok(Self { sockets, ignored: None })
    }

    /// Tells why sockets are not taken, if they are not.
    pub(super) fn warn(&self) {
        if let Some(cause) = &self.ignored {
            tracing::warn!(cause, "sockets of the service manager are not taken");
        }
    }

    /// # Errors
    /// There is none of this name, or more than one.
    pub(super) fn named(&self, name: &str) -> Result<&PassedSocket, String> {
        let mut named = self.sockets.iter().filter(|socket| socket.name == name);
        match (named.next(), named.next()) {
            (Some(socket), None) => Ok(socket),
            (Some(_), Some(_)) => {
                Err("several of the sockets that the service manager passed have this name: give each a FileDescriptorName"
                    .to_owned())
            }
            (None, _) if self.sockets.is_empty() => Err("the service manager passed no sockets".to_owned()),
            (None, _) => Err(format!("the service manager passed no socket of this name, but {}", listed(&self.sockets))),
        }
    }

    pub(super) fn at(&self, address: SocketAddr) -> Option<&PassedSocket> {
        self.sockets.iter().find(|socket| socket.address == address)
    }

    /// # Errors
    /// Names those whose addresses no listener has: connections would come there, and nobody would take them.
    pub(super) fn all_taken_by(&self, listeners: &[SocketAddr]) -> Result<(), String> {
        let left: Vec<_> = self.sockets.iter().filter(|socket| !listeners.contains(&socket.address)).collect();
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
        PassedSockets::of(names.iter().map(socket).collect()).unwrap()
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
        let all: Vec<_> = sockets.sockets.iter().map(PassedSocket::address).collect();
        assert_eq!(sockets.all_taken_by(&all), Ok(()));
        let fault = sockets.all_taken_by(&all[1..]).unwrap_err();
        assert!(fault.contains("web (127.0.0.1:") && !fault.contains("twice"), "{fault}");
    }

    #[test]
    fn two_sockets_at_one_address_are_refused_since_one_of_them_would_be_nobodys() {
        let socket =
            |name: &str, listener: &TcpListener| PassedSocket::new(name.to_owned(), listener.try_clone().unwrap()).unwrap();
        let (one, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        assert!(PassedSockets::of(vec![socket("a", &one), socket("b", &other)]).is_ok());
        let fault = PassedSockets::of(vec![socket("a", &one), socket("c", &other), socket("b", &one)]).unwrap_err();
        let address = one.local_addr().unwrap();
        assert!(fault.contains(&format!("a ({address}) and b ({address})")), "{fault}");
    }

    #[test]
    fn what_the_environment_says_and_is_not_taken_is_told() {
        let of = |variables: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            PassedSockets::of_environment(&variables.iter().map(owned).collect::<Vec<_>>())
        };
        assert!(of(&[("PATH", "/bin"), ("LISTEN_PID", "1")]).unwrap().ignored.is_none());
        let others = of(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "1")]).unwrap();
        assert!(others.sockets.is_empty() && others.ignored.unwrap().contains("LISTEN_PID=\"1\""));
        let fault = of(&[("LISTEN_FDS", "one"), ("LISTEN_PID", &std::process::id().to_string())]).unwrap_err();
        assert!(fault.starts_with("LISTEN_FDS=\"one\""), "{fault}");
        assert!(of(&[("LISTEN_FDS", "0")]).unwrap().sockets.is_empty());
        // The process of this test has none.
        let fault = of(&[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "web")]).unwrap_err();
        assert!(fault.contains("the socket web ") && fault.ends_with("it is not there"), "{fault}");
    }

    #[test]
    fn what_does_not_listen_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = TcpListener::from(std::os::fd::OwnedFd::from(connection));
        assert!(PassedSocket::new("web".to_owned(), socket).is_err());
    }
}
