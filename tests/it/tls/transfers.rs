//! Large bodies in both directions, by each protocol: what passes is whole, and little of it is ever in memory.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, thread};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response};

use super::rig::{Rig, eventually, said};
use crate::support::http2_server::{self, Http2Server};
use crate::support::servers::Server;

const MIB: u64 = 1 << 20;

/// Each way, unless `TOKENGATE_TRANSFER_MIB` says otherwise: the long form is 2048.
const TRANSFER_MIB: u64 = 160;

/// Of memory, whatever passes.
const RESIDENT_BYTES_MAX: usize = 64 << 20;

/// What sockets, windows and buffers between two sides hold at the most.
const UNDER_WAY_BYTES_MAX: u64 = 40 * MIB;

const PIECE: usize = 64 * 1024;

#[expect(clippy::disallowed_methods, reason = "an argument for one test: the runner has no other way to pass it")]
fn transfer_bytes() -> u64 {
    let mib = env::var("TOKENGATE_TRANSFER_MIB").map_or(TRANSFER_MIB, |text| text.parse().unwrap());
    mib * MIB
}

/// A server whose GET is a body of so many bytes, and which tells how many bytes it was sent.
struct Bulk {
    address: SocketAddr,
    facts: Arc<Facts>,
    /// As the settings call it.
    protocol: &'static str,
}

#[derive(Default)]
struct Facts {
    /// Bytes of bodies that were written to sockets, and read from them.
    sent: AtomicU64,
    received: AtomicU64,
    /// Reads nothing of a body any more.
    is_stuck: AtomicBool,
}

impl Bulk {
    #[expect(clippy::disallowed_methods, reason = "its threads end with the test's process")]
    fn start(bytes: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (address, facts) = (listener.local_addr().unwrap(), Arc::new(Facts::default()));
        let shared = Arc::clone(&facts);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let facts = Arc::clone(&shared);
                // A gateway that leaves in the midst of a response is what some tests are about.
                thread::spawn(move || drop(serve(&stream.unwrap(), bytes, &facts)));
            }
        });
        Self { address, facts, protocol: "http1" }
    }

    fn by_http2(bytes: u64) -> Self {
        let facts = Arc::<Facts>::default();
        let shared = Arc::clone(&facts);
        let server =
            Http2Server::start(move |request, responding| serve_by_http2(request, responding, bytes, Arc::clone(&shared)));
        Self { address: server.address(), facts, protocol: "http2" }
    }
}

impl Server for Bulk {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

fn serve(stream: &TcpStream, bytes: u64, facts: &Facts) -> std::io::Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line)?;
        let is_get = line.starts_with("GET ");
        if line.is_empty() {
            return Ok(());
        }
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line)?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut piece = vec![0; PIECE];
        let mut left = length;
        while left > 0 {
            while facts.is_stuck.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(5));
            }
            let room = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let read = reader.read(&mut piece[..room])? as u64;
            if read == 0 {
                return Ok(());
            }
            left -= read;
            facts.received.fetch_add(read, Ordering::Relaxed);
        }
        if !is_get {
            let said = length.to_string();
            write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}", said.len())?;
            continue;
        }
        write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n")?;
        let mut left = bytes;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let written = writer.write(&piece[..room])? as u64;
            left -= written;
            facts.sent.fetch_add(written, Ordering::Relaxed);
        }
    }
}

async fn serve_by_http2(
    request: Request<RecvStream>,
    mut responding: SendResponse<Bytes>,
    bytes: u64,
    facts: Arc<Facts>,
) -> Option<()> {
    if request.method() == Method::GET {
        let head = Response::builder().header(CONTENT_LENGTH, bytes).body(()).ok()?;
        let mut sending = responding.send_response(head, false).ok()?;
        let piece = Bytes::from(vec![0; PIECE]);
        let mut left = bytes;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            http2_server::send(&mut sending, piece.slice(..room)).await?;
            left -= room as u64;
            facts.sent.fetch_add(room as u64, Ordering::Relaxed);
        }
        return sending.send_data(Bytes::new(), true).ok();
    }
    let (mut body, mut length) = (request.into_body(), 0);
    while let Some(data) = body.data().await {
        while facts.is_stuck.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let read = data.ok()?.len();
        body.flow_control().release_capacity(read).ok()?;
        length += read as u64;
        facts.received.fetch_add(read as u64, Ordering::Relaxed);
    }
    let mut sending = responding.send_response(Response::new(()), false).ok()?;
    sending.send_data(length.to_string().into(), true).ok()
}

/// By TLS with both versions of HTTP, and in clear text with both.
const WAYS: [(usize, &str); 4] = [(0, "--http1.1"), (0, "--http2"), (1, "--http1.1"), (1, "--http2-prior-knowledge")];

fn rig(upstream: &Bulk) -> Rig {
    Rig::start(upstream, |folder, authority| {
        let files = authority.issue(folder, "server", &["localhost"]);
        format!(
            "[[listeners]]\naddress = '127.0.0.1:0'\n[listeners.tls]\n{}\n[[listeners]]\naddress = '127.0.0.1:0'\n\
             [upstreams.bulk]\nurl = '{}'\nprotocol = '{}'\n\
             [[routes]]\nname = 'bulk'\nprefix = '/bulk'\naccess = 'public'\nbody_bytes_max = '8GiB'\nupstream = 'bulk'\n",
            files.entry(),
            upstream.url(),
            upstream.protocol,
        )
    })
}

fn curl(rig: &Rig, (listener, version): (usize, &str), options: &[&str]) -> Command {
    let port = rig.addresses[listener].port();
    let scheme = if listener == 0 { "https" } else { "http" };
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--fail", "--max-time", "600", "--resolve", &format!("localhost:{port}:127.0.0.1")])
        .args(["--cacert", rig.authority_file.to_str().unwrap(), version])
        .args(options)
        .arg(format!("{scheme}://localhost:{port}/bulk"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Waits for the client's end, and tells how much memory the gateway took meanwhile at the most.
fn with_most_resident(rig: &Rig, work: impl FnOnce() -> Output + Send) -> (Output, usize) {
    let most = AtomicUsize::new(0);
    let output = thread::scope(|scope| {
        let working = scope.spawn(work);
        while !working.is_finished() {
            most.fetch_max(rig.gateway.resident_bytes(), Ordering::Relaxed);
            thread::sleep(Duration::from_millis(10));
        }
        working.join().unwrap()
    });
    (output, most.into_inner())
}

#[test]
fn what_is_large_passes_whole_and_is_never_in_memory_whole() {
    let bytes = transfer_bytes();
    passes_whole(&Bulk::start(bytes), bytes);
}

#[test]
fn what_is_large_passes_whole_to_and_from_upstreams_by_http_2_as_well() {
    let bytes = transfer_bytes();
    passes_whole(&Bulk::by_http2(bytes), bytes);
}

#[expect(clippy::print_stdout, reason = "the figures are read by people")]
fn passes_whole(upstream: &Bulk, bytes: u64) {
    let (rig, protocol) = (rig(upstream), upstream.protocol);
    let large = rig.path("large");
    std::fs::File::create(&large).unwrap().set_len(bytes).unwrap();
    for way in WAYS {
        let down = ["--output", "/dev/null", "--write-out", "%{size_download} %{http_version}"];
        let up = ["--upload-file", large.to_str().unwrap()];
        let version = if way.1.starts_with("--http2") { "2" } else { "1.1" };
        for (what, options, said_at_end) in [("down", &down[..], format!("{bytes} {version}")), ("up", &up, bytes.to_string())] {
            let (output, most) = with_most_resident(&rig, || curl(&rig, way, options).output().unwrap());
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                said_at_end,
                "{what} by {way:?} and {protocol}: {}",
                said(&output)
            );
            println!("{what} by {way:?} and {protocol}: {} MiB, at most {} MiB in memory", bytes / MIB, most >> 20);
            assert!(most <= RESIDENT_BYTES_MAX, "{what} by {way:?} and {protocol}: {most} bytes in memory");
        }
    }
}

#[test]
fn who_takes_nothing_is_sent_little() {
    is_sent_little(&Bulk::start(transfer_bytes()));
}

#[test]
fn who_takes_nothing_is_sent_little_by_upstreams_of_http_2_as_well() {
    is_sent_little(&Bulk::by_http2(transfer_bytes()));
}

fn is_sent_little(upstream: &Bulk) {
    let rig = rig(upstream);
    for way in WAYS {
        let before = upstream.facts.sent.load(Ordering::Relaxed);
        let sent = || upstream.facts.sent.load(Ordering::Relaxed) - before;
        // Nobody reads what curl prints.
        let mut client = curl(&rig, way, &[]).spawn().unwrap();
        stands_still(sent);
        assert!(sent() <= UNDER_WAY_BYTES_MAX, "{way:?}: {} bytes were sent to a client that takes none", sent());
        client.kill().unwrap();
        client.wait().unwrap();
    }
}

#[test]
fn of_who_is_not_listened_to_little_is_taken() {
    little_is_taken_for(&Bulk::start(0));
}

#[test]
fn of_who_is_not_listened_to_by_an_upstream_of_http_2_little_is_taken() {
    little_is_taken_for(&Bulk::by_http2(0));
}

fn little_is_taken_for(upstream: &Bulk) {
    let rig = rig(upstream);
    let large = rig.path("large");
    std::fs::File::create(&large).unwrap().set_len(transfer_bytes()).unwrap();
    upstream.facts.is_stuck.store(true, Ordering::Relaxed);
    for way in WAYS {
        let options = ["--max-time", "3", "--write-out", "%{size_upload}", "--upload-file", large.to_str().unwrap()];
        let output = curl(&rig, way, &options).output().unwrap();
        let taken: u64 = String::from_utf8_lossy(&output.stdout).parse().unwrap();
        assert!(taken <= UNDER_WAY_BYTES_MAX, "{way:?}: {taken} bytes were taken for an upstream that takes none");
        assert!(taken > 0, "{way:?}: {}", said(&output));
    }
}

/// Waits until a figure has grown, and grows no more for a while.
fn stands_still(figure: impl Fn() -> u64) {
    eventually("it begins", || figure() > 0);
    let mut last = 0;
    eventually("it stands still", || {
        thread::sleep(Duration::from_millis(500));
        std::mem::replace(&mut last, figure()) == figure()
    });
}
