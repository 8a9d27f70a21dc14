//! Tokens of someone else, and the sessions that they open.

use std::sync::Arc;

use tokengate::domain::imported::{Import, ImportedDigest};
use tokengate::domain::session::Session;
use tokengate::store::{SessionLimit, Store, Swap};

use crate::store::rig::{HOUR, MINUTE, by_session, by_subject, import, now, read_log, rotated, session, sweep};

pub(crate) async fn an_imported_token_names_its_session(store: Arc<dyn Store>) {
    let now = now();
    let one = import(store.partitions(), "zoë", now.saturating_sub(MINUTE), 1);
    let unknown = ImportedDigest::from_bytes([1; 32]);
    assert_eq!(store.imported(&[one.digest]).await.unwrap(), [None]);
    assert_eq!(store.import(std::slice::from_ref(&one), now).await.unwrap(), 1);
    assert_eq!(store.imported(&[unknown, one.digest, unknown]).await.unwrap(), [None, Some(one.session.id), None]);
    assert_eq!(store.load(one.session.id).await.unwrap().unwrap().session, one.session);
    assert_eq!(store.sessions_of(&one.session.subject, now).await.unwrap(), [one.session]);
    assert_eq!(store.imported(&[]).await.unwrap(), []);
    assert_eq!(store.import(&[], now).await.unwrap(), 0);
}

pub(crate) async fn importing_again_changes_nothing(store: Arc<dyn Store>) {
    let now = now();
    let batch = [import(store.partitions(), "ann", now, 1), import(store.partitions(), "bob", now, 2)];
    assert_eq!(store.import(&batch[..1], now).await.unwrap(), 1);
    let created = store.load(batch[0].session.id).await.unwrap().unwrap();
    let next = rotated(&batch[0].session, now);
    assert!(matches!(store.swap(created.version, &next).await.unwrap(), Swap::Done(_)));
    let before = store.load(next.id).await.unwrap();
    assert_eq!(store.import(&batch, now).await.unwrap(), 1, "the second alone is new");
    assert_eq!(store.load(next.id).await.unwrap(), before, "a repetition must not undo a rotation");
    // The first import stands, whatever a later one says of the token.
    let moved = Import { session: Session { ..session(store.partitions(), "eve", now, 3) }, ..batch[0].clone() };
    assert_eq!(store.import(&[moved], now).await.unwrap(), 0);
    assert_eq!(store.imported(&[batch[0].digest]).await.unwrap(), [Some(next.id)]);
    assert_eq!(read_log(&*store, None).await.revocations, []);
}

pub(crate) async fn a_session_that_ended_is_not_imported_again(store: Arc<dyn Store>) {
    let now = now();
    let by_itself = import(store.partitions(), "ann", now, 1);
    let with_all = import(store.partitions(), "bob", now.saturating_sub(MINUTE), 2);
    let batch = [by_itself.clone(), with_all.clone()];
    store.import(&batch, now).await.unwrap();
    store.revoke(&by_session(by_itself.session.id, now)).await.unwrap();
    let ended = store.revoke(&by_subject(with_all.session.subject.clone(), now, now)).await.unwrap();
    assert_eq!(ended, [with_all.session.id], "a logout everywhere reaches sessions that were imported");
    assert_eq!(store.import(&batch, now).await.unwrap(), 0);
    for import in &batch {
        assert_eq!(store.load(import.session.id).await.unwrap(), None);
        assert_eq!(store.sessions_of(&import.session.subject, now).await.unwrap(), []);
    }
    assert_eq!(store.imported(&[by_itself.digest]).await.unwrap(), [Some(by_itself.session.id)], "known, and ended");
}

pub(crate) async fn an_import_knows_no_limit_and_counts_for_the_next_login(store: Arc<dyn Store>) {
    let now = now();
    let batch: Vec<Import> = (0..3).map(|n| import(store.partitions(), "ann", now.saturating_sub(MINUTE), n)).collect();
    assert_eq!(store.import(&batch, now).await.unwrap(), 3);
    let login = session(store.partitions(), "ann", now, 9);
    let limit = SessionLimit { sessions_max: 2, forget_at: now.saturating_add(HOUR) };
    assert_eq!(store.create(&login, Some(limit), now).await.unwrap(), [batch[0].session.id, batch[1].session.id]);
    assert_eq!(store.sessions_of(&login.subject, now).await.unwrap(), [batch[2].session.clone(), login]);
}

pub(crate) async fn imports_come_in_batches_over_all_partitions(store: Arc<dyn Store>) {
    const TOKENS: u64 = 3000;
    let now = now();
    let batch: Vec<Import> = (0..TOKENS).map(|n| import(store.partitions(), &format!("user-{}", n / 2), now, n)).collect();
    assert_eq!(store.import(&batch, now).await.unwrap(), TOKENS);
    let digests: Vec<ImportedDigest> = batch.iter().map(|import| import.digest).collect();
    let found = store.imported(&digests).await.unwrap();
    assert!(found.iter().zip(&batch).all(|(found, import)| *found == Some(import.session.id)));
    for import in batch.iter().step_by(97) {
        assert_eq!(store.load(import.session.id).await.unwrap().unwrap().session, import.session);
        assert_eq!(store.sessions_of(&import.session.subject, now).await.unwrap().len(), 2);
    }
    assert_eq!(store.import(&batch, now).await.unwrap(), 0);
}

pub(crate) async fn a_token_that_stands_twice_in_a_batch_is_imported_once(store: Arc<dyn Store>) {
    let now = now();
    let one = import(store.partitions(), "ann", now, 1);
    assert_eq!(store.import(&[one.clone(), one.clone()], now).await.unwrap(), 1);
    assert_eq!(store.sessions_of(&one.session.subject, now).await.unwrap(), [one.session]);
}

/// Also where the server forgets by itself: then there is nothing left to sweep.
pub(crate) async fn a_sweep_forgets_imported_tokens(store: Arc<dyn Store>) {
    // Long enough ago for a server that has a clock of its own.
    let now = now().saturating_sub(2 * HOUR);
    let batch: Vec<Import> = (0..2500).map(|n| import(store.partitions(), "ann", now, n)).collect();
    store.import(&batch, now).await.unwrap();
    let in_an_hour = batch[0].session.lifetime.ends_at();
    sweep(&*store, in_an_hour).await;
    assert_eq!(store.load(batch[0].session.id).await.unwrap(), None, "the session has ended");
    assert_eq!(store.imported(&[batch[0].digest]).await.unwrap(), [Some(batch[0].session.id)], "its token is still remembered");
    assert_eq!(store.import(&batch, in_an_hour).await.unwrap(), 0);
    sweep(&*store, batch[0].forget_at).await;
    assert_eq!(store.sessions_of(&batch[0].session.subject, now).await.unwrap(), []);
}
