//! Authenticates requests: finds the token, verifies or remembers it, and checks it against the route.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::crypto::entropy::Entropy;
use crate::crypto::verifier::Verifier;
use crate::domain::claims::{Denial, Ending, Principal};
use crate::domain::cookies;
use crate::domain::headers::RewriteRules;
use crate::domain::meters::WorkerSet;
use crate::domain::placeholder;
use crate::domain::replica::Replica;
use crate::domain::route::{Access, WhenStale};
use crate::domain::stats::{Counter, Counters};
use crate::domain::time::{Clock, Timestamp};
use crate::domain::vouching::{Standing, Vouching};
use crate::proxy::auth::renewals::Renewals;
use crate::proxy::auth::token_cache::{Known, TokenCache, TokenTag};
use crate::proxy::open_streams::Era;

/// What admission asks of the node's state.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionOptions {
    /// Tokens that each worker remembers.
    pub cache_entries_max: usize,
    /// The greatest age of the last confirmation of the revocations at which tokens are accepted.
    pub max_staleness: Duration,
}

/// One worker's admission by one set of settings: its own cache in front of the shared verifier and replica. What the cache has of a token
/// was made by the rules of these settings, so it does not outlive them.
pub struct Admission {
    max_staleness: Duration,
    cache: RefCell<TokenCache>,
    replica: Arc<Replica>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    renewals: Rc<Renewals>,
}

/// An admitted principal, and whether its token was verified just now rather than remembered.
#[derive(Debug)]
pub struct Admitted {
    known: Rc<Known>,
    pub first_sight: bool,
}

impl Deref for Admitted {
    type Target = Known;

    fn deref(&self) -> &Known {
        &self.known
    }
}

impl Admission {
    pub fn new(
        options: AdmissionOptions,
        replica: Arc<Replica>,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
        renewals: Rc<Renewals>,
        entropy: &dyn Entropy,
    ) -> Self {
        let cache = RefCell::new(TokenCache::new(options.cache_entries_max, entropy));
        Self { max_staleness: options.max_staleness, cache, replica, clock, counters, renewals }
    }

    /// Checks a token for a route. A remembered token is checked like a new one, apart from its signature and claims.
    ///
    /// # Errors
    /// Every [`Denial`] but those of a missing token.
    pub fn admit(
        &self,
        verifier: &Verifier,
        rewrite: &RewriteRules,
        token: &str,
        access: &Access,
        when_stale: WhenStale,
        now: Timestamp,
    ) -> Result<Admitted, Denial> {
        let tag = self.cache.borrow().tag(token);
        let (admitted, is_news) = self.authenticate(verifier, rewrite, token, tag, now)?;
        let principal = &admitted.token.principal;
        let vouched = match self.vouched(principal, now) {
            // Its time does not come again. What is revoked stays, so that to repeat it costs no signature each time.
            Err(Denial::Expired) => {
                self.cache.borrow_mut().remove(tag);
                return Err(Denial::Expired);
            }
            vouched => vouched?,
        };
        if is_news {
            // Whatever this route makes of it.
            self.renewals.saw(admitted.token.clone());
        }
        self.admit_vouched(vouched, principal, access, when_stale, now)?;
        Ok(admitted)
    }

    /// Checks a token for a route that its client does not have yet. It is not remembered, so that it is news when the client sends it.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_unseen(
        &self,
        verifier: &Verifier,
        rewrite: &RewriteRules,
        token: &str,
        access: &Access,
        when_stale: WhenStale,
        now: Timestamp,
    ) -> Result<Admitted, Denial> {
        let token = verifier.verify(token, now)?;
        let vouched = self.vouched(&token.principal, now)?;
        self.admit_vouched(vouched, &token.principal, access, when_stale, now)?;
        let identity = rewrite.identity(&token.principal);
        Ok(Admitted { known: Rc::new(Known { token, identity, told_in: Cell::default() }), first_sight: false })
    }

    fn admit_vouched(
        &self,
        vouched: Vouched,
        principal: &Principal,
        access: &Access,
        when_stale: WhenStale,
        now: Timestamp,
    ) -> Result<(), Denial> {
        match vouched.for_route(principal, access, when_stale, now)? {
            Vouched::Confirmed => {}
            Vouched::Stale => self.counters.add(Counter::RequestsServedStale, 1),
        }
        Ok(())
    }

    /// Whether a verified token would be admitted to a route.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(
        &self,
        principal: &Principal,
        access: &Access,
        when_stale: WhenStale,
        now: Timestamp,
    ) -> Result<Vouched, Denial> {
        self.vouched(principal, now)?.for_route(principal, access, when_stale, now)
    }

    fn vouched(&self, principal: &Principal, now: Timestamp) -> Result<Vouched, Denial> {
        match self.vouching(now).token(principal) {
            Standing::Good => Ok(Vouched::Confirmed),
            Standing::Unconfirmed => Ok(Vouched::Stale),
            Standing::Early => Err(Denial::EARLY),
            Standing::Over(ending) => Err(ending.into()),
        }
    }

    fn vouching(&self, now: Timestamp) -> Vouching<'_> {
        Vouching::new(&self.replica, self.max_staleness, now, self.clock.monotonic())
    }

    /// The principal of a token whose signature, key and claims are good, and whether the token is news to other workers.
    fn authenticate(
        &self,
        verifier: &Verifier,
        rewrite: &RewriteRules,
        token: &str,
        tag: TokenTag,
        now: Timestamp,
    ) -> Result<(Admitted, bool), Denial> {
        let epoch = verifier.epoch();
        let mut cache = self.cache.borrow_mut();
        if let Some(known) = cache.find(tag, epoch) {
            self.counters.add(Counter::TokenCacheHits, 1);
            let is_news = known.token.principal.session.is_some_and(|session| {
                let era = self.renewals.era(session);
                era != known.told_in.replace(era)
            });
            return Ok((Admitted { known: Rc::clone(known), first_sight: false }, is_news));
        }
        self.counters.add(Counter::TokenCacheMisses, 1);
        let token = verifier.verify(token, now)?;
        let identity = rewrite.identity(&token.principal);
        let told_in = Cell::new(token.principal.session.map_or_else(Era::default, |session| self.renewals.era(session)));
        let known = Rc::new(Known { token, identity, told_in });
        cache.keep(tag, Rc::clone(&known), epoch);
        Ok((Admitted { known, first_sight: true }, true))
    }

    /// Tells how many tokens are remembered, and were forgotten to make room.
    pub fn report(&self, meters: &WorkerSet) {
        let cache = self.cache.borrow();
        meters.tokens.set(cache.entries() as u64);
        meters.tokens_evicted.add(cache.take_evicted());
    }

    /// Why what this principal was admitted to must end, if it must.
    pub fn ending(&self, principal: &Principal, now: Timestamp) -> Option<Ending> {
        self.vouching(now).ending(principal)
    }
}

/// How sure it is that a token that counts was not revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vouched {
    Confirmed,
    /// The revocations were not confirmed lately.
    Stale,
}

impl Vouched {
    /// Holds a token against a route's demands.
    fn for_route(self, principal: &Principal, access: &Access, when_stale: WhenStale, now: Timestamp) -> Result<Self, Denial> {
        match access {
            Access::Public | Access::Optional => {}
            Access::Token(demands) => principal.satisfies(demands, now)?,
        }
        match (self, when_stale) {
            (Self::Stale, WhenStale::Reject) => Err(Denial::RevocationsStale),
            (Self::Confirmed, _) | (Self::Stale, WhenStale::Serve) => Ok(self),
        }
    }
}

/// A token as it came along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BearerToken<'a> {
    pub token: &'a str,
    /// Browsers attach it to every request, also to those that another site makes.
    pub in_cookie: bool,
}

/// The one token that came along, from the one place where it may be; `None` when there is none.
///
/// # Errors
/// Two Authorization fields, one whose token is not text, a token in two places, or a cookie twice.
pub fn bearer_token<'a>(headers: &'a HeaderMap, cookie: Option<&str>) -> Result<Option<BearerToken<'a>>, Denial> {
    let in_field = authorization_token(headers)?;
    let in_cookie = cookie.map(|name| cookies::token(headers, name)).transpose()?.flatten();
    match (in_field, in_cookie) {
        (Some(_), Some(_)) => Err(Denial::Ambiguous("a token in Authorization and in a cookie")),
        (Some(token), None) => Ok(Some(BearerToken { token, in_cookie: false })),
        (None, Some(token)) => Ok(Some(BearerToken { token, in_cookie: true })),
        (None, None) => Ok(None),
    }
}

const SCHEME: &[u8] = b"bearer ";

/// The token in Authorization, whatever stands elsewhere.
///
/// # Errors
/// Two fields, or a token that is not text.
pub fn authorization_token(headers: &HeaderMap) -> Result<Option<&str>, Denial> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(Denial::Ambiguous("two Authorization fields"));
    }
    let (scheme, token) = field.as_bytes().split_at_checked(SCHEME.len()).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        // Another scheme, such as Basic, is none of ours.
        return Ok(None);
    }
    let token = std::str::from_utf8(token).map_err(|_| Denial::Invalid("the token is not text"))?.trim_matches(' ');
    // A front end that has none writes one all the same.
    Ok(Some(token).filter(|token| !placeholder::stands_for_nothing(token)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{COOKIE, HeaderName};

    use super::*;
    use crate::crypto::access_token::{Holder, NewAccessToken, mint};
    use crate::crypto::entropy::SystemEntropy;
    use crate::crypto::key::SigningKey;
    use crate::crypto::keyring::KeyRing;
    use crate::domain::algorithm::Algorithm;
    use crate::domain::claim_policy::ClaimPolicy;
    use crate::domain::headers::IdentityFields;
    use crate::domain::headers::forwarded::Forwarding;
    use crate::domain::ids::{Generation, SessionId, Subject, TokenId};
    use crate::domain::session::Grant;
    use crate::proxy::open_streams::OpenStreams;

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn token<'a>(headers: &'a HeaderMap, cookie: Option<&str>) -> Result<Option<&'a str>, Denial> {
        bearer_token(headers, cookie).map(|presented| presented.map(|presented| presented.token))
    }

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
    const CACHE_ENTRIES: usize = 100;

    #[derive(Debug)]
    struct StoppedClock;

    impl Clock for StoppedClock {
        fn now(&self) -> Timestamp {
            NOW
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    struct Worker {
        ring: KeyRing,
        verifier: Verifier,
        admission: Admission,
    }

    impl Worker {
        fn new() -> Self {
            let (signing, verifying) = SigningKey::hmac(Algorithm::Hs256, &[7; 32]).unwrap();
            let ring = KeyRing::single("key", signing, verifying);
            let policy = ClaimPolicy::own("issuer", &["api".to_owned()], Duration::from_secs(900));
            let replica = Arc::new(Replica::new());
            replica.confirm(Duration::ZERO);
            let options = AdmissionOptions { cache_entries_max: CACHE_ENTRIES, max_staleness: Duration::MAX };
            let renewals = Rc::new(Renewals::new(OpenStreams::new()));
            let admission = Admission::new(
                options,
                replica,
                Arc::new(StoppedClock),
                Arc::new(Counters::new()),
                renewals,
                &SystemEntropy::new(),
            );
            Self { verifier: Verifier::new().with_own(&ring, policy), ring, admission }
        }

        fn token(&self, id: usize) -> String {
            let new = NewAccessToken {
                issuer: "issuer",
                subject: &Subject::new("ada").unwrap(),
                audiences: &["api".to_owned()],
                holder: Holder::Session { id: SessionId::from_bytes([3; 16]), generation: Generation::FIRST },
                token_id: &TokenId::new(&format!("t{id}")).unwrap(),
                issued_at: NOW,
                expires_at: NOW.saturating_add(Duration::from_secs(900)),
                grant: &Grant::default(),
                bytes_max: 4096,
            };
            mint(&self.ring, &new).unwrap().expose().clone()
        }

        fn admit(&self, token: &str) -> Result<Admitted, Denial> {
            let via = HeaderValue::from_static("1.1 tokengate");
            let rewrite = RewriteRules::new(IdentityFields::default(), &[], Vec::new(), Forwarding::default(), via);
            self.admission.admit(&self.verifier, &rewrite, token, &Access::Optional, WhenStale::Reject, NOW)
        }

        fn is_remembered(&self, token: &str) -> bool {
            !self.admit(token).unwrap().first_sight
        }
    }

    #[test]
    fn forged_tokens_displace_none_that_was_verified() {
        let worker = Worker::new();
        let good: Vec<String> = (0..CACHE_ENTRIES / 2).map(|id| worker.token(id)).collect();
        assert!(good.iter().all(|token| worker.admit(token).unwrap().first_sight));
        let (signed, signature) = good[0].rsplit_once('.').unwrap();
        for n in 0..10 * CACHE_ENTRIES {
            let forged = format!("{signed}.{n:04}{}", &signature[4..]);
            assert!(worker.admit(&forged).is_err() && worker.admit(&forged).is_err(), "{forged}");
        }
        assert!(good.iter().all(|token| worker.is_remembered(token)));
    }

    #[test]
    fn a_worker_remembers_so_many_tokens_and_those_first_that_are_used() {
        let worker = Worker::new();
        let used: Vec<String> = (0..CACHE_ENTRIES / 10).map(|id| worker.token(id)).collect();
        for _ in 0..3 {
            assert!(used.iter().all(|token| worker.admit(token).is_ok()));
        }
        let seen_once: Vec<String> = (0..10 * CACHE_ENTRIES).map(|id| worker.token(1000 + id)).collect();
        assert!(seen_once.iter().all(|token| worker.admit(token).unwrap().first_sight));
        assert!(used.iter().all(|token| worker.is_remembered(token)), "whoever has many tokens displaces nobody who calls");
        let remembered = |token: &&String| worker.admission.cache.borrow().contains(token);
        let held = used.iter().chain(&seen_once).filter(remembered).count();
        assert!((CACHE_ENTRIES / 2..=CACHE_ENTRIES).contains(&held), "{held}");
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let headers = headers(&[(AUTHORIZATION, &format!("{scheme}  abc"))]);
            assert_eq!(token(&headers, None), Ok(Some("abc")));
        }
    }

    #[test]
    fn another_scheme_is_no_token_and_neither_is_what_stands_for_none() {
        for value in
            ["Basic YTpi", "Bearer", "Bearer ", "Digest username=\"Zoë\"", "é", "Bearer null", "bearer  undefined ", "Béarer"]
        {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            let mut headers: HeaderMap = [(AUTHORIZATION, value.clone())].into_iter().collect();
            assert_eq!(token(&headers, None), Ok(None), "{value:?}");
            headers.append(COOKIE, HeaderValue::from_bytes("n=Zoë; s=tok".as_bytes()).unwrap());
            assert_eq!(token(&headers, Some("s")), Ok(Some("tok")), "{value:?} is no second token");
        }
        assert_eq!(token(&HeaderMap::new(), Some("s")), Ok(None));
    }

    #[test]
    fn a_token_that_is_not_text_is_a_bad_one() {
        let field = |name, value: &[u8]| [(name, HeaderValue::from_bytes(value).unwrap())].into_iter().collect();
        assert_eq!(token(&field(AUTHORIZATION, b"Bearer a\xff"), None), Err(Denial::Invalid("the token is not text")));
        let in_cookie = field(COOKIE, b"s=a\xff");
        let in_cookie = bearer_token(&in_cookie, Some("s")).unwrap().unwrap();
        assert!(in_cookie.in_cookie && Worker::new().admit(in_cookie.token).is_err(), "{in_cookie:?}");
    }

    #[test]
    fn more_than_one_token_is_ambiguous() {
        let twice = headers(&[(AUTHORIZATION, "Bearer a"), (AUTHORIZATION, "Bearer a")]);
        let both = headers(&[(AUTHORIZATION, "Bearer a"), (COOKIE, "x=1; s=b")]);
        let cookies = headers(&[(COOKIE, "s=a; s=b")]);
        for bad in [&twice, &both] {
            assert!(matches!(token(bad, Some("s")), Err(Denial::Ambiguous(_))), "{bad:?}");
        }
        assert_eq!(token(&cookies, Some("s")), Err(Denial::CookieRepeated));
        assert_eq!(token(&both, None), Ok(Some("a")), "cookies count in cookie mode alone");
        let in_cookie = headers(&[(COOKIE, "a=1; s=tok; z=2")]);
        assert_eq!(bearer_token(&in_cookie, Some("s")), Ok(Some(BearerToken { token: "tok", in_cookie: true })));
    }
}
