//! One request on its way through the gateway: where it goes, who sent it, and its body.

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::request::Parts;
use http_body::Body as _;

use crate::domain::headers::forwarded::Origin;
use crate::domain::headers::framing::{check_body_framing, effective_host};
use crate::domain::headers::trace;
use crate::domain::headers::{TrailerRules, X_REQUEST_ID};
use crate::domain::host::Host;
use crate::domain::pace::{ByteRate, Pace};
use crate::domain::path::CanonicalTarget;
use crate::domain::ticket_parameter::{Misplaced, TicketsSent};
use crate::proxy::client::exchange::Exchange;
use crate::proxy::incoming::Incoming;
use crate::proxy::policy::Policy;
use crate::proxy::request::record::Record;
use crate::proxy::request::refusal::Refusal;
use crate::proxy::upstream::{BodyFault, ClientBody, Pacing, Part, RequestBody};

/// What the request path carries from step to step.
pub(in crate::proxy) struct RequestContext<'a> {
    pub(in crate::proxy) policy: &'a Policy,
    pub(in crate::proxy) exchange: &'a Exchange,
    pub(in crate::proxy) record: &'a Record,
    /// Without tickets: they go no further.
    pub(in crate::proxy) target: CanonicalTarget<'a>,
    pub(in crate::proxy) tickets: TicketsSent,
    /// `None`: a client of HTTP/1.0 that names none.
    pub(in crate::proxy) host: Option<Host>,
    pub(in crate::proxy) origin: Origin<'a>,
    /// The client, as far as trusted peers vouch for it.
    pub(in crate::proxy) address: IpAddr,
    pub(in crate::proxy) ids: &'a Ids,
    pub(in crate::proxy) body: IncomingBody,
}

/// The name under which a request is found again in logs.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Ids {
    pub(in crate::proxy) request: HeaderValue,
}

impl Ids {
    pub(in crate::proxy) fn of(head: &Parts, believed: bool, entropy: [u8; 16]) -> Self {
        Self { request: trace::request_id(head.headers.get(X_REQUEST_ID), believed, entropy) }
    }
}

impl<'a> RequestContext<'a> {
    /// Reads the head strictly: everything ambiguous ends here.
    pub(in crate::proxy) fn of(
        policy: &'a Policy,
        record: &'a Record,
        ids: &'a Ids,
        head: &'a Parts,
        body: Incoming,
    ) -> Result<Self, Refusal> {
        let exchange = record.exchange();
        let body = IncomingBody::of(body, exchange, policy);
        check_framing(exchange, head, body.body.length())?;
        let origin = policy.rewrite.forwarding().origin(&exchange.client().hop, &head.headers);
        Self::with(policy, record, ids, head, body, origin)
    }

    /// For a head that came in a question, by the peer on whose word it is to be judged.
    pub(in crate::proxy) fn in_question(
        policy: &'a Policy,
        record: &'a Record,
        ids: &'a Ids,
        head: &'a Parts,
    ) -> Result<Self, Refusal> {
        let exchange = record.exchange();
        let origin = policy.rewrite.forwarding().origin_in_question(&exchange.client().hop, &head.headers);
        let origin = origin.ok_or(Refusal::Malformed("X-Forwarded-For is missing: it says whose request is asked about."))?;
        Self::with(policy, record, ids, head, IncomingBody::of(Incoming::Empty, exchange, policy), origin)
    }

    fn with(
        policy: &'a Policy,
        record: &'a Record,
        ids: &'a Ids,
        head: &'a Parts,
        body: IncomingBody,
        origin: Origin<'a>,
    ) -> Result<Self, Refusal> {
        let (exchange, address) = (record.exchange(), origin.address());
        record.note(|line| line.is_of(address, origin.scheme()));
        let host = effective_host(&head.method, &head.uri, head.version, &head.headers, &exchange.client().last_host)
            .map_err(Refusal::Malformed)?;
        let path_and_query = head.uri.path_and_query().map_or("/", |target| target.as_str());
        if path_and_query.len() > exchange.client().limits.target_bytes_max() {
            return Err(Refusal::TargetTooLong);
        }
        let (target, tickets) = policy.tickets.take_from(CanonicalTarget::parse(path_and_query)?).map_err(misplaced)?;
        record.note(|line| line.is_for(host.as_ref(), &target));
        Ok(Self { policy, exchange, record, target, tickets, host, origin, address, ids, body })
    }
}

/// Refuses a head that can be read in two ways.
pub(in crate::proxy) fn check_framing(exchange: &Exchange, head: &Parts, length: Option<u64>) -> Result<(), Refusal> {
    exchange.check_head(head, length).map_err(Refusal::Malformed)?;
    check_body_framing(head.version, &head.headers).map_err(Refusal::Malformed)
}

fn misplaced(_: Misplaced) -> Refusal {
    Refusal::Malformed("A ticket stands in the query, as the value of its parameter, and nowhere else.")
}

/// A request's body, until someone takes it.
pub(in crate::proxy) struct IncomingBody {
    body: RequestBody,
    /// The longest pause within it.
    idle_timeout: Duration,
}

impl IncomingBody {
    pub(in crate::proxy) fn of(incoming: Incoming, exchange: &Exchange, policy: &Policy) -> Self {
        let idle_timeout = exchange.client().limits.body_idle_timeout;
        let length = incoming.size_hint().exact();
        let body = if length == Some(0) {
            RequestBody::Empty
        } else {
            RequestBody::Client(Box::new(ClientBody {
                incoming,
                length,
                bytes_left: u64::MAX,
                pace: Pacing::new(Pace::new(None, idle_timeout)),
                watch: Rc::clone(exchange.watch()),
                trailers: length.is_none().then(|| policy.rewrite.trailers(None)),
                again: None,
            }))
        };
        Self { body, idle_timeout }
    }

    /// Bounds what may come, and how slowly; refuses at once what is announced to be larger.
    pub(in crate::proxy) fn limit(&mut self, bytes_max: u64, rate_min: Option<ByteRate>) -> Result<(), BodyFault> {
        if self.body.length().is_some_and(|length| length > bytes_max) {
            return Err(BodyFault::TooLarge);
        }
        if let RequestBody::Client(body) = &mut self.body {
            body.bytes_left = bytes_max;
            body.pace = Pacing::new(Pace::new(rate_min, self.idle_timeout));
        }
        Ok(())
    }

    /// What to do with the fields behind it, if there can be some.
    pub(in crate::proxy) fn rewrite_trailers(&mut self, rules: TrailerRules) {
        if let RequestBody::Client(body) = &mut self.body
            && let Some(trailers) = &mut body.trailers
        {
            *trailers = rules;
        }
    }

    /// As far as it is known.
    pub(in crate::proxy) fn length(&self) -> Option<u64> {
        self.body.length()
    }

    /// Reads all of it, within the limit.
    pub(in crate::proxy) async fn collect(&mut self) -> Result<Bytes, BodyFault> {
        let RequestBody::Client(mut body) = self.take() else { return Ok(Bytes::new()) };
        let mut whole = BytesMut::new();
        while let Some(part) = poll_fn(|cx| body.poll_part(cx)).await {
            match part? {
                Part::Data(data) if whole.is_empty() && body.incoming.is_end_stream() => return Ok(data),
                Part::Data(data) => whole.extend_from_slice(&data),
                Part::Trailers(_) => {}
            }
        }
        Ok(whole.freeze())
    }

    /// Puts a body in the place of the one that was read.
    pub(in crate::proxy) fn replace(&mut self, whole: Bytes) {
        self.body = if whole.is_empty() { RequestBody::Empty } else { RequestBody::Whole(whole) };
    }

    pub(in crate::proxy) fn take(&mut self) -> RequestBody {
        std::mem::take(&mut self.body)
    }
}
