//! The access log as a worker keeps it: what is gathered of a request, and the line that is made of it at its end.
//!
//! A worker writes its lines into a buffer of its own, and hands them over many at a time: at its ticks, and when there are many. Nothing
//! waits for whoever takes them.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{REFERER, USER_AGENT};
use http::request::Parts;
use http::{HeaderValue, StatusCode, Version};

use super::client::connection::ClientConnection;
use super::client::unread::Unread;
use super::meter::Row;
use crate::domain::access_log::{Entry, Field, Keep, LINE_BYTES_MAX, Last, Layout, QueryValues, query, referer};
use crate::domain::claims::Principal;
use crate::domain::headers::trace;
use crate::domain::host::Host;
use crate::domain::meters::{EndpointName, Outcome, RowName, Spans};
use crate::domain::path::CanonicalTarget;
use crate::domain::peer::Peer;
use crate::domain::problem_code::ProblemCode;
use crate::domain::time::Clock;

/// Takes lines, or drops and counts them. Never waits.
pub trait LineSink: fmt::Debug + Send + Sync {
    /// Whole lines, so many.
    fn take(&self, lines: &[u8], count: u64);
}

/// What the settings say of the access log.
#[derive(Debug)]
pub struct AccessLog {
    pub layout: Layout,
    pub keep: Keep,
    pub query_values: QueryValues,
    /// The node's name.
    pub node: String,
    pub sink: Arc<dyn LineSink>,
}

/// So much waits in a worker at the most, beside one line.
const PENDING_BYTES: usize = 16 * 1024;

/// One worker's access log.
pub(in crate::proxy) struct WorkerLog {
    /// `None`: off.
    rules: RefCell<Option<Rc<Rules>>>,
    pending: RefCell<Pending>,
    clock: Arc<dyn Clock>,
}

/// The settings as the worker has them: held by requests without a count that other cores touch.
struct Rules {
    log: Arc<AccessLog>,
    wanted: Wanted,
}

/// Which fields lines have, each a bit.
#[derive(Clone, Copy)]
struct Wanted(u64);

impl Wanted {
    fn of(layout: &Layout) -> Self {
        Self(layout.fields.iter().fold(0, |wanted, field| wanted | 1 << field.index()))
    }

    const fn has(self, field: Field) -> bool {
        self.0 & (1 << field.index()) != 0
    }
}

/// Lines that were not handed over yet.
#[derive(Default)]
struct Pending {
    lines: Vec<u8>,
    count: u64,
}

impl WorkerLog {
    pub(in crate::proxy) fn new(log: Option<&Arc<AccessLog>>, clock: Arc<dyn Clock>) -> Rc<Self> {
        Rc::new(Self { rules: RefCell::new(rules(log)), pending: RefCell::default(), clock })
    }

    /// Goes by other settings from now on. What was written goes where the former ones say.
    pub(in crate::proxy) fn follow(&self, log: Option<&Arc<AccessLog>>) {
        self.flush();
        *self.rules.borrow_mut() = rules(log);
    }

    /// Hands over what was written.
    pub(in crate::proxy) fn flush(&self) {
        let mut pending = self.pending.borrow_mut();
        if pending.count > 0 {
            if let Some(rules) = &*self.rules.borrow() {
                rules.log.sink.take(&pending.lines, pending.count);
            }
            pending.lines.clear();
            pending.count = 0;
        }
    }

    /// Whoever sends a request may have a line in the end. `None`: nobody has.
    pub(in crate::proxy) fn begin(self: &Rc<Self>, client: &ClientConnection) -> Option<Box<Line>> {
        let wanted = self.rules.borrow().as_ref()?.wanted;
        let line = Line { log: Rc::clone(self), wanted, entry: RefCell::default() };
        line.comes_from(client.peer);
        if let Some(shown) = client.certificate.as_ref() {
            line.text(Field::CertificateSubject, || shown.fields.subject().map(HeaderValue::as_bytes));
        }
        Some(Box::new(line))
    }

    /// Notes what was refused before it was read as a request.
    pub(in crate::proxy) fn refused(self: &Rc<Self>, peer: Peer, unread: &Unread<'_>) {
        let Some(wanted) = self.rules.borrow().as_ref().map(|rules| rules.wanted) else { return };
        let line = Line { log: Rc::clone(self), wanted, entry: RefCell::default() };
        line.comes_from(peer);
        line.text(Field::Protocol, || unread.version.map(|version| name_of(version).as_bytes()));
        if let Some(head) = unread.head {
            line.text(Field::Method, || Some(head.method.as_str().as_bytes()));
        }
        line.is_told(unread.code);
        line.end(&Ending {
            met: &RowName::Endpoint(EndpointName::Nothing),
            status: Some(unread.status),
            outcome: Outcome::Refused,
            request_bytes: 0,
            response_bytes: 0,
            spans: None,
        });
    }

    /// Nanoseconds since an arbitrary start.
    pub(in crate::proxy) fn nanos(&self) -> u64 {
        self.clock.nanos()
    }

    fn write(&self, entry: &mut Entry, ending: &Ending<'_>) {
        let rules = self.rules.borrow();
        // They may have changed since the request began.
        let Some(Rules { log, wanted }) = rules.as_deref() else { return };
        let Ending { met, status, outcome, request_bytes, response_bytes, spans } = *ending;
        let id = entry.text(Field::RequestId).unwrap_or_default();
        if !log.keep.keeps(id, status, outcome, spans.map_or(0, |spans| spans.total)) {
            return;
        }
        if wanted.has(Field::Node) {
            entry.set(Field::Node, log.node.as_bytes());
        }
        let mut pending = self.pending.borrow_mut();
        let Pending { lines, count } = &mut *pending;
        lines.reserve(LINE_BYTES_MAX);
        let last = Last { time: self.clock.now(), met, status, outcome, request_bytes, response_bytes, spans };
        log.layout.write(entry, &last, lines);
        *count += 1;
        let is_much = lines.len() >= PENDING_BYTES;
        drop(pending);
        drop(rules);
        if is_much {
            self.flush();
        }
    }
}

fn rules(log: Option<&Arc<AccessLog>>) -> Option<Rc<Rules>> {
    log.map(|log| Rc::new(Rules { log: Arc::clone(log), wanted: Wanted::of(&log.layout) }))
}

/// What was written is handed over, also where the worker fails.
impl Drop for WorkerLog {
    fn drop(&mut self) {
        self.flush();
    }
}

impl fmt::Debug for WorkerLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerLog").finish_non_exhaustive()
    }
}

/// How a request ended.
#[derive(Clone, Copy)]
pub(in crate::proxy) struct Ending<'a> {
    pub(in crate::proxy) met: &'a RowName,
    pub(in crate::proxy) status: Option<StatusCode>,
    pub(in crate::proxy) outcome: Outcome,
    pub(in crate::proxy) request_bytes: u64,
    pub(in crate::proxy) response_bytes: u64,
    pub(in crate::proxy) spans: Option<Spans>,
}

/// What is gathered of one request. Of what no line would tell, nothing is.
pub(in crate::proxy) struct Line {
    log: Rc<WorkerLog>,
    wanted: Wanted,
    entry: RefCell<Entry>,
}

impl Line {
    fn set(&self, field: Field, set: impl FnOnce(&mut Entry)) {
        if self.wanted.has(field) {
            set(&mut self.entry.borrow_mut());
        }
    }

    fn text<'t>(&self, field: Field, text: impl FnOnce() -> Option<&'t [u8]>) {
        self.set(field, |entry| match text() {
            Some(text) => entry.set(field, text),
            None => entry.clear(field),
        });
    }

    fn comes_from(&self, peer: Peer) {
        self.set(Field::Peer, |entry| entry.peer = Some(peer.address()));
        // Until something is known that somebody trusted tells.
        self.set(Field::Client, |entry| entry.client = Some(peer.address().ip().to_canonical()));
    }

    /// What came, and under which id. The id decides which requests are sampled, so it is kept in any case.
    pub(in crate::proxy) fn begins(&self, id: &HeaderValue, head: &Parts) {
        self.entry.borrow_mut().set(Field::RequestId, id.as_bytes());
        self.text(Field::Protocol, || Some(name_of(head.version).as_bytes()));
        self.sees(head);
    }

    /// What the head says, which may be that of a request in question.
    pub(in crate::proxy) fn sees(&self, head: &Parts) {
        self.text(Field::Method, || Some(head.method.as_str().as_bytes()));
        self.text(Field::TraceId, || trace::id(&head.headers).map(str::as_bytes));
        self.text(Field::UserAgent, || head.headers.get(USER_AGENT).map(HeaderValue::as_bytes));
        self.set(Field::Referer, |entry| match head.headers.get(REFERER) {
            Some(value) => {
                let rules = self.log.rules.borrow();
                let none = QueryValues::default();
                let shown = rules.as_ref().map_or(&none, |rules| &rules.log.query_values);
                entry.set(Field::Referer, &referer(value.as_bytes(), shown));
            }
            None => entry.clear(Field::Referer),
        });
    }

    /// Where it goes, in the form that decides.
    pub(in crate::proxy) fn is_for(&self, host: Option<&Host>, target: &CanonicalTarget<'_>) {
        self.text(Field::Host, || host.map(|host| host.field().as_bytes()));
        self.text(Field::Path, || Some(target.path().as_bytes()));
        self.set(Field::Query, |entry| {
            if let (Some(asked), Some(rules)) = (target.query().strip_prefix('?'), self.log.rules.borrow().as_ref()) {
                entry.set(Field::Query, query(asked, &rules.log.query_values).as_bytes());
            }
        });
    }

    /// A path that has no such form, as it came.
    pub(in crate::proxy) fn is_refused(&self, head: &Parts) {
        self.set(Field::Path, |entry| {
            let path = head.uri.path();
            if entry.text(Field::Path).is_none() && !path.is_empty() {
                entry.set(Field::Path, path.as_bytes());
            }
        });
    }

    /// Whose request it is. `scheme`: that of the client's own request.
    pub(in crate::proxy) fn is_of(&self, client: std::net::IpAddr, scheme: &[u8]) {
        self.set(Field::Client, |entry| entry.client = Some(client));
        self.text(Field::Scheme, || Some(scheme));
    }

    /// In whose name it is made.
    pub(in crate::proxy) fn speaks_for(&self, principal: &Principal) {
        self.text(Field::Subject, || Some(principal.subject.as_str().as_bytes()));
        self.set(Field::Session, |entry| {
            if let Some(session) = &principal.session {
                entry.set_shown(Field::Session, session);
            }
        });
    }

    /// Which server of which upstream was asked last.
    pub(in crate::proxy) fn asks(&self, upstream: &str, target: &dyn fmt::Display) {
        self.text(Field::Upstream, || Some(upstream.as_bytes()));
        self.set(Field::Target, |entry| entry.set_shown(Field::Target, &target));
    }

    /// What the client is told of a refusal.
    pub(in crate::proxy) fn is_told(&self, code: Option<ProblemCode>) {
        self.set(Field::Code, |entry| entry.code = code);
    }

    pub(in crate::proxy) fn end(self, ending: &Ending<'_>) {
        self.log.write(&mut self.entry.borrow_mut(), ending);
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

fn name_of(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// The line of a request that became a tunnel: written when the tunnel ends.
#[derive(Debug)]
pub(in crate::proxy) struct TunnelLine {
    /// Until it is written.
    line: Option<Box<Line>>,
    row: Rc<Row>,
    began: u64,
    /// Until the upstream was asked, and from there until its consent.
    before: Spans,
    to_client: Cell<u64>,
    to_upstream: Cell<u64>,
    outcome: Cell<Outcome>,
}

impl TunnelLine {
    /// `began`: the moment of the request. `before`: the spans up to the consent.
    pub(in crate::proxy) const fn new(line: Box<Line>, row: Rc<Row>, began: u64, before: Spans) -> Self {
        Self {
            line: Some(line),
            row,
            began,
            before,
            to_client: Cell::new(0),
            to_upstream: Cell::new(0),
            // Until the tunnel is open.
            outcome: Cell::new(Outcome::ClientGone),
        }
    }

    pub(in crate::proxy) fn ends(&self, outcome: Outcome) {
        self.outcome.set(outcome);
    }

    pub(in crate::proxy) fn passed(&self, to_client: u64, to_upstream: u64) {
        self.to_client.set(self.to_client.get() + to_client);
        self.to_upstream.set(self.to_upstream.get() + to_upstream);
    }
}

impl Drop for TunnelLine {
    fn drop(&mut self) {
        let Some(line) = self.line.take() else { return };
        let total = line.log.nanos().saturating_sub(self.began);
        line.end(&Ending {
            met: &self.row.name,
            status: Some(StatusCode::SWITCHING_PROTOCOLS),
            outcome: self.outcome.get(),
            request_bytes: self.to_upstream.get(),
            response_bytes: self.to_client.get(),
            spans: Some(Spans { total, ..self.before }),
        });
    }
}
