//! What is noted of one request, from its head to the end of its response.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};

use crate::domain::meters::{Ended, MethodClass, Outcome, Spans, StatusClass, StreamKind};
use crate::proxy::access_log::{Ending, Line, TunnelLine, WorkerLog};
use crate::proxy::client::exchange::Exchange;
use crate::proxy::meter::{Meter, Open, Row};

/// An exchange with what is noted of it. It ends when this is dropped, however far it has come then.
#[derive(Debug)]
pub(in crate::proxy) struct Record {
    exchange: Exchange,
    meter: Rc<Meter>,
    row: OnceCell<Rc<Row>>,
    method: MethodClass,
    status: Cell<Option<StatusCode>>,
    outcome: Cell<Outcome>,
    began: u64,
    /// When an upstream was asked, and when it had answered or failed; 0: not yet.
    asked: Cell<u64>,
    answered: Cell<u64>,
    response: Response,
    /// For the access log, where it is on; until it is a tunnel's.
    line: RefCell<Option<Box<Line>>>,
}

/// How far the response has come.
#[derive(Debug, Default)]
struct Response {
    /// Whether it is an upstream's.
    is_streamed: Cell<bool>,
    bytes: Cell<u64>,
    /// What was handed on of it, in pieces.
    pieces: Cell<u32>,
    /// Whether more of it was waited for.
    has_waited: Cell<bool>,
    open: OnceCell<Open>,
}

impl Record {
    pub(in crate::proxy) fn begin(meter: &Rc<Meter>, log: &Rc<WorkerLog>, exchange: Exchange, method: &Method) -> Self {
        exchange.watch().body_begins();
        Self {
            line: RefCell::new(log.begin(exchange.client())),
            exchange,
            row: OnceCell::new(),
            method: MethodClass::of(method),
            status: Cell::new(None),
            outcome: Cell::new(Outcome::ClientGone),
            began: meter.now(),
            asked: Cell::new(0),
            answered: Cell::new(0),
            response: Response::default(),
            meter: Rc::clone(meter),
        }
    }

    pub(in crate::proxy) const fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    pub(in crate::proxy) const fn meter(&self) -> &Rc<Meter> {
        &self.meter
    }

    /// What the request met is known: the first word counts.
    pub(in crate::proxy) fn enter(&self, row: &Rc<Row>) {
        self.row.get_or_init(|| {
            row.requests.begin();
            Rc::clone(row)
        });
    }

    pub(in crate::proxy) fn asks_upstream(&self) {
        self.asked.set(self.meter.now());
        self.answered.set(0);
    }

    /// The head of its response is there, or there will be none.
    pub(in crate::proxy) fn has_asked(&self) {
        self.answered.set(self.meter.now());
    }

    /// There is a response.
    pub(in crate::proxy) fn responds(&self, status: StatusCode, outcome: Outcome) {
        self.status.set(Some(status));
        self.outcome.set(outcome);
    }

    /// The response is an upstream's. `length`: of its body, where it is known.
    pub(in crate::proxy) fn streams(&self, status: StatusCode, headers: &HeaderMap, length: Option<u64>) {
        self.responds(status, Outcome::Forwarded);
        self.response.is_streamed.set(true);
        if length.is_none() {
            self.response.open.get_or_init(|| self.meter.opens(kind_of(headers)));
        }
    }

    /// Gathers something for the access log, where it is on.
    pub(in crate::proxy) fn note(&self, note: impl FnOnce(&Line)) {
        if let Some(line) = &*self.line.borrow() {
            note(line);
        }
    }

    /// The upstream has consented to a tunnel, whose end is that of the line.
    pub(in crate::proxy) fn line_of_tunnel(&self) -> Option<TunnelLine> {
        let line = self.line.borrow_mut().take()?;
        Some(TunnelLine::new(line, Rc::clone(self.row()), self.began, self.spans()))
    }

    /// It ended otherwise than it had begun.
    pub(in crate::proxy) fn ends(&self, outcome: Outcome) {
        self.outcome.set(outcome);
    }

    pub(in crate::proxy) const fn outcome(&self) -> Outcome {
        self.outcome.get()
    }

    /// A piece of the response's body is handed on.
    pub(in crate::proxy) fn sends(&self, bytes: usize) {
        let response = &self.response;
        response.bytes.set(response.bytes.get() + bytes as u64);
        response.pieces.set(response.pieces.get().saturating_add(1));
    }

    /// More of the response's body is waited for.
    pub(in crate::proxy) fn waits(&self) {
        self.response.has_waited.set(true);
    }

    fn row(&self) -> &Rc<Row> {
        self.enter(self.meter.nothing());
        self.row.get().unwrap_or_else(|| self.meter.nothing())
    }

    fn spans(&self) -> Spans {
        let Response { is_streamed, pieces, has_waited, .. } = &self.response;
        // What came in one piece with its head leaves with it: the clock need not be asked again.
        let is_at_once = is_streamed.get() && pieces.get() <= 1 && !has_waited.get();
        let ended = if is_at_once { self.answered.get() } else { self.meter.now() };
        let total = ended.saturating_sub(self.began);
        match (self.asked.get(), self.answered.get()) {
            (0, _) => Spans { total, gateway: total, upstream: None },
            (asked, answered) => {
                let upstream = if answered == 0 { ended } else { answered }.saturating_sub(asked);
                // How long the rest of a stream takes is nobody's doing here.
                let gateway = if is_streamed.get() { asked - self.began } else { total.saturating_sub(upstream) };
                Spans { total, gateway, upstream: Some(upstream) }
            }
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let ended = Ended {
            method: self.method,
            status: self.status.get().map_or(StatusClass::None, StatusClass::of),
            outcome: self.outcome.get(),
            request_bytes: self.exchange.watch().body_bytes(),
            response_bytes: self.response.bytes.get(),
            spans: self.spans(),
        };
        if let Some(line) = self.line.get_mut().take() {
            let Ended { outcome, request_bytes, response_bytes, spans, .. } = ended;
            let (met, status) = (&self.row().name, self.status.get());
            line.end(&Ending { met, status, outcome, request_bytes, response_bytes, spans: Some(spans) });
        }
        self.row().requests.end(&ended);
    }
}

/// What a response is that nobody knows the length of.
fn kind_of(headers: &HeaderMap) -> StreamKind {
    let is_type = |name: &str| {
        let value = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        let begins = value.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()));
        begins && matches!(value.get(name.len()), None | Some(b';' | b' ' | b'+' | b'-'))
    };
    if is_type("text/event-stream") {
        StreamKind::EventStream
    } else if is_type("application/grpc") {
        StreamKind::Grpc
    } else {
        StreamKind::Unsized
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn streams_are_told_apart_by_their_type() {
        for (value, kind) in [
            ("text/event-stream", StreamKind::EventStream),
            ("Text/Event-Stream; charset=utf-8", StreamKind::EventStream),
            ("text/event-streams", StreamKind::Unsized),
            ("application/grpc", StreamKind::Grpc),
            ("application/grpc+proto", StreamKind::Grpc),
            ("application/grpc-web", StreamKind::Grpc),
            ("application/json", StreamKind::Unsized),
        ] {
            let headers: HeaderMap = [(CONTENT_TYPE, HeaderValue::from_static(value))].into_iter().collect();
            assert_eq!(kind_of(&headers), kind, "{value}");
        }
        assert_eq!(kind_of(&HeaderMap::new()), StreamKind::Unsized);
    }
}
