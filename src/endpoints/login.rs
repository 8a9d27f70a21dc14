//! `/login`, `/register`, `/quick-register`: the upstream judges, and what it grants becomes a session.

use std::net::IpAddr;
use std::time::Duration;

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, EXPIRES, HeaderName, LAST_MODIFIED, PRAGMA, USER_AGENT,
};
use http::request::Parts;
use http::{HeaderValue, Response, header};

use super::accounts::{self, Named, Reading, Unreadable};
use super::grant::{self, Granted, SCOPES_MAX};
use super::limits::RateLimits;
use super::options::EndpointOptions;
use super::refusal::{Dialect, Refusal};
use super::{Inner, cookies, credentials, origin, tokens};
use crate::domain::login_kind::LoginKind;
use crate::domain::session::Client;
use crate::domain::stats::Counter;
use crate::proxy::control::{LoginRequest, UpstreamResponse};
use crate::proxy::reply::Reply;
use crate::sessions;

/// Fields that speak of the bytes of a body that was changed.
const OF_THE_OLD_BODY: [HeaderName; 9] = [
    CONTENT_LENGTH,
    CONTENT_ENCODING,
    ETAG,
    LAST_MODIFIED,
    ACCEPT_RANGES,
    EXPIRES,
    PRAGMA,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

impl Inner {
    #[expect(clippy::result_large_err, reason = "the response to give instead: made once, and passed on at once")]
    pub(super) fn admit_login(&self, request: &LoginRequest) -> Result<(), Reply> {
        self.judge_login(request, &self.options).map_err(|refusal| self.refused(refusal))
    }

    fn refused(&self, refusal: Refusal) -> Reply {
        refusal.into_reply(Dialect::Json, &self.counters, &self.options.problem_types)
    }

    fn judge_login(&self, request: &LoginRequest, options: &EndpointOptions) -> Result<(), Refusal> {
        believe_origin(&request.head, options)?;
        let limits = &*self.limits;
        limits.admit_login_from(request.address).map_err(Refusal::RateLimited)?;
        let reading = match accounts::read(&request.head, &request.body, &options.limits.login.account) {
            Ok(reading) => reading,
            // Who limits no accounts need not know them.
            Err(_) if !limits.counts_accounts() => Reading::of_nobody(),
            // Whoever registers may invite others. So many are not counted one by one.
            Err(Unreadable::TooManyAccounts) if request.kind != LoginKind::Login => Reading::of_nobody(),
            Err(unreadable) => return Err(unreadable.into()),
        };
        let mut is_readable = reading.is_readable;
        if !is_readable {
            limits.admit_unreadable_login_from(request.address).map_err(Refusal::RateLimited)?;
        }
        let may_be_common = |named: &Named| named.is_doubtful || reading.accounts.len() > 1;
        for named in &reading.accounts {
            let standing = self.admit_account(limits, named, may_be_common(named), request.address);
            let is_told = standing.map_err(Refusal::RateLimited)?;
            if is_readable && !is_told {
                is_readable = false;
                limits.admit_unreadable_login_from(request.address).map_err(Refusal::RateLimited)?;
            }
        }
        Ok(())
    }

    /// Counts the attempts. `Ok(false)`: nobody can tell whether it is an account. `Err`: how long to wait.
    fn admit_account(&self, limits: &RateLimits, named: &Named, may_be_common: bool, address: IpAddr) -> Result<bool, Duration> {
        let (account, now) = (&named.account, self.clock.monotonic());
        if may_be_common && self.learned.common_values.contain(named, now) {
            // What was never in doubt may still be an account, to an API that falls back on it.
            return Ok(named.is_doubtful);
        }
        let owner = self.learned.owners.who_logged_in(account, limits.network(address), now);
        match (0..named.attempts).try_for_each(|_| limits.admit_login_of(account, owner)) {
            Err(_) if named.is_doubtful && !self.learned.owners.know(account, now) => Ok(false),
            admitted => admitted.map(|()| true),
        }
    }

    /// Remembers from where an account was logged in. The response may name it where the request does not, as after a second factor.
    fn note_login(&self, request: &LoginRequest, response: &UpstreamResponse, granted: &Granted, options: &EndpointOptions) {
        let limits = &*self.limits;
        // Anyone can register, under any name.
        if request.kind != LoginKind::Login || !limits.counts_accounts() {
            return;
        }
        let names = &options.limits.login.account;
        let (network, now) = (limits.network(request.address), self.clock.monotonic());
        let (subject, entries_max) = (&granted.subject, options.limits.entries_max);
        let mut asked = accounts::read(&request.head, &request.body, names).map(|reading| reading.accounts).unwrap_or_default();
        let are_several = asked.len() > 1;
        for named in asked.iter().filter(|named| named.is_doubtful || are_several) {
            self.learned.common_values.note(named, subject, entries_max, now);
        }
        if are_several {
            asked.retain(|named| !self.learned.common_values.contain(named, now));
        }
        // Of several the upstream may have looked at any: whoever names another's beside his own does not own it.
        let alone = if asked.len() == 1 { asked.pop().filter(|named| !named.is_doubtful) } else { None };
        let beside = accounts::beside(&granted.id_at, &response.body, names);
        for account in alone.map(|named| named.account).iter().chain(&beside) {
            self.learned.owners.remember(account, network, subject, entries_max, now);
        }
    }

    pub(super) async fn complete_login(&self, request: LoginRequest, response: UpstreamResponse) -> Reply {
        let options = &self.options;
        match self.grant_of(&request, &response, options) {
            Some(granted) => {
                let result = self.start_session(&request, granted, response.head, options).await;
                result.unwrap_or_else(|refusal| self.refused(refusal))
            }
            None => Response::from_parts(response.head, response.body),
        }
    }

    /// What becomes a session; `None` when the response is to pass as it is.
    fn grant_of(&self, request: &LoginRequest, response: &UpstreamResponse, options: &EndpointOptions) -> Option<Granted> {
        let login = &options.login;
        if !login.issue_on.contains(&request.kind) {
            self.counters.add(Counter::LoginsNotIssued, 1);
            return None;
        }
        match grant::judge(response, login, options.tokens_in_login_body()) {
            Ok(granted) => {
                self.note_login(request, response, &granted, options);
                let is_issued = login.issue_share.includes(granted.subject.as_str().as_bytes());
                if !is_issued {
                    self.counters.add(Counter::LoginsNotIssued, 1);
                }
                is_issued.then_some(granted)
            }
            Err(cause) => {
                self.counters.add(Counter::LoginsRefused, 1);
                cause.tell(response, login);
                None
            }
        }
    }

    async fn start_session(
        &self,
        request: &LoginRequest,
        granted: Granted,
        mut head: http::response::Parts,
        options: &EndpointOptions,
    ) -> Result<Reply, Refusal> {
        let Granted { subject, grant, mut object, id_at: _ } = granted;
        if grant.scopes.len() > SCOPES_MAX {
            return Err(Refusal::TooManyScopes(grant.scopes.len()));
        }
        let login = sessions::Login {
            kind: request.kind,
            subject,
            grant,
            client: client_of(&request.head, request.address),
            old_refresh_token: credentials::old_refresh_token(&request.head, &request.body, options),
        };
        let pair = self.sessions.issue(login).await?;
        cookies::set(&mut head.headers, options, &pair)?;
        tokens::merge(&mut object, &pair, &options.login.members, options.tokens_in_login_body());
        for name in OF_THE_OLD_BODY {
            head.headers.remove(name);
        }
        head.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let body = serde_json::to_vec(&object).expect("what was read as JSON is written as JSON");
        Ok(Response::from_parts(head, body.into()))
    }
}

/// Another site must not log a browser in as someone else. Without an origin it is no browser.
pub(super) fn believe_origin(head: &Parts, options: &EndpointOptions) -> Result<(), Refusal> {
    match &options.cookies {
        Some(cookies) if head.headers.contains_key(header::ORIGIN) => origin::believe_cookie(head, &cookies.origins),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn client_of(head: &Parts, address: IpAddr) -> Client {
    let user_agent = head.headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
    Client::new(Some(address.to_canonical()), user_agent.as_deref())
}
