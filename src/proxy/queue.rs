//! How the workers that accept from one queue divide its connections.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many connections more than the average a worker may have and still accept further ones, …
const LEAD_MIN: usize = 2;

/// … or this share of the average, if that is more.
const LEAD_SHARE: usize = 16;

/// What all know who accept from one queue. Left alone, whoever wakes first would take most of what comes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    parts: AtomicUsize,
    /// Connections of all parts.
    open: AtomicUsize,
    /// Those who give way.
    waiting: AtomicUsize,
    /// Told to those who give way: somebody has more or fewer connections now.
    changed: Notify,
}

impl Queue {
    fn tell(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.changed.notify_waiters();
        }
    }
}

/// The connections of one worker, among those of all who accept from its queue.
#[derive(Debug)]
pub(super) struct Part {
    queue: Arc<Queue>,
    open: Cell<usize>,
}

impl Part {
    pub(super) fn of(queue: Arc<Queue>) -> Self {
        queue.parts.fetch_add(1, Ordering::SeqCst);
        Self { queue, open: Cell::new(0) }
    }

    /// Counts a connection for as long as it lives, whatever ends it.
    pub(super) fn count(self: &Rc<Self>) -> Open {
        self.open.set(self.open.get() + 1);
        self.queue.open.fetch_add(1, Ordering::SeqCst);
        self.queue.tell();
        Open(Rc::clone(self))
    }

    /// Waits while others have fewer connections: the one with fewest never waits.
    pub(super) async fn turn(&self) {
        while self.is_ahead() {
            let mut changed = pin!(self.queue.changed.notified());
            let _waiting = Waiting::among(&self.queue.waiting);
            changed.as_mut().enable();
            // Or what happened before that is missed.
            if self.is_ahead() {
                changed.await;
            }
        }
    }

    fn is_ahead(&self) -> bool {
        let average = self.queue.open.load(Ordering::SeqCst) / self.queue.parts.load(Ordering::SeqCst).max(1);
        self.open.get() >= average + LEAD_MIN.max(average / LEAD_SHARE)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.queue.parts.fetch_sub(1, Ordering::SeqCst);
        self.queue.tell();
    }
}

/// One connection of a part.
#[derive(Debug)]
pub(super) struct Open(Rc<Part>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.queue.open.fetch_sub(1, Ordering::SeqCst);
        self.0.queue.tell();
    }
}

/// Counts one who waits, until it does no more.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn among(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_of_a_queue_gives_way_to_those_with_fewer_connections() {
        let queue = Arc::new(Queue::default());
        let (one, other) = (Rc::new(Part::of(Arc::clone(&queue))), Rc::new(Part::of(Arc::clone(&queue))));
        let mut of_one = Vec::new();
        while one.turn().now_or_never().is_some() {
            of_one.push(one.count());
        }
        assert_eq!(of_one.len(), 2 * LEAD_MIN - 1);
        let mut turn = pin!(one.turn());
        assert!(turn.as_mut().now_or_never().is_none());
        let of_other = [other.count(), other.count()];
        assert!(turn.as_mut().now_or_never().is_some(), "the other one has more now");
        drop(of_other);
        assert!(one.turn().now_or_never().is_none());
        drop(other);
        assert!(one.turn().now_or_never().is_some(), "nobody else is left");
    }

    #[test]
    fn whoever_is_alone_at_a_queue_never_waits() {
        let part = Rc::new(Part::of(Arc::default()));
        let open: Vec<Open> = (0..1000).map(|_| part.count()).collect();
        assert!(part.turn().now_or_never().is_some());
        drop(open);
        assert_eq!(part.open.get(), 0);
    }

    proptest! {
        #[test]
        fn somebody_always_accepts_and_nobody_gets_far_ahead(steps in prop::collection::vec((0_usize..4, any::<bool>()), 1..400)) {
            let queue = Arc::new(Queue::default());
            let parts: Vec<Rc<Part>> = (0..4).map(|_| Rc::new(Part::of(Arc::clone(&queue)))).collect();
            let mut open: Vec<Vec<Open>> = (0..4).map(|_| Vec::new()).collect();
            for (at, comes) in steps {
                if !comes {
                    open[at].pop();
                } else if parts[at].turn().now_or_never().is_some() {
                    open[at].push(parts[at].count());
                    let average = open.iter().map(Vec::len).sum::<usize>() / 4;
                    prop_assert!(open[at].len() <= average + LEAD_MIN.max(average / LEAD_SHARE) + 1);
                }
                prop_assert!(parts.iter().any(|part| !part.is_ahead()));
            }
        }
    }
}
