//! A gateway as a service of systemd: what it tells, and the sockets that it is passed. There is no systemd here: the test is the socket
//! that hears, and Python or `systemd-socket-activate` pass sockets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::drain::eventually;
use crate::support::gateway::{Gateway, lasting_address};
use crate::support::http::Client;
use crate::support::upstream::Upstream;

/// Whatever is told comes within this.
const SOON: Duration = Duration::from_secs(10);

/// What a service manager hears.
struct Ear(UnixDatagram);

impl Ear {
    fn hear(&self) -> String {
        self.0.set_read_timeout(Some(SOON)).unwrap();
        self.next().expect("something is told")
    }

    fn next(&self) -> Option<String> {
        let mut text = [0; 4096];
        self.0.recv(&mut text).ok().map(|length| String::from_utf8(text[..length].to_vec()).unwrap())
    }

    /// The next that is no sign of life.
    fn hear_state(&self) -> String {
        loop {
            let heard = self.hear();
            if heard != "WATCHDOG=1\n" {
                return heard;
            }
        }
    }

    /// Forgets what came, and tells whether anything comes within the time.
    fn hears_within(&self, time: Duration) -> bool {
        self.0.set_nonblocking(true).unwrap();
        while self.next().is_some() {}
        self.0.set_nonblocking(false).unwrap();
        self.0.set_read_timeout(Some(time)).unwrap();
        self.next().is_some()
    }
}

/// `env`, which puts variables in place and becomes the gateway.
fn env(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new("env");
    command.arg("-i").args(variables.iter().map(|(name, value)| format!("{name}={value}")));
    command
}

fn monotonic_usec() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

fn usec(reloading: &str) -> i64 {
    reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap().parse().unwrap()
}

#[test]
fn the_service_manager_is_told_of_the_start_each_reload_and_the_end() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let name = format!("tokengate-it-{}", std::process::id());
    let at_path = (UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned());
    let at_name = (UnixDatagram::bind_addr(&UnixAddress::from_abstract_name(&name).unwrap()).unwrap(), format!("@{name}"));
    for (socket, said) in [at_path, at_name] {
        let ear = Ear(socket);
        let folder = tempfile::tempdir().unwrap();
        let gateway = Gateway::try_launch_through(env(&[("NOTIFY_SOCKET", &said)]), folder.path(), &upstream).unwrap();
        assert_eq!(ear.hear(), format!("READY=1\nSTATUS=serving at {}\n", gateway.address()));

        let before = monotonic_usec();
        gateway.reload(|settings| settings + "\n[tokens]\nleeway = \"5s\"\n");
        let heard = ear.hear();
        assert!(heard.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{heard}");
        assert!((before..=monotonic_usec()).contains(&usec(&heard)), "{heard}");
        let heard = ear.hear();
        assert!(heard.starts_with("READY=1\n") && heard.contains("settings reloaded"), "{heard}");

        // A reload that is refused ends too, or it would be waited for.
        std::fs::write(folder.path().join("tokengate.toml"), "[listen").unwrap();
        gateway.admin().call("POST", "/reload", None, None).expect(422);
        assert!(ear.hear().starts_with("RELOADING=1\n"));
        let heard = ear.hear();
        assert!(heard.starts_with("READY=1\n") && heard.contains("settings not reloaded"), "{heard}");

        gateway.terminate();
        assert!(ear.hear().starts_with("STOPPING=1\n"));
    }
}

#[test]
fn signs_of_life_come_while_the_gateway_lives_and_not_while_it_stands_still() {
    let (upstream, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("notify");
    let ear = Ear(UnixDatagram::bind(&path).unwrap());
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "400000")];
    let mut gateway = Gateway::try_launch_through(env(&variables), folder.path(), &upstream).unwrap();
    assert!(ear.hear_state().starts_with("READY=1\n"));
    for _ in 0..5 {
        assert_eq!(ear.hear(), "WATCHDOG=1\n");
    }
    gateway.signal("STOP");
    thread::sleep(Duration::from_millis(100));
    assert!(!ear.hears_within(Duration::from_secs(1)), "it stands still");
    gateway.signal("CONT");
    assert!(ear.hears_within(SOON), "it goes on");

    // While it drains, it lives.
    let mut held = gateway.client();
    let token = held.log_in("ann").access;
    thread::scope(|scope| {
        let held = scope.spawn(|| held.get("/api/held", Some(&token)));
        upstream.await_held(1);
        gateway.terminate();
        assert!(ear.hear_state().starts_with("STOPPING=1\n"));
        for _ in 0..5 {
            assert_eq!(ear.hear(), "WATCHDOG=1\n");
        }
        upstream.release();
        held.join().unwrap().expect(200);
    });
    assert!(gateway.wait(SOON).is_some());
}

/// Opens sockets at these addresses and passes them, as systemd does. A name that begins with `-` is of a socket that does not listen.
const PASSER: &str = r#"
import os, socket, sys
names, sockets = [], []
arguments = sys.argv[1:]
while arguments[0] != "--":
    name, host, port = arguments.pop(0).split(",")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    passed = socket.socket(family)
    passed.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    passed.bind((host, int(port)))
    if not name.startswith("-"):
        passed.listen(64)
    names.append(name)
    sockets.append(passed)
high = [os.dup2(one.fileno(), 100 + index) for index, one in enumerate(sockets)]
for index, descriptor in enumerate(high):
    os.dup2(descriptor, 3 + index, inheritable=True)
    os.close(descriptor)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=":".join(names))
os.execv(arguments[1], arguments[1:])
"#;

fn passing(sockets: &[(&str, SocketAddr)]) -> Command {
    let mut command = Command::new("python3");
    command
        .args(["-c", PASSER])
        .args(sockets.iter().map(|(name, address)| format!("{name},{},{}", address.ip(), address.port())));
    command.arg("--");
    command
}

/// A folder with settings for these listeners.
fn settings_for(upstream: &Upstream, listeners: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_settings(folder.path(), upstream, listeners);
    folder
}

fn write_settings(folder: &Path, upstream: &Upstream, listeners: &[&str]) {
    let listeners: Vec<_> = listeners.iter().map(|address| format!("[[listeners]]\naddress = \"{address}\"\n")).collect();
    let text = format!(
        "[listen]\nworkers = 2\n[store]\nkind = \"memory\"\n[admin]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n\
         [upstreams.api]\nurl = \"{}\"\n[[routes]]\nname = \"public\"\nprefix = \"/public\"\naccess = \"public\"\n{}",
        upstream.url(),
        listeners.concat()
    );
    std::fs::write(folder.join("tokengate.toml"), text).unwrap();
}

#[test]
fn sockets_that_are_passed_are_taken_by_name_or_address_and_the_others_are_bound() {
    let upstream = Upstream::start();
    let (by_name, by_address, bound) = (lasting_address(), lasting_address(), lasting_address());
    let listeners = ["systemd:web".to_owned(), by_address.to_string(), bound.to_string()];
    let listeners = listeners.each_ref().map(String::as_str);
    let folder = settings_for(&upstream, &listeners);
    let program = passing(&[("other", by_address), ("web", by_name)]);
    let gateway = Gateway::try_launch_through(program, folder.path(), &upstream).unwrap_or_else(|log| panic!("{log}"));
    assert_eq!(gateway.address(), by_name);
    for address in [by_name, by_address, bound] {
        Client::new(address).get("/public", None).expect(200);
    }

    // What is passed stays with the process, whatever is reloaded.
    let reload = |listeners: &[&str]| {
        write_settings(folder.path(), &upstream, listeners);
        gateway.admin().call("POST", "/reload", None, None)
    };
    let mut kept = gateway.client();
    kept.get("/public", None).expect(200);
    reload(&["systemd:web"]).expect(200);
    eventually("the bound one is gone", || TcpStream::connect(bound).is_err());
    reload(&listeners).expect(200);
    for address in [by_name, by_address, bound] {
        Client::new(address).get("/public", None).expect(200);
    }
    kept.get("/public", None).expect(200);
    let refused = reload(&["systemd:another"]).expect(422).text();
    assert!(refused.contains("systemd:another") && refused.contains(&format!("web ({by_name})")), "{refused}");
}

#[test]
fn sockets_that_nobody_takes_or_that_are_of_no_use_are_named() {
    let upstream = Upstream::start();
    let (one, other) = (lasting_address(), lasting_address());
    let refused = |listeners: &[&str], sockets: &[(&str, SocketAddr)]| {
        let folder = settings_for(&upstream, listeners);
        let launched = Gateway::try_launch_through(passing(sockets), folder.path(), &upstream);
        launched.map(|_| ()).expect_err("it does not start")
    };
    let said = refused(&[&one.to_string()], &[("web", one), ("left", other)]);
    assert!(said.contains(&format!("no listener takes a socket that the service manager passed: left ({other})")), "{said}");
    let said = refused(&["systemd:wbe"], &[("web", one)]);
    assert!(said.contains("systemd:wbe (listeners[0].address)") && said.contains(&format!("web ({one})")), "{said}");
    let said = refused(&["systemd:web"], &[("web", one), ("web", other)]);
    assert!(said.contains("FileDescriptorName"), "{said}");
    let said = refused(&["systemd:web"], &[]);
    assert!(said.contains("passed no sockets"), "{said}");
    let said = refused(&["systemd:-web"], &[("-web", one)]);
    assert!(said.contains("does not listen"), "{said}");
}

#[test]
fn systemd_socket_activate_starts_it_with_the_first_connection_which_is_served() {
    let upstream = Upstream::start();
    let address = lasting_address();
    let folder = settings_for(&upstream, &["systemd:web"]);
    let mut program = Command::new("systemd-socket-activate");
    program.args(["-l", &address.to_string(), "--fdname=web", "--"]);
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            let mut connection = loop {
                if let Ok(connection) = TcpStream::connect(address) {
                    break connection;
                }
                thread::sleep(Duration::from_millis(10));
            };
            connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            connection.write_all(b"GET /public HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
            let mut response = String::new();
            connection.read_to_string(&mut response).unwrap();
            response
        });
        let gateway = Gateway::try_launch_through(program, folder.path(), &upstream).unwrap_or_else(|log| panic!("{log}"));
        assert_eq!(gateway.address(), address);
        let response = first.join().unwrap();
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        Client::new(address).get("/public", None).expect(200);
    });
    // It was the only holder.
    assert!(TcpListener::bind(address).is_ok());
}
