//! Every door lets the same tokens in: the data plane, introspection, the exchange of legacy tokens, logout and the list of sessions.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::crypto::entropy::SystemEntropy;
use crate::crypto::jwks::{ForeignKeys, JwksOrigin};
use crate::crypto::key::SigningKey;
use crate::crypto::legacy_key::LegacyKey;
use crate::crypto::verifier::Verifier;
use crate::domain::algorithm::Algorithm;
use crate::domain::claim_policy::{AudienceRule, ClaimPath, ClaimPolicy};
use crate::domain::claims::Denial;
use crate::domain::demands::TokenDemands;
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::headers::forwarded::Forwarding;
use crate::domain::headers::{IdentityFields, RewriteRules};
use crate::domain::ids::SessionId;
use crate::domain::legacy::LegacyPolicy;
use crate::domain::page::Page;
use crate::domain::revocation::{Revocation, Target};
use crate::domain::route::{Access, WhenStale};
use crate::domain::session_policy::SessionPolicy;
use crate::domain::stats::Counters;
use crate::domain::subject_token::SubjectTokenLives;
use crate::domain::subjects::{ReservedPrefixes, SubjectRule};
use crate::domain::time::{Clock as _, Timestamp};
use crate::proxy::auth::admission::{Admission, AdmissionOptions, Admitted};
use crate::proxy::auth::renewals::Renewals;
use crate::proxy::open_streams::OpenStreams;
use crate::sessions::tests::world::{MINUTE, SECOND, World, client, login, minting, policy, subject};
use crate::sessions::{Credentials, DeadToken, Introspected, LogoutScope, Order, RefreshError};
use crate::store::SessionStore as _;

const FOREIGN_SECRET: [u8; 32] = [9; 32];
const LEGACY_SECRET: [u8; 32] = [8; 32];

/// What a door says of a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Admits,
    Refuses,
    /// 503: it cannot be known now.
    Unknown,
}

impl Verdict {
    fn of_admission(admitted: &Result<Admitted, Denial>) -> Self {
        match admitted {
            Ok(_) => Self::Admits,
            Err(Denial::RevocationsStale) => Self::Unknown,
            Err(_) => Self::Refuses,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    /// The node confirms that it knows all revocations.
    Confirm,
    LogOut(usize, LogoutScope),
    /// As a client that holds nothing but the text (RFC 7009).
    RevokeToken(usize),
    RevokeEveryone,
    /// The store has a session again whose end it forgot.
    BringBack(usize),
    /// Another node ends something, and this one reads of it.
    Hear(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let scope = prop_oneof![Just(LogoutScope::Session), Just(LogoutScope::Others), Just(LogoutScope::All)];
    prop_oneof![
        5 => prop_oneof![1..40_u64, 40..500_u64].prop_map(Step::Wait),
        5 => Just(Step::Confirm),
        2 => (0..TOKENS, scope).prop_map(|(which, scope)| Step::LogOut(which, scope)),
        2 => (0..TOKENS).prop_map(Step::RevokeToken),
        1 => Just(Step::RevokeEveryone),
        1 => (0..TOKENS).prop_map(Step::BringBack),
        1 => (0..TOKENS).prop_map(Step::Hear),
    ]
}

/// Two sessions of ada and one of bob, a legacy token and two foreign ones of ada.
const TOKENS: usize = 6;
const LEGACY: usize = 3;

struct Doors {
    world: World,
    admission: Admission,
    tokens: Vec<String>,
    sessions: Vec<SessionId>,
}

fn signed(secret: &[u8], claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({"alg": "HS256", "typ": "JWT"})), part(claims));
    let (key, _) = SigningKey::hmac(Algorithm::Hs256, secret).unwrap();
    format!("{message}.{}", key.sign(message.as_bytes()).unwrap())
}

fn verifier(world: &World, accepted_until: Timestamp) -> Verifier {
    let (minting, ours) = (minting(), || SubjectRule::Ours(ReservedPrefixes::default()));
    let own = ClaimPolicy::own(&minting.issuer, &minting.audiences, 15 * MINUTE);
    let key = URL_SAFE_NO_PAD.encode(FOREIGN_SECRET);
    let set = json!({"keys": [{"kty": "oct", "alg": "HS256", "k": key}]}).to_string();
    let foreign = ForeignKeys::parse(set.as_bytes(), &[Algorithm::Hs256], JwksOrigin::File).unwrap();
    let foreign_policy = ClaimPolicy::foreign("https://issuer.example", AudienceRule::Unchecked, 60 * MINUTE, ours());
    let legacy = LegacyPolicy {
        name: "legacy".into(),
        issuer: Some("https://api.example".to_owned()),
        audiences: AudienceRule::Unchecked,
        required_claims: Vec::new(),
        subject_claims: vec![ClaimPath::new("id")],
        subjects: ours(),
        scope_claims: Vec::new(),
        claims: Vec::new(),
        needs_expiry: true,
        lifetime_max: None,
        accepted_until,
        exchange: ExchangeRule::Once,
        partitions: world.store.partitions(),
    };
    let legacy_key = LegacyKey::shared(None, Algorithm::Hs256, &LEGACY_SECRET, false).unwrap();
    Verifier::new().with_own(&minting.keys, own).with_foreign(&foreign, foreign_policy, None).with_legacy(&legacy_key, legacy)
}

fn admission(world: &World) -> Admission {
    let options = AdmissionOptions { cache_entries_max: 100, max_staleness: policy().max_staleness };
    let renewals = Rc::new(Renewals::new(OpenStreams::new()));
    Admission::new(
        options,
        Arc::clone(&world.node.replica),
        world.clock.clone(),
        Arc::new(Counters::new()),
        renewals,
        &SystemEntropy::new(),
    )
}

impl Doors {
    async fn new() -> Self {
        let accepted_until = crate::sessions::tests::ManualClock::new().now().saturating_add(30 * MINUTE);
        let lives = SubjectTokenLives::default().with(accepted_until, None);
        let world = World::with(SessionPolicy { idle_lifetime: 12 * MINUTE, subject_tokens: lives, ..policy() });
        world.verifier.store(Arc::new(verifier(&world, accepted_until)));
        let (mut tokens, mut sessions) = (Vec::new(), Vec::new());
        for name in ["ada", "ada", "bob"] {
            let pair = world.node.sessions.issue(login(name)).await.unwrap();
            tokens.push(pair.access_token.expose().clone());
            sessions.push(pair.session);
            world.clock.advance(SECOND);
        }
        let now = world.now().secs();
        tokens.push(signed(
            &LEGACY_SECRET,
            &json!({"iss": "https://api.example", "id": "ada", "iat": now - 10, "exp": now + 1200}),
        ));
        for (id, nbf) in [("t1", now), ("t2", now + 100)] {
            let claims =
                json!({"iss": "https://issuer.example", "sub": "ada", "jti": id, "iat": now, "nbf": nbf, "exp": now + 600});
            tokens.push(signed(&FOREIGN_SECRET, &claims));
        }
        let admission = admission(&world);
        Self { world, admission, tokens, sessions }
    }

    fn admit(&self, admission: &Admission, token: &str) -> Result<Admitted, Denial> {
        let rewrite = RewriteRules::new(
            IdentityFields::default(),
            &[],
            Vec::new(),
            Forwarding::default(),
            HeaderValue::from_static("1.1 tokengate"),
        );
        let access = Access::Token(TokenDemands::default());
        admission.admit(&self.world.verifier.load(), &rewrite, token, &access, WhenStale::Reject, self.world.now())
    }

    async fn take(&self, step: &Step) {
        let node = &self.world.node;
        match step {
            Step::Wait(seconds) => self.world.clock.advance(Duration::from_secs(*seconds)),
            Step::Confirm => node.replica.confirm(self.world.clock.monotonic()),
            Step::LogOut(which, scope) => {
                if let Ok(admitted) = self.admit(&self.admission, &self.tokens[*which]) {
                    let credentials = Credentials { principal: Some(&*admitted.token.principal), ..Credentials::default() };
                    node.sessions.log_out(credentials, *scope).await.unwrap();
                }
            }
            Step::RevokeToken(which) => node.sessions.revoke_token(&self.tokens[*which]).await.unwrap(),
            Step::RevokeEveryone => {
                let order = Order::Everyone { issued_before: self.world.now() };
                node.sessions.carry_out(order).await.unwrap();
            }
            Step::BringBack(which) => {
                if let Some(id) = self.sessions.get(*which)
                    && self.world.record(*id).await.is_none()
                {
                    let pair = self.world.node.sessions.issue(login("carol")).await.unwrap();
                    let record = self.world.record(pair.session).await.unwrap();
                    let name = if *which == 2 { "bob" } else { "ada" };
                    self.world.bring_back(&crate::domain::session::Session { id: *id, subject: subject(name), ..record }).await;
                }
            }
            Step::Hear(which) => {
                let session = self.sessions.get(*which).copied().unwrap_or(self.sessions[0]);
                let target = Target::Session { session };
                let forget_at = self.world.now().saturating_add(60 * MINUTE);
                node.replica.insert(&Revocation { target, revoked_at: self.world.now(), forget_at });
            }
        }
    }

    /// All doors are asked about all tokens; gives what they say.
    async fn agree(&self) -> Result<Vec<Verdict>, TestCaseError> {
        let mut verdicts = Vec::new();
        for (which, token) in self.tokens.iter().enumerate() {
            let warm = self.admit(&self.admission, token);
            let cold = self.admit(&admission(&self.world), token);
            let verdict = Verdict::of_admission(&warm);
            prop_assert_eq!(Verdict::of_admission(&cold), verdict, "{}: remembered or not", which);
            prop_assert_eq!(cold.as_ref().err(), warm.as_ref().err());
            let introspected = match self.world.node.sessions.introspect(token).await {
                Ok(Introspected::Access(_)) => Verdict::Admits,
                Ok(Introspected::Inactive) => Verdict::Refuses,
                Ok(Introspected::Refresh(_)) => unreachable!("it is an access token"),
                Err(_) => Verdict::Unknown,
            };
            prop_assert_eq!(introspected, verdict, "{}: introspected, and {:?}", which, warm);
            if let Some(id) = self.sessions.get(which) {
                let name = if which == 2 { "bob" } else { "ada" };
                let listed = self.world.node.sessions.list(&subject(name), Page::FIRST).await.unwrap().sessions;
                let is_listed = listed.iter().any(|session| session.id == *id);
                match &warm {
                    Ok(admitted) => {
                        prop_assert!(is_listed, "{which} is admitted and not listed");
                        prop_assert_eq!(self.world.node.sessions.confirm(&admitted.token.principal).await, Ok(()));
                    }
                    Err(Denial::Revoked(by)) => prop_assert!(!is_listed, "{which} is revoked by {by} and listed"),
                    // A session outlives its tokens.
                    Err(_) => {}
                }
            }
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }

    /// The doors that change what they are asked about.
    async fn exchange_and_log_out(&self, verdict: Verdict) -> Result<(), TestCaseError> {
        let (sessions, token) = (&self.world.node.sessions, &self.tokens[LEGACY]);
        let exchanged = match sessions.legacy_token(token) {
            Some(legacy) => sessions.exchange(&legacy, &client(), None).await.map(|_| ()),
            None => Err(RefreshError::Dead(DeadToken::Malformed)),
        };
        let exchanged = match exchanged {
            Ok(()) => Verdict::Admits,
            Err(RefreshError::Store(_)) => Verdict::Unknown,
            Err(error) => {
                prop_assert!(error.is_final(), "{error}");
                Verdict::Refuses
            }
        };
        prop_assert_eq!(exchanged, verdict, "exchanged");
        let text = sessions.read(token);
        let credentials = Credentials { refresh_token: Some(&text), ..Credentials::default() };
        let ended = sessions.log_out(credentials, LogoutScope::Session).await.unwrap();
        prop_assert_eq!(ended > 0, verdict != Verdict::Refuses, "a logout ends what counted");
        prop_assert_eq!(Verdict::of_admission(&self.admit(&self.admission, token)), Verdict::Refuses, "and only once");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn all_doors_let_the_same_tokens_in(steps in proptest::collection::vec(step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let doors = Doors::new().await;
            let mut verdicts = doors.agree().await?;
            for step in &steps {
                doors.take(step).await;
                verdicts = doors.agree().await?;
            }
            doors.exchange_and_log_out(verdicts[LEGACY]).await
        })?;
    }
}
