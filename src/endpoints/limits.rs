//! How often logins and refreshes may be tried, by address and by account. Each node counts by itself.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::owners::Owner;
use crate::config::Limits;
use crate::domain::ids::SessionId;
use crate::domain::meters::{ControlSet, Limit};
use crate::domain::network::network;
use crate::domain::rate::Rate;
use crate::domain::time::Clock;
use crate::proxy::limiter::Limiter;

/// The limits of one set of settings, and what was counted. With other limits everyone starts afresh.
pub(super) struct RateLimits {
    login_by_address: Option<Limiter>,
    login_by_account: Option<Limiter>,
    /// Of accounts, from where they have logged in before.
    login_by_owner: Option<Limiter>,
    unreadable_login_by_address: Option<Limiter>,
    refresh_by_address: Option<Limiter>,
    refresh_by_session: Option<Limiter>,
    lookup_by_address: Option<Limiter>,
    client_by_address: Option<Limiter>,
    client_by_id: Option<Limiter>,
    ipv6_prefix: u8,
    meters: Arc<ControlSet>,
}

impl RateLimits {
    pub(super) fn new(limits: &Limits, clock: &Arc<dyn Clock>, meters: &Arc<ControlSet>) -> Self {
        let limiter = |rate: Option<Rate>| rate.and_then(|rate| Limiter::new(rate, limits.entries_max, clock));
        Self {
            login_by_address: limiter(limits.login.per_address),
            login_by_account: limiter(limits.login.per_account),
            login_by_owner: limiter(limits.login.per_account),
            unreadable_login_by_address: limiter(limits.login.unreadable),
            refresh_by_address: limiter(limits.refresh.per_address),
            refresh_by_session: limiter(limits.refresh.per_account),
            lookup_by_address: limiter(limits.refresh.imported_per_address),
            client_by_address: limiter(limits.clients.per_address),
            client_by_id: limiter(limits.clients.per_client),
            ipv6_prefix: limits.ipv6_prefix,
            meters: Arc::clone(meters),
        }
    }

    /// `Err`: how long to wait.
    pub(super) fn admit_login_from(&self, address: IpAddr) -> Result<(), Duration> {
        self.check(Limit::LoginByAddress, self.login_by_address.as_ref(), &self.network(address))
    }

    /// A login in which something stands that was not understood.
    pub(super) fn admit_unreadable_login_from(&self, address: IpAddr) -> Result<(), Duration> {
        self.check(Limit::LoginUnreadable, self.unreadable_login_by_address.as_ref(), &self.network(address))
    }

    /// `owner`: who logged in from there before.
    pub(super) fn admit_login_of(&self, account: &str, owner: Option<Owner>) -> Result<(), Duration> {
        match owner {
            Some(owner) => self.check(Limit::LoginByOwner, self.login_by_owner.as_ref(), &(account, owner)),
            None => self.check(Limit::LoginByAccount, self.login_by_account.as_ref(), &account),
        }
    }

    /// Whether accounts are to be told at all.
    pub(super) const fn counts_accounts(&self) -> bool {
        self.login_by_account.is_some()
    }

    /// What counts as one caller.
    pub(super) fn network(&self, address: IpAddr) -> IpAddr {
        network(address, self.ipv6_prefix)
    }

    pub(super) fn admit_refresh_from(&self, address: IpAddr) -> Result<(), Duration> {
        self.check(Limit::RefreshByAddress, self.refresh_by_address.as_ref(), &self.network(address))
    }

    /// A token that has to be looked up: whoever tries some costs the store a call each time.
    pub(super) fn admit_lookup_from(&self, address: IpAddr) -> Result<(), Duration> {
        self.check(Limit::LookupByAddress, self.lookup_by_address.as_ref(), &self.network(address))
    }

    /// A client that asks for tokens for itself, before it is known who it is.
    pub(super) fn admit_client_from(&self, address: IpAddr) -> Result<(), Duration> {
        self.check(Limit::ClientByAddress, self.client_by_address.as_ref(), &self.network(address))
    }

    pub(super) fn admit_client(&self, id: &str) -> Result<(), Duration> {
        self.check(Limit::ClientById, self.client_by_id.as_ref(), &id)
    }

    pub(super) fn admit_refresh_of(&self, session: SessionId) -> Result<(), Duration> {
        self.check(Limit::RefreshBySession, self.refresh_by_session.as_ref(), &session)
    }

    fn check(&self, limit: Limit, limiter: Option<&Limiter>, key: &impl Hash) -> Result<(), Duration> {
        let checked = limiter.map_or(Ok(()), |limiter| limiter.check(key));
        checked.inspect_err(|_| self.meters.limited.of(limit).add_shared(1))
    }
}
