use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Map;

use super::*;
use crate::domain::claims::{RevokedBy, Window};
use crate::domain::ids::{Generation, Partition, SessionId, Subject, TokenId};
use crate::domain::revocation::{Cutoff, Revocation, Target};
use crate::domain::rotation::Rotation;
use crate::domain::session::{Client, Grant, Lifetime};

const SECOND: Duration = Duration::from_secs(1);

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn subject() -> Subject {
    Subject::new("ada").unwrap()
}

fn session(created_at: i64) -> Session {
    Session {
        id: SessionId::new(Partition(0), at(created_at), [1; 8]),
        subject: subject(),
        grant: Grant::default(),
        rotation: Rotation::first(),
        lifetime: Lifetime { idle_ends_at: at(1000), absolute_ends_at: at(1000) },
        client: Client::new(None, None),
        last_used_at: at(created_at),
    }
}

/// The principal of an access token of the session.
fn principal(session: &Session, window: Window) -> Principal {
    Principal {
        subject: session.subject.clone(),
        issuer: "tokengate".into(),
        session: Some(session.id),
        generation: Some(Generation::FIRST),
        token: Some(TokenId::new("t1").unwrap()),
        audiences: Vec::new(),
        scopes: Vec::new(),
        issued_at: Some(session.id.created_at()),
        logged_in_at: None,
        not_before: None,
        expires_at: window.closes_at,
        window,
        claims: Map::new(),
    }
}

fn revoked(replica: &Replica, target: Target) {
    replica.insert(&Revocation { target, revoked_at: at(0), forget_at: Timestamp::MAX });
}

#[test]
fn what_is_known_to_have_ended_is_refused_whether_or_not_all_is_known() {
    let replica = Replica::new();
    let session = session(10);
    let principal = principal(&session, Window { opens_at: at(10), closes_at: at(20) });
    let standing = |now: i64, monotonic: u32| Vouching::new(&replica, 30 * SECOND, at(now), monotonic * SECOND).token(&principal);
    assert_eq!(standing(10, 0), Standing::Unconfirmed, "the log was never read");
    replica.confirm(Duration::ZERO);
    assert_eq!([standing(10, 30), standing(10, 31)], [Standing::Good, Standing::Unconfirmed]);
    for monotonic in [30, 31] {
        assert_eq!(standing(9, monotonic), Standing::Early);
        assert_eq!(standing(20, monotonic), Standing::Over(Ending::Expired));
    }
    revoked(&replica, Target::Session { session: session.id });
    for monotonic in [30, 31] {
        assert_eq!(standing(19, monotonic), Standing::Over(Ending::Revoked(RevokedBy::Session)));
        assert_eq!(standing(20, monotonic), Standing::Over(Ending::Expired), "as a token that is verified only now");
    }
}

#[test]
fn what_was_admitted_ends_as_revoked_where_it_is_both() {
    let replica = Replica::new();
    let session = session(10);
    let principal = principal(&session, Window { opens_at: at(10), closes_at: at(20) });
    let ending = |now| Vouching::new(&replica, SECOND, at(now), Duration::ZERO).ending(&principal);
    assert_eq!([ending(19), ending(20)], [None, Some(Ending::Expired)]);
    revoked(&replica, Target::Everyone { issued_before: at(11) });
    assert_eq!([ending(19), ending(20)], [Some(Ending::Revoked(RevokedBy::Everyone)); 2]);
}

proptest! {
    #[test]
    fn a_session_and_its_tokens_are_revoked_by_the_same_and_at_once(
        created_at in 0..10_i64,
        targets in proptest::collection::vec((0..4_u8, 0..10_i64, 0..10_i64), 0..4),
        now in 0..1100_i64,
    ) {
        let (replica, session) = (Replica::new(), session(created_at));
        for (kind, first, second) in targets {
            revoked(&replica, match kind {
                0 => Target::Session { session: session.id },
                1 => Target::Subject { subject: subject(), issued_before: Cutoff::named(at(first)) },
                2 => Target::Subject { subject: subject(), issued_before: Cutoff::new(at(first), at(first.max(second))) },
                _ => Target::Everyone { issued_before: at(first) },
            });
        }
        let vouching = Vouching::new(&replica, Duration::MAX, at(now), Duration::ZERO);
        let token = vouching.ending(&principal(&session, Window { opens_at: at(0), closes_at: session.lifetime.ends_at() }));
        prop_assert_eq!(vouching.session(&session), token);
    }

    #[test]
    fn a_token_that_stands_has_no_ending_and_one_that_is_over_has(
        window in (0..20_i64, 0..20_i64),
        now in 0..20_i64,
        is_revoked: bool,
        is_confirmed: bool,
    ) {
        let (replica, session) = (Replica::new(), session(5));
        if is_revoked {
            revoked(&replica, Target::Session { session: session.id });
        }
        if is_confirmed {
            replica.confirm(Duration::ZERO);
        }
        let principal = Arc::new(principal(&session, Window { opens_at: at(window.0), closes_at: at(window.1) }));
        let vouching = Vouching::new(&replica, SECOND, at(now), Duration::ZERO);
        let ending = vouching.ending(&principal);
        match vouching.token(&principal) {
            Standing::Good => prop_assert!(ending.is_none() && is_confirmed && principal.window.check(at(now)).is_ok()),
            Standing::Unconfirmed => prop_assert!(ending.is_none() && !is_confirmed && principal.window.check(at(now)).is_ok()),
            Standing::Early => prop_assert!(now < window.0 && now < window.1),
            Standing::Over(_) => prop_assert!(ending.is_some() && (is_revoked || now >= window.1)),
        }
    }
}
