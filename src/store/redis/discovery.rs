//! Finds out which server is the primary of which slot, by asking those that know.
//!
//! Who was promoted last is right: every response carries the epoch of the promotion, and the highest wins, as it does among the
//! servers themselves. So neither an old primary that wakes up nor a sentinel that was cut off leads astray.

pub(super) mod cluster;
pub(super) mod sentinel;

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::options::Address;

/// Once one has responded, the others are waited for so long: one that hangs must not hold up the news of the others.
const STRAGGLERS_WAIT: Duration = Duration::from_millis(100);

/// A statement that this server is the primary, since the promotion of this epoch.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Claim {
    pub(super) epoch: u64,
    pub(super) primary: Address,
}

/// The responses of those that gave one in time, and why another gave none.
pub(super) async fn gather<T, E>(asked: impl Iterator<Item = impl Future<Output = Result<T, E>>>) -> (Vec<T>, Option<E>) {
    let mut asked: FuturesUnordered<_> = asked.collect();
    let (mut answers, mut refusal) = (Vec::new(), None);
    let mut until = None;
    loop {
        let next = match until {
            None => asked.next().await,
            Some(until) => tokio::time::timeout_at(until, asked.next()).await.unwrap_or(None),
        };
        match next {
            None => return (answers, refusal),
            Some(Ok(response)) => {
                answers.push(response);
                until = until.or_else(|| Some(Instant::now() + STRAGGLERS_WAIT));
            }
            Some(Err(error)) => refusal = Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_hangs_is_not_waited_for_once_another_has_answered() {
        let began = Instant::now();
        let ask = |millis| async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            if millis == 5 { Err("refused") } else { Ok(millis) }
        };
        let (answers, refusal) = gather([30, 60, 100_000, 5].map(ask).into_iter()).await;
        assert_eq!((answers, refusal), (vec![30, 60], Some("refused")));
        assert_eq!(began.elapsed(), Duration::from_millis(30) + STRAGGLERS_WAIT);
    }
}
