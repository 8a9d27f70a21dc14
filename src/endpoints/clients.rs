//! OAuth clients, and the credentials by which they show who they are (RFC 6749, section 2.3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::form::Form;
use super::refusal::Refusal;
use crate::config::Settings;
use crate::crypto::client_secret::{ClientSecret, ShownSecret};
use crate::domain::machine::MachineGrant;

/// The clients of one set of settings that are not disabled.
#[derive(Clone, Debug, Default)]
pub struct Clients(Vec<Client>);

/// A confidential client.
#[derive(Clone, Debug)]
pub(super) struct Client {
    id: String,
    secrets: Vec<ClientSecret>,
    pub(super) introspects: bool,
    /// What its tokens may say; `None`: it gets none.
    pub(super) machine: Option<MachineGrant>,
}

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub(super) enum Caller<'a> {
    /// What it showed was right.
    Confidential(&'a Client),
    /// It showed nothing, whoever it says to be. It may do what anybody may: saying whose id is known would help those alone who guess.
    Public,
}

impl Clients {
    pub(super) fn of(settings: &Settings) -> Self {
        let client = |client: &crate::config::OAuthClient| {
            let plain = client.secret.iter().map(|secret| ClientSecret::new(secret.expose()));
            let digests = client.secret_digests.iter().filter_map(|digest| ClientSecret::of_digest(digest.expose()));
            Client {
                id: client.id.clone(),
                secrets: plain.chain(digests).collect(),
                introspects: client.introspects,
                machine: settings.machine_grant(client),
            }
        };
        Self(settings.clients.iter().filter(|client| !client.disabled).map(client).collect())
    }

    /// Whether there is nobody.
    pub(super) const fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any gets tokens for itself.
    pub(super) fn have_machines(&self) -> bool {
        self.0.iter().any(|client| client.machine.is_some())
    }

    /// Reads and judges the credentials: HTTP Basic, or parameters of the body; never both.
    pub(super) fn authenticate(&self, headers: &HeaderMap, form: &Form<'_>) -> Result<Caller<'_>, Refusal> {
        let (named, in_body) = (form.text("client_id"), form.text("client_secret"));
        let (id, secret) = match (basic(headers)?, in_body) {
            (Some(_), Some(_)) => return Err(Refusal::Malformed("Client credentials were sent in two places.")),
            (Some((id, _)), None) if named.is_some_and(|named| named != id) => {
                return Err(Refusal::Malformed("The request names two clients."));
            }
            // As public clients send it (RFC 6749, section 2.3.1): no client has an empty secret.
            (Some((_, secret)), None) if secret.is_empty() => return Ok(Caller::Public),
            (Some(credentials), None) => credentials,
            (None, Some(secret)) => (named.ok_or(Refusal::ClientInvalid)?.to_owned(), secret.to_owned()),
            (None, None) => return Ok(Caller::Public),
        };
        self.of_secret(&id, &ShownSecret::new(&secret)).map(Caller::Confidential).ok_or(Refusal::ClientInvalid)
    }

    /// Every client's secrets are compared, so that the time tells nothing of which id is known.
    fn of_secret(&self, id: &str, shown: &ShownSecret) -> Option<&Client> {
        self.0.iter().fold(None, |known, client| {
            let is_right = client.secrets.iter().fold(false, |is_right, own| is_right | own.is(shown));
            if is_right && client.id == id { Some(client) } else { known }
        })
    }
}

/// The id and secret of HTTP Basic, each form-encoded before (RFC 6749, section 2.3.1). `None`: no such field, or one of another scheme,
/// which says nothing of a client.
pub(super) fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, Refusal> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(Refusal::Malformed("The field Authorization was sent twice."));
    }
    let scheme = field.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(b"Basic") {
        return Ok(None);
    }
    let decoded = || {
        let (_, encoded) = field.to_str().ok()?.split_once(' ')?;
        let bytes = STANDARD.decode(encoded.trim()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (id, secret) = text.split_once(':')?;
        Some((form_decoded(id), form_decoded(secret)))
    };
    decoded().map(Some).ok_or(Refusal::ClientInvalid)
}

fn form_decoded(text: &str) -> String {
    let with_spaces = text.replace('+', " ");
    percent_encoding::percent_decode_str(&with_spaces).decode_utf8_lossy().into_owned()
}
