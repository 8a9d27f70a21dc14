//! One client connection: its socket, its deadlines, and how it ends.

use std::cell::{Cell, RefCell};
use std::future::{Future as _, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use super::held::Held;
use super::interim::InterimAnswers;
use super::linger::{Lingerers, farewell, linger};
use super::raw_head::{self, RawHeads, Unread};
use super::seats::{Doing, Notice};
use super::tunnel::{self, Upgrade};
use super::watch::{Wait, Watch};
use crate::domain::client_limits::ClientLimits;
use crate::domain::headers::forwarded::Hop;
use crate::domain::stats::Counter;

fn read_buffer_bytes_max(limits: &ClientLimits) -> usize {
    limits.header_bytes_max.max(READ_BUFFER_MIN)
}

const REQUEST_TIMEOUT_ANSWER: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What the request path knows of the connection that a request came by.
#[derive(Debug)]
pub struct ClientConnection {
    pub peer: SocketAddr,
    pub hop: Hop,
    pub watch: Rc<Watch>,
    pub limits: ClientLimits,
    /// Set when an answer switches protocols: what the connection turns into.
    pub upgrade: RefCell<Option<Upgrade>>,
    pub(super) lingerers: Rc<Lingerers>,
    raw_heads: RefCell<RawHeads>,
    interim: InterimAnswers,
    in_exchange: Cell<bool>,
    /// Something of the response has been written.
    has_responded: Cell<bool>,
    /// A request was made.
    is_used: Cell<bool>,
    /// Of the present request, or the last.
    version: Cell<Version>,
    /// Whatever ends the connection now resets it, be it that the worker is torn down: an answer is under way whose end that would be,
    /// and an orderly one would make it look whole.
    ends_by_reset: Cell<bool>,
}

impl ClientConnection {
    pub fn new(peer: SocketAddr, watch: Rc<Watch>, limits: ClientLimits, lingerers: Rc<Lingerers>) -> Rc<Self> {
        watch.arm(Wait::NextRequest, limits.header_timeout);
        Rc::new(Self {
            peer,
            // TLS ends before us.
            hop: Hop::new(peer.ip(), "http"),
            watch,
            limits,
            upgrade: RefCell::new(None),
            lingerers,
            raw_heads: RefCell::new(RawHeads::new(2 * read_buffer_bytes_max(&limits))),
            interim: InterimAnswers::default(),
            in_exchange: Cell::new(false),
            has_responded: Cell::new(false),
            is_used: Cell::new(false),
            version: Cell::new(Version::HTTP_11),
            ends_by_reset: Cell::new(false),
        })
    }

    /// A request's head is complete.
    pub fn exchange_begins(&self, version: Version) {
        self.in_exchange.set(true);
        self.has_responded.set(false);
        self.is_used.set(true);
        self.version.set(version);
        self.watch.disarm(Wait::NextRequest);
        self.watch.disarm(Wait::RequestHead);
        self.watch.does(Doing::Response);
    }

    /// The answer is complete or given up.
    pub fn exchange_ends(&self) {
        self.in_exchange.set(false);
        self.watch.speak_for(None);
        if self.raw_heads.borrow().is_within_a_head() {
            // It came with the request before it.
            self.head_begins();
        } else {
            self.watch.arm(Wait::NextRequest, self.limits.idle_timeout);
            self.watch.does(Doing::Nothing);
        }
    }

    fn head_begins(&self) {
        self.watch.arm(Wait::RequestHead, self.limits.header_timeout);
        self.watch.does(Doing::Head);
    }

    /// Whether a request has come whole whose response has not left whole. A client that ends its side then may still read.
    fn owes_a_response(&self) -> bool {
        let heads = self.raw_heads.borrow();
        heads.is_behind_a_head() || self.in_exchange.get() && heads.unread() == Unread::Nothing || self.is_writing()
    }

    /// Whether a response has begun to leave, and is not out whole.
    fn is_responding(&self) -> bool {
        self.in_exchange.get() && self.has_responded.get() || self.is_writing()
    }

    fn is_writing(&self) -> bool {
        !self.interim.is_answer_flushed()
    }

    /// No byte of a request has come since the last response left, or at all.
    fn is_idle(&self) -> bool {
        !self.in_exchange.get() && self.watch.is_armed(Wait::NextRequest) && !self.watch.is_armed(Wait::ClientWrite)
    }

    /// Whether the end of the connection may be the end of an answer.
    fn ends_answers(&self) -> bool {
        self.version.get() < Version::HTTP_11
    }

    /// Sends an interim answer to the present request on its way, where the client knows of such.
    pub(super) fn pass_interim(&self, status: StatusCode, headers: &HeaderMap) {
        if self.version.get() >= Version::HTTP_11 {
            self.interim.add(status, headers);
        }
    }

    /// What the head of the present request said in the client's words; once for each request. `None`: it was not seen whole.
    pub(super) fn take_raw_head(&self, body: raw_head::Body) -> Option<raw_head::Told> {
        self.raw_heads.borrow_mut().take(body)
    }

    /// What the client may still send of the last request.
    pub(super) fn unread(&self) -> Unread {
        self.raw_heads.borrow().unread()
    }

    /// Takes notice of bytes that are thrown away: whether the last request is over.
    pub(super) fn passes_over(&self, bytes: &[u8]) -> bool {
        let mut heads = self.raw_heads.borrow_mut();
        heads.came(bytes);
        heads.is_between()
    }

    fn bytes_came(&self, bytes: &[u8]) {
        self.raw_heads.borrow_mut().came(bytes);
        if self.in_exchange.get() {
            return;
        }
        if self.watch.is_armed(Wait::NextRequest) && !self.raw_heads.borrow().is_before_a_head() {
            self.watch.disarm(Wait::NextRequest);
            self.head_begins();
        }
    }

    /// The bytes of a head that is to be held until it has come whole, or is larger than it may be.
    fn partial_head_bytes(&self) -> Option<usize> {
        let is_held = |bytes: &usize| (1..read_buffer_bytes_max(&self.limits)).contains(bytes);
        self.raw_heads.borrow().partial_head_bytes().filter(is_held)
    }

    /// Whether nothing is under way but a head, of which much is held: it may be long in coming.
    fn holds_much(&self) -> bool {
        !self.in_exchange.get()
            && !self.watch.is_armed(Wait::ClientWrite)
            && self.partial_head_bytes().is_some_and(|bytes| bytes >= HOLD_ROOM)
    }
}

/// The client's socket, telling the watch what it waits for.
#[derive(Debug)]
struct ClientIo {
    stream: TcpStream,
    connection: Rc<ClientConnection>,
    held: Held,
    /// The client has ended its side, and the parser has not been told.
    is_half_closed: bool,
}

/// What is read at once of a head that is held.
const HOLD_ROOM: usize = 4 * 1024;

/// How long a client that has ended its side is believed to be there still, before something is written to it. If it is not, its
/// system answers that with a reset.
const HALF_CLOSED_MAX: Duration = Duration::from_secs(2);

impl AsyncRead for ClientIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.held.is_empty() {
            ready!(this.poll_hold(cx))?;
            this.held.hand_out(buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        let came = &buf.filled()[before..];
        if came.is_empty() {
            return match polled {
                Poll::Ready(Ok(())) => this.poll_end(),
                Poll::Ready(Err(_)) | Poll::Pending => polled,
            };
        }
        this.connection.bytes_came(came);
        let Some(head) = this.connection.partial_head_bytes() else { return polled };
        let straight = before + came.len() - came.len().min(head);
        this.held.extend(&buf.filled()[straight..]);
        buf.set_filled(straight);
        if straight > before {
            return polled;
        }
        ready!(this.poll_hold(cx))?;
        this.held.hand_out(buf);
        Poll::Ready(Ok(()))
    }
}

impl ClientIo {
    /// Holds the first bytes that come, and a head until it is whole. Whatever else there is, an end or an error, the parser finds.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            ready!(self.poll_hold_more(cx))?;
        }
        self.poll_hold(cx)
    }

    /// Reads on until the head that is held is whole, too large, or at its end.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.partial_head_bytes().is_some() {
            if ready!(self.poll_hold_more(cx))? == 0 {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// How much came; 0: the client has ended.
    fn poll_hold_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = [const { MaybeUninit::uninit() }; HOLD_ROOM];
        let mut room = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
        if !room.filled().is_empty() {
            self.connection.bytes_came(room.filled());
            self.held.extend(room.filled());
        }
        Poll::Ready(Ok(room.filled().len()))
    }

    /// The client's side has ended: ready once the parser is to know, which ends what is under way. Whether the client has left or
    /// merely has nothing more to send cannot be told. So a request that came whole goes on, within [`HALF_CLOSED_MAX`] or until the
    /// response is complete. An end within a response is that of a client which had enough.
    ///
    /// The parser asks again when [`Wait::HalfClosed`] is over, and when it has written everything.
    fn poll_end(&mut self) -> Poll<io::Result<()>> {
        let connection = &self.connection;
        let watch = &connection.watch;
        // Behind an end, a reset is not what is read.
        if let Some(error) = self.stream.take_error()? {
            return Poll::Ready(Err(error));
        }
        let is_over = !connection.owes_a_response()
            || connection.is_responding() && !self.is_half_closed
            || watch.take_expired(Wait::HalfClosed) && !connection.is_responding();
        if is_over {
            watch.disarm(Wait::HalfClosed);
            return Poll::Ready(Ok(()));
        }
        self.is_half_closed = true;
        if !watch.is_armed(Wait::HalfClosed) {
            watch.arm(Wait::HalfClosed, HALF_CLOSED_MAX);
        }
        Poll::Pending
    }

    fn answer_moves(&self) {
        self.connection.has_responded.set(true);
        self.connection.interim.answer_moves();
        if self.connection.ends_answers() && !self.connection.ends_by_reset.replace(true) {
            end_by_reset(&self.stream, true);
        }
    }

    /// What has to be written before the next bytes of an answer.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.interim.is_empty() {
            // Nothing moves: a deadline for what does not stays.
            return Poll::Ready(Ok(()));
        }
        let polled = self.connection.interim.poll_write(Pin::new(&mut self.stream), cx);
        self.note_write(&polled);
        polled
    }

    fn note_write<T>(&self, polled: &Poll<io::Result<T>>) {
        let watch = &self.connection.watch;
        match polled {
            Poll::Pending if !watch.is_armed(Wait::ClientWrite) => {
                watch.arm(Wait::ClientWrite, self.connection.limits.write_timeout);
            }
            Poll::Pending => {}
            Poll::Ready(_) => {
                watch.disarm(Wait::ClientWrite);
                watch.stream_moves();
            }
        }
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        this.answer_moves();
        let polled = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.note_write(&polled);
        polled
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        this.answer_moves();
        let stream = Pin::new(&mut this.stream);
        let mut room = [const { MaybeUninit::uninit() }; JOINED_BYTES_MAX];
        let mut joined = ReadBuf::uninit(&mut room);
        // A head and a small body leave as one piece: the kernel takes one buffer for less than it takes several.
        let polled =
            if join(bufs, &mut joined) { stream.poll_write(cx, joined.filled()) } else { stream.poll_write_vectored(cx, bufs) };
        this.note_write(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper flushes when it has written all that it had.
        this.connection.interim.answer_flushed();
        ready!(this.poll_interim(cx))?;
        if this.is_half_closed && !this.connection.owes_a_response() {
            // Nothing else would have the parser read the end.
            cx.waker().wake_by_ref();
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Up to this much is copied together before it is written.
const JOINED_BYTES_MAX: usize = 2 * 1024;

/// Puts all of `bufs` into `joined`, if they fit.
fn join(bufs: &[io::IoSlice<'_>], joined: &mut ReadBuf<'_>) -> bool {
    bufs.iter().all(|buf| {
        let fits = buf.len() <= joined.remaining();
        if fits {
            joined.put_slice(buf);
        }
        fits
    })
}

/// Who reads what a client sends.
#[expect(clippy::large_enum_variant, reason = "the room is there anyway: a parser comes into it with each head")]
enum Reader<S: HttpService<Incoming>> {
    /// Nobody but us, as long as a head is awaited: neither the parser's buffer nor the room for a handler is there.
    Holding(ClientIo, S),
    Parser(http1::Connection<TokioIo<ClientIo>, S>),
}

impl<S: HttpService<Incoming, ResBody: http_body::Body<Error: std::error::Error + Send + Sync> + 'static>> Reader<S> {
    fn parse(self, limits: &ClientLimits) -> Self {
        match self {
            Self::Holding(io, service) => Self::Parser(
                http1::Builder::new()
                    // Deadlines are the watch's: no timer per request.
                    .header_read_timeout(None)
                    .max_headers(limits.header_count_max)
                    .max_header_size(limits.header_bytes_max)
                    .max_buf_size(read_buffer_bytes_max(limits))
                    .serve_connection(TokioIo::new(io), service),
            ),
            Self::Parser(http) => Self::Parser(http),
        }
    }

    fn hold(self) -> Self {
        let Self::Parser(http) = self else { return self };
        let parts = http.into_parts();
        let mut io = parts.io.into_inner();
        io.held.put_before(&parts.read_buf);
        Self::Holding(io, parts.service)
    }

    fn into_io(self) -> Option<ClientIo> {
        match self.hold() {
            Self::Holding(io, _) => Some(io),
            Self::Parser(_) => None,
        }
    }
}

enum End {
    Served(hyper::Result<()>),
    /// Nothing was asked of us: close without a word.
    Idle,
    SlowHead,
    SlowClient,
    /// Others need the seat.
    GivenUp,
}

impl End {
    fn breaks_an_answer_off(&self) -> bool {
        match self {
            Self::Served(result) => result.as_ref().is_err_and(hyper::Error::is_user),
            Self::SlowClient | Self::GivenUp => true,
            Self::Idle | Self::SlowHead => false,
        }
    }
}

/// Serves one connection until either side is done with it, or it was too slow. Returns the counter of the request that no
/// handler got to see, if one ended it.
pub async fn serve<S>(stream: TcpStream, connection: Rc<ClientConnection>, service: S) -> Option<Counter>
where
    S: HttpService<Incoming, ResBody: http_body::Body<Error: std::error::Error + Send + Sync> + 'static>,
{
    let limits = connection.limits;
    let io = ClientIo { stream, connection: Rc::clone(&connection), held: Held::default(), is_half_closed: false };
    let mut reader = Some(Reader::Holding(io, service));
    let watch = &connection.watch;
    let mut is_last = false;
    let end = poll_fn(|cx| {
        watch.woken_by(cx.waker());
        if watch.take_expired(Wait::NextRequest) {
            return Poll::Ready(End::Idle);
        }
        if watch.take_expired(Wait::RequestHead) {
            return Poll::Ready(End::SlowHead);
        }
        if watch.take_expired(Wait::ClientWrite) {
            return Poll::Ready(End::SlowClient);
        }
        let leaves = match watch.notice() {
            Notice::Stay | Notice::Gone => false,
            Notice::Leave if watch.take_expired(Wait::Farewell) => return Poll::Ready(End::GivenUp),
            Notice::Leave => true,
            Notice::LeaveNow => return Poll::Ready(End::GivenUp),
        };
        if let Some(Reader::Holding(io, _)) = &mut reader
            && io.poll_head(cx).is_ready()
        {
            reader = reader.take().map(|reader| reader.parse(&limits));
        }
        if let Some(Reader::Parser(http)) = &mut reader
            && let Poll::Ready(result) = Pin::new(http).poll(cx)
        {
            return Poll::Ready(End::Served(result));
        }
        // By now every byte that has come was looked at: no request is lost that could be kept.
        if connection.is_idle() && (leaves || watch.is_draining() && connection.is_used.get()) {
            return Poll::Ready(End::Idle);
        }
        let is_first_or_under_way = connection.in_exchange.get() || !connection.is_used.get();
        if (leaves || watch.is_draining())
            && is_first_or_under_way
            && !is_last
            && let Some(Reader::Parser(http)) = &mut reader
        {
            is_last = true;
            // Answers the request that is under way, and no other.
            Pin::new(http).graceful_shutdown();
        }
        if connection.holds_much() && !is_last {
            reader = reader.take().map(Reader::hold);
        }
        Poll::Pending
    })
    .await;
    let ClientIo { mut stream, held, .. } = reader.and_then(Reader::into_io)?;
    let broke_off = end.breaks_an_answer_off();
    if !broke_off && connection.ends_by_reset.replace(false) {
        end_by_reset(&stream, false);
    }
    match end {
        End::Served(result) => {
            let rejected = result.as_ref().err().and_then(rejection);
            if let Err(error) = result {
                tracing::debug!(peer = %connection.peer, %error, "client connection ended");
                if broke_off && connection.ends_by_reset.get() {
                    return None;
                }
            }
            let switched = connection.upgrade.borrow_mut().take();
            match switched {
                Some(upgrade) => {
                    Box::pin(tunnel::run(stream, held.into_bytes().into(), upgrade, &connection)).await;
                }
                None => Box::pin(linger(&mut stream, &connection)).await,
            }
            rejected
        }
        End::SlowHead => {
            tracing::debug!(peer = %connection.peer, "request head timed out");
            // Best effort: a client that reads learns why.
            if stream.try_write(REQUEST_TIMEOUT_ANSWER).is_ok() {
                Box::pin(farewell(&mut stream, &connection)).await;
            }
            Some(Counter::RejectedTimeout)
        }
        End::Idle => {
            Box::pin(part(&mut stream)).await;
            None
        }
        End::GivenUp => {
            tracing::debug!(peer = %connection.peer, "connection given up for others");
            None
        }
        End::SlowClient => {
            tracing::debug!(peer = %connection.peer, "client did not take the answer");
            None
        }
    }
}

/// What the HTTP parser refused, and answered by itself.
fn rejection(error: &hyper::Error) -> Option<Counter> {
    if error.is_parse_too_large() {
        Some(Counter::RejectedTooLarge)
    } else if error.is_parse() {
        Some(Counter::RejectedMalformed)
    } else {
        None
    }
}

/// The smallest read buffer that hyper accepts.
const READ_BUFFER_MIN: usize = 8 * 1024;

/// Makes the connection end with a reset, or in order again.
fn end_by_reset(stream: &TcpStream, resets: bool) {
    if let Err(error) = socket2::SockRef::from(stream).set_linger(resets.then_some(Duration::ZERO)) {
        tracing::debug!(%error, "cannot say how a client connection is to end");
    }
}

/// How long a request may be under way that crosses the end of an idle connection.
const PARTING_TIMEOUT: Duration = Duration::from_millis(200);

/// Ends an idle connection so that a request which crosses the end meets an orderly one, after which clients repeat it, and no reset.
async fn part(stream: &mut TcpStream) {
    let mut parting = pin!(async {
        let _ = stream.shutdown().await;
        let mut scratch = [0; 1024];
        while let Ok(1..) = stream.read(&mut scratch).await {}
    });
    let _ = tokio::time::timeout(PARTING_TIMEOUT, &mut parting).await;
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::net::TcpListener;

    use super::super::seats::Seat;
    use super::super::watch::{TICK, Watchers};
    use super::*;
    use crate::domain::client_limits::LingerLimits;

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up_however_often_it_is_tried() {
        const WRITE_TICKS: u32 = 10;
        let limits = ClientLimits {
            header_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            body_idle_timeout: Duration::from_secs(60),
            write_timeout: TICK * WRITE_TICKS,
            header_bytes_max: READ_BUFFER_MIN,
            header_count_max: 10,
            linger: LingerLimits { bytes_max: 0, timeout: TICK },
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let watchers = Watchers::default();
        let connection = ClientConnection::new(peer, watchers.watch(Seat::of_test()), limits, Lingerers::among(1));
        let mut io = ClientIo { stream, connection: Rc::clone(&connection), held: Held::default(), is_half_closed: false };
        let mut cx = Context::from_waker(Waker::noop());
        connection.watch.woken_by(Waker::noop());
        let much = vec![0; 64 * 1024];
        while Pin::new(&mut io).poll_write(&mut cx, &much).is_ready() {}
        for _ in 0..2 * WRITE_TICKS {
            let _ = Pin::new(&mut io).poll_flush(&mut cx);
            assert!(Pin::new(&mut io).poll_write(&mut cx, b"more").is_pending());
            watchers.tick(|_| None);
        }
        assert!(connection.watch.take_expired(Wait::ClientWrite));
    }
}
