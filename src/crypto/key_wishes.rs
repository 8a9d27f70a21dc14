//! Keys of an issuer that tokens named and nobody here has: who may wait for the next fetch, and for how long.
//!
//! A key that is here, and did not make the signature of a token that names it, may have been replaced under its name: it is wished for
//! in the same way. But that the key is here was said by the last fetch, and until the next one is due that is believed: the token is
//! invalid, and waits for nothing.
//!
//! The first token of a key that was rotated in comes before the key set that holds it. It is worth a fetch, but not at its own choice:
//! a token is read here before its signature can be judged, so anybody can name any key. A wish therefore only wakes the task that
//! fetches, which keeps to its minimum interval; what a wish may then do is wait, in a bounded number of places, for a fetch that is
//! due anyway. A key that was wished for and did not come is unknown until the interval is over, and costs nobody any more waiting. Where
//! that cannot be told yet, the response is "later" and not "no": an attacker who keeps the interval busy logs nobody out.

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::quality::RandomState;
use tokio::sync::{Notify, watch};

use crate::domain::claims::Denial;
use crate::domain::time::Clock;

/// How many requests may wait for the keys of one issuer at once.
pub const WAITING_MAX: usize = 256;
/// How many keys that did not come are remembered; of others it is asked again.
const REMEMBERED_MAX: usize = 1024;
/// The longest that a client is told to wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

pub(super) const BAD_SIGNATURE: Denial = Denial::Invalid("the signature is wrong");
pub(super) const UNKNOWN: Denial = Denial::Invalid("no key of that kid is trusted");

/// The wishes for keys of one issuer. Held by its [`super::issuers::JwksCache`], and by each verifier that has its keys.
pub struct KeyWishes {
    clock: Arc<dyn Clock>,
    /// The longest that a request waits.
    patience: Duration,
    wished: Notify,
    fetched: watch::Sender<Fetched>,
    book: Mutex<Book>,
    hasher: RandomState,
}

/// How the last fetch ended, and how many there were: each is news.
#[derive(Clone, Copy, Debug, Default)]
struct Fetched {
    count: u64,
    succeeded: bool,
}

#[derive(Debug, Default)]
struct Book {
    /// When a wish would be granted, on the monotonic clock.
    due_at: Duration,
    /// A fetch is under way: it began before what is wished for now.
    in_flight: bool,
    waiting: usize,
    /// Wished for since the last fetch began.
    wished: HashSet<u64>,
    /// Wished for before it began.
    pending: HashSet<u64>,
    /// Wished for before the last fetch began. Whoever still misses them knows that they did not come with it.
    absent: HashSet<u64>,
}

impl KeyWishes {
    pub(super) fn new(clock: Arc<dyn Clock>, patience: Duration) -> Arc<Self> {
        let (fetched, _) = watch::channel(Fetched::default());
        Arc::new(Self { clock, patience, wished: Notify::new(), fetched, book: Mutex::default(), hasher: RandomState::default() })
    }

    /// Waits for the fetch that is due, if it is due soon and there is room. Afterwards the token is to be judged again.
    ///
    /// # Errors
    /// The key is known to be unknown; or that cannot be told for now.
    pub(super) async fn granted(&self, kid: Option<&str>) -> Result<(), Denial> {
        let key = self.hasher.hash_one(kid);
        let mut fetched = self.fetched.subscribe();
        let _place = {
            let mut book = self.book();
            let now = self.clock.monotonic();
            if book.is_absent(key, now) {
                return Err(UNKNOWN);
            }
            let due_in = book.due_at.saturating_sub(now);
            if book.wished.len() < REMEMBERED_MAX {
                book.wished.insert(key);
            }
            self.wished.notify_one();
            let is_soon = book.in_flight || due_in < self.patience;
            if !is_soon || book.waiting >= WAITING_MAX {
                return Err(later(due_in));
            }
            book.waiting += 1;
            Place(self)
        };
        match tokio::time::timeout(self.patience, fetched.changed()).await {
            Ok(Ok(())) if fetched.borrow().succeeded => Ok(()),
            Ok(_) | Err(_) => Err(self.later()),
        }
    }

    /// What is said of a key that the fetch which was waited for did not bring.
    pub(super) fn verdict(&self, kid: Option<&str>) -> Denial {
        let is_absent = self.book().is_absent(self.hasher.hash_one(kid), self.clock.monotonic());
        // Wished for while that fetch was under way: the key may have been published since.
        if is_absent { UNKNOWN } else { self.later() }
    }

    fn later(&self) -> Denial {
        later(self.book().due_at.saturating_sub(self.clock.monotonic()))
    }

    /// Waits until someone has wished since the last return.
    pub(super) async fn asked(&self) {
        self.wished.notified().await;
    }

    /// A fetch begins; the next one may be made at `due_at`.
    pub(super) fn fetch_begins(&self, due_at: Duration) {
        let mut book = self.book();
        book.in_flight = true;
        book.due_at = due_at;
        book.pending = std::mem::take(&mut book.wished);
    }

    /// The fetch has ended, and what it brought is in place: those who wait look again.
    pub(super) fn fetch_ended(&self, succeeded: bool, due_at: Duration) {
        {
            let mut book = self.book();
            book.in_flight = false;
            book.due_at = due_at;
            let pending = std::mem::take(&mut book.pending);
            if succeeded {
                book.absent = pending;
            }
        }
        self.fetched.send_modify(|fetched| *fetched = Fetched { count: fetched.count + 1, succeeded });
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn later(due_in: Duration) -> Denial {
    Denial::IssuerKeysUnavailable(due_in.min(RETRY_AFTER_MAX))
}

impl Book {
    fn is_absent(&self, key: u64, now: Duration) -> bool {
        // While a fetch is under way, it may bring what the last one did not.
        !self.in_flight && now < self.due_at && self.absent.contains(&key)
    }
}

/// A key that is not here, and where it can be waited for.
#[derive(Debug)]
pub struct Wish {
    wishes: Arc<KeyWishes>,
    kid: Option<String>,
}

impl Wish {
    pub(super) const fn new(wishes: Arc<KeyWishes>, kid: Option<String>) -> Self {
        Self { wishes, kid }
    }

    /// Waits for the fetch that is due, if any, and has the token judged again, by the verifier of then. That is done in any case: the
    /// key may have come since the token was judged first, and before anything was wished for.
    ///
    /// # Errors
    /// What `judge` says; in place of [`Denial::KeyUnknown`], what is known of the key. A key that is still disputed is the signer's no
    /// more, whether or not it could be fetched again: made-up signatures must not get a 503.
    pub async fn then<T>(&self, judge: impl FnOnce() -> Result<T, Denial>) -> Result<T, Denial> {
        let kid = self.kid.as_deref();
        let granted = self.wishes.granted(kid).await;
        match judge() {
            Err(Denial::KeyUnknown) => Err(granted.err().unwrap_or_else(|| self.wishes.verdict(kid))),
            Err(Denial::KeyDisputed) => Err(BAD_SIGNATURE),
            judged => judged,
        }
    }
}

/// One of the places to wait in.
struct Place<'a>(&'a KeyWishes);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut book = self.0.book();
        book.waiting = book.waiting.saturating_sub(1);
    }
}

impl std::fmt::Debug for KeyWishes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyWishes").field("patience", &self.patience).finish_non_exhaustive()
    }
}
