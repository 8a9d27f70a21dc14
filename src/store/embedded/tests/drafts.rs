//! A batch decides each change against those before it, and touches nothing.

use super::super::draft::SWEEP_STEP_MAX;
use super::super::state::State;
use super::*;
use crate::domain::ids::Generation;
use crate::store::{Fence, Fenced};

/// Runs each plan in a batch of its own.
fn applied<R>(state: &mut State, plan: impl FnOnce(&mut Draft<'_>) -> R) -> R {
    let mut draft = Draft::new(state);
    let result = plan(&mut draft);
    let changes = draft.into_changes();
    state.apply(changes);
    result
}

#[test]
fn of_two_swaps_in_a_batch_one_wins() {
    let mut state = State::new();
    applied(&mut state, |draft| draft.create(&session(1), None, NOW));
    applied(&mut state, |draft| {
        assert_eq!(draft.swap(Version(1), &session(1)), Swap::Done(Version(2)));
        assert_eq!(draft.swap(Version(1), &session(1)), Swap::Lost);
        assert_eq!(draft.swap(Version(2), &session(1)), Swap::Done(Version(3)));
    });
    assert_eq!(state.session(session(1).id).unwrap().version, Version(3));
}

#[test]
fn a_session_created_and_ended_in_a_batch_is_gone() {
    let mut state = State::new();
    applied(&mut state, |draft| {
        draft.create(&session(1), None, NOW);
        draft.acknowledge(&[Acknowledgement { session: session(1).id, generation: Generation::FIRST }]);
        assert_eq!(draft.swap(Version(1), &session(1)), Swap::Lost);
        assert_eq!(draft.revoke(&revocation(session(1).id)), [session(1).id]);
        assert_eq!(draft.revoke(&revocation(session(1).id)), []);
        assert_eq!(draft.swap(Version(2), &session(1)), Swap::Missing);
    });
    assert_eq!(state.session(session(1).id), None);
    assert_eq!(state.sessions_of(&session(1).subject).count(), 0);
    assert_eq!(state.log(1..=9).count(), 2);
}

#[test]
fn the_limit_holds_within_a_batch() {
    let limit = Some(SessionLimit { sessions_max: 2, forget_at: NOW.saturating_add(HOUR) });
    let mut state = State::new();
    applied(&mut state, |draft| {
        for number in 0..5_u64 {
            let ended: Vec<SessionId> = number.checked_sub(2).map(|oldest| session(oldest).id).into_iter().collect();
            assert_eq!(draft.create(&session(number), limit, NOW), ended);
        }
    });
    let left: Vec<SessionId> = state.sessions_of(&session(0).subject).map(|record| record.session.id).collect();
    assert_eq!(left, [session(3).id, session(4).id]);
}

#[test]
fn a_draft_that_is_dropped_changes_nothing() {
    let mut state = State::new();
    applied(&mut state, |draft| draft.create(&session(1), None, NOW));
    let mut draft = Draft::new(&state);
    draft.create(&session(2), None, NOW);
    draft.revoke(&revocation(session(1).id));
    drop(draft);
    assert_eq!(state.sessions_of(&session(1).subject).count(), 1);
    assert_eq!(state.head(), 0);
}

#[test]
fn indexes_are_empty_when_everything_has_ended() {
    let mut state = State::new();
    let count = SWEEP_STEP_MAX as u64 + 5;
    applied(&mut state, |draft| {
        for number in 0..count {
            draft.create(&session(number), None, NOW);
            draft.revoke(&revocation(session(count + number).id));
        }
    });
    let end = NOW.saturating_add(2 * HOUR);
    let mut step = || match applied(&mut state, |draft| draft.sweep(Fence(1), end)) {
        Fenced::Done(step) => (step.swept.sessions, step.swept.revocations, step.next.is_some()),
        Fenced::Overtaken => panic!("there is no other"),
    };
    assert_eq!(step(), (1000, 1000, true));
    assert_eq!(step(), (5, 5, false));
    assert!(state.is_empty(), "{state:?}");
    assert_eq!(state.head(), count);
}

#[test]
fn the_log_shrinks_as_it_is_written() {
    let mut state = State::new();
    for number in 0..100 {
        applied(&mut state, |draft| draft.revoke(&revocation(session(number).id)));
    }
    let later = NOW.saturating_add(HOUR);
    for number in 100..110 {
        let revocation =
            Revocation { revoked_at: later, forget_at: later.saturating_add(HOUR), ..revocation(session(number).id) };
        applied(&mut state, |draft| draft.revoke(&revocation));
    }
    assert_eq!(state.log(1..=u64::MAX).count(), 10);
}
