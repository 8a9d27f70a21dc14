//! Where lines of the access log go: a queue with a bound, and one thread that empties it.
//!
//! Workers put lines into the queue and never wait. The thread waits for the destination, and gives up when it is told to: a destination
//! that takes nothing holds up neither a reload nor the end of the process.

mod destination;
mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use self::destination::Destination;
use self::writer::Writer;
use super::StartError;
use crate::config::{AccessLog as AccessLogSettings, LogDestination};
use crate::domain::access_log::Layout;
use crate::domain::meters::{AccessLogLine, ControlSet};
use crate::proxy::access_log::{AccessLog, LineSink};
use crate::proxy::watch::TICK;

/// How long what waits may take to be written once nothing more is to come.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// How long workers may go on by former settings.
const LAST_LINES_WITHIN: Duration = TICK.saturating_mul(4);

/// What a chunk takes beside its bytes.
const CHUNK_OVERHEAD_BYTES: usize = 64;

/// A way to one destination. Its thread ends with it.
pub(super) struct Outlet {
    to: LogDestination,
    shared: Arc<Shared>,
}

/// Lines that were handed over together.
struct Chunk {
    lines: Box<[u8]>,
    count: u64,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Something of the queue is not as it was.
    changed: Condvar,
    meters: Arc<ControlSet>,
}

struct Queue {
    chunks: VecDeque<Chunk>,
    /// Of the chunks.
    bytes: usize,
    bytes_max: usize,
    /// Lines for which there was no room, since the start.
    dropped: u64,
    /// A file is to be opened anew.
    reopens: bool,
    closing: Option<Closing>,
    has_ended: bool,
}

/// What was asked of a thread that is to end.
#[derive(Clone, Copy)]
struct Closing {
    /// More lines may come until then.
    lingers_until: Instant,
    /// Whatever waits then is dropped.
    gives_up_at: Instant,
}

impl Outlet {
    /// Opens the destination, and starts the thread. A socket at which nobody listens yet is connected to later.
    pub(super) fn open(settings: &AccessLogSettings, meters: Arc<ControlSet>) -> io::Result<Arc<Self>> {
        let to = settings.to.clone();
        let destination = Destination::open(&to)?;
        let queue = Queue {
            chunks: VecDeque::new(),
            bytes: 0,
            bytes_max: settings.queue_bytes_max,
            dropped: 0,
            reopens: false,
            closing: None,
            has_ended: false,
        };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), changed: Condvar::new(), meters });
        let writer = Writer::new(Arc::clone(&shared), destination);
        // Not waited for: it may hang at a disk that does not respond. `finish` waits for what it has to write.
        thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run())?;
        Ok(Arc::new(Self { to, shared }))
    }

    pub(super) fn leads_to(&self, to: &LogDestination) -> bool {
        self.to == *to
    }

    pub(super) fn limit(&self, bytes_max: usize) {
        self.shared.lock().bytes_max = bytes_max;
    }

    /// Opens a file anew, between two lines: the one that was there may have been renamed.
    pub(super) fn reopen(&self) {
        self.shared.lock().reopens = true;
        self.shared.changed.notify_all();
    }

    /// Lets what workers still hold come, and ends the thread soon. Returns at once.
    pub(super) fn close(&self) {
        self.close_after(LAST_LINES_WITHIN);
    }

    /// Ends the thread, and waits until what came is written or cannot be. Blocks, for a bounded time.
    pub(super) fn finish(&self) {
        self.close_after(Duration::ZERO);
        let queue = self.shared.lock();
        let has_work = |queue: &mut Queue| !queue.has_ended;
        drop(self.shared.changed.wait_timeout_while(queue, FAREWELL_MAX, has_work));
    }

    fn close_after(&self, lingers: Duration) {
        let now = Instant::now();
        let asked = Closing { lingers_until: now + lingers, gives_up_at: now + FAREWELL_MAX };
        let mut queue = self.shared.lock();
        let closing = queue.closing.get_or_insert(asked);
        closing.lingers_until = closing.lingers_until.min(asked.lingers_until);
        drop(queue);
        self.shared.changed.notify_all();
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.close();
    }
}

impl LineSink for Outlet {
    fn take(&self, lines: &[u8], count: u64) {
        let chunk = Chunk { lines: lines.into(), count };
        let mut queue = self.shared.lock();
        if queue.has_ended || queue.bytes + chunk.weight() > queue.bytes_max {
            queue.dropped += count;
            drop(queue);
            self.shared.dropped(count);
            return;
        }
        queue.bytes += chunk.weight();
        queue.chunks.push_back(chunk);
        drop(queue);
        self.shared.changed.notify_all();
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("to", &self.to).finish_non_exhaustive()
    }
}

impl Chunk {
    const fn weight(&self) -> usize {
        self.lines.len() + CHUNK_OVERHEAD_BYTES
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dropped(&self, count: u64) {
        self.meters.access_log.of(AccessLogLine::Dropped).add_shared(count);
    }

    fn written(&self, count: u64) {
        self.meters.access_log.of(AccessLogLine::Written).add_shared(count);
    }
}

/// Why a start would be refused for where the log goes. Nothing is made.
pub(super) fn fault(settings: &AccessLogSettings) -> Option<StartError> {
    destination::fault(&settings.to).map(|error| StartError::AccessLog { path: settings.to.to_string(), error })
}

/// What workers go by, where the log is on.
pub(super) fn rules(settings: Option<&AccessLogSettings>, outlet: Option<&Arc<Outlet>>, node: String) -> Option<Arc<AccessLog>> {
    let (settings, outlet) = settings.zip(outlet)?;
    Some(Arc::new(AccessLog {
        layout: Layout { format: settings.format, fields: settings.fields.clone() },
        keep: settings.keep,
        query_values: settings.query_values.clone(),
        node,
        sink: Arc::clone(outlet) as _,
    }))
}
