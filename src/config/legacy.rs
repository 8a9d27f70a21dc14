//! `[[legacy]]`: legacy tokens, which are accepted for a time, and what they are exchanged for.

use std::path::PathBuf;
use std::time::Duration;

use super::exchange;
use super::parse::{self, Parsed};
use super::section::Section;
use super::setting::open_settings;
use crate::domain::algorithm::Algorithm;
use crate::domain::claim_policy::ClaimPath;
use crate::domain::deployment_secret::SECRET_BYTES_MIN;
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;

/// How many kinds of legacy tokens there may be. Each costs a token without `kid` one more attempt to verify it.
pub const LEGACY_MAX: usize = 8;

/// Legacy tokens of one kind.
#[derive(Clone, Debug)]
pub struct Legacy {
    pub name: String,
    pub algorithm: Algorithm,
    pub key: LegacySource,
    /// The exact `kid`; `None`: tokens that name none.
    pub kid: Option<String>,
    /// From then on none is accepted.
    pub accepted_until: Timestamp,
    /// The exact `iss`; `None`: anything, and nothing.
    pub issuer: Option<String>,
    /// A token must name one of these. Empty: anything, and nothing.
    pub audiences: Vec<String>,
    /// Claims that must have exactly this text, each the name of a claim or, with a slash before it, a JSON pointer.
    pub required_claims: Vec<(String, String)>,
    /// The first that is there names the subject. Never empty.
    pub subject_claims: Vec<ClaimPath>,
    /// Each holds a text with spaces, or a list of texts.
    pub scope_claims: Vec<ClaimPath>,
    /// Claims by the names that ours have, and where a legacy token holds each.
    pub claims: Vec<(String, ClaimPath)>,
    pub needs_expiry: bool,
    pub lifetime_max: Option<Duration>,
    pub exchange: ExchangeRule,
}

/// What verifies them.
#[derive(Clone, Debug)]
pub enum LegacySource {
    /// For HMAC. `allow_short`: it may have fewer than [`SECRET_BYTES_MIN`] bytes.
    Secret { bytes: Secret<Vec<u8>>, allow_short: bool },
    /// A PEM file with one `PUBLIC KEY`.
    PublicKey(PathBuf),
}

impl Legacy {
    /// `None` when something that is required is missing or wrong, after that was noted.
    pub(super) fn read(s: &mut Section<'_>) -> Option<Self> {
        let name = s.require("name", parse::filled_text());
        let algorithm = s.require("algorithm", super::callers::algorithm());
        let key = read_key(s, algorithm);
        let kid = s.optional("kid", parse::filled_text());
        let accepted_until = s.require("accepted_until", parse::moment());
        let issuer = s.optional("issuer", parse::filled_text());
        let audiences = s.read("audiences", parse::list(parse::filled_text()));
        let required_claims = s.map("required_claims", parse::filled_text(), |_, text| Ok(text));
        let subject_claims = s.read("subject_claims", parse::list(parse::claim_path()));
        let scope_claims = s.read("scope_claims", parse::list(parse::claim_path()));
        let claims = s.map("claims", parse::claim_path(), |name, path| super::login::mappable_claim(name).map(|()| path));
        let needs_expiry = s.read("needs_expiry", parse::flag());
        let lifetime_max = s.optional("lifetime_max", parse::duration(MINUTE, 3650 * DAY));
        let exchange = s.read("exchange", exchange::rule());
        if subject_claims.is_empty() {
            s.fault("subject_claims", "must name at least one claim: without one, a token has no subject");
        }
        Some(Self {
            name: name?,
            algorithm: algorithm?,
            key: key?,
            kid,
            accepted_until: accepted_until?,
            issuer,
            audiences,
            required_claims,
            subject_claims,
            scope_claims,
            claims,
            needs_expiry,
            lifetime_max,
            exchange,
        })
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

#[derive(Clone, Copy, Debug)]
enum Encoding {
    Text,
    Base64,
    Hex,
}

open_settings!(Encoding);

fn read_key(s: &mut Section<'_>, algorithm: Option<Algorithm>) -> Option<LegacySource> {
    let encoding = s.read(
        "secret_encoding",
        parse::choice(&[("text", Encoding::Text), ("base64", Encoding::Base64), ("hex", Encoding::Hex)]),
    );
    let allow_short = s.read("allow_short_secret", parse::flag());
    let secret = s.secret("secret", "secret_file", parse::filled_text().then(move |text| secret(text, encoding, allow_short)));
    let file = s.optional("public_key_file", parse::path());
    let algorithm = algorithm?;
    let has_secret = s.has_any(&["secret", "secret_file"]);
    match (algorithm.is_symmetric(), has_secret, file) {
        (true, true, None) => secret.map(|bytes| LegacySource::Secret { bytes, allow_short }),
        (true, false, None) => {
            s.fault("secret", format!("is missing; {algorithm} needs secret or secret_file: the one that the API signs with"));
            None
        }
        (true, _, Some(_)) => {
            s.fault("public_key_file", format!("has no meaning for {algorithm}, which needs a secret that both know"));
            None
        }
        (false, false, Some(file)) => Some(LegacySource::PublicKey(file)),
        (false, false, None) => {
            s.fault("public_key_file", format!("is missing; {algorithm} needs the public half of the API's key"));
            None
        }
        (false, true, _) => {
            s.fault("secret", format!("has no meaning for {algorithm}, which needs public_key_file"));
            None
        }
    }
}

/// The bytes of a secret that somebody else chose.
fn secret(text: String, encoding: Encoding, allow_short: bool) -> Parsed<Secret<Vec<u8>>> {
    let bytes = match encoding {
        Encoding::Text => Some(text.into_bytes()),
        Encoding::Base64 => parse::base64_bytes(text.trim()),
        Encoding::Hex => parse::hex_bytes(text.trim()),
    };
    let bytes = bytes.map(Secret::new).ok_or("is not in the encoding that secret_encoding names".to_owned())?;
    match bytes.expose().len() {
        0 => Err("must not be empty".to_owned()),
        length if length < SECRET_BYTES_MIN && !allow_short => Err(format!(
            "only {length} bytes; allowed are {SECRET_BYTES_MIN} or more: the holder of one token can search for a shorter one. If the \
             API signs with this very secret, allow it until it is replaced: allow_short_secret = true"
        )),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    const MINIMAL: &str = "upstreams.default.url = 'http://127.0.0.1:1'\n";
    const SECRET: &str = "'the API signs with this one, it is long enough'";

    fn settings(entry: &str) -> Result<Settings, String> {
        Settings::from_toml(&format!("{MINIMAL}[[legacy]]\n{entry}")).map_err(|invalid| invalid.to_string())
    }

    fn entry(lines: &str) -> String {
        format!("name = 'old'\nalgorithm = 'HS256'\naccepted_until = 2027-03-31\n{lines}")
    }

    fn fault(lines: &str) -> String {
        settings(&entry(lines)).unwrap_err()
    }

    #[test]
    fn name_algorithm_key_and_cut_off_are_all_that_is_needed() {
        let settings = settings(&entry(&format!("secret = {SECRET}"))).unwrap();
        let [legacy] = settings.legacy.as_slice() else { panic!() };
        assert_eq!(legacy.accepted_until, Timestamp::from_secs(1_806_451_200));
        assert_eq!((legacy.exchange, legacy.needs_expiry, legacy.lifetime_max), (ExchangeRule::Once, true, None));
        let subjects: Vec<&str> = legacy.subject_claims.iter().map(ClaimPath::as_str).collect();
        assert_eq!(subjects, ["sub", "id", "userId", "user_id", "_id", "uid"]);
        assert!(!format!("{settings:?}").contains("API signs"), "the secret is not shown");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, parts) in [
            ("", ["name: is missing", "algorithm: is missing", "accepted_until: is missing"].as_slice()),
            ("name = 'a'\nalgorithm = 'HS256'\naccepted_until = '2027-03-31'", &["legacy[0].secret: is missing"]),
            ("name = 'a'\nalgorithm = 'RS256'\naccepted_until = '2027-03-31'", &["legacy[0].public_key_file: is missing"]),
        ] {
            let fault = settings(text).unwrap_err();
            assert!(parts.iter().all(|part| fault.contains(part)), "{fault}");
        }
    }

    #[test]
    fn a_short_secret_is_refused_with_the_way_out_and_never_repeated() {
        let fault = fault("secret = 'hunter2'");
        assert!(fault.contains("only 7 bytes") && fault.contains("allow_short_secret = true"), "{fault}");
        assert!(!fault.contains("hunter2"));
        assert!(settings(&entry("secret = 'hunter2'\nallow_short_secret = true")).is_ok());
        assert!(settings(&entry("secret = ''\nallow_short_secret = true")).is_err());
    }

    #[test]
    fn a_secret_is_read_in_its_encoding() {
        let bytes = |lines: &str| match settings(&entry(lines)).unwrap().legacy.remove(0).key {
            LegacySource::Secret { bytes, .. } => bytes.expose().clone(),
            LegacySource::PublicKey(_) => unreachable!(),
        };
        assert_eq!(bytes(&format!("secret = '{}'", "ab".repeat(32))), "ab".repeat(32).into_bytes());
        assert_eq!(bytes(&format!("secret = '{}'\nsecret_encoding = 'hex'", "ab".repeat(32))), [0xab; 32]);
        assert_eq!(bytes(&format!("secret = '{}='\nsecret_encoding = 'base64'", "A".repeat(43))), [0; 32]);
        assert!(fault(&format!("secret = {SECRET}\nsecret_encoding = 'hex'")).contains("secret_encoding"));
    }

    #[test]
    fn keys_of_the_wrong_kind_and_moments_that_are_none_are_refused() {
        assert!(fault(&format!("secret = {SECRET}\npublic_key_file = 'k'")).contains("public_key_file"));
        let rs256 = format!("name = 'a'\nalgorithm = 'RS256'\naccepted_until = '2027-03-31'\nsecret = {SECRET}");
        assert!(settings(&rs256).unwrap_err().contains("has no meaning for RS256"));
        for bad in ["'soon'", "'2027-13-01'", "'90d'", "1806451200"] {
            let text = format!("name = 'a'\nalgorithm = 'HS256'\naccepted_until = {bad}\nsecret = {SECRET}");
            assert!(settings(&text).unwrap_err().contains("accepted_until"), "{bad}");
        }
        for good in ["2027-03-31T12:00:00Z", "2027-03-31T12:00:00+02:00", "'2027-03-31'"] {
            let text = format!("name = 'a'\nalgorithm = 'HS256'\naccepted_until = {good}\nsecret = {SECRET}");
            assert!(settings(&text).is_ok(), "{good}");
        }
    }

    #[test]
    fn claims_that_the_gateway_sets_cannot_be_mapped_and_names_are_distinct() {
        assert!(fault(&format!("secret = {SECRET}\nclaims = {{ sid = 'x' }}")).contains("legacy[0].claims.sid"));
        assert!(fault(&format!("secret = {SECRET}\nsubject_claims = []")).contains("subject_claims"));
        let twice = format!("{}\n[[legacy]]\n{}", entry(&format!("secret = {SECRET}")), entry(&format!("secret = {SECRET}")));
        assert!(settings(&twice).unwrap_err().contains("legacy[1].name"));
        let own = entry(&format!("secret = {SECRET}")).replace("'old'", "'tokengate'");
        assert!(settings(&own).unwrap_err().contains("tokens.issuer"));
        let many = entry(&format!("secret = {SECRET}"));
        let many: Vec<String> = (0..=LEGACY_MAX).map(|n| many.replace("'old'", &format!("'old-{n}'"))).collect();
        assert!(settings(&many.join("\n[[legacy]]\n")).unwrap_err().contains("at most 8"));
    }
}
