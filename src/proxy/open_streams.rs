//! Which sessions have open streams, and the newest token that was seen of each. Shared by all workers.
//!
//! It is asked and told a few times in a token's life, never by each request: a worker tells of a token when it verifies it, and once more
//! when a session like the token's has got its first stream since. What is kept lives as long as the streams do.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;

use crate::crypto::verifier::Verified;
use crate::domain::claims::Principal;
use crate::domain::ids::{Generation, SessionId};
use crate::domain::time::Timestamp;

/// The sessions with open streams of one process.
#[derive(Debug)]
pub struct OpenStreams {
    shards: Box<[Shard; SHARDS]>,
}

/// As many as the last byte of a session's id tells apart, which is random.
const SHARDS: usize = 256;

/// How often a session of the shard got its first stream: with each, tokens that are known already become news.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Era(u64);

/// On cache lines of its own: every request of a session reads the era of its shard.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    era: AtomicU64,
    sessions: Mutex<HashMap<SessionId, Session, RandomState>>,
}

#[derive(Debug)]
struct Session {
    streams: usize,
    newest: Option<Verified>,
}

/// A stream's place among the open ones of its session, until it is dropped.
#[derive(Debug)]
pub struct Enrolled {
    open: Arc<OpenStreams>,
    session: SessionId,
}

impl OpenStreams {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { shards: Box::new(std::array::from_fn(|_| Shard::default())) })
    }

    /// A token is news to the shard of its session if the era is another than the one in which it was offered last.
    pub fn era(&self, session: SessionId) -> Era {
        Era(self.shard(session).era.load(Ordering::Relaxed))
    }

    /// Remembers a valid token, if its session has open streams and no token that was issued later is known.
    pub fn offer(&self, token: &Verified) {
        let Some(id) = token.principal.session else { return };
        let mut sessions = self.shard(id).sessions();
        if let Some(session) = sessions.get_mut(&id)
            && session.newest.as_ref().is_none_or(|newest| age(&newest.principal) <= age(&token.principal))
        {
            session.newest = Some(token.clone());
        }
    }

    pub fn enrol(self: &Arc<Self>, id: SessionId) -> Enrolled {
        let shard = self.shard(id);
        let mut sessions = shard.sessions();
        match sessions.entry(id) {
            Entry::Occupied(mut session) => session.get_mut().streams += 1,
            Entry::Vacant(place) => {
                place.insert(Session { streams: 1, newest: None });
                shard.era.fetch_add(1, Ordering::Relaxed);
            }
        }
        drop(sessions);
        Enrolled { open: Arc::clone(self), session: id }
    }

    fn shard(&self, session: SessionId) -> &Shard {
        let [.., last] = *session.as_bytes();
        &self.shards[usize::from(last)]
    }

    #[cfg(test)]
    fn sessions(&self) -> usize {
        self.shards.iter().map(|shard| shard.sessions().len()).sum()
    }
}

impl Shard {
    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Session, RandomState>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether one token of a session was issued later than another.
pub fn is_newer(one: &Principal, other: &Principal) -> bool {
    age(one) > age(other)
}

/// In which order tokens of one session were issued. Not by their ends: those depend on the settings of the moment.
fn age(principal: &Principal) -> (Option<Timestamp>, Option<Generation>, Timestamp) {
    (principal.issued_at, principal.generation, principal.expires_at)
}

impl Enrolled {
    /// The newest token of the session that was seen while it had open streams.
    pub fn newest(&self) -> Option<Verified> {
        self.open.shard(self.session).sessions().get(&self.session)?.newest.clone()
    }
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        let mut sessions = self.open.shard(self.session).sessions();
        if let Entry::Occupied(mut session) = sessions.entry(self.session) {
            session.get_mut().streams -= 1;
            if session.get().streams == 0 {
                session.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testing::{NOW, verified};

    fn id(last: u8) -> SessionId {
        let mut bytes = [3; 16];
        bytes[15] = last;
        SessionId::from_bytes(bytes)
    }

    fn expiry(token: Option<&Verified>) -> Option<i64> {
        token.map(|token| token.principal.expires_at.secs() - NOW)
    }

    #[test]
    fn what_is_kept_lives_as_long_as_the_sessions_streams() {
        let open = OpenStreams::new();
        open.offer(&verified(id(1), 10, 800));
        assert_eq!(open.sessions(), 0, "nobody has a stream");
        let (one, other) = (open.enrol(id(1)), open.enrol(id(1)));
        assert_eq!(expiry(one.newest().as_ref()), None, "it was offered too early");
        open.offer(&verified(id(1), 10, 800));
        open.offer(&verified(id(2), 10, 800));
        drop(one);
        assert_eq!(expiry(other.newest().as_ref()), Some(800));
        assert_eq!(open.sessions(), 1);
        drop(other);
        assert_eq!(open.sessions(), 0);
        assert_eq!(expiry(open.enrol(id(1)).newest().as_ref()), None, "it is forgotten");
    }

    #[test]
    fn the_token_that_was_issued_last_is_the_newest_whenever_it_ends() {
        let open = OpenStreams::new();
        let stream = open.enrol(id(1));
        let after = |token: &Verified| {
            open.offer(token);
            expiry(stream.newest().as_ref())
        };
        assert_eq!(after(&verified(id(1), 10, 800)), Some(800));
        assert_eq!(after(&verified(id(1), 9, 850)), Some(800), "an older one comes late");
        assert_eq!(after(&verified(id(1), 11, 700)), Some(700), "lives were shortened");
        assert_eq!(after(&verified(id(1), 11, 600)), Some(700));
    }

    #[test]
    fn the_first_stream_of_a_session_makes_news_in_its_shard_alone() {
        let open = OpenStreams::new();
        let (here, there) = (open.era(id(1)), open.era(id(2)));
        let stream = open.enrol(id(1));
        assert_ne!(open.era(id(1)), here);
        assert_eq!(open.era(id(2)), there);
        let era = open.era(id(1));
        let further = open.enrol(id(1));
        assert_eq!(open.era(id(1)), era, "the newest token is known already");
        drop((stream, further));
        let _again = open.enrol(id(1));
        assert_ne!(open.era(id(1)), era);
    }
}
