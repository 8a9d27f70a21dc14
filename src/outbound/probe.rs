//! One probe of one backend: a request that asks whether it is healthy.

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::fetch::exchange;
use crate::proxy::upstream::backends::{Backend, ProbeRules};

/// What is read of the body of a response. Whatever more there is says nothing about health.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Asks a backend over a connection of the probe's own, as requests reach it: by TLS, or at a socket of this machine.
///
/// # Errors
/// Why it counts as unhealthy, for people.
pub async fn ask(backend: &Backend, rules: &ProbeRules) -> Result<(), String> {
    let late = |what: &str| format!("{what} within {:?}", rules.timeout);
    let until = Instant::now() + rules.timeout;
    let connected = timeout_at(until, backend.connect()).await.map_err(|_| late("no connection"))?;
    let stream = connected.map_err(|error| format!("cannot connect: {error}"))?;
    let asking = exchange((stream, backend.target()), request(backend, rules), whole);
    let status = timeout_at(until, asking).await.map_err(|_| late("no complete response"))??;
    if rules.statuses.contains(&status) { Ok(()) } else { Err(format!("responded with {}", status.as_u16())) }
}

fn request(backend: &Backend, rules: &ProbeRules) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = Uri::from(rules.path.clone());
    let headers = request.headers_mut();
    headers.insert(HOST, rules.host.as_ref().unwrap_or_else(|| backend.own_host()).clone());
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tokengate/", env!("CARGO_PKG_VERSION"))));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    request
}

/// The status of a response that is whole, as far as it is read. One that breaks off is a sign of illness.
async fn whole(response: Response<Incoming>) -> Result<StatusCode, String> {
    let (head, mut body) = response.into_parts();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("the response broke off: {error}"))?;
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > BODY_BYTES_MAX {
            break;
        }
    }
    Ok(head.status)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream, UnixListener};

    use super::*;
    use crate::domain::ejection::EjectionRules;
    use crate::domain::probing::ProbeThresholds;
    use crate::domain::time::standing_clock;
    use crate::proxy::upstream::backends::{BackendRules, Backends, Place};
    use crate::proxy::upstream::connect::{Protocol, Target};

    fn rules() -> ProbeRules {
        ProbeRules {
            path: "/healthz?deep=1".parse().unwrap(),
            host: None,
            statuses: vec![StatusCode::OK, StatusCode::NO_CONTENT],
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            thresholds: ProbeThresholds { healthy_after: 1, unhealthy_after: 1 },
        }
    }

    fn backend(target: Target, rules: &ProbeRules) -> Arc<Backend> {
        let place = Place { key: "url".into(), target, own_host: HeaderValue::from_static("api.example:81"), weight: 1 };
        let ejection = EjectionRules { failures: 0, pause: Duration::ZERO, slow_start: Duration::ZERO, slow_factor: None };
        let rules = BackendRules {
            resolve_interval: Duration::from_secs(60),
            tells_host: false,
            ejection,
            probing: Some(Arc::new(rules.clone())),
        };
        Backends::new(vec![place], rules, standing_clock(), None).take_due_probes(1).remove(0)
    }

    /// Reads one request and sends these bytes. Returns the request.
    async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, response: &[u8], then_hangs: bool) -> String {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        // A prober that has seen enough reads no more.
        let _ = stream.write_all(response).await;
        if then_hangs {
            // Until the prober has gone.
            let _ = stream.read_u8().await;
        }
        String::from_utf8(request).unwrap()
    }

    async fn asked(response: &[u8], then_hangs: bool, rules: &ProbeRules) -> (Result<(), String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let backend = backend(Target::tcp(address.ip().to_string(), address.port(), None), rules);
        let serving = async { serve(listener.accept().await.unwrap().0, response, then_hangs).await };
        tokio::join!(ask(&backend, rules), serving)
    }

    #[tokio::test]
    async fn a_probe_is_one_request_for_the_path_with_the_servers_own_host_or_that_of_the_settings() {
        let (outcome, request) = asked(b"HTTP/1.1 204 No Content\r\n\r\n", false, &rules()).await;
        assert_eq!(outcome, Ok(()));
        assert!(request.starts_with("GET /healthz?deep=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nhost: api.example:81\r\n") && request.contains("\r\nconnection: close\r\n"), "{request}");
        let host = Some(HeaderValue::from_static("other.example"));
        let (outcome, request) =
            asked(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false, &ProbeRules { host, ..rules() }).await;
        assert!(outcome.is_ok() && request.contains("\r\nhost: other.example\r\n"), "{request}");
    }

    #[tokio::test]
    async fn what_simple_servers_send_is_health() {
        let large = [b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), vec![b'x'; 1 << 20]].concat();
        for (response, then_hangs) in [
            (&b"HTTP/1.0 200 OK\r\n\r\nuntil the end"[..], false),
            (b"HTTP/1.1 200 OK\r\nServer : old\r\ncontent-length: 2\r\n\r\nok", false),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true),
            (b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", true),
            (&large, true),
        ] {
            let (outcome, _) = asked(response, then_hangs, &rules()).await;
            assert_eq!(outcome, Ok(()), "{}", String::from_utf8_lossy(&response[..response.len().min(100)]));
        }
    }

    #[tokio::test]
    async fn whatever_is_no_whole_response_with_a_status_of_health_is_illness_and_its_cause_is_told() {
        let endless = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 1 << 20]].concat();
        for (response, cause) in [
            (&b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"[..], "responded with 503"),
            (b"HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n", "responded with 302"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", "broke off"),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "broke off"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nok", "content-length"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "HTTP"),
            (b"", "connection closed before message completed"),
            (&endless, "too large"),
        ] {
            let (outcome, _) = asked(response, false, &rules()).await;
            let told = outcome.unwrap_err();
            assert!(told.contains(cause), "`{cause}` is missing from: {told}");
        }
    }

    #[tokio::test]
    async fn a_server_that_hangs_before_or_within_its_response_is_given_up_on() {
        let rules = ProbeRules { timeout: Duration::from_millis(50), ..rules() };
        for response in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok"] {
            let (outcome, _) = asked(response, true, &rules).await;
            assert_eq!(outcome, Err("no complete response within 50ms".to_owned()));
        }
    }

    /// Sends this again and again from the request on, until the other side has gone.
    async fn without_end(listener: &TcpListener, start: &[u8], again: &[u8]) {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        let again = again.repeat((1 << 16) / again.len());
        if stream.write_all(start).await.is_ok() {
            while stream.write_all(&again).await.is_ok() {}
        }
    }

    #[tokio::test]
    async fn interim_responses_are_sat_through_up_to_a_bound() {
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
        for (count, outcome) in [(16, Ok(())), (17, Err("more than 16 interim responses".to_owned()))] {
            let response = [interim.repeat(count), b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()].concat();
            assert_eq!(asked(&response, true, &rules()).await.0, outcome, "{count}");
        }
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the server is a task that the test waits for")]
    async fn a_server_that_sends_without_end_is_given_up_on() {
        let rules = ProbeRules { timeout: Duration::from_millis(500), ..rules() };
        let late = "no complete response within 500ms";
        for (start, again, causes) in [
            (&b""[..], &b"HTTP/1.1 100 Continue\r\n\r\n"[..], ["more than 16 interim responses"; 2]),
            (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", ["too large", "too many"]),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", b"x", ["broke off", late]),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"0", ["broke off", late]),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n", ["broke off", late]),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let serving = tokio::spawn(async move { without_end(&listener, start, again).await });
            let flooding = backend(Target::tcp(address.ip().to_string(), address.port(), None), &rules);
            let told = ask(&flooding, &rules).await.unwrap_err();
            assert!(causes.iter().any(|cause| told.contains(cause)), "none of {causes:?} is in: {told}");
            serving.await.unwrap();
        }
    }

    /// A frame of HTTP/2.
    fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        const END_HEADERS: u8 = 4;
        let flags = if kind == HEADERS { END_HEADERS } else { 0 };
        [&[0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, stream], payload].concat()
    }

    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;

    /// Reads a client's first frames, up to the head of its request.
    async fn read_request(stream: &mut TcpStream) {
        stream.read_exact(&mut [0; 24]).await.unwrap();
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; usize::from(head[1]) * 256 + usize::from(head[2])];
            stream.read_exact(&mut payload).await.unwrap();
            if head[3] == HEADERS {
                return;
            }
        }
    }

    /// What is said before a status of 204, and what comes of that.
    async fn asked_by_http_2(said: &[u8], rules: &ProbeRules) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let backend = backend(Target::tcp(address.ip().to_string(), address.port(), None).speaking(Protocol::Http2), rules);
        let serving = async {
            let mut stream = listener.accept().await.unwrap().0;
            stream.write_all(&frame(SETTINGS, 0, &[])).await.unwrap();
            read_request(&mut stream).await;
            let status = [0, 0, 1, HEADERS, 5, 0, 0, 0, 1, 0x89];
            // Whoever has heard enough does not listen.
            let _ = stream.write_all(&[said, &status].concat()).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        tokio::join!(ask(&backend, rules), serving).0
    }

    #[tokio::test]
    async fn by_http_2_as_well_a_server_may_say_something_before_its_response_and_not_without_end() {
        let rules = ProbeRules { timeout: Duration::from_secs(10), ..rules() };
        for (what, said) in [
            ("interim response", frame(HEADERS, 1, b"\x08\x03103")),
            ("ping", frame(PING, 0, b"12345678")),
            ("settings", frame(SETTINGS, 0, &[])),
            ("unknown", frame(0xbb, 0, b"x")),
        ] {
            assert_eq!(asked_by_http_2(&said.repeat(50), &rules).await, Ok(()), "{what}");
            let told = asked_by_http_2(&said.repeat(10_000), &rules).await.unwrap_err();
            assert!(told.contains("too many frames"), "{what}: {told}");
        }
    }

    #[tokio::test]
    async fn a_socket_of_the_machine_is_probed_and_one_where_nobody_listens_is_ill() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &Path| backend(Target::unix(path.to_owned()), &rules());
        let path = folder.path().join("api.sock");
        let refused = ask(&at(&path), &rules()).await.unwrap_err();
        assert!(refused.starts_with("cannot connect: "), "{refused}");
        let (listener, backend, rules) = (UnixListener::bind(&path).unwrap(), at(&path), rules());
        let serving = async { serve(listener.accept().await.unwrap().0, b"HTTP/1.1 204 Fine\r\n\r\n", false).await };
        let (outcome, request) = tokio::join!(ask(&backend, &rules), serving);
        assert!(outcome.is_ok() && request.starts_with("GET /healthz"), "{outcome:?} {request}");
    }

    #[tokio::test]
    async fn a_server_that_speaks_http_2_is_asked_by_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let rules = rules();
        let target = Target::tcp(address.ip().to_string(), address.port(), None).speaking(Protocol::Http2);
        let backend = backend(target, &rules);
        let serving = async {
            let mut connection = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
            let (request, mut responding) = connection.accept().await.unwrap().unwrap();
            responding.send_response(Response::builder().status(204).body(()).unwrap(), true).unwrap();
            // Until the prober has gone.
            let _ = connection.accept().await;
            request.into_parts().0
        };
        let (outcome, head) = tokio::join!(ask(&backend, &rules), serving);
        assert_eq!(outcome, Ok(()));
        assert_eq!(head.uri, "http://api.example:81/healthz?deep=1");
        assert!(!head.headers.contains_key(HOST) && !head.headers.contains_key(CONNECTION));
    }
}
