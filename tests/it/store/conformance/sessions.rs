//! Records: create, load, swap, acknowledge, list.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokengate::domain::ids::{Generation, NAME_BYTES_MAX, SessionId};
use tokengate::domain::page::Page;
use tokengate::domain::session::{Client, Grant, Lifetime, Session};
use tokengate::domain::time::Timestamp;
use tokengate::store::{Acknowledgement, SessionLimit, SessionPage, Store, Swap};

use crate::store::rig::{HOUR, MINUTE, by_session, now, read_log, rotated, session, subject};

pub(crate) async fn a_created_session_loads_as_it_was(store: Arc<dyn Store>) {
    let now = now();
    let session = session(store.partitions(), "zoë", now, 1);
    assert_eq!(store.create(&session, None, now).await.unwrap(), []);
    assert_eq!(store.load(session.id).await.unwrap().unwrap().session, session);
}

pub(crate) async fn an_unknown_session_is_absent(store: Arc<dyn Store>) {
    let session = session(store.partitions(), "nobody", now(), 1);
    assert_eq!(store.load(session.id).await.unwrap(), None);
    assert_eq!(store.sessions_of(&session.subject, now()).await.unwrap(), []);
}

pub(crate) async fn creating_again_changes_nothing(store: Arc<dyn Store>) {
    let now = now();
    let first = session(store.partitions(), "ann", now, 1);
    let limit = limit(1, now);
    store.create(&first, limit, now).await.unwrap();
    let created = store.load(first.id).await.unwrap().unwrap();
    let next = rotated(&first, now);
    assert!(matches!(store.swap(created.version, &next).await.unwrap(), Swap::Done(_)));
    let before = store.load(first.id).await.unwrap().unwrap();
    assert_eq!(store.create(&first, limit, now).await.unwrap(), []);
    assert_eq!(store.load(first.id).await.unwrap().unwrap(), before, "a repeated login must not undo a rotation");
    assert_eq!(read_log(&*store, None).await.revocations, []);
}

pub(crate) async fn a_login_beyond_the_limit_ends_the_oldest(store: Arc<dyn Store>) {
    let now = now();
    let sessions: Vec<Session> = (0..4).map(|n| session(store.partitions(), "ann", later(now, n), n)).collect();
    let other = session(store.partitions(), "bob", now, 9);
    store.create(&other, limit(2, now), now).await.unwrap();
    for session in &sessions[..2] {
        assert_eq!(store.create(session, limit(2, now), now).await.unwrap(), []);
    }
    let limit = limit(2, now);
    assert_eq!(store.create(&sessions[2], limit, now).await.unwrap(), [sessions[0].id]);
    assert_eq!(store.load(sessions[0].id).await.unwrap(), None);
    // A lower limit than before ends more than one.
    let lower = limit.map(|limit| SessionLimit { sessions_max: 1, ..limit });
    assert_eq!(store.create(&sessions[3], lower, now).await.unwrap(), [sessions[1].id, sessions[2].id]);
    assert_eq!(ids(&store.sessions_of(&sessions[0].subject, now).await.unwrap()), [sessions[3].id]);
    assert!(store.load(other.id).await.unwrap().is_some(), "another subject's session");

    let logged = read_log(&*store, None).await.revocations;
    let expected: Vec<_> = sessions[..3].iter().map(|session| by_session(session.id, now)).collect();
    assert_eq!(logged, expected);
}

pub(crate) async fn a_login_never_ends_itself(store: Arc<dyn Store>) {
    let now = now();
    let there = session(store.partitions(), "ann", now, 1);
    let older = session(store.partitions(), "ann", now.saturating_sub(MINUTE), 2);
    store.create(&there, limit(1, now), now).await.unwrap();
    assert_eq!(store.create(&older, limit(1, now), now).await.unwrap(), [there.id]);
    assert_eq!(ids(&store.sessions_of(&older.subject, now).await.unwrap()), [older.id]);
}

pub(crate) async fn expired_sessions_do_not_count_against_the_limit(store: Arc<dyn Store>) {
    let now = now();
    let expiring = session(store.partitions(), "ann", now, 1);
    store.create(&expiring, limit(1, now), now).await.unwrap();
    let afterwards = expiring.lifetime.ends_at();
    let next = session(store.partitions(), "ann", afterwards, 2);
    assert_eq!(store.create(&next, limit(1, now), afterwards).await.unwrap(), []);
    assert_eq!(read_log(&*store, None).await.revocations, []);
}

pub(crate) async fn a_swap_replaces_the_whole_record(store: Arc<dyn Store>) {
    let now = now();
    let first = session(store.partitions(), "ann", now, 1);
    store.create(&first, None, now).await.unwrap();
    let version = store.load(first.id).await.unwrap().unwrap().version;
    let next = Session {
        grant: Grant { claims: json!({"role": "admin"}).as_object().unwrap().clone(), ..Grant::default() },
        lifetime: Lifetime::starting(now, 2 * HOUR, 3 * HOUR),
        client: Client::new(Some([192, 0, 2, 1].into()), None),
        ..rotated(&first, later(now, 5))
    };
    let Swap::Done(new_version) = store.swap(version, &next).await.unwrap() else { panic!("no one else was there") };
    assert!(new_version > version);
    let stored = store.load(first.id).await.unwrap().unwrap();
    assert_eq!((stored.session, stored.version), (next.clone(), new_version));
    // The new end counts, not the old one.
    let after_the_old_end = later(first.lifetime.ends_at(), 1);
    assert_eq!(store.sessions_of(&first.subject, after_the_old_end).await.unwrap(), [next]);
}

pub(crate) async fn a_swap_of_a_changed_record_is_lost(store: Arc<dyn Store>) {
    let now = now();
    let first = session(store.partitions(), "ann", now, 1);
    store.create(&first, None, now).await.unwrap();
    let version = store.load(first.id).await.unwrap().unwrap().version;
    let winner = rotated(&first, later(now, 1));
    let loser = rotated(&first, later(now, 2));
    assert!(matches!(store.swap(version, &winner).await.unwrap(), Swap::Done(_)));
    assert_eq!(store.swap(version, &loser).await.unwrap(), Swap::Lost);
    assert_eq!(store.load(first.id).await.unwrap().unwrap().session, winner);
}

pub(crate) async fn a_swap_never_brings_a_record_to_life(store: Arc<dyn Store>) {
    let now = now();
    let gone = session(store.partitions(), "ann", now, 1);
    store.create(&gone, None, now).await.unwrap();
    let version = store.load(gone.id).await.unwrap().unwrap().version;
    store.revoke(&by_session(gone.id, now)).await.unwrap();
    let never_there = session(store.partitions(), "ann", now, 2);
    for session in [&gone, &never_there] {
        assert_eq!(store.swap(version, &rotated(session, now)).await.unwrap(), Swap::Missing);
        assert_eq!(store.load(session.id).await.unwrap(), None);
    }
    assert_eq!(store.sessions_of(&gone.subject, now).await.unwrap(), []);
}

pub(crate) async fn an_acknowledgement_counts_for_the_current_generation_alone(store: Arc<dyn Store>) {
    let now = now();
    let first = session(store.partitions(), "ann", now, 1);
    store.create(&first, None, now).await.unwrap();
    let created = store.load(first.id).await.unwrap().unwrap();
    let next = rotated(&first, now);
    let Swap::Done(version) = store.swap(created.version, &next).await.unwrap() else { panic!("no one else was there") };

    for elsewhere in [Generation::NONE, next.rotation.parent, Generation(3), Generation(u32::MAX)] {
        store.acknowledge(&[acknowledgement(&first, elsewhere)]).await.unwrap();
        let stored = store.load(first.id).await.unwrap().unwrap();
        assert_eq!((stored.session, stored.version), (next.clone(), version), "generation {elsewhere:?}");
    }
    store.acknowledge(&[acknowledgement(&first, next.rotation.current)]).await.unwrap();
    let seen = store.load(first.id).await.unwrap().unwrap();
    assert!(seen.session.rotation.acknowledged && seen.version > version);
    let expected = Session { rotation: seen.session.rotation, ..next };
    assert_eq!(seen.session, expected, "nothing else changed");
    store.acknowledge(&[acknowledgement(&first, expected.rotation.current)]).await.unwrap();
    assert_eq!(store.load(first.id).await.unwrap().unwrap(), seen, "the second time is no news");
}

pub(crate) async fn a_swap_decided_before_an_acknowledgement_is_lost(store: Arc<dyn Store>) {
    let now = now();
    let first = session(store.partitions(), "ann", now, 1);
    store.create(&first, None, now).await.unwrap();
    let read = store.load(first.id).await.unwrap().unwrap();
    store.acknowledge(&[acknowledgement(&first, Generation::FIRST)]).await.unwrap();
    assert_eq!(store.swap(read.version, &rotated(&first, now)).await.unwrap(), Swap::Lost);
    let read = store.load(first.id).await.unwrap().unwrap();
    assert!(read.session.rotation.acknowledged);
    assert!(matches!(store.swap(read.version, &rotated(&first, now)).await.unwrap(), Swap::Done(_)));
    let rotated = store.load(first.id).await.unwrap().unwrap();
    assert!(!rotated.session.rotation.acknowledged, "the new generation was not seen yet");
}

pub(crate) async fn acknowledgements_come_in_batches_over_all_partitions(store: Arc<dyn Store>) {
    let now = now();
    let sessions: Vec<Session> = (0..40).map(|n| session(store.partitions(), &format!("user-{n}"), now, n)).collect();
    for session in &sessions {
        store.create(session, None, now).await.unwrap();
    }
    store.revoke(&by_session(sessions[3].id, now)).await.unwrap();
    let mut seen: Vec<_> = sessions.iter().skip(1).map(|s| acknowledgement(s, Generation::FIRST)).collect();
    seen.push(acknowledgement(&session(store.partitions(), "never there", now, 99), Generation::FIRST));
    seen.push(acknowledgement(&sessions[5], Generation::FIRST));
    store.acknowledge(&seen).await.unwrap();
    store.acknowledge(&[]).await.unwrap();
    for (n, session) in sessions.iter().enumerate() {
        let acknowledged = store.load(session.id).await.unwrap().map(|stored| stored.session.rotation.acknowledged);
        let expected = match n {
            0 => Some(false),
            3 => None,
            _ => Some(true),
        };
        assert_eq!(acknowledged, expected, "session {n}");
    }
}

pub(crate) async fn sessions_of_a_subject_are_live_and_oldest_first(store: Arc<dyn Store>) {
    let now = now();
    let ann = subject("ann");
    // Created in another order than the store is told of them; two within one millisecond.
    let mut sessions: Vec<Session> = [(3, 1), (1, 2), (2, 4), (2, 3), (0, 5)]
        .map(|(minutes, n)| session(store.partitions(), "ann", later(now, 60 * minutes), n))
        .into();
    for session in &sessions {
        store.create(session, None, now).await.unwrap();
    }
    store.create(&session(store.partitions(), "bob", now, 6), None, now).await.unwrap();
    sessions.sort_by_key(|session| session.id);
    assert_eq!(store.sessions_of(&ann, now).await.unwrap(), sessions);
    // At the very moment of its end a session is over.
    let end_of_first = sessions[0].lifetime.ends_at();
    assert_eq!(store.sessions_of(&ann, end_of_first).await.unwrap(), sessions[1..]);
    store.revoke(&by_session(sessions[2].id, now)).await.unwrap();
    sessions.remove(2);
    assert_eq!(store.sessions_of(&ann, now).await.unwrap(), sessions);
}

pub(crate) async fn pages_go_from_the_newest_to_the_oldest_and_miss_none(store: Arc<dyn Store>) {
    let now = now();
    // Seven within one millisecond, and some that have ended and were not swept.
    let moments = (0..24_u64).map(|n| later(now, if (8..15).contains(&n) { 8 } else { n }));
    let mut sessions: Vec<Session> = moments.zip(1..).map(|(at, n)| session(store.partitions(), "ann", at, n)).collect();
    sessions.extend((0..40).map(|n| {
        let ended = session(store.partitions(), "ann", later(now, 100 + n), 100 + n);
        Session { lifetime: Lifetime { idle_ends_at: later(now, 200), ..ended.lifetime }, ..ended }
    }));
    for session in &sessions {
        store.create(session, None, now).await.unwrap();
    }
    store.create(&session(store.partitions(), "bob", now, 200), None, now).await.unwrap();
    let ann = subject("ann");
    let then = later(now, 300);
    let mut living: Vec<SessionId> = ids(&sessions[..24]);
    living.sort_unstable();
    living.reverse();
    for limit in [1, 2, 3, 5, 23, 24, 25, 200] {
        let (mut told, mut page) = (Vec::new(), Page { after: None, limit });
        loop {
            let found = store.page_of(&ann, page, then).await.unwrap();
            assert!(found.sessions.len() <= limit);
            told.extend(ids(&found.sessions));
            assert!(found.next.is_none_or(|next| page.after.is_none_or(|after| next < after)), "it goes on");
            match found.next {
                Some(_) => page.after = found.next,
                None => break,
            }
        }
        assert_eq!(told, living, "pages of {limit}");
    }
    assert_eq!(store.page_of(&subject("eve"), Page::FIRST, now).await.unwrap(), SessionPage::default());
}

pub(crate) async fn a_page_stays_where_it_is_whatever_comes_and_goes(store: Arc<dyn Store>) {
    let now = now();
    let ann = subject("ann");
    let sessions: Vec<Session> = (0..6).map(|n| session(store.partitions(), "ann", later(now, n), n)).collect();
    for session in &sessions {
        store.create(session, None, now).await.unwrap();
    }
    let first = store.page_of(&ann, Page { after: None, limit: 2 }, now).await.unwrap();
    assert_eq!((ids(&first.sessions), first.next), (vec![sessions[5].id, sessions[4].id], Some(sessions[4].id)));
    // The place itself ends, and newer ones come.
    store.revoke(&by_session(sessions[4].id, now)).await.unwrap();
    store.create(&session(store.partitions(), "ann", later(now, 50), 50), None, now).await.unwrap();
    let second = store.page_of(&ann, Page { after: first.next, limit: 3 }, now).await.unwrap();
    assert_eq!(ids(&second.sessions), [sessions[3].id, sessions[2].id, sessions[1].id]);
    let last = store.page_of(&ann, Page { after: second.next, limit: 3 }, now).await.unwrap();
    assert_eq!((ids(&last.sessions), last.next), (vec![sessions[0].id], None));
}

pub(crate) async fn odd_and_long_strings_come_back_unchanged(store: Arc<dyn Store>) {
    let now = now();
    let longest = "é".repeat(NAME_BYTES_MAX / 2) + "!";
    assert_eq!(longest.len(), NAME_BYTES_MAX);
    let odd = ["{tag}:*?[x]", " ", "a b|c\\d\"e'f", "用户\u{202e}🦀", "0", "-", "session:1", longest.as_str()];
    let deep = (0..30).fold(json!("core"), |inner, n| json!({ format!("level {n}"): [inner, null] }));
    let claims = json!({
        "": "empty name", "n": -0.1, "big": u64::MAX, "small": i64::MIN, "e": 1e300, "t": true, "nul": "a\u{0}b\r\n\u{7f}",
        "list": [[], {}, [1, "two", null]], "deep": deep, "z": "after deep", "long": "x".repeat(20_000),
    });
    let grant = Grant {
        scopes: vec!["a:b/c".to_owned(), String::new(), "ü".to_owned()],
        claims: claims.as_object().unwrap().clone(),
        logged_in_at: Some(Timestamp::from_millis(1_700_000_000_123)),
    };
    for (n, owner) in odd.iter().enumerate() {
        let client = Client::new(Some("2001:db8::1".parse().unwrap()), Some("Mozilla/5.0 (\"🦀\")"));
        let session = Session { grant: grant.clone(), client, ..session(store.partitions(), owner, now, n as u64) };
        store.create(&session, None, now).await.unwrap();
        let stored = store.load(session.id).await.unwrap().unwrap();
        assert_eq!(stored.session, session);
        let names: Vec<&String> = stored.session.grant.claims.keys().collect();
        assert_eq!(names, grant.claims.keys().collect::<Vec<_>>(), "the order of claims is kept");
        assert_eq!(store.sessions_of(&session.subject, now).await.unwrap(), [session]);
    }
}

pub(crate) async fn the_store_answers_a_probe(store: Arc<dyn Store>) {
    store.probe().await.unwrap();
}

fn later(now: Timestamp, seconds: u64) -> Timestamp {
    now.saturating_add(Duration::from_secs(seconds))
}

/// Ends sessions as [`by_session`] would.
#[expect(clippy::unnecessary_wraps, reason = "in the form that create takes")]
fn limit(sessions_max: u32, now: Timestamp) -> Option<SessionLimit> {
    Some(SessionLimit { sessions_max, forget_at: now.saturating_add(HOUR) })
}

fn acknowledgement(session: &Session, generation: Generation) -> Acknowledgement {
    Acknowledgement { session: session.id, generation }
}

fn ids(sessions: &[Session]) -> Vec<SessionId> {
    sessions.iter().map(|session| session.id).collect()
}
