//! The thread that writes.

use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::destination::Destination;
use super::{Chunk, Closing, Queue, Shared};

/// How long the thread waits at once for a destination that takes nothing: so soon it hears of anything else.
const SLICE: Duration = Duration::from_millis(50);

/// Between two attempts at a destination that fails.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Between two lines in the log about the same.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// Empties the queue.
pub(super) struct Writer {
    shared: Arc<Shared>,
    destination: Destination,
    /// What is being written.
    current: Option<Current>,
    /// When a destination that failed is tried again.
    retry_at: Option<Instant>,
    trouble: Trouble,
}

/// Lines of which some were written.
struct Current {
    chunk: Chunk,
    /// How much of it.
    at: usize,
    /// Where the line begins that is written next, or that is under way.
    line: usize,
}

/// What is to be done next.
enum Step {
    Reopen,
    Write,
}

/// What operators are told of, and were.
#[derive(Default)]
struct Trouble {
    error: Option<io::Error>,
    /// Lines of which was told that they were dropped.
    told: u64,
    told_at: Option<Instant>,
    is_told: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, destination: Destination) -> Self {
        Self { shared, destination, current: None, retry_at: None, trouble: Trouble::default() }
    }

    pub(super) fn run(mut self) {
        self.connect();
        while let Some((step, dropped)) = self.next() {
            match step {
                Step::Reopen => self.reopen(),
                Step::Write => self.write(),
            }
            self.tell(dropped);
        }
        self.end();
    }

    /// Waits for something to do; and how many lines were dropped so far. `None`: the end.
    fn next(&mut self) -> Option<(Step, u64)> {
        let shared = Arc::clone(&self.shared);
        let mut queue = shared.lock();
        loop {
            let now = Instant::now();
            if queue.closing.is_some_and(|closing| self.is_over(closing, &queue, now)) {
                return None;
            }
            let is_within_a_line = self.current.as_ref().is_some_and(|current| current.at != current.line);
            // A file that takes no more of a line need not get the rest of it.
            if queue.reopens && (!is_within_a_line || self.retry_at.is_some()) {
                queue.reopens = false;
                return Some((Step::Reopen, queue.dropped));
            }
            if self.current.is_none()
                && let Some(chunk) = queue.chunks.pop_front()
            {
                queue.bytes -= chunk.weight();
                self.current = Some(Current { chunk, at: 0, line: 0 });
            }
            let is_time = self.retry_at.is_none_or(|at| at <= now);
            if self.current.is_some() && is_time {
                return Some((Step::Write, queue.dropped));
            }
            let retry_at = self.retry_at.filter(|_| self.current.is_some());
            let closing =
                queue.closing.map(|closing| if self.current.is_some() { closing.gives_up_at } else { closing.lingers_until });
            queue = match retry_at.into_iter().chain(closing).min() {
                Some(until) => wait(&shared, queue, until.saturating_duration_since(now)),
                None => shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn is_over(&self, closing: Closing, queue: &Queue, now: Instant) -> bool {
        let is_done = self.current.is_none() && queue.chunks.is_empty();
        now >= closing.gives_up_at || is_done && now >= closing.lingers_until
    }

    fn reopen(&mut self) {
        match self.destination.reopen() {
            // It may have got room.
            Ok(false) => {
                self.retry_at = None;
                return;
            }
            // Nobody has to wait longer for the new one.
            Ok(true) => self.retry_at = None,
            Err(error) => {
                tracing::warn!(to = %self.destination, %error, "the access log cannot be opened again; the file that is open is written on");
                return;
            }
        }
        if let Some(current) = &mut self.current
            && current.at != current.line
        {
            let rest = &current.chunk.lines[current.at..];
            current.at += memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            current.line = current.at;
            self.shared.dropped(1);
            self.forget_what_is_done();
        }
    }

    fn connect(&mut self) {
        match self.destination.connect() {
            Ok(()) => self.retry_at = None,
            Err(error) => self.fails(error),
        }
    }

    fn write(&mut self) {
        self.connect();
        let Some(current) = &mut self.current else { return };
        if self.retry_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        let rest = &current.chunk.lines[current.at..];
        match self.destination.write(rest) {
            Ok(0) => self.fails(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                let piece = &rest[..count];
                if let Some(last) = memchr::memrchr(b'\n', piece) {
                    current.line = current.at + last + 1;
                }
                current.at += count;
                self.shared.written(memchr::memchr_iter(b'\n', piece).count() as u64);
                self.retry_at = None;
                self.trouble.error = None;
                self.forget_what_is_done();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.destination.wait(SLICE),
            Err(error) => {
                if self.destination.disconnect() {
                    // The next reader gets it from its beginning.
                    current.at = current.line;
                }
                self.fails(error);
            }
        }
    }

    fn forget_what_is_done(&mut self) {
        self.current.take_if(|current| current.at == current.chunk.lines.len());
    }

    fn fails(&mut self, error: io::Error) {
        self.retry_at = Some(Instant::now() + RETRY_PAUSE);
        self.trouble.error = Some(error);
        let dropped = self.shared.lock().dropped;
        self.tell(dropped);
    }

    /// Tells operators of what goes wrong, not more often than they need it; and when it is over.
    fn tell(&mut self, dropped: u64) {
        let (to, trouble) = (&self.destination, &mut self.trouble);
        let lines = dropped.saturating_sub(trouble.told);
        let now = Instant::now();
        if trouble.error.is_some() || lines > 0 {
            if trouble.told_at.is_none_or(|told_at| now.saturating_duration_since(told_at) >= TELL_INTERVAL) {
                let error = trouble.error.as_ref().map(tracing::field::display);
                tracing::warn!(%to, error, dropped = lines, "the access log is not taken; what finds no room in the queue is dropped");
                *trouble = Trouble { error: trouble.error.take(), told: dropped, told_at: Some(now), is_told: true };
            }
        } else if std::mem::take(&mut trouble.is_told) {
            tracing::info!(%to, "the access log is taken again");
        }
    }

    /// What is left nobody gets.
    fn end(self) {
        let rest =
            self.current.map_or(0, |current| memchr::memchr_iter(b'\n', &current.chunk.lines[current.at..]).count() as u64);
        let mut queue = self.shared.lock();
        let left = std::mem::take(&mut queue.chunks);
        queue.has_ended = true;
        drop(queue);
        let lines = rest + left.iter().map(|chunk| chunk.count).sum::<u64>();
        if lines > 0 {
            self.shared.dropped(lines);
            tracing::warn!(to = %self.destination, dropped = lines, "the access log was not taken to its end");
        }
        self.shared.changed.notify_all();
    }
}

fn wait<'q>(shared: &'q Shared, queue: MutexGuard<'q, Queue>, span: Duration) -> MutexGuard<'q, Queue> {
    shared.changed.wait_timeout(queue, span).unwrap_or_else(PoisonError::into_inner).0
}
