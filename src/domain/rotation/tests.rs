use std::time::Duration;

use proptest::prelude::*;

use super::*;

mod exploration;
mod revoked;

const LEEWAY: Duration = Duration::from_secs(30);
/// When a client gives a refresh up.
const GIVE_UP: Duration = Duration::from_secs(10);

/// What the server does with a token: the record to keep and the token to answer with, `None` for a refusal.
fn respond(record: Rotation, token: Presented, now: Timestamp) -> (Rotation, Option<Presented>) {
    match present(&record, token, LEEWAY, now) {
        Outcome::Adopt(next) => (next, Some(token)),
        Outcome::Reissue => (record, Some(record.token())),
        Outcome::Extend(next) | Outcome::Rotate(next) | Outcome::Supersede(next) => (next, Some(next.token())),
        Outcome::Reuse | Outcome::Exhausted => (record, None),
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Some tab refreshes with the token in the shared storage.
    Send,
    DeliverRequest(usize),
    LoseRequest(usize),
    DeliverReply(usize),
    LoseReply(usize),
    /// An access token of the stored generation is seen by a node.
    UseAccessToken,
    Wait(u64),
    /// The store forgets its last writes; attempts under way fail.
    RollBack(usize),
}

fn steps(rollbacks: bool) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Send),
        6 => (0..8_usize).prop_map(Step::DeliverRequest),
        1 => (0..8_usize).prop_map(Step::LoseRequest),
        5 => (0..8_usize).prop_map(Step::DeliverReply),
        2 => (0..8_usize).prop_map(Step::LoseReply),
        2 => Just(Step::UseAccessToken),
        3 => (0..11_000_u64).prop_map(Step::Wait),
        1 => (25_000..40_000_u64).prop_map(Step::Wait),
        u32::from(rollbacks) => (1..=3_usize).prop_map(Step::RollBack),
    ];
    proptest::collection::vec(step, 0..300)
}

/// A store's record, and an honest client of any number of tabs with one shared storage.
struct World {
    now: Timestamp,
    record: Rotation,
    /// What the record was before each of the last writes.
    history: Vec<Rotation>,
    stored: Presented,
    /// Every token that the client ever had in its storage.
    had: Vec<Presented>,
    requests: Vec<(Timestamp, Presented)>,
    replies: Vec<(Timestamp, Presented)>,
    rollbacks_left: usize,
}

impl World {
    fn new() -> Self {
        let record = Rotation::first();
        Self {
            now: Timestamp::from_secs(1_000_000),
            record,
            history: Vec::new(),
            stored: record.token(),
            had: vec![record.token()],
            requests: Vec::new(),
            replies: Vec::new(),
            rollbacks_left: 3,
        }
    }

    fn write(&mut self, next: Rotation) {
        if next != self.record {
            self.history.push(self.record);
            self.record = next;
        }
    }

    fn present(&mut self, token: Presented) -> Option<Presented> {
        let (next, reply) = respond(self.record, token, self.now);
        self.write(next);
        reply
    }

    fn wait(&mut self, span: Duration) {
        self.now = self.now.saturating_add(span);
        let given_up = self.now.saturating_sub(GIVE_UP);
        self.requests.retain(|(sent_at, _)| *sent_at > given_up);
        self.replies.retain(|(sent_at, _)| *sent_at > given_up);
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        fn take(tokens: &mut Vec<(Timestamp, Presented)>, i: usize) -> Option<(Timestamp, Presented)> {
            (!tokens.is_empty()).then(|| tokens.remove(i % tokens.len()))
        }
        let before = self.record.current;
        match *step {
            Step::Send => self.requests.push((self.now, self.stored)),
            Step::DeliverRequest(i) => {
                if let Some((sent_at, token)) = take(&mut self.requests, i) {
                    let reply = self.present(token);
                    prop_assert!(reply.is_some(), "an honest client was refused: {token:?} by {:?}", self.record);
                    prop_assert!(self.record.current >= token.generation, "the token restores what the store lost");
                    self.replies.extend(reply.map(|reply| (sent_at, reply)));
                }
            }
            Step::LoseRequest(i) => {
                take(&mut self.requests, i);
            }
            Step::DeliverReply(i) => {
                if let Some((_, token)) = take(&mut self.replies, i) {
                    self.stored = self.stored.max(token);
                    self.had.push(token);
                }
            }
            Step::LoseReply(i) => {
                take(&mut self.replies, i);
            }
            Step::UseAccessToken => {
                let mut next = self.record;
                next.acknowledge(self.stored.generation);
                self.write(next);
            }
            Step::Wait(millis) => self.wait(Duration::from_millis(millis)),
            Step::RollBack(depth) => {
                if self.rollbacks_left > 0 && !self.history.is_empty() {
                    self.rollbacks_left -= 1;
                    let kept = self.history.len().saturating_sub(depth);
                    self.record = self.history[kept];
                    self.history.truncate(kept);
                    self.requests.clear();
                    self.replies.clear();
                }
                return Ok(());
            }
        }
        prop_assert!(self.record.current >= before, "generations only climb");
        Ok(())
    }
}

proptest! {
    #[test]
    fn an_honest_client_that_loses_replies_is_never_refused(steps in steps(false)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step)?;
        }
    }

    #[test]
    fn an_honest_client_that_keeps_the_newest_survives_a_store_that_loses_its_last_writes(steps in steps(true)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step)?;
        }
    }

    /// Two hold the same token. One of them moves on: gets a newer one and uses it, or refreshes once more.
    #[test]
    fn a_stolen_token_is_caught_once_its_owner_or_the_thief_has_moved_on(
        before in steps(false), stolen in any::<prop::sample::Index>(), uses_it: bool, tries_within in 0..3_usize,
    ) {
        let mut world = World::new();
        for step in &before {
            world.step(step)?;
        }
        let newest = world.stored;
        let stolen = world.had[stolen.index(world.had.len())];
        world.wait(LEEWAY);
        let moved = world.present(newest).unwrap();
        prop_assert!(moved > newest);
        for _ in 0..tries_within {
            // Within the leeway the other gets the very same token, or is refused: it never starts a line of its own.
            let reply = world.present(stolen);
            prop_assert!(reply.is_none_or(|reply| reply == moved));
        }
        if uses_it {
            prop_assert!(world.record.acknowledge(moved.generation));
        } else {
            world.wait(LEEWAY);
            prop_assert!(world.present(moved).unwrap() > moved);
        }
        world.wait(LEEWAY);
        prop_assert_eq!(present(&world.record, stolen, LEEWAY, world.now), Outcome::Reuse);
    }
}

fn token(generation: u32, parent: u32) -> Presented {
    Presented { generation: Generation(generation), parent: Generation(parent) }
}

#[test]
fn retries_and_tabs_within_the_leeway_get_the_same_token() {
    let now = Timestamp::from_secs(100);
    let (record, first) = respond(Rotation::first(), token(1, 0), now);
    assert_eq!(first, Some(token(2, 1)));
    let just_before_its_end = now.saturating_add(Duration::from_millis(29_999));
    for presented in [token(1, 0), token(2, 1)] {
        assert_eq!(respond(record, presented, just_before_its_end).1, first);
    }
}

#[test]
fn nothing_newer_than_the_current_token_comes_while_it_yields_itself() {
    let now = Timestamp::from_secs(100);
    assert_eq!(Rotation::first().newest_for(LEEWAY, now), Duration::ZERO, "it may be rotated at once");
    let (record, first) = respond(Rotation::first(), token(1, 0), now);
    for passed in [Duration::ZERO, Duration::from_secs(1), LEEWAY / 2, LEEWAY, 2 * LEEWAY] {
        let later = now.saturating_add(passed);
        let left = record.newest_for(LEEWAY, later);
        assert_eq!(left, LEEWAY.saturating_sub(passed));
        assert_eq!(respond(record, token(2, 1), later).1 == first, !left.is_zero(), "{passed:?}");
    }
}

/// Otherwise the leeway could end between the moment when one tab stores the current token and the moment when the parent,
/// which another tab sent before, arrives.
#[test]
fn a_late_reissue_to_who_lacks_the_current_token_begins_the_leeway_again() {
    let start = Timestamp::from_secs(100);
    let (record, _) = respond(Rotation::first(), token(1, 0), start);
    let late = start.saturating_add(LEEWAY / 3);
    let extended = Rotation { rotated_at: Some(late), ..record };
    assert_eq!(present(&record, token(1, 0), LEEWAY, late), Outcome::Extend(extended));
    assert_eq!(present(&record, token(2, 1), LEEWAY, late), Outcome::Reissue);
    let in_time = start.saturating_add(Duration::from_millis(9999));
    assert_eq!(present(&record, token(1, 0), LEEWAY, in_time), Outcome::Reissue);
    let acknowledged = Rotation { acknowledged: true, ..record };
    assert_eq!(present(&acknowledged, token(1, 0), LEEWAY, late), Outcome::Reissue, "a thief gains no time");
}

#[test]
fn a_lost_reply_is_superseded_after_the_leeway_and_its_token_is_void() {
    let start = Timestamp::from_secs(100);
    let (record, _) = respond(Rotation::first(), token(1, 0), start);
    let later = start.saturating_add(LEEWAY);
    let (record, reply) = respond(record, token(1, 0), later);
    assert_eq!(reply, Some(token(3, 1)));
    assert_eq!(present(&record, token(2, 1), LEEWAY, later.saturating_add(LEEWAY)), Outcome::Reuse);
}

#[test]
fn a_spent_token_after_the_leeway_and_the_acknowledgement_is_reuse() {
    let start = Timestamp::from_secs(100);
    let (mut record, _) = respond(Rotation::first(), token(1, 0), start);
    assert!(record.acknowledge(Generation(2)) && !record.acknowledge(Generation(2)));
    assert_eq!(present(&record, token(1, 0), LEEWAY, start.saturating_add(LEEWAY)), Outcome::Reuse);
}

#[test]
fn an_acknowledgement_of_another_generation_changes_nothing() {
    let (mut record, _) = respond(Rotation::first(), token(1, 0), Timestamp::from_secs(100));
    let before = record;
    assert!(!record.acknowledge(Generation(1)) && !record.acknowledge(Generation(3)));
    assert_eq!(record, before);
}

#[test]
fn a_token_that_is_ahead_of_the_record_restores_it_and_is_answered_with_itself() {
    let now = Timestamp::from_secs(100);
    let (record, reply) = respond(Rotation::first(), token(7, 5), now);
    assert_eq!((record.token(), reply), (token(7, 5), Some(token(7, 5))));
    assert_eq!(present(&record, token(5, 4), LEEWAY, now), Outcome::Reissue, "its parent was issued the same reply");
    assert_eq!(present(&record, token(4, 3), LEEWAY, now), Outcome::Reuse);
}

#[test]
fn a_rotation_stamped_by_a_clock_that_runs_ahead_counts_as_young() {
    let (record, _) = respond(Rotation::first(), token(1, 0), Timestamp::from_secs(1000));
    assert_eq!(present(&record, token(1, 0), LEEWAY, Timestamp::from_secs(900)), Outcome::Reissue);
}

#[test]
fn the_last_generation_is_the_end_and_no_overflow() {
    let record = Rotation { current: Generation(u32::MAX), parent: Generation(u32::MAX - 1), ..Rotation::first() };
    let now = Timestamp::from_secs(100);
    assert_eq!(present(&record, record.token(), LEEWAY, now), Outcome::Exhausted);
    assert_eq!(present(&record, token(u32::MAX - 1, 0), LEEWAY, now), Outcome::Exhausted);
}
