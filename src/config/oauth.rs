//! `[oauth]`, `[[clients]]`: OAuth clients, which introspect tokens or get some for themselves.

use std::path::PathBuf;

use super::Settings;
use super::notes::Notes;
use super::parse;
use super::reading::Reading;
use super::section::Section;
use super::setting::open_settings;
use crate::domain::machine::{self, MachineGrant, MachineRule};
use crate::domain::secret::Secret;
use crate::domain::subjects::SubjectPrefix;

/// The fewest characters of a client's secret: too many to guess.
const SECRET_CHARS_MIN: usize = 32;

/// How many secrets of a client are good at once: the present one, and the former one until all its processes have changed.
pub const SECRETS_MAX: usize = 2;

/// What a digest of a secret is written behind.
pub const DIGEST_PREFIX: &str = "sha256:";

const DIGEST_BYTES: usize = 32;

/// What concerns all clients.
#[derive(Clone, Debug)]
pub struct OAuth {
    /// Holds further `[[clients]]`, which `tokengate clients` writes. They are among those of the settings.
    pub clients_file: Option<PathBuf>,
    /// What stands before the ids of machines where subjects are named.
    pub subject_prefix: SubjectPrefix,
}

impl OAuth {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        Self { clients_file: s.key_file("clients_file"), subject_prefix: s.read("subject_prefix", subject_prefix()) }
    }
}

fn subject_prefix() -> Reading<SubjectPrefix> {
    parse::filled_text().then(|text| SubjectPrefix::new(&text).map_err(|error| error.to_string()))
}

/// A confidential client (RFC 6749, section 2.1).
#[derive(Clone, Debug)]
pub struct OAuthClient {
    pub id: String,
    pub secret: Option<Secret<String>>,
    /// SHA-256 of further secrets.
    pub secret_digests: Vec<Secret<Vec<u8>>>,
    /// Then it is nobody.
    pub disabled: bool,
    pub introspects: bool,
    pub grants: Vec<ClientGrant>,
    pub scopes: Vec<String>,
    /// Each is one of `tokens.audience`. Empty: all of those.
    pub audiences: Vec<String>,
}

/// A grant type that has to be given to a client (RFC 7591, section 2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientGrant {
    ClientCredentials,
}

open_settings!(ClientGrant);

impl OAuthClient {
    /// `None` when something is missing or wrong, after that was noted.
    pub(super) fn read(s: &mut Section<'_>) -> Option<Self> {
        let id = s.require("id", id());
        let secret = s.secret("secret", "secret_file", secret());
        let secret_digests = s.optional("secrets", parse::list(digest())).unwrap_or_default();
        let grants = s.read("grants", parse::list(parse::choice(&[("client_credentials", ClientGrant::ClientCredentials)])));
        let client = Self {
            disabled: s.read("disabled", parse::flag()),
            introspects: s.optional("introspects", parse::flag()).unwrap_or_else(|| introspects_by_default(!grants.is_empty())),
            scopes: s.read("scopes", parse::list(super::routes::scope())),
            audiences: s.read("audiences", parse::list(parse::filled_text())),
            id: id?,
            secret,
            secret_digests,
            grants,
        };
        let secrets = client.secret_digests.len() + usize::from(client.secret.is_some());
        if secrets == 0 && !s.has_any(&["secret", "secret_file"]) && s.has_default("secrets") {
            s.fault(
                "secret",
                "is missing; set secret or secret_file, made with: openssl rand -hex 32, or secrets, made with: tokengate clients add",
            );
        }
        if secrets > SECRETS_MAX {
            s.fault("secrets", format!("the client has {secrets} secrets; allowed are {SECRETS_MAX}, for the time of a change"));
        }
        for key in ["scopes", "audiences"] {
            if client.grants.is_empty() && !s.has_default(key) {
                s.fault(key, "has no meaning without grants = [\"client_credentials\"]: the client gets no tokens");
            }
        }
        Some(client)
    }

    /// Whether it gets tokens for itself.
    #[must_use]
    pub fn is_machine(&self) -> bool {
        self.grants.contains(&ClientGrant::ClientCredentials)
    }
}

/// The `VSCHAR` of RFC 6749, appendix A.
fn id() -> Reading<String> {
    const ALLOWED: &str = "allowed are visible ASCII characters, with spaces between them at most";
    parse::filled_text().then(|id| if is_client_id(&id) { Ok(id) } else { Err(ALLOWED.to_owned()) })
}

/// Whether a text can be the id of a client. Of two ids that differ in spaces at an end, people would see one.
#[must_use]
pub fn is_client_id(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// Whether a client introspects whose entry does not say. One that gets tokens for itself need not know what those of others are worth.
#[must_use]
pub const fn introspects_by_default(has_grants: bool) -> bool {
    !has_grants
}

fn secret() -> Reading<Secret<String>> {
    parse::password().then(|secret| {
        let is_fit = secret.expose().len() >= SECRET_CHARS_MIN && secret.expose().bytes().all(|byte| byte.is_ascii_graphic());
        let mend = || format!("allowed are {SECRET_CHARS_MIN} or more visible ASCII characters, made with: openssl rand -hex 32");
        if is_fit { Ok(secret) } else { Err(mend()) }
    })
}

/// Such a digest tells nothing of a secret that was drawn: it is long enough.
fn digest() -> Reading<Secret<Vec<u8>>> {
    parse::text().then(|text| {
        let bytes = text.strip_prefix(DIGEST_PREFIX).and_then(parse::hex_bytes).filter(|bytes| bytes.len() == DIGEST_BYTES);
        bytes
            .map(Secret::new)
            .ok_or_else(|| format!("allowed is \"{DIGEST_PREFIX}\" and 64 hexadecimal digits, made with: tokengate clients add"))
    })
}

impl Settings {
    /// Which machines may speak; `None`: there are none.
    #[must_use]
    pub fn machine_rule(&self) -> Option<MachineRule> {
        let machines = self.clients.iter().filter(|client| client.is_machine());
        let living: Vec<String> = machines.filter(|client| !client.disabled).map(|client| client.id.clone()).collect();
        (!living.is_empty()).then(|| MachineRule::new(self.oauth.subject_prefix.clone(), living))
    }

    /// What the tokens of a client may say; `None`: it gets none.
    #[must_use]
    pub fn machine_grant(&self, client: &OAuthClient) -> Option<MachineGrant> {
        let audiences = if client.audiences.is_empty() { &self.tokens.audience } else { &client.audiences };
        Some(MachineGrant {
            id: client.is_machine().then(|| client.id.clone())?,
            subject: machine::subject(&self.oauth.subject_prefix, &client.id)?,
            scopes: client.scopes.clone(),
            audiences: audiences.clone(),
        })
    }

    /// What no user's name begins with where there may be machines. While there are none, too: tokens of one that was removed still live,
    /// and its name is written in logs and revocations.
    pub(super) fn machine_prefix(&self) -> Option<&SubjectPrefix> {
        self.endpoints.paths.token.is_some().then_some(&self.oauth.subject_prefix)
    }
}

pub(super) fn clients_can_do_what_they_may(settings: &Settings, notes: &Notes) {
    for (index, client) in settings.clients.iter().enumerate() {
        let key = |name: &str| format!("clients[{index}].{name}");
        if settings.clients[..index].iter().any(|earlier| earlier.id == client.id) {
            notes.problem(&key("id"), None, format!("\"{}\" is the id of an earlier entry", client.id));
        }
        if !client.is_machine() {
            continue;
        }
        if settings.endpoints.paths.token.is_none() {
            notes.problem(&key("grants"), None, "needs endpoints.token, which says where tokens are given: \"/oauth/token\"");
        }
        if machine::subject(&settings.oauth.subject_prefix, &client.id).is_none() {
            notes.problem(&key("id"), None, "is too long for a subject behind oauth.subject_prefix");
        }
        if let Some(unknown) = client.audiences.iter().find(|one| !settings.tokens.audience.contains(one)) {
            let message = format!("\"{unknown}\" is none of tokens.audience: a token for it alone would be refused here");
            notes.problem(&key("audiences"), None, message);
        }
    }
}

#[cfg(test)]
mod tests;
