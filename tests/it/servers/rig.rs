//! A gateway's binary before such a server, and raw bytes for it.

use std::io::Write as _;
use std::marker::PhantomData;

use crate::support::gateway::Gateway;
use crate::support::http::{Message, connect};
use crate::support::servers::Server;

/// A gateway before a server that outlives it, and a token of user-1.
pub(super) struct Site<'s> {
    pub(super) gateway: Gateway,
    pub(super) token: String,
    _server: PhantomData<&'s ()>,
}

impl<'s> Site<'s> {
    /// `/public` needs no token, all else does.
    pub(super) fn before(server: &'s impl Server) -> Self {
        Self::of(Gateway::start(server, &[]))
    }

    /// `tables` must have routes; the upstream is called `api`. `set` is as for `--set`.
    pub(super) fn with(server: &'s impl Server, tables: &str, set: &[(&str, &str)]) -> Self {
        Self::of(Gateway::of(server, tables, set))
    }

    fn of(gateway: Gateway) -> Self {
        let token = gateway.client().log_in("user-1").access;
        Self { gateway, token, _server: PhantomData }
    }

    /// With the token.
    pub(super) fn get(&self, path: &str) -> Message {
        self.ask("GET", path, "a", &format!("Authorization: Bearer {}\r\n", self.token))
    }

    /// Without a body. Each of the `fields` ends its line.
    pub(super) fn ask(&self, method: &str, path: &str, host: &str, fields: &str) -> Message {
        self.say(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n"))
    }

    /// The response to one request, as it is written, on a connection of its own.
    pub(super) fn say(&self, request: impl AsRef<[u8]>) -> Message {
        let mut stream = connect(self.gateway.address()).unwrap();
        stream.write_all(request.as_ref()).unwrap();
        Message::read(&mut std::io::BufReader::new(stream), |_| false).unwrap().expect("a response")
    }
}
