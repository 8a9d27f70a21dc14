//! What many clients do all the time, and a record of what they were told.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::gateway::{Gateway, Tokens};
use crate::support::http::{Client, Message};
use crate::support::upstream::PASSWORD;

/// Enough that every moment is covered, and little enough for a busy machine.
const PROXIED_PAUSE: Duration = Duration::from_millis(10);
const OWN_PAUSE: Duration = Duration::from_millis(40);

/// What a call asks of the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Forwarded without a token.
    Public,
    /// Forwarded with one.
    Protected,
    /// Answered by the gateway, with the help of the store.
    Own,
}

/// One call and its response.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) node: usize,
    pub(super) kind: Kind,
    pub(super) path: &'static str,
    pub(super) began: Instant,
    pub(super) took: Duration,
    pub(super) status: u16,
    pub(super) can_be_retried: bool,
    pub(super) text: String,
}

impl Call {
    pub(super) fn ended(&self) -> Instant {
        self.began + self.took
    }
}

/// Everything that was asked, in the order of the responses.
#[derive(Default)]
pub(super) struct Record(Mutex<Vec<Call>>);

impl Record {
    fn note(&self, node: usize, kind: Kind, path: &'static str, ask: impl FnOnce() -> Message) -> Message {
        let began = Instant::now();
        let response = ask();
        let call = Call {
            node,
            kind,
            path,
            began,
            took: began.elapsed(),
            status: response.status(),
            can_be_retried: response.header("retry-after").is_some(),
            text: if response.status() == 200 { String::new() } else { response.text() },
        };
        self.0.lock().unwrap().push(call);
        response
    }

    pub(super) fn into_calls(self) -> Vec<Call> {
        self.0.into_inner().unwrap()
    }
}

/// Runs the load on every node while `meanwhile` runs, which gets the chance to look at the sessions first.
///
/// Each node has a client that reads, one without a token, and one that refreshes, looks at its devices, logs in and out. None of
/// them ever takes another pair than those that it was given: at the end each still has its session.
pub(super) fn under_load(nodes: &[Gateway], meanwhile: impl FnOnce()) -> Vec<Call> {
    let (record, over) = (Record::default(), AtomicBool::new(false));
    let (record_ref, is_over) = (&record, || over.load(Ordering::SeqCst));
    thread::scope(|scope| {
        for (number, node) in nodes.iter().enumerate() {
            let tokens = node.client().log_in(&format!("reader-{number}"));
            let mut client = node.client();
            scope.spawn(move || {
                while !is_over() {
                    record_ref.note(number, Kind::Protected, "/api/me", || client.get("/api/me", Some(&tokens.access)));
                    thread::sleep(PROXIED_PAUSE);
                }
            });
            let mut client = node.client();
            scope.spawn(move || {
                while !is_over() {
                    record_ref.note(number, Kind::Public, "/public", || client.get("/public", None));
                    thread::sleep(PROXIED_PAUSE);
                }
            });
            let (held, visitor) = (node.client().log_in(&format!("owner-{number}")), format!("visitor-{number}"));
            let client = node.client();
            scope.spawn(move || Owner { record: record_ref, node: number, client, held, visitor }.work(is_over));
        }
        meanwhile();
        over.store(true, Ordering::SeqCst);
    });
    record.into_calls()
}

struct Owner<'a> {
    record: &'a Record,
    node: usize,
    client: Client,
    held: Tokens,
    visitor: String,
}

impl Owner<'_> {
    fn work(mut self, is_over: impl Fn() -> bool) {
        while !is_over() {
            let body = json!({"refreshToken": self.held.refresh});
            let response = self.ask("/refresh", |client| client.post("/refresh", &body));
            if response.status() == 200 {
                self.held = Tokens::of(&response);
            }
            let token = self.held.access.clone();
            self.ask("/sessions", |client| client.get("/sessions", Some(&token)));
            let body = json!({"email": self.visitor, "password": PASSWORD});
            let login = self.ask("/login", |client| client.post("/login", &body));
            // Without a session of its own it ends one that nobody has.
            let visitors = if login.status() == 200 { Tokens::of(&login).access } else { token };
            let scope = if login.status() == 200 { "session" } else { "others" };
            self.ask("/logout", |client| client.log_out(&visitors, scope));
        }
    }

    fn ask(&mut self, path: &'static str, ask: impl FnOnce(&mut Client) -> Message) -> Message {
        thread::sleep(OWN_PAUSE);
        self.record.note(self.node, Kind::Own, path, || ask(&mut self.client))
    }
}
