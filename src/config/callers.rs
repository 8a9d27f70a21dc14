//! `[limits]`, `[identity]`, `[[issuers]]`: rate limits, identity fields, other issuers.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{ACCEPT, ORIGIN};
use http::{HeaderName, Uri};

use super::account_name::AccountName;
use super::exchange;
use super::parse::{self, Parsed};
use super::problem::shown_url;
use super::reading::{Form, Reading};
use super::section::Section;
use crate::domain::algorithm::Algorithm;
use crate::domain::claim_policy::ClaimPath;
use crate::domain::claims::RESERVED_CLAIMS;
use crate::domain::exchange_rule::ExchangeRule;
use crate::domain::headers::{self, IdentityFields};
use crate::domain::ids::NameError;
use crate::domain::rate::Rate;
use crate::domain::subjects::{PREFIX_BYTES_MAX, SubjectPrefix};
use crate::domain::time::CLOCK_SKEW_MAX;

/// How often logins and refreshes may be tried. Counted on each node by itself.
#[derive(Clone, PartialEq, Debug)]
pub struct Limits {
    /// Addresses and accounts remembered at once, for each limit.
    pub entries_max: usize,
    /// IPv6 addresses that share so many leading bits count as one.
    pub ipv6_prefix: u8,
    /// `/login`, `/register`, `/quick-register`.
    pub login: LoginLimits,
    pub refresh: RefreshLimits,
    pub clients: ClientLimits,
}

#[derive(Clone, PartialEq, Debug)]
pub struct LoginLimits {
    pub per_address: Option<Rate>,
    pub per_account: Option<Rate>,
    /// For each address: bodies from which no account can be read.
    pub unreadable: Option<Rate>,
    /// Where requests name accounts; all that they name count.
    pub account: Vec<AccountName>,
}

/// Of clients that get tokens for themselves.
#[derive(Clone, PartialEq, Debug)]
pub struct ClientLimits {
    /// Whether they show who they are or not.
    pub per_address: Option<Rate>,
    pub per_client: Option<Rate>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct RefreshLimits {
    pub per_address: Option<Rate>,
    /// For each session.
    pub per_account: Option<Rate>,
    /// Tokens that are none of ours and have to be looked up, since they may have been imported.
    pub imported_per_address: Option<Rate>,
}

impl Limits {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        Self {
            entries_max: s.read("entries_max", parse::count(100, 10_000_000)),
            ipv6_prefix: s.read("ipv6_prefix", parse::number_u8(16, 128)),
            login: s.section("login", |s| LoginLimits {
                per_address: s.read("per_address", parse::or_off(parse::rate())),
                per_account: s.read("per_account", parse::or_off(parse::rate())),
                unreadable: s.read("unreadable", parse::or_off(parse::rate())),
                account: s.read("account", parse::list(parse::filled_text().then(|text| text.parse()))),
            }),
            refresh: s.section("refresh", |s| RefreshLimits {
                per_address: s.read("per_address", parse::or_off(parse::rate())),
                per_account: s.read("per_account", parse::or_off(parse::rate())),
                imported_per_address: s.read("imported_per_address", parse::or_off(parse::rate())),
            }),
            clients: s.section("clients", |s| ClientLimits {
                per_address: s.read("per_address", parse::or_off(parse::rate())),
                per_client: s.read("per_client", parse::or_off(parse::rate())),
            }),
        }
    }
}

/// The fields that tell an upstream who calls. From outside they are removed, on every route; `None`: not sent.
#[derive(Clone, Debug)]
pub struct Identity {
    pub subject_header: Option<HeaderName>,
    pub session_header: Option<HeaderName>,
    pub scopes_header: Option<HeaderName>,
    pub issuer_header: Option<HeaderName>,
    pub certificate_subject_header: Option<HeaderName>,
    pub certificate_names_header: Option<HeaderName>,
    /// Claims that are passed on, each in its field.
    pub claims: Vec<(String, HeaderName)>,
}

impl Identity {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let identity = Self {
            subject_header: s.read("subject_header", parse::or_off(identity_header())),
            session_header: s.read("session_header", parse::or_off(identity_header())),
            scopes_header: s.read("scopes_header", parse::or_off(identity_header())),
            issuer_header: s.read("issuer_header", parse::or_off(identity_header())),
            certificate_subject_header: s.read("certificate_subject_header", parse::or_off(identity_header())),
            certificate_names_header: s.read("certificate_names_header", parse::or_off(identity_header())),
            claims: s.map("claims", identity_header(), |claim, header| match claim {
                "" => Err("the name of a claim must not be empty".to_owned()),
                _ => Ok(header),
            }),
        };
        s.retired(
            "pass_authorization",
            "instead, each of [[routes]] has `authorization`; `true` is now authorization = \"pass\"",
        );
        let mut taken: Vec<&HeaderName> = Vec::new();
        for (key, header) in identity.headers() {
            if taken.contains(&header) {
                s.fault(key, format!("`{header}` is used twice; each identity field needs a name of its own"));
            }
            taken.push(header);
        }
        identity
    }

    /// As the rewriting of headers takes them.
    pub fn fields(&self) -> IdentityFields {
        IdentityFields {
            subject: self.subject_header.clone(),
            session: self.session_header.clone(),
            scopes: self.scopes_header.clone(),
            issuer: self.issuer_header.clone(),
            certificate_subject: self.certificate_subject_header.clone(),
            certificate_names: self.certificate_names_header.clone(),
            claims: self.claims.clone(),
        }
    }

    /// The fields that upstreams believe: those that are named here, and those of the usual names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let named: Vec<&str> = self.headers().map(|(_, header)| header.as_str()).collect();
        let usual = headers::IDENTITY_NAMES.into_iter().filter(|name| !named.contains(name)).collect::<Vec<_>>();
        named.into_iter().chain(usual)
    }

    fn headers(&self) -> impl Iterator<Item = (&'static str, &HeaderName)> {
        let fixed = [
            ("subject_header", &self.subject_header),
            ("session_header", &self.session_header),
            ("scopes_header", &self.scopes_header),
            ("issuer_header", &self.issuer_header),
            ("certificate_subject_header", &self.certificate_subject_header),
            ("certificate_names_header", &self.certificate_names_header),
        ];
        let fixed = fixed.into_iter().filter_map(|(key, header)| header.as_ref().map(|header| (key, header)));
        fixed.chain(self.claims.iter().map(|(_, header)| ("claims", header)))
    }
}

fn identity_header() -> Reading<HeaderName> {
    parse::header_name().then(|name| {
        if !name.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err("allowed are letters, digits and dashes: many servers read everything else as a dash".to_owned());
        }
        if headers::is_protected(name.as_str()) || [ACCEPT, ORIGIN].contains(&name) {
            return Err(
                "this field means something else already; allowed is a name of its own, such as \"x-auth-subject\"".to_owned()
            );
        }
        Ok(name)
    })
}

/// Another issuer whose tokens are accepted.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The exact `iss`.
    pub issuer: String,
    /// A token that is shown to the API must name one of these. Empty: none is taken there.
    pub audiences: Vec<String>,
    /// Never empty.
    pub algorithms: Vec<Algorithm>,
    pub jwks: JwksSource,
    /// Accepted values of `typ`, compared without regard to case. Empty: anything, and nothing.
    pub types: Vec<String>,
    /// How far clocks may differ, for `exp` and `nbf`.
    pub leeway: Duration,
    /// The longest `exp` - `iat`; for a token without `iat`, the longest until `exp`.
    pub lifetime_max: Duration,
    /// How often the key set is fetched.
    pub refresh_interval: Duration,
    /// The least time between two fetches, for any reason.
    pub minimum_interval: Duration,
    pub fetch_timeout: Duration,
    pub subject_claim: ClaimPath,
    pub subjects: IssuerSubjects,
    /// Claims of [`Identity::claims`] that its tokens may set.
    pub trusted_claims: Vec<String>,
    /// Where its tokens name whom they are for. Never empty.
    pub audience_claims: Vec<ClaimPath>,
    /// Whether a node without its keys is not ready.
    pub required: bool,
    /// The only authorities that may vouch for the server of its key set, instead of those of the web.
    pub ca_file: Option<PathBuf>,
    /// Each holds a text with spaces, or a list of texts.
    pub scope_claims: Vec<ClaimPath>,
    /// How often one of its tokens becomes a session of ours.
    pub exchange: ExchangeRule,
    /// A token that becomes one must name one of these. Never empty where any does.
    pub exchange_audiences: Vec<String>,
    /// Claims by the names that ours have, and where its tokens have each.
    pub exchange_claims: Vec<(String, ClaimPath)>,
    /// Of the scopes of its tokens those that sessions have too.
    pub exchange_scopes: Vec<String>,
}

/// Whose users the subjects of an issuer are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IssuerSubjects {
    /// Its own: everywhere this stands before them.
    Prefixed(SubjectPrefix),
    /// Ours.
    Shared,
}

#[derive(Clone, PartialEq, Eq)]
pub enum JwksSource {
    File(PathBuf),
    /// Its query may hold a key of the issuer's.
    Url(Uri),
}

impl fmt::Debug for JwksSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Url(url) => f.debug_tuple("Url").field(&shown_url(&url.to_string())).finish(),
        }
    }
}

impl Issuer {
    /// `None` when something that is required is missing or wrong, after that was noted.
    pub(super) fn read(s: &mut Section<'_>) -> Option<Self> {
        let second = Duration::from_secs(1);
        let issuer = s.require("issuer", parse::filled_text());
        let audiences = s.require("audiences", parse::list(parse::filled_text()));
        let algorithms = s.require("algorithms", parse::list(algorithm()));
        let jwks_file = s.optional("jwks_file", parse::path());
        let jwks_url = s.optional("jwks_url", jwks_url());
        let types = s.read("types", parse::list(parse::filled_text()));
        let leeway = s.read("leeway", parse::duration(Duration::ZERO, CLOCK_SKEW_MAX));
        let lifetime_max = s.read("lifetime_max", parse::duration(60 * second, 400 * 86_400 * second));
        let refresh_interval = s.read("refresh_interval", parse::duration(second, 86_400 * second));
        let minimum_interval = s.read("minimum_interval", parse::duration(second, 86_400 * second));
        let fetch_timeout = s.read("fetch_timeout", parse::duration(second / 10, 60 * second));
        let subject_claim = s.read("subject_claim", parse::claim_path());
        let subjects = read_subjects(s);
        let scope_claims = s.read("scope_claims", parse::list(parse::claim_path()));
        let trusted_claims = s.read("trusted_claims", parse::list(trusted_claim()));
        let audience_claims = s.read("audience_claims", parse::list(parse::claim_path()));
        let required = s.read("required", parse::flag());
        let ca_file = s.optional("ca_file", parse::path());
        let exchange = s.read("exchange", exchange::rule_or_flag());
        let is_exchanged = exchange != ExchangeRule::Never;
        let exchange_audiences = s.optional("exchange_audiences", parse::list(parse::filled_text()));
        let exchange_claims =
            s.map("exchange_claims", parse::claim_path(), |name, path| super::login::mappable_claim(name).map(|()| path));
        let exchange_scopes = s.read("exchange_scopes", parse::list(super::routes::scope()));
        let without_meaning = |key: &str| key == "exchange_audiences" || !s.has_default(key);
        for key in ["exchange_audiences", "exchange_claims", "exchange_scopes"] {
            if !is_exchanged && s.has_any(&[key]) && without_meaning(key) {
                s.fault(key, "has no meaning without exchange = \"once\" or \"many\": no session comes of these tokens");
            }
        }
        if audience_claims.is_empty() {
            s.fault("audience_claims", "must name at least one claim: without one, no token would name an audience");
        }
        if ca_file.is_some() && jwks_url.as_ref().is_none_or(|url| url.scheme_str() != Some("https")) {
            s.fault("ca_file", "vouches for the server of an https jwks_url, and there is none");
        }
        if required && jwks_url.is_none() {
            s.fault("required", "is about keys that are fetched from a jwks_url, and there is none");
        }
        let has_other_audiences = is_exchanged && exchange_audiences.as_ref().is_some_and(|named| !named.is_empty());
        if audiences.as_ref().is_some_and(Vec::is_empty) && !has_other_audiences {
            s.fault("audiences", "must name at least one audience: without one, tokens meant for others would be accepted");
        }
        if is_exchanged && exchange_audiences.as_ref().is_some_and(Vec::is_empty) {
            s.fault(
                "exchange_audiences",
                "must name at least one audience: without one, tokens meant for others would be exchanged",
            );
        }
        if algorithms.as_ref().is_some_and(Vec::is_empty) {
            s.fault("algorithms", "must name at least one algorithm");
        }
        if jwks_url.is_some() && algorithms.iter().flatten().any(|algorithm| algorithm.is_symmetric()) {
            s.fault("algorithms", "symmetric algorithms (HS…) need jwks_file: a secret that can be fetched is none");
        }
        if minimum_interval > refresh_interval {
            s.fault("minimum_interval", "must not be longer than refresh_interval");
        }
        let jwks = match (jwks_file, jwks_url) {
            (Some(file), None) => Some(JwksSource::File(file)),
            (None, Some(url)) => Some(JwksSource::Url(url)),
            (None, None) if s.has_any(&["jwks_file", "jwks_url"]) => None,
            (None, None) => {
                s.fault("jwks_file", "is missing; allowed is one of jwks_file and jwks_url");
                None
            }
            (Some(_), Some(_)) => {
                s.fault("jwks_url", "`jwks_file` is given too; allowed is one of the two");
                None
            }
        };
        Some(Self {
            issuer: issuer?,
            algorithms: algorithms?,
            jwks: jwks?,
            types,
            leeway,
            lifetime_max,
            refresh_interval,
            minimum_interval,
            fetch_timeout,
            subject_claim,
            subjects: subjects?,
            trusted_claims,
            audience_claims,
            required,
            ca_file,
            scope_claims,
            exchange,
            exchange_audiences: exchange_audiences.or_else(|| audiences.clone()).unwrap_or_default(),
            audiences: audiences?,
            exchange_claims,
            exchange_scopes,
        })
    }

    /// Whether its tokens become sessions of ours.
    #[must_use]
    pub fn is_exchanged(&self) -> bool {
        self.exchange != ExchangeRule::Never
    }
}

/// Exactly one of the two must be given: a subject that is not distinguished from our users is one of them.
fn read_subjects(s: &mut Section<'_>) -> Option<IssuerSubjects> {
    let prefix = s.optional(
        "subject_prefix",
        parse::filled_text().then(|text| {
            SubjectPrefix::new(&text).map_err(|error| match error {
                NameError::TooLong => format!("is longer than {PREFIX_BYTES_MAX} bytes"),
                NameError::Empty | NameError::ControlCharacter => error.to_string(),
            })
        }),
    );
    let shares = s.read("shares_subjects", parse::flag());
    match (prefix, shares) {
        (Some(prefix), false) => Some(IssuerSubjects::Prefixed(prefix)),
        (None, true) if !s.has_any(&["subject_prefix"]) => Some(IssuerSubjects::Shared),
        (None, false) if !s.has_any(&["subject_prefix"]) => {
            let choice = "set subject_prefix = \"partner:\" if they are users of its own, who are then told apart by it everywhere, \
                          or shares_subjects = true if they are the very users of the API";
            s.fault("subject_prefix", format!("is missing: it must be said whom this issuer's subjects name; {choice}"));
            None
        }
        (Some(_), true) => {
            s.fault(
                "shares_subjects",
                "`subject_prefix` is given too; allowed is one of subject_prefix and shares_subjects = true",
            );
            None
        }
        // What was given is wrong, and was noted.
        (None, true | false) => None,
    }
}

fn trusted_claim() -> Reading<String> {
    parse::filled_text().then(|name| {
        if RESERVED_CLAIMS.contains(&name.as_str()) {
            return Err(format!("the gateway judges this claim itself; not allowed: {}", RESERVED_CLAIMS.join(", ")));
        }
        Ok(name)
    })
}

pub(super) fn algorithm() -> Reading<Algorithm> {
    let names = || Algorithm::ALL.iter().map(ToString::to_string);
    let allowed = move || names().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let algorithm = parse::text().then(|text| text.parse().map_err(|_| String::new()));
    algorithm.or_say(move || format!("allowed: {}", allowed())).written(Form::Words(names().collect()))
}

/// A party that can change a key set in transit can forge tokens, so TLS is required except on the same machine.
fn jwks_url() -> Reading<Uri> {
    parse::text().like(r"^[Hh][Tt][Tt][Pp][Ss]?://").then(|text| https_or_loopback(&text))
}

fn https_or_loopback(text: &str) -> Parsed<Uri> {
    const ALLOWED: &str = "allowed is \"https://host/path\", or \"http://…\" on a loopback address";
    let uri: Uri = text.parse().map_err(|_| ALLOWED.to_owned())?;
    let Some(host) =
        uri.host().filter(|_| uri.authority().is_some_and(|a| !a.as_str().contains('@') && parse::has_sound_port(a)))
    else {
        return Err(ALLOWED.to_owned());
    };
    let is_loopback = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if is_loopback => Ok(uri),
        _ => Err(ALLOWED.to_owned()),
    }
}
