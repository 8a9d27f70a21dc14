//! Who a request speaks for, and whether it may pass.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};

use super::token_cache::{Known, TokenCache};
use crate::crypto::verifier::{TokenDigest, Verifier};
use crate::domain::claims::{Denial, Ending, Principal};
use crate::domain::headers::RewriteRules;
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
/// Two Authorization fields, a token in two places, or one that is not text.
pub fn presented_token<'a>(headers: &'a HeaderMap, cookie: Option<&str>) -> Result<Option<Presented<'a>>, Denial> {
    let in_field = authorization_token(headers)?;
    let in_cookie = cookie.map(|name| cookie_value(headers, name)).transpose()?.flatten();
    match (in_field, in_cookie) {
        (Some(_), Some(_)) => Err(Denial::Ambiguous("a token in Authorization and in a cookie")),
        (Some(token), None) => Ok(Some(Presented { token, in_cookie: false })),
        (None, Some(token)) => Ok(Some(Presented { token, in_cookie: true })),
        (None, None) => Ok(None),
    }
}

const SCHEME: &str = "bearer ";

fn authorization_token(headers: &HeaderMap) -> Result<Option<&str>, Denial> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(Denial::Ambiguous("two Authorization fields"));
    }
    let text = field.to_str().map_err(|_| Denial::Invalid("Authorization is not ASCII"))?;
    let is_bearer = text.len() >= SCHEME.len() && text.as_bytes()[..SCHEME.len()].eq_ignore_ascii_case(SCHEME.as_bytes());
    if !is_bearer {
        // Another scheme, such as Basic, is none of ours.
        return Ok(None);
    }
    match text[SCHEME.len()..].trim_matches(' ') {
        "" => Err(Denial::Invalid("empty token")),
        token => Ok(Some(token)),
    }
}

/// The value of one cookie (RFC 6265, section 5.4).
fn cookie_value<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Denial> {
    let mut found = None;
    for field in headers.get_all(COOKIE) {
        let Ok(text) = field.to_str() else { continue };
        for pair in text.split(';') {
            let Some((key, value)) = pair.trim().split_once('=') else { continue };
            if key != name {
                continue;
            }
            if found.replace(value).is_some() {
                return Err(Denial::Ambiguous("the session cookie twice"));
            }
        }
    }
    Ok(found.filter(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::HeaderName;

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
    fn another_scheme_is_no_token_and_an_empty_one_is_a_bad_one() {
        assert_eq!(token(&headers(&[(AUTHORIZATION, "Basic YTpi")]), None), Ok(None));
        assert_eq!(token(&headers(&[(AUTHORIZATION, "Bearer")]), None), Ok(None));
        assert_eq!(token(&headers(&[(AUTHORIZATION, "Bearer ")]), None), Err(Denial::Invalid("empty token")));
        assert_eq!(token(&HeaderMap::new(), Some("s")), Ok(None));
    }

    #[test]
    fn more_than_one_token_is_ambiguous() {
        let twice = headers(&[(AUTHORIZATION, "Bearer a"), (AUTHORIZATION, "Bearer a")]);
        let both = headers(&[(AUTHORIZATION, "Bearer a"), (COOKIE, "x=1; s=b")]);
        let cookies = headers(&[(COOKIE, "s=a; s=b")]);
        for bad in [&twice, &both, &cookies] {
            assert!(matches!(token(bad, Some("s")), Err(Denial::Ambiguous(_))), "{bad:?}");
        }
        assert_eq!(token(&both, None), Ok(Some("a")), "cookies count in cookie mode alone");
        let in_cookie = headers(&[(COOKIE, "a=1; s=tok; z=2")]);
        assert_eq!(presented_token(&in_cookie, Some("s")), Ok(Some(Presented { token: "tok", in_cookie: true })));
    }
}
