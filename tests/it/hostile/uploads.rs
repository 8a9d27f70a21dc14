//! Uploads that nobody wants: whoever sends them gets the response, not a reset.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokengate::domain::stats::Counter;

use super::client::{Client, Response};
use super::rig::{Rig, eventually, forward};
use super::upstream::Upstream;

/// More than the kernel holds for both sides.
const LARGE: usize = 20 << 20;

const PIECE: usize = 1 << 20;

/// Sends a head and a body without looking at what comes back; `None` once that fails.
fn upload(client: &mut Client, request_line: &str, chunked: bool, bytes: usize, pause: Duration) -> Option<()> {
    let framing = if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {bytes}") };
    client.send(format!("{request_line} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
    let piece = "x".repeat(PIECE.min(bytes));
    for _ in 0..bytes / piece.len() {
        std::thread::sleep(pause);
        let sent = if chunked { format!("{:x}\r\n{piece}\r\n", piece.len()) } else { piece.clone() };
        client.sends(sent)?;
    }
    if chunked { client.sends("0\r\n\r\n") } else { Some(()) }
}

/// The response to an upload that was sent whole before anything was read.
fn response_to_upload(rig: &Rig, request_line: &str, chunked: bool, bytes: usize, pause: Duration) -> Response {
    let mut client = rig.client();
    upload(&mut client, request_line, chunked, bytes, pause).unwrap_or_else(|| panic!("{request_line} {chunked}: not read on"));
    let response = client.response();
    client.assert_closed();
    response
}

#[test]
fn a_refusal_reaches_a_client_that_sends_everything_before_it_reads() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    for (request_line, status) in [
        ("POST /api", 401),
        ("POST /nothing", 404),
        ("PUT /written", 405),
        ("POST /public/../x", 400),
        ("POST /public", 413),
        ("POST /login", 413),
        ("POST /logout", 413),
    ] {
        for chunked in [false, true] {
            let response = response_to_upload(&rig, request_line, chunked, LARGE, Duration::ZERO);
            assert_eq!((response.status, response.field("connection")), (status, Some("close")), "{request_line} {response:?}");
        }
    }
    assert_eq!(upstream.heard(), [""; 0]);
}

#[test]
fn a_refusal_reaches_a_client_that_sends_slowly() {
    let rig = Rig::start(Upstream::echo().address);
    for chunked in [false, true] {
        let response = response_to_upload(&rig, "POST /api", chunked, 3 * PIECE, Duration::from_millis(700));
        assert_eq!(response.status, 401, "{response:?}");
    }
}

#[test]
fn what_the_parser_refuses_reaches_the_client_too() {
    let rig = Rig::start(Upstream::echo().address);
    let large_head = format!("POST /api?{}", "x".repeat(70_000));
    for (request_line, status) in [("POST /\u{0}", 400), (large_head.as_str(), 431)] {
        let response = response_to_upload(&rig, request_line, false, LARGE, Duration::ZERO);
        assert_eq!(response.status, status, "{response:?}");
    }
}

#[test]
fn an_early_response_of_the_upstream_reaches_a_client_that_sends_everything_before_it_reads() {
    for (head, connection) in [("Content-Length: 2", None), ("Content-Length: 2\r\nConnection: close", Some("close"))] {
        let said = format!("HTTP/1.1 403 Forbidden\r\n{head}\r\n\r\nno");
        let upstream = Upstream::start(move |conversation| {
            conversation.head();
            conversation.say(&said);
            // One that closes, and one that stops reading.
            if !said.contains("close") {
                std::thread::sleep(Duration::from_secs(5));
            }
        });
        let rig = Rig::start_with(upstream.address, |settings| {
            settings.routes.change(|routes| forward(&mut routes[0]).body_bytes_max = 1 << 30).unwrap();
        });
        for chunked in [false, true] {
            let response = response_to_upload(&rig, "POST /public", chunked, LARGE, Duration::ZERO);
            assert_eq!((response.status, response.body.as_str()), (403, "no"), "{response:?}");
            if connection.is_some() {
                assert_eq!(response.field("connection"), connection);
            }
        }
        assert_eq!(rig.counted(Counter::UpstreamErrors), 0);
    }
}

#[test]
fn a_client_is_listened_to_within_bounds() {
    let rig = Rig::start_with(Upstream::echo().address, |settings| settings.listen.limits.linger.bytes_max = 2 << 20);
    let mut client = rig.client();
    assert_eq!(upload(&mut client, "POST /api", false, 64 << 20, Duration::ZERO), None, "not more than so many bytes");
    let rig =
        Rig::start_with(Upstream::echo().address, |settings| settings.listen.limits.linger.timeout = Duration::from_millis(500));
    let mut client = rig.client();
    let sent = upload(&mut client, "POST /api", false, 64 << 20, Duration::from_millis(50));
    assert_eq!(sent, None, "not longer than so long");
    // Within them, the end of the body is the end of it.
    assert_eq!(response_to_upload(&rig, "POST /api", true, PIECE, Duration::ZERO).status, 401);
}

/// One client of four may hold its place so.
#[test]
fn few_clients_at_once_are_listened_to_for_long() {
    let rig = Rig::start_with(Upstream::echo().address, |settings| settings.listen.connections_max = 4);
    let begin = || {
        let mut client = rig.client();
        client.send(format!("POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
        assert_eq!(client.response().status, 401);
        client
    };
    let goes_on = |client: &mut Client| {
        (0..20).all(|_| {
            std::thread::sleep(Duration::from_millis(100));
            client.sends("x".repeat(1024)).is_some()
        })
    };
    let (mut first, mut second) = (begin(), begin());
    assert!(!goes_on(&mut second), "there is no place for a second one");
    assert!(goes_on(&mut first));
    drop(first);
    let mut third = begin();
    assert!(goes_on(&mut third));
}

#[test]
fn an_upload_whose_response_is_read_first_goes_through_whole() {
    // The upstream answers at the head, and takes the body all the same.
    let upstream = Upstream::start(|conversation| {
        conversation.head();
        conversation.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let bytes = (0..LARGE).filter_map(|_| conversation.byte()).count();
        conversation.say(format!("{:x}\r\n{bytes}\r\n0\r\n\r\n", bytes.to_string().len()));
    });
    let rig = Rig::start_with(upstream.address, |settings| {
        settings.routes.change(|routes| forward(&mut routes[0]).body_bytes_max = 1 << 30).unwrap();
    });
    let mut client = rig.client();
    upload(&mut client, "POST /public", false, LARGE, Duration::ZERO).unwrap();
    assert_eq!(client.response().body, LARGE.to_string());
}

/// Reports status and code of the response to one upload, or what was reported instead.
fn reported(program: &str, arguments: &[&str], script: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let (told, complained) = (text(&output.stdout), text(&output.stderr));
    if output.status.success() { told } else { format!("{told} {complained}") }
}

/// What each client is asked to send: bytes, whether with a length, the pause before each of four pieces in milliseconds.
const UPLOADS: [[&str; 3]; 4] =
    [["20000000", "length", "0"], ["20000000", "chunked", "0"], ["3000000", "length", "500"], ["3000000", "chunked", "500"]];

const NODE: &str = r"
import http from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
const [how, url, bytes, framing, wait] = process.argv.slice(2);
async function* pieces() {
    for (let i = 0; i < 4; i++) { await pause(Number(wait)); yield Buffer.alloc(bytes / 4, 120); }
}
const headers = framing === 'length' ? { 'content-length': bytes } : {};
if (how === 'fetch') {
    const body = framing === 'length' && wait === '0' ? Buffer.alloc(Number(bytes), 120) : ReadableStream.from(pieces());
    const response = await fetch(url, { method: 'POST', body, duplex: 'half' });
    console.log(response.status, (await response.json()).code);
} else {
    const request = http.request(url, { method: 'POST', headers });
    const answered = new Promise((resolve, reject) => { request.on('response', resolve); request.on('error', reject); });
    let over = false;
    answered.then(() => { over = true; }, () => { over = true; });
    (async () => { for await (const piece of pieces()) { if (over) return; request.write(piece); } request.end(); })();
    const response = await answered;
    let text = '';
    for await (const chunk of response) text += chunk;
    console.log(response.statusCode, JSON.parse(text).code);
    process.exit(0);
}
";

const PYTHON: &str = r"
import http.client, json, sys, time, urllib.parse, urllib.request, urllib.error
how, url, size, framing, wait = sys.argv[1:]
def pieces():
    for _ in range(4):
        time.sleep(int(wait) / 1000)
        yield b'x' * (int(size) // 4)
if how == 'urllib':
    body = pieces() if framing == 'chunked' or wait != '0' else b'x' * int(size)
    request = urllib.request.Request(url, data=body, method='POST')
    if framing == 'length': request.add_header('Content-Length', size)
    try:
        response = urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        response = error
    print(response.status, json.loads(response.read())['code'])
else:
    at = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname, at.port)
    if framing == 'length':
        connection.request('POST', at.path, body=pieces(), headers={'Content-Length': size})
    else:
        connection.request('POST', at.path, body=pieces(), encode_chunked=True, headers={'Transfer-Encoding': 'chunked'})
    response = connection.getresponse()
    print(response.status, json.loads(response.read())['code'])
";

#[test]
fn refusals_of_uploads_reach_node_fetch_python_and_curl() {
    let rig = Rig::start(Upstream::echo().address);
    for (path, expected) in
        [("/api", "401 token_missing"), ("/public", "413 body_too_large"), ("/nothing", "404 route_not_found")]
    {
        let url = format!("http://{}{path}", rig.address());
        for [bytes, framing, pause] in UPLOADS {
            for how in ["http", "fetch"] {
                let arguments = ["--input-type=module", "-", how, &url, bytes, framing, pause];
                assert_eq!(reported("node", &arguments, NODE), expected, "node {how} {path} {bytes} {framing} {pause}");
            }
            for how in ["http", "urllib"] {
                let arguments = ["-", how, &url, bytes, framing, pause];
                assert_eq!(reported("python3", &arguments, PYTHON), expected, "python {how} {path} {bytes} {framing} {pause}");
            }
            let rate = if pause == "0" { "1G" } else { "2M" };
            let mut arguments = vec!["-sS", "-w", " %{http_code}", "-T", "-", "--limit-rate", rate, "-X", "POST", &url];
            let length = format!("Content-Length: {bytes}");
            if framing == "length" {
                arguments.extend(["-H", "Transfer-Encoding:", "-H", &length]);
            }
            let body = "x".repeat(bytes.parse().unwrap());
            let told = reported_with_body("curl", &arguments, &body);
            let (status, code) = expected.split_once(' ').unwrap();
            assert!(told.contains(code) && told.ends_with(status), "curl {path} {bytes} {framing} {pause}: {told}");
        }
    }
}

/// As [`reported`], for a program that may stop reading its input.
fn reported_with_body(program: &str, arguments: &[&str], body: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = input.write_all(body.as_bytes());
        });
        let output = child.wait_with_output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout))
    })
}

/// Bodies that were not asked for are not waited for.
#[test]
fn a_client_that_goes_after_its_refusal_frees_its_place_at_once() {
    let rig = Rig::start_with(Upstream::echo().address, |settings| settings.listen.connections_max = 4);
    for _ in 0..8 {
        let mut client = rig.client();
        client.send("POST /api HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n");
        assert_eq!(client.response().status, 401);
    }
    eventually("there is room", || rig.ask("GET /public HTTP/1.1\r\nHost: a\r\n\r\n").status == 200);
}
