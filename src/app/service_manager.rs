//! What the service manager (systemd) is told, where there is one that listens: that the gateway is ready, reloads, stops and lives.
//!
//! It names its socket in `NOTIFY_SOCKET`. With `Type=notify-reload` it waits for each of these, and with `WatchdogSec=` it ends a
//! gateway that does not say in time that it lives.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::proxy::pulse::Pulses;
use crate::proxy::watch::TICK;
use crate::tasks::supervisor::Supervisor;

/// A worker shows at each tick that it lives. In half of a shorter interval, one that does might have passed none.
const WATCHDOG_MIN: Duration = TICK.saturating_mul(4);

/// What the environment says of the service manager.
#[derive(Clone, Debug, Default)]
pub struct ServiceManager {
    /// Where it listens; `None`: there is none.
    socket: Option<SocketAddr>,
    /// It wants a sign of life within each of these.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// # Errors
    /// A variable that says what cannot be.
    pub fn of_environment(environment: &[(String, String)]) -> Result<Self, String> {
        let named = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let variable = |name: &str| named(name).filter(|value| !value.is_empty());
        let refused = |name: &str, value: &str, error: &dyn std::fmt::Display| format!("{name}=\"{value}\": {error}");
        let address = |path: &str| match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(path),
        };
        let socket = variable("NOTIFY_SOCKET");
        let socket = socket.map(|path| address(path).map_err(|error| refused("NOTIFY_SOCKET", path, &error)));
        let own_pid = std::process::id().to_string();
        let is_for_us = variable("WATCHDOG_PID").is_none_or(|pid| pid == own_pid);
        let watchdog = variable("WATCHDOG_USEC").filter(|_| is_for_us);
        let micros = |text: &str| match text.parse().map(Duration::from_micros) {
            Ok(interval) if interval >= WATCHDOG_MIN => Ok(interval),
            Ok(_) | Err(_) => {
                let allowed = format!("allowed is a number of microseconds, {} or more", WATCHDOG_MIN.as_micros());
                Err(refused("WATCHDOG_USEC", text, &allowed))
            }
        };
        Ok(Self { socket: socket.transpose()?, watchdog: watchdog.map(micros).transpose()? })
    }

    /// New connections are taken.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// New settings are being read; [`Self::ready`] follows, whatever comes of them.
    pub(super) fn reloading(&self) {
        // By the moment the service manager tells one reload from another.
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading settings\n"));
    }

    /// The gateway drains, and ends.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=draining\n");
    }

    /// Says twice in each interval of the watchdog that the gateway lives: from a task of the control plane, and only while every worker
    /// passes its ticks.
    pub(super) fn keep_watchdog_quiet(&self, supervisor: &Supervisor, pulses: &Arc<Pulses>) {
        let (Some(interval), Some(_)) = (self.watchdog, &self.socket) else { return };
        let (manager, pulses) = (self.clone(), Arc::clone(pulses));
        supervisor.supervise("watchdog", move |stop| {
            let (manager, pulses) = (manager.clone(), Arc::clone(&pulses));
            async move {
                let (mut before, mut is_told) = (pulses.read(), false);
                while stop.run_until_cancelled(tokio::time::sleep(interval / 2)).await.is_some() {
                    let now = pulses.read();
                    match now.silent_since(&before) {
                        None => {
                            is_told = false;
                            manager.tell("WATCHDOG=1\n");
                        }
                        Some(worker) if !is_told => {
                            is_told = true;
                            tracing::error!(
                                worker,
                                "a worker stands still: the service manager is not told that the gateway lives"
                            );
                        }
                        Some(_) => {}
                    }
                    before = now;
                }
            }
        });
    }

    fn tell(&self, state: &str) {
        let Some(address) = &self.socket else { return };
        if let Err(error) = send(address, state) {
            tracing::warn!(%error, "the service manager cannot be told how the gateway fares");
        }
    }
}

fn send(address: &SocketAddr, state: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // Whoever does not read must not hold the gateway up.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Ambient;

    fn read(variables: &[(&str, &str)]) -> Result<ServiceManager, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        ServiceManager::of_environment(&variables.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_environment_says_where_it_listens_and_what_it_waits_for() {
        let none = read(&[("PATH", "/bin"), ("NOTIFY_SOCKET", ""), ("WATCHDOG_USEC", "")]).unwrap();
        assert!(none.socket.is_none() && none.watchdog.is_none());
        none.ready("said to nobody");
        let pid = std::process::id().to_string();
        let ours = read(&[("NOTIFY_SOCKET", "/run/notify"), ("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", &pid)]).unwrap();
        assert_eq!(ours.socket.unwrap().as_pathname().unwrap().to_str(), Some("/run/notify"));
        assert_eq!(ours.watchdog, Some(Duration::from_secs(3)));
        let not_ours = read(&[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "1")]).unwrap();
        assert_eq!(not_ours.watchdog, None);
        for micros in ["0", "-1", "3s", "1", "199999"] {
            let fault = read(&[("WATCHDOG_USEC", micros)]).unwrap_err();
            assert!(fault.starts_with("WATCHDOG_USEC=") && fault.ends_with("200000 or more"), "{fault}");
        }
    }

    #[tokio::test]
    async fn no_sign_of_life_is_given_while_a_worker_stands_still() {
        const INTERVAL: Duration = Duration::from_millis(200);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = tokio::net::UnixDatagram::bind(&path).unwrap();
        let micros = INTERVAL.as_micros().to_string();
        let manager = read(&[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", &micros)]).unwrap();
        let Ambient { clock, entropy } = Ambient::of_system();
        let supervisor = Supervisor::new(tokio::runtime::Handle::current(), clock, entropy, Arc::default());
        let pulses = Arc::new(Pulses::of_workers(2));
        manager.keep_watchdog_quiet(&supervisor, &pulses);
        // What is said while these beat for five intervals, the first of which counts for what was before.
        let heard_of = async |beating: &[usize]| {
            let mut heard = 0;
            for step in 0..50 {
                for worker in beating {
                    pulses.beat(*worker);
                }
                tokio::time::sleep(INTERVAL / 10).await;
                while socket.try_recv(&mut [0; 64]).is_ok() {
                    heard += usize::from(step > 10);
                }
            }
            heard
        };
        assert!(heard_of(&[0, 1]).await > 2);
        assert_eq!(heard_of(&[0]).await, 0);
        assert!(heard_of(&[0, 1]).await > 2, "it has come back to life");
        supervisor.shut_down(INTERVAL * 10).await;
    }

    #[test]
    fn it_is_told_at_a_path_and_at_an_abstract_name_and_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("tokengate-test-{}", std::process::id());
        let at_path = UnixDatagram::bind(&path).unwrap();
        let at_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, said) in [(at_path, path.to_str().unwrap().to_owned()), (at_name, format!("@{name}"))] {
            let manager = read(&[("NOTIFY_SOCKET", &said)]).unwrap();
            manager.ready("serving");
            manager.stopping();
            let hear = || {
                let mut text = [0; 1024];
                let length = socket.recv(&mut text).unwrap();
                String::from_utf8(text[..length].to_vec()).unwrap()
            };
            assert_eq!(hear(), "READY=1\nSTATUS=serving\n");
            assert_eq!(hear(), "STOPPING=1\nSTATUS=draining\n");
            // Its queue is full at some time.
            for _ in 0..1000 {
                manager.reloading();
            }
            assert!(hear().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        }
    }
}
