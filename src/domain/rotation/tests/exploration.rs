//! Every interleaving of an honest client and the rules, within small bounds.
//!
//! The client: one storage shared by its tabs, some attempts under way, requests and replies lost or late, access tokens used
//! or not and their acknowledgements late. The store: loses its last writes, acknowledgements among them, some times, and tells
//! nobody. Time passes in thirds of the leeway, after one of which a client gives an attempt up.

use std::collections::{HashMap, VecDeque};

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    record: Rotation,
    /// What the record was before each of the last writes.
    history: Vec<Rotation>,
    stored: Presented,
    /// Tokens under way with the ticks since the attempt began; both sorted, since their order means nothing.
    requests: Vec<(Presented, u8)>,
    replies: Vec<(Presented, u8)>,
    /// The generation of an access token that was seen and whose acknowledgement is not written yet.
    seen: Option<Generation>,
    losses_left: usize,
}

#[derive(Clone, Copy)]
struct Bounds {
    generations: u32,
    /// The client keeps the newest token, whatever order replies arrive in; otherwise the last to arrive.
    keeps_newest: bool,
    losses: usize,
    /// How many writes a loss may take back.
    depth: usize,
    under_way: UnderWay,
    begins_with: Beginning,
}

/// What the client has first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beginning {
    Login,
    /// A token that is exchanged for the session: generation 0.
    LegacyToken,
}

/// What attempts that are under way can meet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UnderWay {
    /// The end of the leeway; but when the store loses writes, they fail.
    LeewayEnds,
    /// A loss of writes; but all are over when the leeway ends.
    StoreLoses,
}

const ATTEMPTS_MAX: usize = 3;
const TICK: Duration = GIVE_UP;

impl State {
    fn first(bounds: Bounds) -> Self {
        let (history, requests, replies) = Default::default();
        let losses_left = bounds.losses;
        match bounds.begins_with {
            Beginning::Login => {
                let record = Rotation::first();
                Self { record, history, stored: record.token(), requests, replies, seen: None, losses_left }
            }
            // The record was made by the first exchange, whose reply is under way; the client has the legacy token.
            Beginning::LegacyToken => {
                let record = Rotation { rotated_at: Some(NOW), ..Rotation::first() };
                let legacy_token = Presented { generation: Generation::NONE, parent: Generation::NONE };
                let replies = vec![(record.token(), 0)];
                Self { record, history, stored: legacy_token, requests, replies, seen: None, losses_left }
            }
        }
    }

    fn write(&mut self, next: Rotation, bounds: Bounds) {
        if next != self.record {
            self.history.push(self.record);
            let forgotten = self.history.len().saturating_sub(bounds.depth);
            self.history.drain(..forgotten);
            self.record = next;
        }
    }

    /// What can happen next; `None` if a request of the client is refused.
    fn successors(&self, bounds: Bounds) -> Option<Vec<Self>> {
        let mut found = Vec::new();
        let mut add = |change: &dyn Fn(&mut Self)| {
            let mut next = self.clone();
            change(&mut next);
            next.requests.sort_unstable();
            next.replies.sort_unstable();
            found.push(next);
        };
        if self.requests.len() + self.replies.len() < ATTEMPTS_MAX && self.record.current.0 < bounds.generations {
            add(&|next| next.requests.push((next.stored, 0)));
        }
        for (i, &(token, age)) in self.requests.iter().enumerate() {
            let (record, reply) = respond(self.record, token, NOW);
            let reply = reply?;
            add(&|next| _ = next.requests.remove(i));
            add(&|next| {
                next.requests.remove(i);
                next.replies.push((reply, age));
                next.write(record, bounds);
            });
        }
        for (i, &(token, _)) in self.replies.iter().enumerate() {
            add(&|next| _ = next.replies.remove(i));
            add(&|next| {
                next.replies.remove(i);
                next.stored = if bounds.keeps_newest { next.stored.max(token) } else { token };
            });
        }
        match self.seen {
            None => add(&|next| next.seen = Some(next.stored.generation)),
            Some(generation) => add(&|next| {
                next.seen = None;
                let mut record = next.record;
                record.acknowledge(generation);
                next.write(record, bounds);
            }),
        }
        match bounds.under_way {
            UnderWay::LeewayEnds => add(&|next| next.tick()),
            UnderWay::StoreLoses if self.requests.is_empty() => add(&|next| (0..3).for_each(|_| next.tick())),
            UnderWay::StoreLoses => {}
        }
        if self.losses_left > 0 {
            for kept in 0..self.history.len() {
                add(&|next| {
                    next.record = next.history[kept];
                    next.history.truncate(kept);
                    next.losses_left -= 1;
                    if bounds.under_way == UnderWay::LeewayEnds {
                        next.requests.clear();
                        next.replies.clear();
                    }
                });
            }
        }
        Some(found)
    }

    /// A third of the leeway passes. The clock of the model stands still; everything else moves into the past.
    fn tick(&mut self) {
        let leeway_ended_at = NOW.saturating_sub(LEEWAY);
        for record in self.history.iter_mut().chain([&mut self.record]) {
            record.rotated_at = record.rotated_at.map(|at| at.saturating_sub(TICK).max(leeway_ended_at));
        }
        for attempts in [&mut self.requests, &mut self.replies] {
            attempts.retain_mut(|(_, age)| {
                *age += 1;
                *age <= 1
            });
        }
    }
}

/// How many states there are; `Err` holds the shortest way to a refusal.
fn explore(bounds: Bounds) -> Result<usize, Vec<State>> {
    let first = State::first(bounds);
    let mut came_from = HashMap::from([(first.clone(), None)]);
    let mut queue = VecDeque::from([first]);
    while let Some(state) = queue.pop_front() {
        let Some(successors) = state.successors(bounds) else {
            let mut path: Vec<State> = std::iter::successors(Some(state), |state| came_from[state].clone()).collect();
            path.reverse();
            return Err(path);
        };
        for next in successors {
            if !came_from.contains_key(&next) {
                came_from.insert(next.clone(), Some(state.clone()));
                queue.push_back(next);
            }
        }
    }
    Ok(came_from.len())
}

fn assert_never_refused(bounds: Bounds) {
    match explore(bounds) {
        Ok(states) => assert!(states > 1000, "only {states} states: the model has lost its steps"),
        Err(path) => panic!("refused after {path:#?}"),
    }
}

const SOUND_STORE: Bounds = Bounds {
    generations: 4,
    keeps_newest: true,
    losses: 0,
    depth: 0,
    under_way: UnderWay::LeewayEnds,
    begins_with: Beginning::Login,
};

#[test]
fn no_interleaving_refuses_an_honest_client() {
    assert_never_refused(SOUND_STORE);
}

#[test]
fn no_interleaving_refuses_an_honest_client_when_losses_of_three_writes_end_its_attempts() {
    assert_never_refused(Bounds { generations: 3, losses: 3, depth: 3, ..SOUND_STORE });
}

#[test]
fn no_interleaving_refuses_an_honest_client_when_losses_of_three_writes_meet_attempts_within_the_leeway() {
    assert_never_refused(Bounds { losses: 3, depth: 3, under_way: UnderWay::StoreLoses, ..SOUND_STORE });
}

#[test]
fn no_interleaving_refuses_an_honest_client_that_exchanges_a_legacy_token() {
    let exchange = Bounds { begins_with: Beginning::LegacyToken, ..SOUND_STORE };
    assert_never_refused(exchange);
    assert_never_refused(Bounds { generations: 3, losses: 3, depth: 3, ..exchange });
    assert_never_refused(Bounds { generations: 3, losses: 3, depth: 3, under_way: UnderWay::StoreLoses, ..exchange });
}

/// Shows that the exploration finds refusals, and why clients are told to keep the newest.
#[test]
fn a_client_that_keeps_whatever_arrives_last_can_be_refused() {
    assert!(explore(Bounds { keeps_newest: false, ..SOUND_STORE }).is_err());
}
