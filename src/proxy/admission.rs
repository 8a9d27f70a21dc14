//! Who a request speaks for, and whether it may pass.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::token_cache::{Known, TokenCache};
use crate::crypto::verifier::{TokenDigest, Verifier};
use crate::domain::claims::{Denial, Ending, Principal};
use crate::domain::cookies::{self, Sent};
use crate::domain::headers::RewriteRules;
use crate::domain::placeholder;
use crate::domain::replica::Replica;
use crate::domain::route::{Access, WhenStale};
use crate::domain::stats::{Counter, Counters};
use crate::domain::time::{Clock, Timestamp};

/// What admission asks of the node's state.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionOptions {
    /// Tokens that each worker remembers.
    pub cache_entries_max: usize,
    /// Age of the last confirmation of the revocations from which on nobody is vouched for.
    pub max_staleness: Duration,
}

/// One worker's admission: its own cache in front of the shared verifier and replica.
pub struct Admission {
    options: AdmissionOptions,
    cache: RefCell<TokenCache>,
    replica: Arc<Replica>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
}

/// An admitted principal, and whether its token was verified just now rather than remembered.
#[derive(Debug)]
pub struct Admitted {
    pub principal: Arc<Principal>,
    /// What the upstream is told of the principal, as lines of a head.
    pub identity: Rc<[u8]>,
    pub first_sight: bool,
}

impl Admission {
    pub fn new(options: AdmissionOptions, replica: Arc<Replica>, clock: Arc<dyn Clock>, counters: Arc<Counters>) -> Self {
        let cache = RefCell::new(TokenCache::new(options.cache_entries_max));
        Self { options, cache, replica, clock, counters }
    }

    /// Judges a token for a route. Whether it was seen before changes the cost and nothing else.
    pub fn admit(
        &self,
        verifier: &Verifier,
        rewrite: &RewriteRules,
        token: &str,
        access: &Access,
        when_stale: WhenStale,
        now: Timestamp,
    ) -> Result<Admitted, Denial> {
        let admitted = self.authenticate(verifier, rewrite, token, now)?;
        let principal = &admitted.principal;
        if let Some(by) = self.replica.covers(principal) {
            return Err(Denial::Revoked(by));
        }
        match access {
            Access::Public | Access::Optional => {}
            Access::Token { audiences, scopes } => principal.satisfies(audiences, scopes)?,
        }
        if self.replica.is_stale(self.clock.monotonic(), self.options.max_staleness) {
            match when_stale {
                WhenStale::Reject => return Err(Denial::RevocationsStale),
                WhenStale::Serve => self.counters.add(Counter::RequestsServedStale, 1),
            }
        }
        Ok(admitted)
    }

    fn authenticate(&self, verifier: &Verifier, rewrite: &RewriteRules, token: &str, now: Timestamp) -> Result<Admitted, Denial> {
        let digest = TokenDigest::of(token);
        let epoch = verifier.epoch();
        let mut cache = self.cache.borrow_mut();
        if let Some(known) = cache.find(&digest, epoch) {
            let still_valid = verifier.still_valid(&known.verified, now);
            let admitted = Admitted {
                principal: Arc::clone(&known.verified.principal),
                identity: Rc::clone(&known.identity),
                first_sight: false,
            };
            if let Err(denial) = still_valid {
                cache.remove(&digest);
                return Err(denial);
            }
            self.counters.add(Counter::TokenCacheHits, 1);
            return Ok(admitted);
        }
        self.counters.add(Counter::TokenCacheMisses, 1);
        let verified = verifier.verify(token, now)?;
        let principal = Arc::clone(&verified.principal);
        let identity: Rc<[u8]> = rewrite.identity(&principal).into();
        cache.keep(digest, Known { verified, identity: Rc::clone(&identity) }, epoch);
        Ok(Admitted { principal, identity, first_sight: true })
    }

    /// Forgets every token: what is known beside them was made by rules that hold no more.
    pub fn forget(&self) {
        *self.cache.borrow_mut() = TokenCache::new(self.options.cache_entries_max);
    }

    /// Why a principal's time is over, if it is.
    pub fn ending(&self, principal: &Principal, now: Timestamp) -> Option<Ending> {
        let revoked = self.replica.covers(principal).map(Ending::Revoked);
        revoked.or_else(|| principal.window.is_over(now).then_some(Ending::Expired))
    }
}

/// A token as it came along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Presented<'a> {
    pub token: &'a str,
    /// A browser sends it of its own accord, whoever made it call.
    pub in_cookie: bool,
}

/// The one token that came along, from the one place where it may be; `None` when there is none.
///
/// # Errors
/// Two Authorization fields, a token in two places, a cookie twice, or a token that is not text.
pub fn presented_token<'a>(headers: &'a HeaderMap, cookie: Option<&str>) -> Result<Option<Presented<'a>>, Denial> {
    let in_field = authorization_token(headers)?;
    let in_cookie = cookie.map(|name| cookie_token(headers, name)).transpose()?.flatten();
    match (in_field, in_cookie) {
        (Some(_), Some(_)) => Err(Denial::Ambiguous("a token in Authorization and in a cookie")),
        (Some(token), None) => Ok(Some(Presented { token, in_cookie: false })),
        (None, Some(token)) => Ok(Some(Presented { token, in_cookie: true })),
        (None, None) => Ok(None),
    }
}

const SCHEME: &[u8] = b"bearer ";

fn authorization_token(headers: &HeaderMap) -> Result<Option<&str>, Denial> {
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

fn cookie_token<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Denial> {
    match cookies::find(headers, name) {
        Sent::Nothing => Ok(None),
        Sent::Once(value) => std::str::from_utf8(value).map(Some).map_err(|_| Denial::Invalid("the cookie is not text")),
        Sent::Repeatedly => Err(Denial::CookieRepeated),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{COOKIE, HeaderName};

    use super::*;

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn token<'a>(headers: &'a HeaderMap, cookie: Option<&str>) -> Result<Option<&'a str>, Denial> {
        presented_token(headers, cookie).map(|presented| presented.map(|presented| presented.token))
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
        assert_eq!(token(&field(COOKIE, b"s=a\xff"), Some("s")), Err(Denial::Invalid("the cookie is not text")));
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
        assert_eq!(presented_token(&in_cookie, Some("s")), Ok(Some(Presented { token: "tok", in_cookie: true })));
    }
}
