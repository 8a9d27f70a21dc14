//! `[[clients]]`: clients that may introspect tokens.

use super::parse::{self, Parsed};
use super::section::Section;
use crate::domain::secret::Secret;

/// The fewest characters of a client's secret: too many to guess, so attempts need no rate limit.
const SECRET_CHARS_MIN: usize = 32;

/// A confidential client (RFC 6749, section 2.1).
#[derive(Clone, Debug)]
pub struct OAuthClient {
    pub id: String,
    pub secret: Secret<String>,
}

impl OAuthClient {
    /// `None` when something is missing or wrong, after that was noted.
    pub(super) fn read(s: &mut Section<'_>) -> Option<Self> {
        let id = s.require("id", id);
        let secret = s.secret("secret", "secret_file", secret);
        if secret.is_none() && !s.has_any(&["secret", "secret_file"]) {
            s.fault("secret", "is missing; set secret or secret_file, made with: openssl rand -hex 32");
        }
        Some(Self { id: id?, secret: secret? })
    }
}

/// The `VSCHAR` of RFC 6749, appendix A.
fn id(value: &config::Value) -> Parsed<String> {
    let id = parse::filled_text(value)?;
    if id.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        Ok(id)
    } else {
        Err("allowed are visible ASCII characters".to_owned())
    }
}

fn secret(value: &config::Value) -> Parsed<Secret<String>> {
    let secret = parse::password(value)?;
    let is_fit = secret.expose().len() >= SECRET_CHARS_MIN && secret.expose().bytes().all(|byte| byte.is_ascii_graphic());
    let mend = || format!("allowed are {SECRET_CHARS_MIN} or more visible ASCII characters, made with: openssl rand -hex 32");
    if is_fit { Ok(secret) } else { Err(mend()) }
}
