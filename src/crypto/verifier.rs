//! Verifies access tokens: their form, key, signature and claims. What depends on the moment is `domain::vouching`'s.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;

use super::jwks::ForeignKeys;
use super::key::{RSA_BITS_MAX, VerifyingKey};
use super::key_wishes::{BAD_SIGNATURE, KeyWishes, UNKNOWN, Wish};
use super::keyring::KeyRing;
use super::legacy_key::LegacyKey;
use super::token_header::{Segments, TokenHeader};
use crate::domain::access_claims::AccessClaims;
use crate::domain::claim_policy::{ClaimPolicy, IssuerKind};
use crate::domain::claims::{self, Denial, Principal};
use crate::domain::ids::{Partitions, Subject};
use crate::domain::legacy::{self, LegacyPolicy};
use crate::domain::subject_token::{self, SubjectToken, SubjectTokenType};
use crate::domain::time::{Clock, Timestamp};

/// The longest token that is looked at, in bytes, unless the settings say otherwise (`tokens.bytes_max`).
pub const TOKEN_BYTES_DEFAULT: usize = 12 * 1024;

/// An immutable snapshot of every key that is trusted, each with the policy of its issuer. Shared as `ArcSwap<Verifier>`; a reload,
/// or a change of a foreign issuer's keys, puts a new one in its place.
#[derive(Debug)]
pub struct Verifier {
    by_kid: HashMap<Box<str>, Vec<Trusted>>,
    without_kid: Vec<Trusted>,
    /// The keys of other issuers, for tokens or keys without `kid`.
    by_issuer: HashMap<Arc<str>, Vec<Trusted>>,
    present: HashSet<KeyRef>,
    signers: HashSet<Signer>,
    epoch: u64,
    /// By issuer, where a missing key can be waited for.
    sources: HashMap<Arc<str>, Arc<KeyWishes>>,
    accepts_legacy: bool,
    /// Every issuer whose tokens are accepted, with or without a key at the moment.
    issuers: HashSet<Arc<str>>,
    /// Whether some legacy tokens need not name an issuer: they are recognized by their key alone.
    has_nameless: bool,
    token_bytes_max: usize,
}

impl Default for Verifier {
    fn default() -> Self {
        Self {
            by_kid: HashMap::new(),
            without_kid: Vec::new(),
            present: HashSet::new(),
            signers: HashSet::new(),
            epoch: 0,
            by_issuer: HashMap::new(),
            sources: HashMap::new(),
            accepts_legacy: false,
            issuers: HashSet::new(),
            has_nameless: false,
            token_bytes_max: TOKEN_BYTES_DEFAULT,
        }
    }
}

/// A key, the rules for its tokens, and the name of both.
#[derive(Clone, Debug)]
struct Trusted {
    has_kid: bool,
    key: Arc<VerifyingKey>,
    rules: Arc<Rules>,
    signer: Signer,
}

/// What the tokens of a key must say.
#[derive(Debug)]
enum Rules {
    Issued(ClaimPolicy),
    Legacy(LegacyPolicy),
}

/// A token whose signature is valid. Its claims are yet to be checked by the rules of its key.
struct Opened<'a> {
    trusted: &'a Trusted,
    segments: Segments<'a>,
    typ: Option<String>,
    claims: AccessClaims,
}

/// Names a key together with its `kid` and the policy of its issuer: when any of them changes, so does this.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRef([u8; 16]);

impl std::fmt::Debug for KeyRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyRef")
    }
}

/// Names a key of an issuer, whatever the policy: it is the same for as long as the issuer signs with that key. Our own keys are ours by
/// whatever name we issue tokens.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Signer([u8; 16]);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

/// A token that was verified, as a cache keeps it. Its times are asked about again on every hit:
/// [`Vouching::token`](crate::domain::vouching::Vouching::token). What outlives the policy that it was verified under asks about its key
/// too: [`Verifier::knows_signer_of`].
#[derive(Clone, Debug)]
pub struct Verified {
    pub principal: Arc<Principal>,
    signer: Signer,
    epoch: u64,
}

impl Verifier {
    /// Trusts nothing until keys are added.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses longer tokens of any issuer.
    #[must_use]
    pub fn with_token_bytes_max(self, token_bytes_max: usize) -> Self {
        Self { token_bytes_max, ..self }
    }

    /// Trusts every key of the ring, also those that do not sign, for tokens under `policy`.
    #[must_use]
    pub fn with_own(mut self, ring: &KeyRing, policy: ClaimPolicy) -> Self {
        self.issuers.insert(Arc::clone(&policy.issuer));
        self.with_keys(ring.keys().iter().map(|entry| (Some(&*entry.kid), &entry.key)), policy)
    }

    /// Trusts an issuer's keys for tokens under `policy`. With `wishes`, a key that is missing can be waited for.
    #[must_use]
    pub fn with_foreign(mut self, keys: &ForeignKeys, policy: ClaimPolicy, wishes: Option<Arc<KeyWishes>>) -> Self {
        self.sources.extend(wishes.map(|wishes| (Arc::clone(&policy.issuer), wishes)));
        self.issuers.insert(Arc::clone(&policy.issuer));
        self.with_keys(keys.keys().iter().map(|entry| (entry.kid.as_deref(), &entry.key)), policy)
    }

    /// Accepts the legacy tokens that this key made, under `policy`.
    #[must_use]
    pub fn with_legacy(mut self, key: &LegacyKey, policy: LegacyPolicy) -> Self {
        self.accepts_legacy = true;
        match &policy.issuer {
            Some(issuer) => _ = self.issuers.insert(issuer.as_str().into()),
            None => self.has_nameless = true,
        }
        self.with_rules([(key.kid.as_deref(), &key.key)].into_iter(), Rules::Legacy(policy))
    }

    pub(super) fn with_keys<'a>(
        self,
        keys: impl Iterator<Item = (Option<&'a str>, &'a Arc<VerifyingKey>)>,
        policy: ClaimPolicy,
    ) -> Self {
        self.with_rules(keys, Rules::Issued(policy))
    }

    fn with_rules<'a>(mut self, keys: impl Iterator<Item = (Option<&'a str>, &'a Arc<VerifyingKey>)>, rules: Rules) -> Self {
        let rules = Arc::new(rules);
        for (kid, key) in keys {
            let id = KeyRef::of(kid, key, &rules);
            if self.present.insert(id) {
                let signer = Signer::of(key, &rules);
                self.signers.insert(signer);
                let trusted = Trusted { has_kid: kid.is_some(), key: key.clone(), rules: rules.clone(), signer };
                let of_another = rules.foreign_issuer();
                if let Some(issuer) = of_another {
                    self.by_issuer.entry(Arc::clone(issuer)).or_default().push(trusted.clone());
                }
                match kid {
                    Some(kid) => self.by_kid.entry(kid.into()).or_default().push(trusted),
                    None if of_another.is_some() => {}
                    None => self.without_kid.push(trusted),
                }
            }
        }
        self.settled()
    }

    fn settled(mut self) -> Self {
        let mut present: Vec<_> = self.present.iter().collect();
        present.sort_unstable();
        let mut hash = digest::Context::new(&digest::SHA256);
        for id in present {
            hash.update(&id.0);
        }
        let mut epoch = [0; 8];
        epoch.copy_from_slice(&hash.finish().as_ref()[..8]);
        self.epoch = u64::from_be_bytes(epoch);
        self
    }

    /// The same for the same keys and policies, on every node and after every reload; another for any others.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Verifies a token that is not remembered. Its `kid` selects the keys to try, by exact comparison; a token or a key of another
    /// issuer without `kid` is matched by the issuer. The algorithm is the key's.
    ///
    /// # Errors
    /// [`Denial::Expired`], [`Denial::Invalid`], or one that a fetch may change ([`Denial::may_pass_with_other_keys`]): see
    /// [`Verifier::wish`].
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Verified, Denial> {
        let opened = self.open(token)?;
        let trusted = opened.trusted;
        let principal = match &*trusted.rules {
            Rules::Issued(policy) => opened.issued(policy, now)?,
            Rules::Legacy(policy) => opened.legacy(policy, now)?.principal,
        };
        Ok(Verified { principal: Arc::new(principal), signer: trusted.signer, epoch: self.epoch })
    }

    /// The principal of a token that has expired and was valid until then. It grants no access; a logout may end its session.
    #[must_use]
    pub fn expired(&self, token: &str, now: Timestamp) -> Option<Arc<Principal>> {
        let opened = self.open(token).ok()?;
        let ended_at = opened.claims.expires_at?;
        if now < ended_at {
            return None;
        }
        let before = ended_at.saturating_sub(Duration::from_millis(1));
        let principal = match &*opened.trusted.rules {
            Rules::Issued(policy) => opened.issued(policy, before),
            Rules::Legacy(policy) if now < policy.accepted_until => opened.legacy(policy, before).map(|token| token.principal),
            Rules::Legacy(_) => return None,
        };
        principal.ok().map(Arc::new)
    }

    /// Whether any legacy tokens are accepted.
    #[must_use]
    pub const fn accepts_legacy(&self) -> bool {
        self.accepts_legacy
    }

    /// The text as a legacy token; `None` if it is not a valid one.
    #[must_use]
    pub fn legacy(&self, token: &str, now: Timestamp) -> Option<SubjectToken> {
        let opened = self.accepts_legacy.then(|| self.open(token).ok()).flatten()?;
        match &*opened.trusted.rules {
            Rules::Issued(_) => None,
            Rules::Legacy(policy) => opened.legacy(policy, now).ok(),
        }
    }

    /// Verifies a token of somebody else that is to become a session of ours, by the rules of whoever made it; `kind` is what its client
    /// says that it is.
    ///
    /// # Errors
    /// As [`Verifier::verify`], and for our own tokens.
    pub fn subject_token(
        &self,
        token: &str,
        kind: SubjectTokenType,
        partitions: Partitions,
        now: Timestamp,
    ) -> Result<SubjectToken, Denial> {
        let opened = self.open(token)?;
        match &*opened.trusted.rules {
            Rules::Issued(policy) => {
                if !kind.can_have(opened.typ.as_deref(), &policy.token_type) {
                    return Err(Denial::Invalid("typ is not that of the token's kind"));
                }
                let digest = opened.digest();
                subject_token::check(opened.claims, policy, kind, &digest, partitions, now)
            }
            Rules::Legacy(policy) => opened.legacy(policy, now),
        }
    }

    /// The subject of a token whose signature is valid, whatever else is wrong with it.
    #[must_use]
    pub fn subject(&self, token: &str) -> Option<Subject> {
        let opened = self.open(token).ok()?;
        match &*opened.trusted.rules {
            Rules::Issued(policy) => claims::named_subject(&opened.claims, policy).ok(),
            Rules::Legacy(policy) => legacy::subject(&opened.claims, policy).ok(),
        }
    }

    /// Whether a token names an issuer that is accepted here, valid or not; legacy tokens without an issuer are recognized by their
    /// signature. Used to remove tokens from requests whose route does not verify them.
    #[must_use]
    pub fn names_issuer(&self, token: &str) -> bool {
        #[derive(serde::Deserialize)]
        struct Named {
            iss: Option<String>,
        }
        let payload = || URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok();
        let Some(named) = payload().and_then(|payload| serde_json::from_slice::<Named>(&payload).ok()) else { return false };
        let is_named = named.iss.is_some_and(|issuer| self.issuers.contains(issuer.as_str()));
        is_named || self.has_nameless && self.is_signed_as_legacy(token)
    }

    fn is_signed_as_legacy(&self, token: &str) -> bool {
        self.open(token).is_ok_and(|opened| matches!(*opened.trusted.rules, Rules::Legacy(_)))
    }

    /// The parts of a token within the size limit.
    fn segments<'a>(&self, token: &'a str) -> Result<Segments<'a>, Denial> {
        if token.len() > self.token_bytes_max {
            return Err(Denial::Invalid("the token is too long"));
        }
        Segments::split(token)
    }

    fn open<'a>(&'a self, token: &'a str) -> Result<Opened<'a>, Denial> {
        let segments = self.segments(token)?;
        let header = TokenHeader::parse(segments.header)?;
        let signature = Signature::read(segments, &header.alg)?;
        let named = self.known(header.kid.as_deref());
        let signer = signature.key_of(named.iter());
        let claims = segments.claims()?;
        let issuer = claims.issuer.as_deref();
        let trusted = match signer {
            Some(signer) => issuer_of(named, &signer.key, issuer)?,
            // The claims are not verified yet. The issuer that they name selects keys to try and nothing else.
            None => self.of_issuer(issuer, header.kid.as_deref(), &signature).ok_or_else(|| self.unsigned(issuer, named))?,
        };
        Ok(Opened { trusted, segments, typ: header.typ, claims })
    }

    /// Where to wait for the key of a token that may pass with other keys.
    #[must_use]
    pub fn wish(&self, token: &str) -> Option<Wish> {
        let segments = self.segments(token).ok()?;
        let kid = TokenHeader::parse(segments.header).ok()?.kid;
        let wishes = self.sources.get(segments.claims().ok()?.issuer.as_deref()?)?;
        Some(Wish::new(Arc::clone(wishes), kid))
    }

    /// The key of this issuer that made the signature, where the token or the key bears no `kid`.
    fn of_issuer(&self, issuer: Option<&str>, kid: Option<&str>, signature: &Signature<'_>) -> Option<&Trusted> {
        let keys = self.by_issuer.get(issuer?)?;
        let fitting = keys.iter().filter(|trusted| kid.is_none() || !trusted.has_kid);
        signature.key_of(fitting.filter(|trusted| signature.is_of_algorithm(trusted)).take(KEYS_TRIED_MAX))
    }

    /// Why no key verified the signature. Where the issuer's keys are fetched, its key may be missing here, or may have been replaced.
    fn unsigned(&self, issuer: Option<&str>, named: &[Trusted]) -> Denial {
        let is_of_issuer = |trusted: &Trusted| trusted.rules.foreign_issuer().map(|known| &**known) == issuer;
        match issuer.filter(|issuer| self.sources.contains_key(*issuer)) {
            Some(_) if named.iter().any(is_of_issuer) => Denial::KeyDisputed,
            Some(_) => Denial::KeyUnknown,
            None if named.is_empty() => UNKNOWN,
            None => BAD_SIGNATURE,
        }
    }

    /// Whether the key of a token that was verified is still one of its issuer's, be it under another policy. What a policy demands is
    /// asked of a token once, when it comes: settings that change later hold for tokens that come later.
    #[must_use]
    pub fn knows_signer_of(&self, verified: &Verified) -> bool {
        verified.epoch == self.epoch || self.signers.contains(&verified.signer)
    }

    /// The keys that tokens with this `kid` may be signed by. Issuers may share a `kid`, so there may be several.
    fn known(&self, kid: Option<&str>) -> &[Trusted] {
        match kid {
            Some(kid) => self.by_kid.get(kid).map_or(&[][..], Vec::as_slice),
            None => &self.without_kid,
        }
    }
}

/// How many keys of an issuer a token without `kid` is tried with: each costs as much as any signature.
const KEYS_TRIED_MAX: usize = 16;

/// Verifies a token; where its key is missing and a fetch is due, waits for the fetch.
///
/// # Errors
/// As [`Verifier::verify`], and [`Denial::IssuerKeysUnavailable`].
pub async fn verify_when_known(verifier: &ArcSwap<Verifier>, token: &str, clock: &dyn Clock) -> Result<Verified, Denial> {
    judge_when_known(verifier, token, |verifier| verifier.verify(token, clock.now())).await
}

/// The same for whatever is asked of a token.
///
/// # Errors
/// What `judge` says, and [`Denial::IssuerKeysUnavailable`].
pub async fn judge_when_known<T>(
    verifier: &ArcSwap<Verifier>,
    token: &str,
    judge: impl Fn(&Verifier) -> Result<T, Denial>,
) -> Result<T, Denial> {
    let wish = {
        let present = verifier.load();
        match judge(&present) {
            Err(denial) if denial.may_pass_with_other_keys() => present.wish(token).ok_or(denial)?,
            judged => return judged,
        }
    };
    wish.then(|| judge(&verifier.load())).await
}

/// The signature that a token carries. The algorithm that the token names must be the key's; it chooses nothing.
struct Signature<'a> {
    /// Canonical base64url, of no more bytes than any key makes.
    text: &'a str,
    algorithm: &'a str,
    signed: &'a str,
}

impl<'a> Signature<'a> {
    fn read(segments: Segments<'a>, algorithm: &'a str) -> Result<Self, Denial> {
        let mut bytes = [0; RSA_BITS_MAX / 8];
        let decoded = URL_SAFE_NO_PAD.decode_slice(segments.signature, &mut bytes);
        decoded.map_err(|_| Denial::Invalid("the signature is malformed"))?;
        Ok(Self { text: segments.signature, algorithm, signed: segments.signed })
    }

    fn is_of_algorithm(&self, trusted: &Trusted) -> bool {
        trusted.key.algorithm().name() == self.algorithm
    }

    fn key_of<'k>(&self, mut candidates: impl Iterator<Item = &'k Trusted>) -> Option<&'k Trusted> {
        candidates.find(|trusted| self.is_of_algorithm(trusted) && trusted.key.verify(self.signed.as_bytes(), self.text))
    }
}

/// The issuer that the token names, among those that sign with this key: some providers share keys between tenants.
fn issuer_of<'a>(candidates: &'a [Trusted], key: &VerifyingKey, issuer: Option<&str>) -> Result<&'a Trusted, Denial> {
    let owners = candidates.iter().filter(|trusted| trusted.key.identity() == key.identity());
    let mut named = owners.filter(|trusted| trusted.rules.admit_issuer(issuer));
    named.next().ok_or(Denial::Invalid("iss is not the issuer of the key"))
}

impl Rules {
    /// Whose keys they go with, if another issuer's.
    fn foreign_issuer(&self) -> Option<&Arc<str>> {
        match self {
            Self::Issued(policy) if policy.kind == IssuerKind::Foreign => Some(&policy.issuer),
            Self::Issued(_) | Self::Legacy(_) => None,
        }
    }

    fn admit_issuer(&self, issuer: Option<&str>) -> bool {
        match self {
            Self::Issued(policy) => Some(&*policy.issuer) == issuer,
            Self::Legacy(policy) => policy.issuer.is_none() || policy.issuer.as_deref() == issuer,
        }
    }
}

impl Opened<'_> {
    fn issued(self, policy: &ClaimPolicy, now: Timestamp) -> Result<Principal, Denial> {
        self.check_type(policy)?;
        claims::check(self.claims, policy, now)
    }

    fn check_type(&self, policy: &ClaimPolicy) -> Result<(), Denial> {
        let is_admitted = policy.token_type.admits(self.typ.as_deref());
        if is_admitted { Ok(()) } else { Err(Denial::Invalid("typ is not that of an access token")) }
    }

    fn legacy(self, policy: &LegacyPolicy, now: Timestamp) -> Result<SubjectToken, Denial> {
        let digest = self.digest();
        legacy::check(self.claims, policy, &digest, now)
    }

    /// Over what is signed and not over the signature, of which there may be several: revocations go by it.
    fn digest(&self) -> [u8; 32] {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest::digest(&digest::SHA256, self.segments.signed.as_bytes()).as_ref());
        sha256
    }
}

impl Signer {
    fn of(key: &VerifyingKey, rules: &Rules) -> Self {
        let (kind, name) = match rules {
            Rules::Issued(policy) => match policy.kind {
                IssuerKind::Own => (0, ""),
                IssuerKind::Foreign => (1, &*policy.issuer),
            },
            Rules::Legacy(policy) => (2, &*policy.name),
        };
        let mut hash = digest::Context::new(&digest::SHA256);
        // Of one length, so that nothing of the name can be taken for it.
        hash.update(digest::digest(&digest::SHA256, key.identity()).as_ref());
        hash.update(&[kind]);
        hash.update(name.as_bytes());
        Self(half(hash))
    }
}

/// The first half of a digest.
fn half(hash: digest::Context) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.finish().as_ref()[..16]);
    half
}

impl KeyRef {
    fn of(kid: Option<&str>, key: &VerifyingKey, rules: &Rules) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(key.identity());
        // Derived `Debug` quotes its strings and names its fields, so equal texts mean equal policies; nothing keeps or shows it.
        hash.update(format!("{kid:?} {rules:?}").as_bytes());
        Self(half(hash))
    }
}

#[cfg(test)]
mod tests;
