//! What a token costs: verified from scratch, by algorithm, and the parts of a hit that need no cache.
//!
//! `cargo bench --bench admission`

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tokengate::crypto::access_token::{NewAccessToken, mint};
use tokengate::crypto::deployment_secret::{DeploymentSecret, generate_secret};
use tokengate::crypto::entropy::{Entropy, SystemEntropy, draw, token_id};
use tokengate::crypto::key_files::generate;
use tokengate::crypto::keyring::KeyRing;
use tokengate::crypto::refresh_token::RefreshTokens;
use tokengate::crypto::verifier::{TokenDigest, Verifier};
use tokengate::domain::algorithm::Algorithm;
use tokengate::domain::claim_policy::ClaimPolicy;
use tokengate::domain::ids::{Generation, Partition, SessionId, Subject};
use tokengate::domain::rotation::Rotation;
use tokengate::domain::session::Grant;
use tokengate::domain::time::Timestamp;

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
        session: SessionId::new(Partition(3), NOW, draw(entropy)),
        generation: Generation(7),
        token_id: &token_id(entropy),
        issued_at: NOW,
        expires_at: NOW.saturating_add(LIFETIME),
        grant: &Grant { scopes, ..Grant::default() },
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
    let entropy = SystemEntropy::new();
    let ring = ring(Algorithm::Es256, &entropy);
    let policy = ClaimPolicy::own("https://issuer.example.com/", &["https://api.example.com".to_owned()], LIFETIME);
    let verifier = Verifier::new().with_own(&ring, policy);
    let token = token(&ring, &entropy);
    let verified = verifier.verify(&token, NOW).expect("a good token");
    let mut group = c.benchmark_group("hit");
    group.bench_function("digest", |b| b.iter(|| TokenDigest::of(black_box(&token))));
    group.bench_function("still_valid", |b| b.iter(|| verifier.still_valid(black_box(&verified), NOW)));
    group.finish();
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

criterion_group!(benches, verify, hit, make);
criterion_main!(benches);
