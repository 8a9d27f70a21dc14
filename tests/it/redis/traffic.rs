//! Callers that ask all the time, and what they were told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokengate::domain::session::Session;
use tokengate::store::redis::RedisStore;
use tokengate::store::{SessionStore as _, StoreError};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::store::rig::{now, session, spawn};

const PAUSE: Duration = Duration::from_millis(5);

/// Loads one session of each partition, time and again, several at a time.
pub(super) struct Traffic {
    sessions: Vec<Session>,
    record: Arc<Mutex<Vec<Reply>>>,
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<()>>,
}

#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) partition: u16,
    pub(super) began: Instant,
    pub(super) took: Duration,
    pub(super) error: Option<String>,
}

impl Traffic {
    /// Makes the sessions first.
    pub(super) async fn start(store: &Arc<RedisStore>) -> Self {
        let mut sessions: Vec<Session> = Vec::new();
        for number in 0.. {
            let one = session(store.partitions(), &format!("user-{number}"), now(), number);
            if sessions.iter().all(|other| other.id.partition() != one.id.partition()) {
                store.create(&one, None, now()).await.unwrap();
                sessions.push(one);
            }
            if sessions.len() == usize::from(store.partitions().count()) {
                break;
            }
        }
        let (record, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let callers = sessions.iter().cloned().flat_map(|session| [session.clone(), session]).map(|session| {
            let (store, record, stop) = (Arc::clone(store), Arc::clone(&record), Arc::clone(&stop));
            spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let error = match store.load(session.id).await {
                        Ok(stored) => {
                            assert_eq!(stored.unwrap().session, session, "the record that was asked for");
                            None
                        }
                        Err(StoreError::Unavailable(cause) | StoreError::Unconfirmed(cause)) => Some(cause),
                        Err(other) => panic!("{other}"),
                    };
                    let response = Reply { partition: session.id.partition().0, began, took: began.elapsed(), error };
                    record.lock().unwrap().push(response);
                    tokio::time::sleep(PAUSE).await;
                }
            })
        });
        Self { callers: callers.collect(), sessions, record, stop }
    }

    pub(super) fn session_in(&self, partition: u16) -> &Session {
        self.sessions.iter().find(|session| session.id.partition().0 == partition).unwrap()
    }

    /// Ends it, and returns all responses in the order in which they came.
    pub(super) async fn stop(self) -> Vec<Reply> {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.unwrap();
        }
        Arc::into_inner(self.record).unwrap().into_inner().unwrap()
    }
}
