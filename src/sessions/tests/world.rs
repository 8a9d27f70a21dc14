//! A deployment in memory: one store with faults on demand, one clock, and as many nodes as a test asks for.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::store::TestStore;
use crate::crypto::deployment_secret::DeploymentSecret;
use crate::crypto::entropy::Entropy;
use crate::crypto::jwks::{ForeignKeys, JwksOrigin};
use crate::crypto::key::SigningKey;
use crate::crypto::keyring::KeyRing;
use crate::crypto::legacy_key::LegacyKey;
use crate::crypto::refresh_token::RefreshTokens;
use crate::crypto::verifier::{TOKEN_BYTES_DEFAULT, Verifier};
use crate::domain::algorithm::Algorithm;
use crate::domain::claim_policy::{AudienceRule, ClaimPath, ClaimPolicy, ExchangeTerms, TypeRule};
use crate::domain::claims::{Principal, Window};
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::ids::{Generation, Partitions, SessionId, Subject, TokenId};
use crate::domain::legacy::LegacyPolicy;
use crate::domain::login_kind::LoginKind;
use crate::domain::page::Page;
use crate::domain::replica::Replica;
use crate::domain::revocation::Retention;
use crate::domain::session::{Client, Grant, Session};
use crate::domain::session_policy::{OldSession, ReusePolicy, SessionPolicy};
use crate::domain::stats::{Counter, Counters};
use crate::domain::subject_token::{SubjectToken, SubjectTokenLives};
use crate::domain::subjects::{ReservedPrefixes, SubjectPrefix, SubjectRule};
use crate::domain::time::{Clock, Timestamp};
use crate::sessions::claims_hook::ClaimsHook;
use crate::sessions::{Login, Minting, RefreshError, SessionParts, SessionRules, Sessions, TokenPair, TokenText};
use crate::store::{Acknowledgement, RevocationLog as _, SessionStore as _};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A clock that stands still until it is moved.
pub(crate) struct ManualClock {
    wall_millis: AtomicI64,
    monotonic_millis: AtomicU64,
}

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self { wall_millis: AtomicI64::new(1_790_000_000_000), monotonic_millis: AtomicU64::new(0) }
    }

    pub(crate) fn advance(&self, span: Duration) {
        let millis = u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap();
        self.wall_millis.fetch_add(millis.cast_signed(), Ordering::Relaxed);
        self.monotonic_millis.fetch_add(millis, Ordering::Relaxed);
    }

    /// The wall clock alone jumps.
    pub(crate) fn jump(&self, millis: i64) {
        self.wall_millis.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall_millis.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_millis.load(Ordering::Relaxed))
    }
}

/// Distinct bytes, the same in every run.
#[derive(Default)]
pub(crate) struct CountingEntropy(AtomicU64);

impl Entropy for CountingEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let number = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        for (byte, digit) in bytes.iter_mut().rev().zip(number.into_iter().rev()) {
            *byte = digit;
        }
    }
}

/// One node: its own replica and counters.
pub(crate) struct Node {
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) replica: Arc<Replica>,
    pub(crate) counters: Arc<Counters>,
}

pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Arc<TestStore>,
    entropy: Arc<CountingEntropy>,
    pub(crate) verifier: Arc<ArcSwap<Verifier>>,
    policy: SessionPolicy,
    claims_hook: Option<ClaimsHook>,
    pub(crate) node: Node,
}

pub(crate) fn policy() -> SessionPolicy {
    SessionPolicy {
        access_lifetime: 15 * MINUTE,
        access_token_bytes_max: TOKEN_BYTES_DEFAULT,
        retention: Retention::covering([15 * MINUTE + 5 * SECOND]),
        idle_lifetime: 7 * DAY,
        absolute_lifetime: 90 * DAY,
        sessions_max: None,
        rotation_leeway: 30 * SECOND,
        rotation: true,
        reuse: ReusePolicy::Revoke,
        max_staleness: 30 * SECOND,
        subject_tokens: SubjectTokenLives::default(),
        old_session: OldSession::End,
        imported_until: None,
        reserved: ReservedPrefixes::default(),
        machine_prefix: SubjectPrefix::new("client:").unwrap(),
    }
}

pub(crate) fn minting() -> Minting {
    let secret = DeploymentSecret::parse(&"07f8".repeat(16)).unwrap();
    let (signing, verifying) = SigningKey::hmac(Algorithm::Hs256, &[7; 32]).unwrap();
    Minting {
        keys: Arc::new(KeyRing::single("test", signing, verifying)),
        refresh_tokens: RefreshTokens::new(&[secret]).unwrap(),
        issuer: "tokengate".into(),
        audiences: vec!["tokengate".into()],
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(policy())
    }

    pub(crate) fn with(policy: SessionPolicy) -> Self {
        Self::with_hook(policy, None)
    }

    pub(crate) fn with_hook(policy: SessionPolicy, claims_hook: Option<ClaimsHook>) -> Self {
        let clock = Arc::new(ManualClock::new());
        let store = Arc::new(TestStore::new(Partitions::new(NonZeroU16::new(16).unwrap())));
        let entropy = Arc::new(CountingEntropy::default());
        let verifier = Arc::new(ArcSwap::from_pointee(Verifier::new()));
        let node = make_node(&clock, &store, &entropy, &verifier, &policy, claims_hook.as_ref());
        Self { clock, store, entropy, verifier, policy, claims_hook, node }
    }

    pub(crate) fn another_node(&self) -> Node {
        make_node(&self.clock, &self.store, &self.entropy, &self.verifier, &self.policy, self.claims_hook.as_ref())
    }

    /// The node reads the log of revocations to its end.
    pub(crate) async fn catch_up(&self, node: &Node) {
        for revocation in self.store.follow(None, Duration::ZERO).await.unwrap().revocations {
            node.replica.insert(&revocation);
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn count(&self, counter: Counter) -> u64 {
        self.node.counters.snapshot().value(counter)
    }

    pub(crate) async fn log_in(&self, subject_name: &str) -> TokenPair {
        self.node.sessions.issue(login(subject_name)).await.unwrap()
    }

    /// The subject's live sessions, oldest first.
    pub(crate) async fn sessions_of(&self, subject_name: &str) -> Vec<SessionId> {
        let page = self.node.sessions.list(&subject(subject_name), Page::FIRST).await.unwrap();
        page.sessions.iter().rev().map(|session| session.id).collect()
    }

    /// The record as the store has it.
    pub(crate) async fn record(&self, id: SessionId) -> Option<Session> {
        self.store.inner.load(id).await.unwrap().map(|stored| stored.session)
    }

    /// The store is set back to when it had this record.
    pub(crate) async fn bring_back(&self, session: &Session) {
        self.store.inner.create(session, None, self.now()).await.unwrap();
    }

    /// The principal of a pair's access token, as admission would make it.
    pub(crate) fn principal(&self, subject_name: &str, pair: &TokenPair) -> Principal {
        Principal {
            subject: subject(subject_name),
            issuer: "tokengate".into(),
            session: Some(pair.session),
            generation: Some(pair.generation),
            token: Some(TokenId::new("some").unwrap()),
            audiences: vec!["tokengate".into()],
            scopes: pair.scopes.clone(),
            issued_at: Some(self.now()),
            logged_in_at: None,
            not_before: None,
            expires_at: self.now().saturating_add(pair.expires_in),
            window: Window::new(None, self.now().saturating_add(pair.expires_in), Duration::ZERO),
            claims: serde_json::Map::new(),
        }
    }

    pub(crate) fn foreign_principal(&self, subject_name: &str, token: Option<&str>) -> Principal {
        Principal {
            subject: subject(subject_name),
            issuer: "https://issuer.example".into(),
            session: None,
            generation: None,
            token: token.map(|id| TokenId::new(id).unwrap()),
            audiences: vec![],
            scopes: vec![],
            issued_at: Some(self.now()),
            logged_in_at: None,
            not_before: None,
            expires_at: self.now().saturating_add(3600 * SECOND),
            window: Window::new(None, self.now().saturating_add(3600 * SECOND), MINUTE),
            claims: serde_json::Map::new(),
        }
    }

    /// An access token of this generation was seen.
    pub(crate) async fn acknowledge(&self, session: SessionId, generation: Generation) {
        self.store.inner.acknowledge(&[Acknowledgement { session, generation }]).await.unwrap();
    }
}

fn make_node(
    clock: &Arc<ManualClock>,
    store: &Arc<TestStore>,
    entropy: &Arc<CountingEntropy>,
    verifier: &Arc<ArcSwap<Verifier>>,
    policy: &SessionPolicy,
    claims_hook: Option<&ClaimsHook>,
) -> Node {
    let (replica, counters) = (Arc::new(Replica::new()), Arc::new(Counters::new()));
    let parts = SessionParts {
        store: store.clone(),
        log: store.clone(),
        tickets: store.clone(),
        replica: replica.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        counters: counters.clone(),
    };
    let rules = SessionRules {
        minting: Arc::new(minting()),
        verifier: verifier.clone(),
        policy: policy.clone(),
        claims_hook: claims_hook.cloned(),
    };
    let sessions = Sessions::new(parts, rules);
    Node { sessions: Arc::new(sessions), replica, counters }
}

impl Node {
    /// From now on by these keys and rules.
    pub(crate) fn reload(&mut self, minting: Minting, policy: SessionPolicy) {
        let rules = SessionRules { minting: Arc::new(minting), policy, ..self.sessions.rules().clone() };
        self.sessions = Arc::new(self.sessions.ruled_by(rules));
    }
}

pub(crate) fn subject(name: &str) -> Subject {
    Subject::new(name).unwrap()
}

pub(crate) fn client() -> Client {
    Client::new(Some("192.0.2.1".parse().unwrap()), Some("test"))
}

pub(crate) fn login(subject_name: &str) -> Login {
    Login {
        kind: LoginKind::Login,
        subject: subject(subject_name),
        grant: Grant { scopes: vec!["read".into()], ..Grant::default() },
        client: client(),
        old_refresh_token: None,
    }
}

/// The refresh token of a pair, as text.
pub(crate) fn refresh_token(pair: &TokenPair) -> String {
    pair.refresh_token.as_ref().unwrap().expose().clone()
}

impl Sessions {
    /// Refreshes with whatever the text is as a refresh token.
    pub(crate) async fn refresh_text(&self, text: &str, client: &Client) -> Result<TokenPair, RefreshError> {
        self.refresh(&self.read(text), client).await
    }

    /// The text as a legacy token, if it is a valid one.
    pub(crate) fn legacy_token(&self, text: &str) -> Option<SubjectToken> {
        match self.read(text) {
            TokenText::Legacy { token, .. } => Some(*token),
            TokenText::Ours(_) | TokenText::PerhapsImported(_) | TokenText::Unknown => None,
        }
    }

    /// The session of a refresh token of ours.
    pub(crate) fn session_of(&self, text: &str) -> Option<SessionId> {
        match self.read(text) {
            TokenText::Ours(token) => Some(token.session),
            TokenText::Legacy { .. } | TokenText::PerhapsImported(_) | TokenText::Unknown => None,
        }
    }
}

/// What an API signed its tokens with before the gateway was there.
pub(crate) const OLD_SECRET: &[u8] = b"the secret of the API, long enough to be one";

impl World {
    /// All nodes accept legacy tokens until a moment, exchanged so. To be called before the world's other nodes are made.
    pub(crate) fn accept_legacy_tokens(&self, exchange: ExchangeRule, accepted_until: Timestamp) {
        let policy = LegacyPolicy {
            name: "old-api".into(),
            issuer: None,
            audiences: AudienceRule::Unchecked,
            required_claims: Vec::new(),
            subject_claims: vec![ClaimPath::new("id")],
            subjects: SubjectRule::Ours(ReservedPrefixes::default()),
            scope_claims: vec![ClaimPath::new("scope")],
            claims: vec![("role".to_owned(), ClaimPath::new("/role"))],
            needs_expiry: true,
            lifetime_max: None,
            accepted_until,
            exchange,
            partitions: self.store.partitions(),
        };
        let key = LegacyKey::shared(None, Algorithm::Hs256, OLD_SECRET, false).unwrap();
        self.verifier.store(Arc::new(Verifier::new().with_legacy(&key, policy)));
        self.node.replica.confirm(self.clock.monotonic());
    }

    /// All nodes take access tokens: their own, and those that `https://issuer.example` makes with [`OLD_SECRET`].
    pub(crate) fn accept_access_tokens(&self) {
        let minting = minting();
        let key = URL_SAFE_NO_PAD.encode(OLD_SECRET);
        let key_set = format!(r#"{{"keys":[{{"kty":"oct","alg":"HS256","k":"{key}"}}]}}"#);
        let foreign = ForeignKeys::parse(key_set.as_bytes(), &[Algorithm::Hs256], JwksOrigin::File).unwrap();
        let foreign_policy = ClaimPolicy {
            token_type: TypeRule::Unchecked,
            ..ClaimPolicy::foreign(
                "https://issuer.example",
                AudienceRule::Unchecked,
                DAY,
                SubjectRule::Ours(ReservedPrefixes::default()),
            )
        };
        let own = ClaimPolicy::own(&minting.issuer, &minting.audiences, self.policy.access_lifetime);
        let verifier = Verifier::new().with_own(&minting.keys, own).with_foreign(&foreign, foreign_policy, None);
        self.verifier.store(Arc::new(verifier));
        self.node.replica.confirm(self.clock.monotonic());
    }

    /// All nodes exchange what `https://idp.example` makes with [`OLD_SECRET`] for `app`, and take their own access tokens. Its users are
    /// told apart by `idp:`.
    pub(crate) fn exchange_tokens(&self, rule: ExchangeRule) {
        let minting = minting();
        let key = URL_SAFE_NO_PAD.encode(OLD_SECRET);
        let key_set = format!(r#"{{"keys":[{{"kty":"oct","alg":"HS256","k":"{key}"}}]}}"#);
        let foreign = ForeignKeys::parse(key_set.as_bytes(), &[Algorithm::Hs256], JwksOrigin::File).unwrap();
        let audiences = |name: &str| AudienceRule::AnyOf([name.to_owned()].into());
        let prefix = SubjectPrefix::new("idp:").unwrap();
        let terms = ExchangeTerms {
            rule,
            audiences: audiences("app"),
            claims: vec![("role".to_owned(), ClaimPath::new("role"))],
            scopes: vec!["read".to_owned()],
        };
        let policy = ClaimPolicy {
            exchange: Some(terms).filter(|_| rule != ExchangeRule::Never),
            ..ClaimPolicy::foreign("https://idp.example", audiences("api"), DAY, SubjectRule::Prefixed(prefix.clone()))
        };
        let reserved = ReservedPrefixes::default().with_exchanged([prefix]);
        let own = ClaimPolicy {
            subjects: SubjectRule::Ours(reserved),
            ..ClaimPolicy::own(&minting.issuer, &minting.audiences, self.policy.access_lifetime)
        };
        let verifier = Verifier::new().with_own(&minting.keys, own).with_foreign(&foreign, policy, None);
        self.verifier.store(Arc::new(verifier));
        self.node.replica.confirm(self.clock.monotonic());
    }

    /// As `https://idp.example` made it, ten seconds ago.
    pub(crate) fn issuers_token(&self, name: &str, further: &serde_json::Value) -> String {
        let now = self.now().secs();
        let mut claims = serde_json::json!({
            "iss": "https://idp.example", "sub": name, "aud": "app", "iat": now - 10, "exp": now + 3600, "scope": "openid read", "role": "admin",
        });
        for (name, value) in further.as_object().unwrap() {
            claims[name] = value.clone();
        }
        legacy_token(&claims)
    }

    /// As the API made it, ten seconds ago.
    pub(crate) fn legacy_token(&self, subject_name: &str, lifetime: Duration) -> String {
        let (iat, exp) = (self.now().secs() - 10, self.now().saturating_add(lifetime).secs());
        legacy_token(&serde_json::json!({"id": subject_name, "iat": iat, "exp": exp, "role": "admin", "scope": "a b"}))
    }
}

/// With these claims, whatever they are.
pub(crate) fn legacy_token(claims: &serde_json::Value) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(&claims.to_string()));
    let (key, _) = SigningKey::hmac(Algorithm::Hs256, OLD_SECRET).unwrap();
    format!("{signed}.{}", key.sign(signed.as_bytes()).unwrap())
}
