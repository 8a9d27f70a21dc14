//! A proxy in front of a redis-server that does to its clients what networks and servers do at their worst.
//!
//! It understands as much of RESP as it takes to tell commands and replies apart, so that it can lose the reply of one write and
//! answer for a server that is in no state to.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::resp;

/// What becomes of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Nothing: they pass.
    None,
    /// Connections are cut, and new ones reset at once.
    Refuse,
    /// They are taken and go nowhere. Connections from before and from meanwhile stay dead for good, as behind a firewall that
    /// was restarted.
    Blackhole,
    /// Each reply comes so much later.
    Delay(Duration),
    /// The server's answer is this error: to each command but those with which connections begin.
    AnswerAll(&'static str),
    /// The same, to scripts alone: reads are answered as ever.
    ResponseScripts(&'static str),
    /// The same, to reads of logs alone: who asks hears nothing of what others revoke.
    ResponseLogs(&'static str),
    /// The reply to every so many scripts is lost.
    LoseEvery(u64, Loss),
}

/// How a reply is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loss {
    /// The connection breaks before it.
    Broken,
    /// The connection breaks in the midst of it.
    Torn,
    /// It does not come, nor does anything after it.
    Swallowed,
}

impl Loss {
    pub(crate) const ALL: [Self; 3] = [Self::Broken, Self::Torn, Self::Swallowed];
}

pub(crate) struct FaultProxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server_port: u16,
    stopped: AtomicBool,
    fault: Mutex<Fault>,
    armed: Mutex<Option<Armed>>,
    scripts: AtomicU64,
    losses: AtomicU64,
    accepted: Mutex<Vec<Instant>>,
    connections: Mutex<Vec<Weak<Connection>>>,
}

/// One reply to be lost.
struct Armed {
    naming: Vec<u8>,
    loss: Loss,
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Nothing passes any more, and nobody is told.
    dead: AtomicBool,
    replies: Mutex<Replies>,
}

/// What is owed to the client, in the order of its commands.
struct Replies {
    owed: VecDeque<Owed>,
    outgoing: Sender<Outgoing>,
}

enum Owed {
    ByServer(Option<Loss>),
    ByUs(&'static str),
}

struct Outgoing {
    due: Instant,
    bytes: Vec<u8>,
    then: Then,
}

enum Then {
    GoOn,
    Break,
    Die,
}

impl FaultProxy {
    /// Connections to it are passed on to the port of this machine, whether anything listens there or not.
    pub(crate) fn to(server_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server_port,
            stopped: AtomicBool::new(false),
            fault: Mutex::new(Fault::None),
            armed: Mutex::default(),
            scripts: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            accepted: Mutex::default(),
            connections: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::Builder::new()
            .spawn(move || {
                for client in listener.incoming().flatten() {
                    if accepting.stopped.load(Ordering::SeqCst) {
                        break;
                    }
                    accepting.accept(client);
                }
            })
            .unwrap();
        Self { port, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// From now on, for present connections too.
    pub(crate) fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
        let present: Vec<_> = self.shared.connections.lock().unwrap().iter().filter_map(Weak::upgrade).collect();
        for connection in present {
            connection.meet(fault);
        }
    }

    /// Loses the reply of one script, once: of the next with `naming` in one of its keys or arguments.
    pub(crate) fn lose_reply(&self, naming: &str, loss: Loss) {
        *self.shared.armed.lock().unwrap() = Some(Armed { naming: naming.into(), loss });
    }

    /// Replies lost so far.
    pub(crate) fn losses(&self) -> u64 {
        self.shared.losses.load(Ordering::SeqCst)
    }

    /// When connections were made, or tried to be, since then.
    pub(crate) fn connections_since(&self, since: Instant) -> Vec<Instant> {
        self.shared.accepted.lock().unwrap().iter().copied().filter(|at| *at >= since).collect()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.set(Fault::Refuse);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn accept(self: &Arc<Self>, client: TcpStream) {
        self.accepted.lock().unwrap().push(Instant::now());
        let server = (self.fault() != Fault::Refuse).then(|| TcpStream::connect(("127.0.0.1", self.server_port)));
        let Some(Ok(server)) = server else {
            // Closed with a reset, as by a port at which nobody listens.
            let _ = socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO));
            return;
        };
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        let (outgoing, queue) = mpsc::channel();
        let connection = Arc::new(Connection {
            client,
            server,
            dead: AtomicBool::new(false),
            replies: Mutex::new(Replies { owed: VecDeque::new(), outgoing }),
        });
        let mut connections = self.connections.lock().unwrap();
        connections.retain(|connection| connection.strong_count() > 0);
        connections.push(Arc::downgrade(&connection));
        drop(connections);
        // What was set before this one was among those that are told.
        connection.meet(self.fault());
        self.spawn(&connection, Self::pass_commands);
        self.spawn(&connection, Self::pass_replies);
        self.spawn(&connection, move |_, connection| connection.write_replies(&queue));
    }

    /// One of the threads of a connection: all end with the first.
    fn spawn(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        pass: impl FnOnce(&Self, &Connection) -> io::Result<()> + Send + 'static,
    ) {
        let (shared, connection) = (Arc::clone(self), Arc::clone(connection));
        let run = move || {
            let _ = pass(&shared, &connection);
            connection.cut();
        };
        thread::Builder::new().spawn(run).unwrap();
    }

    fn pass_commands(&self, connection: &Connection) -> io::Result<()> {
        read_frames(&connection.client, |frame| {
            if connection.dead.load(Ordering::SeqCst) {
                return Ok(());
            }
            let arguments = resp::arguments(frame);
            let is_script = matches!(arguments.first(), Some(&(b"EVALSHA" | b"EVAL")));
            let response = match self.fault() {
                Fault::AnswerAll(error) if !begins_connection(&arguments) => Some(error),
                Fault::ResponseScripts(error) if is_script => Some(error),
                Fault::ResponseLogs(error) if reads_log(&arguments) => Some(error),
                _ => None,
            };
            let mut replies = connection.replies.lock().unwrap();
            if let Some(error) = response {
                replies.owed.push_back(Owed::ByUs(error));
                replies.pay_ours();
                return Ok(());
            }
            replies.owed.push_back(Owed::ByServer(if is_script { self.loss_of(&arguments) } else { None }));
            drop(replies);
            (&connection.server).write_all(frame)
        })
    }

    /// Whether the reply of this script is to be lost, and how.
    fn loss_of(&self, arguments: &[&[u8]]) -> Option<Loss> {
        let number = self.scripts.fetch_add(1, Ordering::SeqCst) + 1;
        if let Fault::LoseEvery(every, loss) = self.fault() {
            return number.is_multiple_of(every).then_some(loss);
        }
        let mut armed = self.armed.lock().unwrap();
        let one = armed.as_ref()?;
        let is_meant = arguments.iter().any(|argument| contains(argument, &one.naming));
        if is_meant { armed.take().map(|armed| armed.loss) } else { None }
    }

    fn pass_replies(&self, connection: &Connection) -> io::Result<()> {
        read_frames(&connection.server, |frame| {
            let mut due = Instant::now();
            if let Fault::Delay(span) = self.fault() {
                due += span;
            }
            let mut replies = connection.replies.lock().unwrap();
            let Some(Owed::ByServer(loss)) = replies.owed.pop_front() else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            let (kept, then) = match loss {
                None => (frame.len(), Then::GoOn),
                Some(Loss::Broken) => (0, Then::Break),
                Some(Loss::Torn) => (frame.len() / 2, Then::Break),
                Some(Loss::Swallowed) => (0, Then::Die),
            };
            if loss.is_some() {
                self.losses.fetch_add(1, Ordering::SeqCst);
            }
            let _ = replies.outgoing.send(Outgoing { due, bytes: frame[..kept].to_vec(), then });
            replies.pay_ours();
            Ok(())
        })
    }
}

impl Connection {
    /// What becomes of an open connection when this fault sets in.
    fn meet(&self, fault: Fault) {
        match fault {
            Fault::Refuse => self.cut(),
            Fault::Blackhole => self.dead.store(true, Ordering::SeqCst),
            Fault::None
            | Fault::Delay(_)
            | Fault::AnswerAll(_)
            | Fault::ResponseScripts(_)
            | Fault::ResponseLogs(_)
            | Fault::LoseEvery(..) => {}
        }
    }

    fn write_replies(&self, queue: &Receiver<Outgoing>) -> io::Result<()> {
        while let Ok(next) = queue.recv() {
            thread::sleep(next.due.saturating_duration_since(Instant::now()));
            if self.dead.load(Ordering::SeqCst) {
                continue;
            }
            (&self.client).write_all(&next.bytes)?;
            match next.then {
                Then::GoOn => {}
                Then::Break => return Ok(()),
                Then::Die => self.dead.store(true, Ordering::SeqCst),
            }
        }
        Ok(())
    }

    /// Ends it, and with it the threads that read.
    fn cut(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
        // Ends the thread that writes.
        self.replies.lock().unwrap().outgoing = mpsc::channel().0;
    }
}

impl Replies {
    /// Gives the responses of our own whose turn it is.
    fn pay_ours(&mut self) {
        while let Some(Owed::ByUs(error)) = self.owed.front() {
            let bytes = format!("-{error}\r\n").into_bytes();
            let _ = self.outgoing.send(Outgoing { due: Instant::now(), bytes, then: Then::GoOn });
            self.owed.pop_front();
        }
    }
}

/// Calls `each` with every frame that arrives, until the connection ends or it fails.
fn read_frames(mut stream: &TcpStream, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let (mut bytes, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&piece[..read]);
        let mut taken = 0;
        while let Some(length) = resp::frame_length(&bytes[taken..]) {
            each(&bytes[taken..taken + length])?;
            taken += length;
        }
        bytes.drain(..taken);
    }
}

fn begins_connection(arguments: &[&[u8]]) -> bool {
    matches!(arguments.first(), Some(&(b"HELLO" | b"AUTH" | b"SELECT" | b"CLIENT" | b"INFO" | b"CLUSTER" | b"READONLY")))
}

fn reads_log(arguments: &[&[u8]]) -> bool {
    matches!(arguments.first(), Some(&(b"XREAD" | b"XRANGE" | b"XINFO")))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}
