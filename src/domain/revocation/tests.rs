use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Map;

use super::*;
use crate::domain::claims::{Principal, RevokedBy, Window};
use crate::domain::ids::Generation;
use crate::domain::replica::Replica;

fn millis(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn session(n: u8) -> SessionId {
    SessionId::new(Partition(u16::from(n % 4)), millis(i64::from(n) * 1000), [n; 8])
}

fn subject(n: u8) -> Subject {
    Subject::new(&format!("user-{n}")).unwrap()
}

fn token(n: u8) -> TokenId {
    TokenId::new(&format!("jti-{n}")).unwrap()
}

fn issuer(n: u8) -> Arc<str> {
    format!("https://issuer-{}", n % 2).into()
}

pub(super) fn principal(subject: Subject, session: Option<SessionId>, issued_at: Option<Timestamp>) -> Principal {
    Principal {
        subject,
        issuer: issuer(0),
        session,
        generation: None,
        token: Some(token(0)),
        audiences: Vec::new(),
        scopes: Vec::new(),
        issued_at,
        logged_in_at: None,
        not_before: None,
        expires_at: Timestamp::MAX,
        window: Window::ALWAYS,
        claims: Map::new(),
    }
}

/// Of both kinds: named, and of all that had been accepted.
fn cutoff(before: i64) -> Cutoff {
    if before % 2 == 0 { Cutoff::named(millis(before)) } else { Cutoff::new(millis(before), millis(before + 2000)) }
}

/// A revocation of one of few targets, so that they meet often.
fn revocation() -> impl Strategy<Value = Revocation> {
    let target = (0..10_u8, 0..12_u8, 0..20_000_i64).prop_map(|(kind, n, before)| match kind {
        0..3 => Target::Session { session: session(n) },
        3..6 => Target::Subject { subject: subject(n), issued_before: cutoff(before) },
        6 => Target::Everyone { issued_before: millis(before) },
        _ => Target::Token { issuer: issuer(n), token: token(n / 2) },
    });
    // Some lie before the epoch, some beyond what buckets can number.
    let forget_at = prop_oneof![20 => 0..200_000_i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX), 1 => Just(-1)];
    (target, 0..20_000_i64, forget_at).prop_map(|(target, revoked_at, forget_at)| Revocation {
        target,
        revoked_at: millis(revoked_at),
        forget_at: millis(forget_at),
    })
}

fn revocations() -> impl Strategy<Value = Vec<Revocation>> {
    proptest::collection::vec(revocation(), 0..60)
}

/// The target without `issued_before`, which merges.
fn key(target: &Target) -> Target {
    match target {
        Target::Subject { subject, .. } => {
            Target::Subject { subject: subject.clone(), issued_before: Cutoff::named(Timestamp::MIN) }
        }
        Target::Everyone { .. } => Target::Everyone { issued_before: Timestamp::MIN },
        Target::Session { .. } | Target::Token { .. } => target.clone(),
    }
}

/// What the set is measured against: a plain map, merged field by field.
#[derive(Default, Clone, PartialEq, Debug)]
struct Naive(HashMap<Target, Revocation>);

impl Naive {
    fn insert(&mut self, new: &Revocation) -> bool {
        let Some(old) = self.0.get_mut(&key(&new.target)) else {
            self.0.insert(key(&new.target), new.clone());
            return true;
        };
        let before = old.clone();
        match (&mut old.target, &new.target) {
            (Target::Subject { issued_before: old, .. }, Target::Subject { issued_before: new, .. }) => *old = old.merged(*new),
            (Target::Everyone { issued_before: old }, Target::Everyone { issued_before: new }) => *old = (*old).max(*new),
            _ => {}
        }
        old.revoked_at = old.revoked_at.min(new.revoked_at);
        old.forget_at = old.forget_at.max(new.forget_at);
        *old != before
    }
}

fn contents(revocations: impl IntoIterator<Item = Revocation>) -> Naive {
    let mut map = HashMap::new();
    for revocation in revocations {
        let twice = map.insert(key(&revocation.target), revocation);
        assert_eq!(twice, None, "each target is told once");
    }
    Naive(map)
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Revocation),
    Forget(i64),
}

proptest! {
    #[test]
    fn the_set_equals_a_naive_map_under_any_inserts_and_forgets(
        steps in proptest::collection::vec(
            prop_oneof![8 => revocation().prop_map(Step::Insert), 1 => (0..250_000_i64).prop_map(Step::Forget)],
            0..200,
        ),
    ) {
        let (mut set, replica, mut naive) = (RevocationSet::new(), Replica::new(), Naive::default());
        for step in steps {
            match step {
                Step::Insert(revocation) => {
                    let news = naive.insert(&revocation);
                    prop_assert_eq!(set.insert(&revocation), news);
                    prop_assert_eq!(replica.insert(&revocation), news);
                    prop_assert!(set.includes(&revocation));
                }
                Step::Forget(now) => {
                    let dropped = set.forget(millis(now));
                    prop_assert_eq!(replica.forget(millis(now)), dropped);
                    let kept = contents(set.iter());
                    prop_assert_eq!(naive.0.len() - dropped, kept.0.len());
                    let lost = naive.0.iter().filter(|(key, _)| !kept.0.contains_key(key));
                    prop_assert!(lost.into_iter().all(|(_, gone)| gone.forget_at <= millis(now)), "forgotten too early");
                    // All that ran out before the epoch shares a bucket with what runs out just after it.
                    let overdue = millis(now).saturating_sub(Duration::from_secs(15));
                    prop_assert!(kept.0.values().all(|kept| kept.forget_at.max(millis(0)) > overdue), "kept too long");
                    naive = kept;
                }
            }
            prop_assert_eq!(contents(set.iter()), naive.clone());
            prop_assert_eq!(set.len(), naive.0.len());
            prop_assert_eq!(replica.counts(), set.counts());
        }
        let known = contents(replica.missing_from(&RevocationSet::new(), Timestamp::MIN).flatten());
        naive.0.retain(|_, revocation| revocation.forget_at > Timestamp::MIN);
        prop_assert_eq!(known, naive);
        prop_assert_eq!(replica.missing_from(&set, Timestamp::MIN).count(), 0);
    }

    #[test]
    fn merging_is_commutative_associative_and_idempotent(a in revocations(), b in revocations(), c in revocations()) {
        let set = |revocations: &[Revocation]| revocations.iter().cloned().collect::<RevocationSet>();
        let merged = |mut left: RevocationSet, right: &RevocationSet| {
            left.merge(right);
            left
        };
        let ab = merged(set(&a), &set(&b));
        prop_assert_eq!(contents(ab.iter()), contents(merged(set(&b), &set(&a)).iter()));
        let left = merged(merged(set(&a), &set(&b)), &set(&c));
        let right = merged(set(&a), &merged(set(&b), &set(&c)));
        prop_assert_eq!(contents(left.iter()), contents(right.iter()));
        let again = merged(merged(ab, &set(&b)), &set(&a));
        prop_assert_eq!(contents(again.iter()), contents(merged(set(&a), &set(&b)).iter()));
    }

    #[test]
    fn the_replica_covers_what_the_set_covers_and_that_is_what_was_said(
        revocations in revocations(), n in 0..14_u8, m in 0..14_u8, own: bool, issued_at in proptest::option::of(0..20_000_i64),
    ) {
        let replica = Replica::new();
        for revocation in &revocations {
            replica.insert(revocation);
        }
        let principal = Principal {
            generation: (own && n % 2 == 0).then_some(Generation(1)),
            token: (n % 3 > 0).then(|| token(m / 2)),
            issuer: issuer(n),
            ..principal(subject(n), own.then(|| session(m)), issued_at.map(millis))
        };
        let began = principal.session.map(SessionId::created_at).or(principal.issued_at);
        let said = |revocation: &Revocation| match &revocation.target {
            Target::Session { session } => (principal.session == Some(*session)).then_some(RevokedBy::Session),
            Target::Subject { subject, issued_before } => {
                (principal.subject == *subject && issued_before.covers(&principal)).then_some(RevokedBy::Subject)
            }
            Target::Token { issuer, token } => {
                (principal.issuer == *issuer && principal.token.as_ref() == Some(token)).then_some(RevokedBy::Token)
            }
            Target::Everyone { issued_before } => {
                began.is_none_or(|began| began < *issued_before).then_some(RevokedBy::Everyone)
            }
        };
        let causes: Vec<RevokedBy> = revocations.iter().filter_map(said).collect();
        let order = [RevokedBy::Session, RevokedBy::Everyone, RevokedBy::Subject, RevokedBy::Token];
        let expected = order.into_iter().find(|by| causes.contains(by));
        prop_assert_eq!(replica.covers(&principal), expected);
        prop_assert_eq!(revocations.into_iter().collect::<RevocationSet>().covers(&principal), expected);
    }
}

#[test]
fn a_session_created_at_the_very_moment_of_a_revocation_by_subject_lives() {
    let replica = Replica::new();
    let revoke = |before| Revocation {
        target: Target::Subject { subject: subject(1), issued_before: Cutoff::named(millis(before)) },
        revoked_at: millis(0),
        forget_at: millis(1_000_000),
    };
    replica.insert(&revoke(7000));
    let own = Principal { generation: Some(Generation(1)), ..principal(subject(1), Some(session(7)), Some(millis(0))) };
    assert_eq!(replica.covers(&own), None, "created at 7000; when its access token was issued does not matter");
    assert_eq!(replica.subject_revoked_before(&subject(1)), Some(millis(7000)));
    replica.insert(&revoke(7001));
    assert_eq!(replica.covers(&own), Some(RevokedBy::Subject));
    replica.insert(&revoke(5000));
    assert_eq!(replica.covers(&own), Some(RevokedBy::Subject), "an older statement takes nothing back");
    assert_eq!(replica.subject_revoked_before(&subject(2)), None);
}

#[test]
fn a_foreign_token_without_an_issue_date_counts_as_old() {
    let set = RevocationSet::from_iter([Revocation {
        target: Target::Subject { subject: subject(1), issued_before: Cutoff::named(millis(5000)) },
        revoked_at: millis(5000),
        forget_at: millis(1_000_000),
    }]);
    assert_eq!(set.covers(&principal(subject(1), None, None)), Some(RevokedBy::Subject));
    assert_eq!(set.covers(&principal(subject(1), None, Some(millis(4999)))), Some(RevokedBy::Subject));
    assert_eq!(set.covers(&principal(subject(1), None, Some(millis(5000)))), None);
}

#[test]
fn many_that_run_out_together_leave_the_others_in_place() {
    let replica = Replica::new();
    let insert = |n: u64, forget_at| {
        let session = SessionId::new(Partition(0), millis(0), n.to_be_bytes());
        replica.insert(&Revocation { target: Target::Session { session }, revoked_at: millis(0), forget_at: millis(forget_at) });
    };
    (0..20_000).for_each(|n| insert(n, 1));
    (10_000..11_000).for_each(|n| insert(n, 1_000_000));
    assert_eq!(replica.len(), 20_000);
    assert_eq!(replica.forget(millis(500_000)), 19_000);
    assert_eq!(replica.len(), 1000);
    let covered = (0..20_000_u64).filter(|n| {
        let session = SessionId::new(Partition(0), millis(0), n.to_be_bytes());
        replica.covers(&principal(subject(0), Some(session), None)).is_some()
    });
    assert!(covered.eq(10_000..11_000));
}

#[test]
fn a_revocation_of_everyone_reaches_all_that_is_older_until_it_may_be_forgotten() {
    let replica = Replica::new();
    assert_eq!(replica.subject_revoked_before(&subject(1)), None);
    let everyone = Target::Everyone { issued_before: millis(7001) };
    replica.insert(&Revocation { target: everyone, revoked_at: millis(8000), forget_at: millis(1_000_000) });
    for n in 0..9 {
        let own = principal(subject(n), Some(session(n)), Some(millis(9000)));
        assert_eq!(replica.covers(&own), (n <= 7).then_some(RevokedBy::Everyone), "session {n}");
    }
    assert_eq!(replica.covers(&principal(subject(1), None, None)), Some(RevokedBy::Everyone), "foreign, of unknown age");
    assert_eq!(replica.covers(&principal(subject(1), None, Some(millis(7001)))), None);
    assert_eq!(replica.subject_revoked_before(&subject(1)), Some(millis(7001)));
    assert_eq!((replica.counts().everyone, replica.len()), (1, 1));
    assert_eq!(replica.forget(millis(2_000_000)), 1);
    assert_eq!(replica.covers(&principal(subject(1), Some(session(1)), None)), None);
    assert_eq!((replica.subject_revoked_before(&subject(1)), replica.len()), (None, 0));
}
