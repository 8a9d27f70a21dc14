//! One answer for all who asked before it was looked for.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// Whether something holds: asked by many at once, none of whom is to be told what was so before the question.
#[derive(Debug, Default)]
pub struct JointAnswer {
    asked: AtomicU64,
    last: Mutex<Answer>,
}

#[derive(Debug, Default)]
struct Answer {
    /// How many had asked when it was looked for.
    asked: u64,
    holds: bool,
}

impl JointAnswer {
    /// One looks at a time, for all who are waiting by then. Who goes away while looking leaves it to the next.
    pub async fn ask(&self, look: impl Future<Output = bool>) -> bool {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut last = self.last.lock().await;
        if last.asked < number {
            let asked = self.asked.load(Ordering::SeqCst);
            *last = Answer { asked, holds: look.await };
        }
        last.holds
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;
    use futures_util::{FutureExt as _, poll};
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn all_who_ask_while_one_looks_get_the_answer_of_the_next_look_and_not_of_that_one() {
        let (answer, gate, holds, looks) = (JointAnswer::default(), Notify::new(), Cell::new(true), Cell::new(0));
        let look = || async {
            looks.set(looks.get() + 1);
            let held = holds.get();
            gate.notified().await;
            held
        };
        let mut first = answer.ask(look()).boxed_local();
        assert!(poll!(&mut first).is_pending(), "it has looked, and is to be told");
        holds.set(false);
        let mut others = join_all((0..50).map(|_| answer.ask(look()))).boxed_local();
        assert!(poll!(&mut others).is_pending());
        gate.notify_one();
        assert!(first.await, "as it was when it asked");
        gate.notify_one();
        assert!(others.await.iter().all(|held| !held), "not what was so before they asked");
        assert_eq!(looks.get(), 2);
    }

    #[tokio::test]
    async fn whoever_goes_away_while_looking_leaves_it_to_the_next() {
        let answer = JointAnswer::default();
        let mut gone = answer.ask(std::future::pending()).boxed_local();
        let mut next = answer.ask(std::future::ready(true)).boxed_local();
        assert!(poll!(&mut gone).is_pending() && poll!(&mut next).is_pending());
        drop(gone);
        assert!(next.await);
    }
}
