//! What must hold for what upstreams send, and for what is sent to them.

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, COOKIE, HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt as _, duplex};

use super::http1::head::{ResponseFraming, read_response_head, write_request_head};
use super::request::{RequestFields, UpstreamRequest};
use crate::domain::claims::{Principal, Window};
use crate::domain::fuzz::{Input, pieces};
use crate::domain::headers::forwarded::{Forwarding, Hop};
use crate::domain::headers::framing::effective_host;
use crate::domain::headers::trace::{self, TRACEPARENT};
use crate::domain::headers::{FieldSink, IDENTITY_NAMES, IdentityFields, RewriteContext, RewriteRules, Withheld, X_REQUEST_ID};
use crate::domain::host::LastHost;
use crate::domain::ids::Subject;
use crate::domain::path::CanonicalTarget;
use crate::domain::peer::Peer;
use crate::domain::scheme::Scheme;
use crate::domain::time::Timestamp;
use crate::proxy::auth::admission::bearer_token;
use crate::proxy::http1::chunked::{Chunk, Chunks, write_chunk_size, write_last_chunk};
use crate::proxy::http1::framing::Framing;
use crate::proxy::http1::{FIELDS_MAX, Malformed};

/// Inputs beyond this are for the bounds of the readers, which differ; they are not compared.
const COMPARED_BYTES_MAX: usize = 4 * 1024;

/// A response that was read to its end.
#[derive(PartialEq, Eq, Debug)]
struct ReadResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: HeaderMap,
}

/// A choice of pieces, then a response: read the same however it arrives, and whole only where hyper says so too.
pub fn upstream_response(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (method, seed) = (if input.byte() == b'H' { Method::HEAD } else { Method::GET }, input.byte());
    let wire = input.rest();
    let whole = read_response([wire].into_iter(), &method);
    assert_eq!(read_response(pieces(wire, seed), &method), whole, "it depends on the pieces");
    if let Ok(response) = whole
        && !response.status.is_informational()
        && wire.len() <= COMPARED_BYTES_MAX
    {
        assert_eq!(read_by_hyper(wire, &method).as_ref(), Ok(&response), "hyper reads something else");
    }
}

/// The connection ends behind the last piece.
fn read_response<'a>(pieces: impl Iterator<Item = &'a [u8]>, method: &Method) -> Result<ReadResponse, Malformed> {
    const BROKEN_OFF: Malformed = Malformed("broken off");
    let mut pieces = pieces;
    let mut buffer = BytesMut::new();
    let head = loop {
        if let Some(head) = read_response_head(&mut buffer, method)? {
            break head;
        }
        buffer.extend_from_slice(pieces.next().ok_or(BROKEN_OFF)?);
    };
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    match head.framing {
        ResponseFraming::Length(length) => {
            pieces.for_each(|piece| buffer.extend_from_slice(piece));
            let length = usize::try_from(length).ok().filter(|length| *length <= buffer.len()).ok_or(BROKEN_OFF)?;
            body.extend_from_slice(&buffer[..length]);
        }
        ResponseFraming::Close => {
            pieces.for_each(|piece| buffer.extend_from_slice(piece));
            body.extend_from_slice(&buffer);
        }
        ResponseFraming::Chunked => {
            let mut chunks = Chunks::Size;
            loop {
                match chunks.next(&mut buffer)? {
                    Chunk::Data(data) => body.extend_from_slice(&data),
                    Chunk::Trailers(fields) => trailers = fields,
                    Chunk::NeedMore => buffer.extend_from_slice(pieces.next().ok_or(BROKEN_OFF)?),
                    Chunk::Done => break,
                }
            }
        }
    }
    Ok(ReadResponse { status: head.status, headers: head.headers, body, trailers })
}

fn read_by_hyper(wire: &[u8], method: &Method) -> Result<ReadResponse, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let (ours, mut theirs) = duplex(64 * 1024);
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_headers(FIELDS_MAX)
            .allow_spaces_after_header_name_in_responses(true)
            .handshake(TokioIo::new(ours))
            .await
            .map_err(|error| error.to_string())?;
        let request =
            Request::builder().method(method).uri("/").body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let upstream = async move {
            // A response that is there before the request would be refused.
            let mut request = [0; 16];
            let _ = tokio::io::AsyncReadExt::read(&mut theirs, &mut request).await;
            let _ = theirs.write_all(wire).await;
            let _ = theirs.shutdown().await;
            theirs
        };
        let client = async {
            let (head, body) = sender.send_request(request).await.map_err(|error| error.to_string())?.into_parts();
            let whole = body.collect().await.map_err(|error| error.to_string())?;
            let trailers = whole.trailers().cloned().unwrap_or_default();
            Ok(ReadResponse { status: head.status, headers: head.headers, body: whole.to_bytes().to_vec(), trailers })
        };
        let (response, _, _) = tokio::join!(client, connection, upstream);
        response
    })
}

/// A choice of pieces, then a chunked body: read by the letter of RFC 9112, section 7.1, however it arrives; and what is chunked
/// comes out as it was.
pub fn chunked_body(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let seed = input.byte();
    let wire = input.rest();
    let whole = dechunked([wire].into_iter());
    let in_pieces = dechunked(pieces(wire, seed));
    assert_eq!(in_pieces.is_ok(), whole.is_ok(), "it depends on the pieces: {in_pieces:?} {whole:?}");
    if let (Ok(whole), Ok(in_pieces)) = (&whole, &in_pieces) {
        assert_eq!((&whole.0, &whole.1), (&in_pieces.0, &in_pieces.1));
        let end = wire.len() - whole.2;
        assert_eq!(Some(&whole.0), by_the_letter(&wire[..end]).as_ref(), "{}", wire[..end].escape_ascii());
    }
    let mut chunked = Vec::new();
    for piece in pieces(wire, seed.wrapping_add(1)) {
        write_chunk_size(&mut chunked, piece.len());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    let trailers = Input::new(wire).fields();
    write_last_chunk(&mut chunked, &trailers);
    let fields_are_few = trailers.len() <= 100;
    if fields_are_few && chunked.len() <= COMPARED_BYTES_MAX {
        let read = dechunked(pieces(&chunked, seed)).expect("what was written is read");
        assert_eq!((read.0.as_slice(), &read.1), (wire, &trailers));
    }
}

/// Body, trailers, and how many bytes are left behind them.
fn dechunked<'a>(mut pieces: impl Iterator<Item = &'a [u8]>) -> Result<(Vec<u8>, HeaderMap, usize), Malformed> {
    let (mut chunks, mut buffer) = (Chunks::Size, BytesMut::new());
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    loop {
        match chunks.next(&mut buffer)? {
            Chunk::Data(data) => body.extend_from_slice(&data),
            Chunk::Trailers(fields) => trailers = fields,
            Chunk::NeedMore => buffer.extend_from_slice(pieces.next().ok_or(Malformed("broken off"))?),
            Chunk::Done => return Ok((body, trailers, buffer.len() + pieces.map(<[u8]>::len).sum::<usize>())),
        }
    }
}

/// The whole of a chunked body, if it is nothing else: lines end in CRLF, sizes are hexadecimal and end the line or precede `;`.
fn by_the_letter(mut wire: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let (line, rest) = line_of(wire)?;
        let size = line.split(|byte| *byte == b';').next().unwrap_or(line).trim_ascii_end();
        let size = std::str::from_utf8(size).ok().filter(|size| size.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            wire = rest;
            break;
        }
        let (data, rest) = rest.split_at_checked(size)?;
        body.extend_from_slice(data);
        wire = rest.strip_prefix(b"\r\n")?;
    }
    loop {
        let (line, rest) = line_of(wire)?;
        if line.is_empty() {
            return rest.is_empty().then_some(body);
        }
        wire = rest;
    }
}

fn line_of(wire: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = wire.iter().position(|byte| *byte == b'\n')?;
    let line = wire[..end].strip_suffix(b"\r")?;
    Some((line, &wire[end + 1..]))
}

/// A choice of framing and of trust, then method, target, host and subject as lines, then a client's fields: what reaches an upstream
/// is one request, framed once, with our word on who calls and from where, and nobody else's.
pub fn request_head(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let framing = match input.byte() % 3 {
        0 => Framing::Length(0),
        1 => Framing::Length(5),
        _ => Framing::Chunked,
    };
    let is_trusted = input.byte() & 1 == 1;
    let Ok(method) = Method::from_bytes(input.line()) else { return };
    let Some(Ok(target)) = input.text().map(CanonicalTarget::parse) else { return };
    let Some(host) = input.text().and_then(host) else { return };
    let Some(Ok(subject)) = input.text().map(Subject::new) else { return };
    let headers = input.fields();

    let rules = rules(is_trusted);
    let identity = rules.identity(&principal(&subject));
    let request_id = trace::request_id(headers.get(X_REQUEST_ID), is_trusted, [1; 16]);
    let hop = Hop::new(Peer::Known((PEER, 0).into()), Scheme::Http);
    let context = RewriteContext {
        origin: &rules.forwarding().origin(&hop, &headers),
        host: Some(&host),
        identity: Some(&identity),
        certificate: None,
        request_id: &request_id,
        authorization: Withheld::All,
        edits: None,
        stripped: None,
    };
    let request = UpstreamRequest {
        method: &method,
        target: target.path_and_query(),
        host: Some(&host),
        fields: Rewritten { rules: &rules, headers: &headers, context },
        affinity: None,
        opens_websocket: false,
    };
    let mut wire = Vec::new();
    write_request_head(&mut wire, &request, framing, "", &host);

    let mut room = vec![httparse::EMPTY_HEADER; headers.len() + 32];
    let mut read = httparse::Request::new(&mut room);
    assert_eq!(read.parse(&wire), Ok(httparse::Status::Complete(wire.len())), "{}", wire.escape_ascii());
    assert_eq!((read.method, read.path, read.version), (Some(method.as_str()), Some(target.path_and_query()), Some(1)));
    let sent = Sent(read.headers.iter().map(|field| (field.name.to_ascii_lowercase(), field.value)).collect());

    let text = |value: &'static str| vec![value.as_bytes()];
    assert_eq!(sent.values("host"), [host.as_bytes()]);
    let (lengths, codings) = (sent.values("content-length"), sent.values("transfer-encoding"));
    match framing {
        Framing::Length(0) => assert!(lengths.iter().all(|length| *length == b"0") && codings.is_empty()),
        Framing::Length(_) => assert_eq!((lengths, codings), (text("5"), Vec::new())),
        Framing::Chunked => assert_eq!((lengths, codings), (Vec::new(), text("chunked"))),
    }
    for name in ["connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "http2-settings", "expect"] {
        assert!(sent.values(name).is_empty(), "{name} is of one hop");
    }
    assert!(sent.values("authorization").is_empty(), "the token stays here");
    let cookies = sent.values("cookie").into_iter().filter_map(|value| Some((COOKIE, HeaderValue::from_bytes(value).ok()?)));
    assert_eq!(bearer_token(&cookies.collect(), Some("session")), Ok(None), "the gateway's cookie stays here");
    assert_eq!(sent.values("x-request-id"), [request_id.as_bytes()]);
    let trace: Vec<_> =
        headers.get_all(TRACEPARENT).iter().map(HeaderValue::as_bytes).filter(|_| trace::is_sound(&headers)).collect();
    assert_eq!(sent.values("traceparent"), trace);
    assert!(!trace.is_empty() || sent.values("tracestate").is_empty(), "the state of a trace that is none");
    assert_eq!(sent.values("via").last(), Some(&b"1.1 tokengate".as_slice()));
    sent.tells_of(&subject);
    if !is_trusted {
        assert_eq!(sent.values("x-forwarded-for"), text("192.0.2.7"));
        assert_eq!((sent.values("x-forwarded-host"), sent.values("x-forwarded-proto")), (vec![host.as_bytes()], text("http")));
        assert!(["x-real-ip", "x-forwarded-port", "x-forwarded-prefix"].iter().all(|name| sent.values(name).is_empty()));
    }
    assert_eq!((sent.values("forwarded").len(), sent.values("x-forwarded-for").len()), (1, 1));
    passes_the_rest(&headers, &sent);
}

struct Rewritten<'a> {
    rules: &'a RewriteRules,
    headers: &'a HeaderMap,
    context: RewriteContext<'a>,
}

impl RequestFields for Rewritten<'_> {
    fn write(&self, out: &mut impl FieldSink) {
        self.rules.write_request(self.headers, &self.context, out);
    }

    fn wants_trailers(&self) -> bool {
        false
    }
}

const PEER: [u8; 4] = [192, 0, 2, 7];

/// The fields of a head as an upstream reads it, names in lower case.
struct Sent<'a>(Vec<(String, &'a [u8])>);

impl<'a> Sent<'a> {
    fn values(&self, name: &str) -> Vec<&'a [u8]> {
        self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| *value).collect()
    }

    /// Who calls stands there once, for all who read every character but letters and digits alike; and what frames or routes has no
    /// other spelling.
    fn tells_of(&self, subject: &Subject) {
        let spelt = self.0.iter().map(|(name, value)| (folded(name), name, value));
        for (meant, name, value) in spelt {
            let is_identity = IDENTITY_NAMES.contains(&meant.as_str()) || meant == "x-user";
            if is_identity {
                assert!(name == "x-auth-subject" || name == "x-user", "{name} is not ours");
                let told = percent_encoding::percent_decode(value).collect::<Vec<u8>>();
                assert_eq!(told, subject.as_str().as_bytes());
                assert_eq!(self.values(name).len(), 1);
            }
            let is_vital = [
                "host",
                "content-length",
                "content-type",
                "authorization",
                "cookie",
                "forwarded",
                "x-request-id",
                "x-forwarded-for",
            ]
            .contains(&meant.as_str());
            assert!(!is_vital || meant == *name, "{name} may be taken for {meant}");
            assert!(meant != "x-original-url" && !meant.starts_with("x-remote-"), "{name} was to be removed");
        }
        assert_eq!((self.values("x-auth-subject").len(), self.values("x-user").len()), (1, 1));
    }
}

/// Fields that are nobody's business pass as they came, unless Connection names them.
fn passes_the_rest(headers: &HeaderMap, sent: &Sent<'_>) {
    let connection = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let named: Vec<String> = connection.map(|token| String::from_utf8_lossy(token).trim().to_ascii_lowercase()).collect();
    for name in ["accept", "content-type", "x-anything", "range", "if-match"] {
        let came = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
        assert!(sent.values(name) == came || named.iter().any(|token| token == name), "{name}");
    }
}

fn host(text: &str) -> Option<HeaderValue> {
    let headers = std::iter::once((HOST, HeaderValue::from_str(text).ok()?)).collect();
    effective_host(&Method::GET, &Uri::from_static("/"), Version::HTTP_11, &headers, &LastHost::default())
        .ok()
        .flatten()
        .map(|host| host.field().clone())
}

fn principal(subject: &Subject) -> Principal {
    Principal {
        subject: subject.clone(),
        issuer: "https://gate.example".into(),
        session: None,
        generation: None,
        token: None,
        audiences: Vec::new(),
        scopes: Vec::new(),
        issued_at: None,
        logged_in_at: None,
        not_before: None,
        expires_at: Timestamp::MAX,
        window: Window::ALWAYS,
        claims: std::iter::once(("name".to_owned(), subject.as_str().into())).collect(),
    }
}

fn rules(is_trusted: bool) -> RewriteRules {
    let identity = IdentityFields {
        subject: Some(HeaderName::from_static("x-auth-subject")),
        claims: vec![("name".to_owned(), HeaderName::from_static("x-user"))],
        ..IdentityFields::default()
    };
    let forwarding = if is_trusted { Forwarding::new(vec![std::net::IpAddr::from(PEER).into()]) } else { Forwarding::default() };
    let removed = ["x-original-url", "x-remote-*"].map(|name| name.parse().expect("a name"));
    RewriteRules::new(identity, &removed, vec!["session".to_owned()], forwarding, HeaderValue::from_static("1.1 tokengate"))
}

fn folded(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}
