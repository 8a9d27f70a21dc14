//! What a token costs: verified for the first time, and admitted again with 10 000 others in the cache, by algorithm; minted; and
//! remembered, in bytes of memory.
//!
//! `cargo bench --bench admission`

#![expect(clippy::print_stdout, reason = "a benchmark reports what it measured")]

use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderName, HeaderValue};
use tokengate::app::Ambient;
use tokengate::crypto::access_token::{Holder, NewAccessToken, mint};
use tokengate::crypto::deployment_secret::{DeploymentSecret, generate_secret};
use tokengate::crypto::entropy::{Entropy, SystemEntropy, draw, token_id};
use tokengate::crypto::key_files::generate;
use tokengate::crypto::keyring::KeyRing;
use tokengate::crypto::refresh_token::RefreshTokens;
use tokengate::crypto::verifier::Verifier;
use tokengate::domain::algorithm::Algorithm;
use tokengate::domain::claim_policy::ClaimPolicy;
use tokengate::domain::demands::TokenDemands;
use tokengate::domain::headers::forwarded::Forwarding;
use tokengate::domain::headers::{IdentityFields, RewriteRules};
use tokengate::domain::ids::{Generation, Partition, SessionId, Subject};
use tokengate::domain::replica::Replica;
use tokengate::domain::rotation::Rotation;
use tokengate::domain::route::{Access, WhenStale};
use tokengate::domain::session::Grant;
use tokengate::domain::stats::Counters;
use tokengate::domain::time::Timestamp;
use tokengate::proxy::auth::admission::{Admission, AdmissionOptions};
use tokengate::proxy::auth::renewals::Renewals;
use tokengate::proxy::auth::token_cache::TokenCache;
use tokengate::proxy::open_streams::OpenStreams;

/// The gateway's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);
const LIFETIME: Duration = Duration::from_secs(900);
const RSA_KEY: &str = include_str!("../src/crypto/testing/rsa-2048.pem");

fn ring(algorithm: Algorithm, entropy: &dyn Entropy) -> KeyRing {
    let folder = tempfile::tempdir().expect("a folder for the key");
    if algorithm.is_rsa() {
        std::fs::write(folder.path().join("rsa.pem"), RSA_KEY).expect("the key is written");
    } else {
        generate(folder.path(), algorithm, entropy).expect("a key is made");
    }
    load(folder.path())
}

fn load(folder: &Path) -> KeyRing {
    KeyRing::load(folder, None).expect("the key that was just made loads")
}

fn token(ring: &KeyRing, entropy: &dyn Entropy) -> String {
    let subject = Subject::new("3f0d6c1e-6f0a-4a52-9a3c-0a5b1f3f9b11").expect("a subject");
    let scopes = ["openid", "profile", "email", "read:orders", "write:orders"].map(str::to_owned).to_vec();
    let new = NewAccessToken {
        issuer: "https://issuer.example.com/",
        subject: &subject,
        audiences: &["https://api.example.com".to_owned()],
        holder: Holder::Session { id: SessionId::new(Partition(3), NOW, draw(entropy)), generation: Generation(7) },
        token_id: &token_id(entropy),
        issued_at: NOW,
        expires_at: NOW.saturating_add(LIFETIME),
        grant: &Grant { scopes, ..Grant::default() },
        bytes_max: 12 * 1024,
    };
    mint(ring, &new).expect("a token is minted").expose().clone()
}

fn verify(c: &mut Criterion) {
    let entropy = SystemEntropy::new();
    let mut group = c.benchmark_group("miss");
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Hs256] {
        let ring = ring(algorithm, &entropy);
        let policy = ClaimPolicy::own("https://issuer.example.com/", &["https://api.example.com".to_owned()], LIFETIME);
        let verifier = Verifier::new().with_own(&ring, policy);
        let token = token(&ring, &entropy);
        verifier.verify(&token, NOW).expect("a good token");
        group.bench_function(algorithm.name(), |b| b.iter(|| verifier.verify(black_box(&token), NOW)));
    }
    group.finish();
}

fn hit(c: &mut Criterion) {
    const TOKENS: usize = 10_000;
    let entropy = SystemEntropy::new();
    let mut group = c.benchmark_group("hit");
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Hs256] {
        let ring = ring(algorithm, &entropy);
        let policy = ClaimPolicy::own("https://issuer.example.com/", &["https://api.example.com".to_owned()], LIFETIME);
        let verifier = Verifier::new().with_own(&ring, policy);
        let admission = admission();
        let (rewrite, access) = (rewrite(), Access::Token(TokenDemands::default()));
        let admit = |token: &str| admission.admit(&verifier, &rewrite, token, &access, WhenStale::Reject, NOW);
        let tokens: Vec<String> = (0..TOKENS).map(|_| token(&ring, &entropy)).collect();
        for token in &tokens {
            assert!(admit(token).expect("a good token").first_sight);
        }
        let mut next = tokens.iter().cycle();
        group.bench_function(algorithm.name(), |b| b.iter(|| admit(next.next().expect("they go round"))));
    }
    let ring = ring(Algorithm::Es256, &entropy);
    let token = token(&ring, &entropy);
    let cache = TokenCache::new(TOKENS, &entropy);
    group.bench_function("tag alone", |b| b.iter(|| cache.tag(black_box(&token))));
    group.finish();
}

/// Prints what a remembered token takes, the cache's own structure included.
fn memory(_: &mut Criterion) {
    const TOKENS: u64 = 100_000;
    let entropy = SystemEntropy::new();
    let ring = ring(Algorithm::Hs256, &entropy);
    let policy = ClaimPolicy::own("https://issuer.example.com/", &["https://api.example.com".to_owned()], LIFETIME);
    let verifier = Verifier::new().with_own(&ring, policy);
    let admission = admission();
    let (rewrite, access) = (rewrite(), Access::Token(TokenDemands::default()));
    let tokens: Vec<String> = (0..TOKENS).map(|_| token(&ring, &entropy)).collect();
    let before = resident_bytes();
    for token in &tokens {
        admission.admit(&verifier, &rewrite, token, &access, WhenStale::Reject, NOW).expect("a good token");
    }
    println!("{TOKENS} tokens: {} bytes each", resident_bytes().saturating_sub(before) / TOKENS);
}

/// The memory of this process; Linux alone.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}

fn admission() -> Admission {
    let replica = Arc::new(Replica::new());
    replica.confirm(Duration::ZERO);
    let options = AdmissionOptions { cache_entries_max: 100_000, max_staleness: Duration::MAX };
    let renewals = Rc::new(Renewals::new(OpenStreams::new()));
    Admission::new(options, replica, Ambient::of_system().clock, Arc::new(Counters::new()), renewals, &SystemEntropy::new())
}

fn rewrite() -> RewriteRules {
    let identity = IdentityFields {
        subject: Some(HeaderName::from_static("x-auth-subject")),
        session: Some(HeaderName::from_static("x-auth-session")),
        scopes: Some(HeaderName::from_static("x-auth-scopes")),
        ..IdentityFields::default()
    };
    RewriteRules::new(identity, &[], Vec::new(), Forwarding::default(), HeaderValue::from_static("1.1 tokengate"))
}

fn make(c: &mut Criterion) {
    let entropy = SystemEntropy::new();
    let mut group = c.benchmark_group("mint");
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Hs256] {
        let ring = ring(algorithm, &entropy);
        group.bench_function(algorithm.name(), |b| b.iter(|| token(&ring, &entropy)));
    }
    let secret = DeploymentSecret::parse(generate_secret(&entropy).expose()).expect("a good secret");
    let tokens = RefreshTokens::new(&[secret]).expect("one secret");
    let session = SessionId::new(Partition(3), NOW, draw(&entropy));
    let sealed = tokens.seal(session, Rotation::first().token());
    group.bench_function("refresh_token", |b| b.iter(|| tokens.seal(session, black_box(Rotation::first().token()))));
    group.bench_function("refresh_token_open", |b| b.iter(|| tokens.open(black_box(sealed.expose()))));
    group.finish();
}

criterion_group!(benches, memory, verify, hit, make);
criterion_main!(benches);
