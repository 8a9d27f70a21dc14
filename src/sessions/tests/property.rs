//! An honest client with tabs, two nodes, lost and late messages: never refused, whether it began with a login or a legacy token.

use std::time::Duration;

use proptest::prelude::*;

use super::world::{DAY, Node, SECOND, World, client, policy, refresh_token, subject};
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::ids::Generation;
use crate::domain::page::Page;
use crate::domain::session_policy::SessionPolicy;
use crate::domain::time::Clock as _;
use crate::sessions::{RefreshError, TokenPair};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A tab sends what the shared storage holds.
    Send,
    /// A request reaches one of the nodes.
    Arrive {
        which: usize,
        node: bool,
    },
    RequestLost {
        which: usize,
    },
    /// A response reaches its tab, which keeps the newest.
    Reply {
        which: usize,
    },
    ReplyLost {
        which: usize,
    },
    /// The newest access token is used, and a node tells the store.
    Use,
    Wait {
        seconds: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Send),
        4 => (0..4_usize, any::<bool>()).prop_map(|(which, node)| Step::Arrive { which, node }),
        1 => (0..4_usize).prop_map(|which| Step::RequestLost { which }),
        3 => (0..4_usize).prop_map(|which| Step::Reply { which }),
        2 => (0..4_usize).prop_map(|which| Step::ReplyLost { which }),
        2 => Just(Step::Use),
        3 => prop_oneof![1..9_u64, 9..32_u64, 32..100_000_u64].prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// A client gives a refresh up after this.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Message {
    sent_at: Duration,
    token: String,
    generation: Generation,
}

/// What the client has at first.
#[derive(Clone, Copy)]
enum First {
    Login,
    /// A token of the API's own, which is exchanged in the place of a refresh token.
    LegacyToken,
}

async fn live(first: First, steps: &[Step]) -> Result<(), TestCaseError> {
    // Idle times are not what this is about.
    let world = World::with(SessionPolicy { idle_lifetime: 3650 * DAY, absolute_lifetime: 3650 * DAY, ..policy() });
    world.accept_legacy_tokens(ExchangeRule::Once, world.now().saturating_add(3650 * DAY));
    let other = world.another_node();
    let (session, mut token, mut generation) = match first {
        First::Login => {
            let pair = world.log_in("ada").await;
            (pair.session, refresh_token(&pair), pair.generation)
        }
        First::LegacyToken => {
            let old = world.legacy_token("ada", 3650 * DAY);
            (world.node.sessions.legacy_token(&old).unwrap().session, old, Generation::NONE)
        }
    };
    let (mut requests, mut replies): (Vec<Message>, Vec<Message>) = (Vec::new(), Vec::new());
    for &step in steps {
        match step {
            Step::Send if requests.len() + replies.len() < 4 => {
                requests.push(Message { sent_at: world.clock.monotonic(), token: token.clone(), generation });
            }
            Step::Arrive { which, node } if which < requests.len() => {
                let request = requests.swap_remove(which);
                let node = if node { &world.node } else { &other };
                let response = present(&world, node, &request.token).await;
                let pair = response.map_err(|error| TestCaseError::fail(format!("refused: {error}")))?;
                prop_assert!(pair.generation >= request.generation);
                replies.push(Message { token: refresh_token(&pair), generation: pair.generation, ..request });
            }
            Step::RequestLost { which } if which < requests.len() => {
                requests.swap_remove(which);
            }
            Step::Reply { which } if which < replies.len() => {
                let reply = replies.swap_remove(which);
                if reply.generation > generation {
                    (token, generation) = (reply.token, reply.generation);
                }
            }
            Step::ReplyLost { which } if which < replies.len() => {
                replies.swap_remove(which);
            }
            Step::Use => world.acknowledge(session, generation).await,
            Step::Wait { seconds } => {
                world.clock.advance(Duration::from_secs(seconds));
                let now = world.clock.monotonic();
                requests.retain(|message| now.saturating_sub(message.sent_at) < PATIENCE);
                replies.retain(|message| now.saturating_sub(message.sent_at) < PATIENCE);
            }
            Step::Send | Step::Arrive { .. } | Step::RequestLost { .. } | Step::Reply { .. } | Step::ReplyLost { .. } => {}
        }
    }
    world.clock.advance(SECOND);
    prop_assert!(present(&world, &world.node, &token).await.is_ok(), "refused in the end");
    let sessions = world.node.sessions.list(&subject("ada"), Page::FIRST).await.unwrap().sessions;
    prop_assert_eq!(sessions.iter().map(|session| session.id).collect::<Vec<_>>(), [session], "one login is one session");
    Ok(())
}

/// What a node responds at `/refresh`.
async fn present(world: &World, node: &Node, token: &str) -> Result<TokenPair, RefreshError> {
    node.replica.confirm(world.clock.monotonic());
    match node.sessions.legacy_token(token) {
        Some(old) => node.sessions.exchange(&old, &client(), None).await,
        None => node.sessions.refresh_text(token, &client()).await,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_honest_client_is_never_refused(steps in proptest::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(live(First::Login, &steps))?;
    }

    #[test]
    fn an_honest_client_with_a_legacy_token_is_never_refused_and_has_one_session(steps in proptest::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(live(First::LegacyToken, &steps))?;
    }
}
