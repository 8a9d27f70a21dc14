//! HTTP/2 by other people's clients: curl, Node, h2load. What nobody means well with stands in `hostile/http2`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

use crate::support::gateway::Gateway;
use crate::support::servers::Server;
use crate::support::upstream::Upstream;

/// What the program says, if it ends well.
fn said_by(program: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {said}{complained}");
    said.trim().to_owned()
}

fn url(gateway: &Gateway, path: &str) -> String {
    format!("http://{}{path}", gateway.address())
}

#[test]
fn curl_is_served_by_prior_knowledge() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[]);
    let token = gateway.client().log_in("ann").access;
    let (url, bearer) = (url(&gateway, "/api/me?x=1"), format!("authorization: Bearer {token}"));
    let usual = ["-sS", "--http2-prior-knowledge", "-w", " %{http_version} %{http_code}"];
    let said = said_by("curl", &[&usual[..], &["-H", &bearer, "-H", "cookie: a=1", "--data", "hello", &url]].concat(), "");
    let (body, outcome) = said.split_once("} ").unwrap();
    let body: Value = serde_json::from_str(&format!("{body}}}")).unwrap();
    assert_eq!(
        (outcome, &body["method"], &body["target"], &body["body"]),
        ("2 200", &"POST".into(), &"/api/me?x=1".into(), &"hello".into())
    );
    let refused = said_by("curl", &[&usual[..], &[&url]].concat(), "");
    assert!(refused.ends_with(" 2 401") && refused.contains("token_missing"), "{refused}");
}

#[test]
fn curl_is_told_of_a_refusal_before_it_has_sent_its_upload() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[]);
    let body = "x".repeat(5_000_000);
    let arguments =
        ["-sS", "--http2-prior-knowledge", "-w", " %{http_version} %{http_code}", "-T", "-", &url(&gateway, "/api/me")];
    let mut child = Command::new("curl").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            // It may stop reading.
            let _ = input.write_all(body.as_bytes());
        });
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("token_missing") && said.ends_with(" 2 401"), "{said}");
    });
}

/// A thousand requests at once on one connection, then one after the other; trailers; a stream that ends with its session.
const NODE: &str = r"
import http2 from 'node:http2';
const [origin, access] = process.argv.slice(2);
const session = http2.connect(origin);
const call = (headers, body) => new Promise((resolve, reject) => {
    const stream = session.request(headers, { endStream: body === undefined });
    let status, text = '', trailers;
    stream.on('response', (head) => { status = head[':status']; });
    stream.on('trailers', (fields) => { trailers = fields; });
    stream.on('error', reject);
    stream.setEncoding('utf8');
    stream.on('data', (chunk) => { text += chunk; });
    stream.on('end', () => resolve({ status, text, trailers }));
    if (body !== undefined) stream.end(body);
});
const authorization = `Bearer ${access}`;
const check = (what, holds) => { if (!holds) { console.log('FAILED', what); process.exit(1); } };
const all = await Promise.all(Array.from({ length: 1000 }, (_, i) => call({ ':path': `/api/${i}`, authorization })));
check('at once', all.every(({ status, text }, i) => status === 200 && JSON.parse(text).target === `/api/${i}`));
for (let i = 0; i < 200; i++) {
    const { status, text } = await call({ ':path': '/api/x', ':method': 'POST', authorization }, 'b'.repeat(i));
    check('in a row', status === 200 && JSON.parse(text).body.length === i);
}
check('refused', (await call({ ':path': '/api/x' })).status === 401);
console.log('done');
session.close();
";

#[test]
fn node_has_a_thousand_requests_under_way_on_one_connection() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[]);
    let token = gateway.client().log_in("ann").access;
    let said = said_by("node", &["--input-type=module", "-", &url(&gateway, ""), &token], NODE);
    assert_eq!(said, "done");
}

#[test]
fn h2load_loses_no_request() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream, &[]);
    let said = said_by("h2load", &["-n", "5000", "-c", "20", "-m", "50", &url(&gateway, "/public")], "");
    assert!(said.contains("5000 total, 5000 started, 5000 done, 5000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
    assert!(said.contains("Application protocol: h2c"), "{said}");
}

/// Lasts as long as the test's process.
fn spawn(work: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name("mover".to_owned()).spawn(work).unwrap();
}

const MIB: usize = 1 << 20;

/// Sends as many MiB as the path's last segment says, or takes a body and says how long it was.
struct Mover(SocketAddr);

impl Server for Mover {
    fn address(&self) -> SocketAddr {
        self.0
    }
}

impl Mover {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        spawn(move || {
            for stream in listener.incoming() {
                spawn(move || {
                    Self::serve(stream.unwrap());
                });
            }
        });
        Self(address)
    }

    fn serve(mut stream: TcpStream) -> Option<()> {
        let mut head = Vec::new();
        let mut byte = [0; 1];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse::<usize>().ok()?;
        let mut room = vec![0; 64 * 1024];
        let mut left = length;
        while left > 0 {
            let read = stream.read(&mut room).ok().filter(|read| *read > 0)?;
            left -= read;
        }
        let mib: usize = head.split(' ').nth(1)?.rsplit('/').next()?.parse().ok()?;
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\nX-Came: {length}\r\n\r\n", mib * MIB)
            .ok()?;
        for _ in 0..mib * MIB / room.len() {
            stream.write_all(&room).ok()?;
        }
        Some(())
    }
}

/// More than would fit into what the gateway may use, both ways.
const LARGE: usize = 256;

/// For all buffers of a connection, and what the allocator keeps.
const FURTHER_BYTES_MAX: usize = 32 * MIB;

#[test]
fn large_bodies_pass_both_ways_without_being_kept() {
    let upstream = Mover::start();
    let gateway = Gateway::of(
        &upstream,
        "[[routes]]\nname = \"public\"\nprefix = \"/\"\naccess = \"public\"\nbody_bytes_max = \"1GiB\"\n",
        &[],
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large");
    std::fs::File::create(&file).unwrap().set_len((LARGE * MIB) as u64).unwrap();
    let before = gateway.resident_bytes();
    let down = ["-sS", "--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_version} %{http_code} %{size_download}"];
    let path = url(&gateway, &format!("/{LARGE}"));
    let said = said_by("curl", &[&down[..], &["--data", "", &path]].concat(), "");
    assert_eq!(said, format!("2 200 {}", LARGE * MIB));
    let (path, file) = (url(&gateway, "/0"), file.to_str().unwrap());
    let said = said_by("curl", &["-sS", "--http2-prior-knowledge", "-D", "-", "-X", "POST", "-T", file, &path], "");
    assert!(said.contains(&format!("x-came: {}", LARGE * MIB)), "{said}");
    let further = gateway.resident_bytes().saturating_sub(before);
    assert!(further < FURTHER_BYTES_MAX, "{} MiB more", further / MIB);
}

/// Nobody takes the response: the upstream's bytes wait there, and not in the gateway.
#[test]
fn a_client_that_does_not_read_holds_the_upstream_up() {
    const PAUSED: &str = r"
import http2 from 'node:http2';
const session = http2.connect(process.argv[2]);
const streams = Array.from({ length: 20 }, () => {
    const stream = session.request({ ':path': '/64', ':method': 'POST' }, { endStream: true });
    stream.pause();
    return stream;
});
await Promise.all(streams.map((stream) => new Promise((resolve) => stream.on('response', resolve))));
await new Promise((resolve) => setTimeout(resolve, 1500));
console.log('held');
process.exit(0);
";
    let upstream = Mover::start();
    let gateway = Gateway::of(&upstream, "[[routes]]\nname = \"public\"\nprefix = \"/\"\naccess = \"public\"\n", &[]);
    let before = gateway.resident_bytes();
    thread::scope(|scope| {
        let node = scope.spawn(|| said_by("node", &["--input-type=module", "-", &url(&gateway, "")], PAUSED));
        let mut most = 0;
        while !node.is_finished() {
            most = most.max(gateway.resident_bytes().saturating_sub(before));
            thread::sleep(std::time::Duration::from_millis(50));
        }
        assert_eq!(node.join().unwrap(), "held");
        assert!(most < FURTHER_BYTES_MAX, "{} MiB more", most / MIB);
    });
}
