//! A process that ends with the test, however that goes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::support::redis::{PORT_ATTEMPTS_MAX, next_port};

const START_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_PAUSE: Duration = Duration::from_millis(10);

pub(crate) struct Leashed {
    pub(crate) process: Child,
    /// Ends the process when the test's is gone.
    watcher: Child,
}

impl Leashed {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let name = command.get_program().to_owned();
        let process = command
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; tests/run installs it", name.display()));
        let watcher = Command::new("sh")
            .args(["-c", "cat >/dev/null; kill -KILL $0 2>/dev/null", &process.id().to_string()])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Self { process, watcher }
    }

    /// For servers that must be told where to listen: `prepare` writes what one needs for the address, and says how to start it.
    pub(crate) fn listening(mut prepare: impl FnMut(SocketAddr) -> Command) -> (Self, SocketAddr) {
        for _ in 0..PORT_ATTEMPTS_MAX {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, next_port()));
            if TcpListener::bind(address).is_err() {
                continue;
            }
            let mut leashed = Self::spawn(&mut prepare(address));
            if leashed.listens(address) {
                return (leashed, address);
            }
        }
        panic!("the server starts on no port; its own words are above");
    }

    /// Waits for it; `false` if it ended instead.
    fn listens(&mut self, address: SocketAddr) -> bool {
        let deadline = Instant::now() + START_TIMEOUT;
        while self.process.try_wait().unwrap().is_none() {
            if TcpStream::connect(address).is_ok() {
                return true;
            }
            assert!(Instant::now() < deadline, "nobody listens at {address}");
            thread::sleep(POLL_PAUSE);
        }
        false
    }
}

impl Drop for Leashed {
    fn drop(&mut self) {
        let _ = self.watcher.kill();
        let _ = self.watcher.wait();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Debian keeps servers out of the path of ordinary users.
pub(crate) fn program(name: &str) -> String {
    let installed = format!("/usr/sbin/{name}");
    if Path::new(&installed).exists() { installed } else { name.to_owned() }
}
