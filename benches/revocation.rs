//! What a request pays for revocation: `Replica::covers` among 10³ to 10⁷ revoked sessions, and what an entry costs in memory.
//!
//! `cargo bench --bench revocation`; a size alone: `cargo bench --bench revocation -- 1000000`.

#![expect(clippy::print_stdout, reason = "a benchmark reports what it measured")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use serde_json::Map;
use tokengate::domain::claims::{Principal, Window};
use tokengate::domain::ids::{Partition, SessionId, Subject, TokenId};
use tokengate::domain::replica::Replica;
use tokengate::domain::revocation::{Cutoff, Revocation, Target};
use tokengate::domain::time::Timestamp;

const SIZES: [u64; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];
/// Revocations live for about as long as an access token.
const SPREAD_SECS: u64 = 900;
/// How many different sessions are asked for, one after the other.
const ASKED: u64 = 1 << 20;
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    empty(&mut criterion);
    // All are kept until the end: memory that one gave back would hide what the next takes.
    let replicas = SIZES.map(|size| {
        let before = resident_bytes();
        let replica = filled(size);
        let used = resident_bytes().saturating_sub(before);
        println!("{size} sessions: {} bytes each ({} MiB)", used / size, used >> 20);
        (size, replica)
    });
    for (size, replica) in &replicas {
        lookups(&mut criterion, replica, *size);
    }
    for (size, replica) in &replicas {
        forgetting(replica, *size);
    }
    criterion.final_summary();
}

fn empty(criterion: &mut Criterion) {
    let (replica, principal) = (Replica::new(), principal());
    criterion.bench_function("revocation/none", |b| b.iter(|| replica.covers(black_box(&principal))));
}

fn lookups(criterion: &mut Criterion, replica: &Replica, size: u64) {
    let mut group = criterion.benchmark_group("revocation");
    let mut ask = |name: &str, is_revoked: bool, first: u64| {
        let sessions: Vec<SessionId> = (0..ASKED).map(|n| session(first + mixed(n) % size)).collect();
        let (mut principal, mut next) = (principal(), sessions.iter().cycle());
        group.bench_function(BenchmarkId::new(name, size), |b| {
            b.iter(|| {
                principal.session = next.next().copied();
                assert_eq!(replica.covers(black_box(&principal)).is_some(), is_revoked);
            });
        });
    };
    ask("live session", false, size);
    ask("revoked session", true, 0);
    replica.insert(&Revocation {
        target: Target::Subject { subject: Subject::new("someone else").expect("a name"), issued_before: Cutoff::named(NOW) },
        revoked_at: NOW,
        forget_at: Timestamp::MAX,
    });
    ask("live session, some subject revoked", false, size);
    group.finish();
}

/// Not by criterion: it can be done once.
fn forgetting(replica: &Replica, size: u64) {
    #[expect(clippy::disallowed_methods, reason = "a measurement of real time")]
    let start = std::time::Instant::now();
    let dropped = replica.forget(NOW.saturating_add(Duration::from_secs(2 * SPREAD_SECS)));
    println!("{size} sessions: forgetting takes {} ns each", start.elapsed().as_nanos() / u128::from(size));
    assert_eq!(dropped as u64, size);
}

fn filled(size: u64) -> Replica {
    let replica = Replica::new();
    for n in 0..size {
        let forget_at = NOW.saturating_add(Duration::from_secs(n % SPREAD_SECS));
        replica.insert(&Revocation { target: Target::Session { session: session(n) }, revoked_at: NOW, forget_at });
    }
    replica
}

fn session(n: u64) -> SessionId {
    let random = mixed(n);
    let partition = Partition(u16::try_from(random % 16).expect("below 16"));
    SessionId::new(partition, NOW.saturating_sub(Duration::from_millis(random % 900_000)), random.to_be_bytes())
}

fn principal() -> Principal {
    Principal {
        subject: Subject::new("user-4711").expect("a name"),
        issuer: "https://gateway.example".into(),
        session: Some(session(1)),
        generation: None,
        token: Some(TokenId::new("pD2v8u1c0mQm3zqJ9f7WkA").expect("a name")),
        audiences: Vec::new(),
        scopes: Vec::new(),
        issued_at: Some(NOW),
        logged_in_at: None,
        not_before: None,
        expires_at: NOW.saturating_add(Duration::from_secs(900)),
        window: Window::ALWAYS,
        claims: Map::new(),
    }
}

/// The finaliser of splitmix64: a bijection, so that distinct numbers stay distinct.
fn mixed(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The memory of this process; Linux alone.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}
