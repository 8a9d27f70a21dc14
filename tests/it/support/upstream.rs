//! The API behind the gateway, as scripted as a test needs it: threads and real sockets, within the test's process.

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::http::Message;

/// What a held request waits for at most.
const HOLD_MAX: Duration = Duration::from_secs(20);

/// What a scripted upstream does with a request.
pub(crate) enum Turn {
    Response(Vec<u8>),
    /// Answers and closes, without having said so.
    AnswerAndClose(Vec<u8>),
    /// Closes without a word.
    HangUp,
}

/// The password that `/login` accepts, whoever comes with it.
pub(crate) const PASSWORD: &str = "correct horse";

pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    requests: AtomicU64,
    connections: AtomicU64,
    /// Of connections that are no more.
    ended: AtomicU64,
    gate: Mutex<Gate>,
    changed: Condvar,
}

#[derive(Default)]
struct Gate {
    held: u64,
    open: bool,
}

impl Upstream {
    /// The usual one. `POST /login` takes `email` and `password` and answers `{"user":{"id":<email>}}`, `/register` the same with
    /// 201, `/quick-register` knows everyone by `name`. `/api/held` answers once [`Upstream::release`] was called. Everything
    /// else is answered with what came: `{"method","target","headers":[[name,value],…],"body"}`.
    pub(crate) fn start() -> Self {
        Self::scripted(|request, _, stream, shared| {
            let response = usual(request, shared);
            stream.write_all(&response).is_ok()
        })
    }

    /// One that answers with the bytes that `script` makes of each request, then closes, and says so: a gateway that did not know
    /// could send the next request into a connection that is about to end, and must not repeat a POST.
    pub(crate) fn saying(script: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::scripted(move |request, _, stream, _| {
            let mut response = script(request);
            if let Some(line_end) = response.windows(2).position(|pair| pair == b"\r\n") {
                response.splice(line_end..line_end, *b"\r\nconnection: close");
            }
            let _ = stream.write_all(&response);
            false
        })
    }

    /// One whose script knows by which connection, counted from 1, a request came.
    pub(crate) fn taking_turns(script: impl Fn(&Message, u64) -> Turn + Send + Sync + 'static) -> Self {
        Self::scripted(move |request, connection, stream, _| match script(request, connection) {
            Turn::Response(response) => stream.write_all(&response).is_ok(),
            Turn::AnswerAndClose(response) => {
                let _ = stream.write_all(&response);
                false
            }
            Turn::HangUp => false,
        })
    }

    fn scripted(script: impl Fn(&Message, u64, &mut TcpStream, &Shared) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (accepting, script) = (Arc::clone(&shared), Arc::new(script));
        thread::Builder::new()
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    if accepting.stopped.load(Ordering::Relaxed) {
                        break;
                    }
                    let (shared, script) = (Arc::clone(&accepting), Arc::clone(&script));
                    thread::Builder::new().spawn(move || serve(stream, &shared, &*script)).unwrap();
                }
            })
            .unwrap();
        Self { address, shared }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests that reached it so far.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    pub(crate) fn connections(&self) -> u64 {
        let ended = self.shared.ended.load(Ordering::SeqCst);
        self.shared.connections.load(Ordering::SeqCst) - ended
    }

    /// Waits until so many requests are held at `/api/held`.
    pub(crate) fn await_held(&self, count: u64) {
        let gate = self.shared.gate.lock().unwrap();
        let (gate, _) = self.shared.changed.wait_timeout_while(gate, HOLD_MAX, |gate| gate.held < count).unwrap();
        assert!(gate.held >= count, "nothing reached the upstream");
    }

    /// Lets what is held at `/api/held` be answered, now and from now on.
    pub(crate) fn release(&self) {
        self.shared.gate.lock().unwrap().open = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.release();
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, shared: &Shared, script: &(impl Fn(&Message, u64, &mut TcpStream, &Shared) -> bool + ?Sized)) {
    let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream);
    while let Ok(Some(request)) = Message::read(&mut reader, |_| false) {
        shared.requests.fetch_add(1, Ordering::SeqCst);
        if !script(&request, number, reader.get_mut(), shared) {
            break;
        }
    }
    shared.ended.fetch_add(1, Ordering::SeqCst);
}

fn usual(request: &Message, shared: &Shared) -> Vec<u8> {
    let path = request.target().split('?').next().unwrap_or_default();
    let (status, body) = match path {
        "/login" | "/register" | "/quick-register" => judge(path, request),
        "/api/held" => {
            let mut gate = shared.gate.lock().unwrap();
            gate.held += 1;
            shared.changed.notify_all();
            drop(shared.changed.wait_timeout_while(gate, HOLD_MAX, |gate| !gate.open).unwrap());
            (200, echo(request))
        }
        _ => (200, echo(request)),
    };
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 {status} Told\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

fn judge(path: &str, request: &Message) -> (u16, Value) {
    let Ok(call) = serde_json::from_slice::<Value>(&request.body) else { return (400, json!({"error": "not JSON"})) };
    match path {
        "/login" if call["password"] != PASSWORD => (401, json!({"error": "wrong password"})),
        "/login" => (200, json!({"user": {"id": call["email"]}})),
        "/register" => (201, json!({"user": {"id": call["email"]}})),
        _ => (201, json!({"user": {"id": call["name"]}})),
    }
}

fn echo(request: &Message) -> Value {
    json!({"method": request.method(), "target": request.target(), "headers": request.headers, "body": request.text()})
}
