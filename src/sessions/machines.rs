//! Access tokens for machines. No store is asked: what they are granted is settings, and what was revoked is in the replica.

use std::time::Duration;

use super::audit::audit;
use super::{SessionRules, Sessions};
use crate::crypto::access_token::{self, Holder, MintError, NewAccessToken};
use crate::crypto::entropy;
use crate::domain::machine::MachineGrant;
use crate::domain::secret::Secret;
use crate::domain::session::{Client, Grant};
use crate::domain::stats::Counter;
use crate::domain::time::Timestamp;

/// What a machine gets. There is no refresh token: it comes again with its secret (RFC 6749, section 4.4.3).
#[derive(Debug)]
pub struct MachineToken {
    pub access_token: Secret<String>,
    /// In whole seconds.
    pub expires_in: Duration,
    pub scopes: Vec<String>,
}

/// Why a machine got no token.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Its tokens were revoked up to a moment that lies so far ahead: a token of now would be covered.
    #[error("the machine is barred for {0:?}")]
    Barred(Duration),
    #[error(transparent)]
    Mint(#[from] MintError),
}

impl Sessions {
    /// Makes an access token for a machine that has shown who it is.
    pub fn issue_to_machine(&self, grant: &MachineGrant, client: &Client) -> Result<MachineToken, MachineError> {
        let SessionRules { minting, policy, .. } = &self.rules;
        let now = self.clock.now();
        let issued_at = Timestamp::from_secs(now.secs());
        if let Some(until) = self.replica.tokens_revoked_before(&grant.subject).filter(|until| issued_at < *until) {
            return Err(MachineError::Barred(until.since(now)));
        }
        let expires_at = issued_at.saturating_add(policy.access_lifetime);
        let token_id = entropy::token_id(&*self.entropy);
        let scopes = Grant { scopes: grant.scopes.clone(), ..Grant::default() };
        let access_token = access_token::mint(
            &minting.keys,
            &NewAccessToken {
                issuer: &minting.issuer,
                subject: &grant.subject,
                audiences: &grant.audiences,
                holder: Holder::Machine { client: &grant.id },
                token_id: &token_id,
                issued_at,
                expires_at,
                grant: &scopes,
                bytes_max: policy.access_token_bytes_max,
            },
        )?;
        self.counters.add(Counter::MachineTokens, 1);
        audit!(info, "machine_token_issued", subject = grant.subject, token = token_id, address = client.address);
        Ok(MachineToken {
            access_token,
            expires_in: Duration::from_secs(expires_at.since(issued_at).as_secs()),
            scopes: scopes.scopes,
        })
    }
}
