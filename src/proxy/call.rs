//! One request on its way through the gateway: where it goes, who sent it, and its body.

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::TRANSFER_ENCODING;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use http_body::Body as _;
use hyper::body::Incoming;

use super::connection::ClientConnection;
use super::gateway::Policy;
use super::raw_head::{self, Told};
use super::refusal::Refusal;
use super::upstream::{BodyFault, ClientBody, Framing, Pacing, Part, RequestBody};
use crate::domain::headers::X_REQUEST_ID;
use crate::domain::headers::forwarded::Origin;
use crate::domain::headers::framing::{check_body_framing, effective_host};
use crate::domain::headers::trace;
use crate::domain::host::Host;
use crate::domain::pace::{ByteRate, Pace};
use crate::domain::path::CanonicalTarget;

/// What the request path carries from step to step.
pub(super) struct Call<'a> {
    pub(super) policy: &'a Policy,
    pub(super) client: &'a Rc<ClientConnection>,
    pub(super) target: CanonicalTarget<'a>,
    /// `None`: a client of HTTP/1.0 that names none.
    pub(super) host: Option<Host>,
    pub(super) origin: Origin<'a>,
    /// The client, as far as trusted peers vouch for it.
    pub(super) address: IpAddr,
    pub(super) ids: &'a Ids,
    pub(super) body: CallBody,
}

/// The name under which a request is found again in logs.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    pub(super) request: HeaderValue,
}

impl Ids {
    pub(super) fn of(head: &Parts, believed: bool, entropy: [u8; 16]) -> Self {
        Self { request: trace::request_id(head.headers.get(X_REQUEST_ID), believed, entropy) }
    }
}

impl<'a> Call<'a> {
    /// Reads the head strictly: everything ambiguous ends here.
    pub(super) fn of(
        policy: &'a Policy,
        client: &'a Rc<ClientConnection>,
        ids: &'a Ids,
        head: &'a Parts,
        body: Incoming,
    ) -> Result<Self, Refusal> {
        let body = CallBody::of(body, client, policy);
        let raw = client.take_raw_head(body.framing());
        check_body_framing(head.version, &head.headers).map_err(Refusal::Malformed)?;
        check_raw_head(raw, &head.headers)?;
        let host = effective_host(&head.method, &head.uri, head.version, &head.headers).map_err(Refusal::Malformed)?;
        let path_and_query = head.uri.path_and_query().map_or("/", |target| target.as_str());
        if path_and_query.len() > client.limits.target_bytes_max() {
            return Err(Refusal::TargetTooLong);
        }
        let target = CanonicalTarget::parse(path_and_query)?;
        let origin = policy.rewrite.forwarding().origin(&client.hop, &head.headers);
        let address = origin.address();
        Ok(Self { policy, client, target, host, origin, address, ids, body })
    }
}

/// Refuses what the parser amends in silence.
fn check_raw_head(raw: Option<Told>, headers: &HeaderMap) -> Result<(), Refusal> {
    match raw {
        Some(Told { length_beside_chunks: true, .. }) => {
            Err(Refusal::Malformed("Content-Length and Transfer-Encoding together."))
        }
        Some(Told { fragment: true, .. }) => Err(Refusal::Malformed("The target has a fragment.")),
        None if headers.contains_key(TRANSFER_ENCODING) => {
            Err(Refusal::Malformed("The request cannot be told from what came before it."))
        }
        Some(_) | None => Ok(()),
    }
}

/// A request's body, until someone takes it.
pub(super) struct CallBody {
    body: RequestBody,
    framing: Framing,
    /// The longest pause within it.
    idle_timeout: Duration,
}

impl CallBody {
    fn of(incoming: Incoming, client: &Rc<ClientConnection>, policy: &Policy) -> Self {
        let framing = match incoming.size_hint().exact() {
            Some(0) => Framing::Empty,
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        let body = if framing == Framing::Empty {
            RequestBody::Empty
        } else {
            RequestBody::Client(ClientBody {
                incoming,
                bytes_left: u64::MAX,
                pace: Pacing::new(Pace::new(None, client.limits.body_idle_timeout)),
                watch: Rc::clone(&client.watch),
                trailers: (framing == Framing::Chunked).then(|| policy.rewrite.trailers()),
            })
        };
        Self { body, framing, idle_timeout: client.limits.body_idle_timeout }
    }

    fn framing(&self) -> raw_head::Body {
        match self.framing {
            Framing::Empty | Framing::Close => raw_head::Body::Length(0),
            Framing::Length(length) => raw_head::Body::Length(length),
            Framing::Chunked => raw_head::Body::Chunked,
        }
    }

    /// Bounds what may come, and how slowly; refuses at once what is announced to be larger.
    pub(super) fn limit(&mut self, bytes_max: u64, rate_min: Option<ByteRate>) -> Result<(), BodyFault> {
        if let Framing::Length(length) = self.framing
            && length > bytes_max
        {
            return Err(BodyFault::TooLarge);
        }
        if let RequestBody::Client(body) = &mut self.body {
            body.bytes_left = bytes_max;
            body.pace = Pacing::new(Pace::new(rate_min, self.idle_timeout));
        }
        Ok(())
    }

    /// Reads all of it, within the limit.
    pub(super) async fn collect(&mut self) -> Result<Bytes, BodyFault> {
        let (RequestBody::Client(mut body), _) = self.take() else { return Ok(Bytes::new()) };
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
    pub(super) fn replace(&mut self, whole: Bytes) {
        self.framing = if whole.is_empty() { Framing::Empty } else { Framing::Length(whole.len() as u64) };
        self.body = if whole.is_empty() { RequestBody::Empty } else { RequestBody::Whole(whole) };
    }

    pub(super) fn take(&mut self) -> (RequestBody, Framing) {
        let framing = std::mem::replace(&mut self.framing, Framing::Empty);
        (std::mem::replace(&mut self.body, RequestBody::Empty), framing)
    }
}
