//! `[tokens]`, `[keys]`, `[refresh]`, `[sessions]`, `[revocation]`: how tokens are issued, how long they live, how they are revoked.

use std::path::PathBuf;
use std::time::Duration;

use super::parse;
use super::section::Section;
use super::setting::open_settings;
use super::store::Store;
use crate::domain::algorithm::Algorithm;
use crate::domain::deployment_secret::DeploymentSecret;
use crate::domain::revocation::{Retention, TooShort};
use crate::domain::session_policy::ReusePolicy;
use crate::domain::time::{CLOCK_SKEW_MAX, Timestamp};

const MINUTE: Duration = Duration::from_secs(60);
/// Tokens are dated by whole seconds: of less, too much would depend on where in its second one is issued.
const LIFETIME_MIN: Duration = Duration::from_secs(5);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Algorithms of the keys that the gateway makes itself. RSA keys are brought along as files.
const GENERATED: [(&str, Algorithm); 3] = [("ES256", Algorithm::Es256), ("EdDSA", Algorithm::EdDsa), ("HS256", Algorithm::Hs256)];

/// The largest token, unless the settings say otherwise or there is less room.
const BYTES_MAX_DEFAULT: usize = 12 << 10;

/// The largest token that fits into a head and into a body, in bytes. Tokens come in heads, and in bodies where they are revoked,
/// introspected or exchanged.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenRoom {
    pub(super) in_head: usize,
    pub(super) in_body: usize,
}

/// What a head holds beside its token: other fields, and other cookies.
const HEAD_ROOM: usize = 2048;
/// What a body holds beside its token.
const BODY_ROOM: usize = 1024;

impl TokenRoom {
    /// Of small heads and bodies half.
    pub(super) fn of(header_bytes_max: usize, body_bytes_max: usize) -> Self {
        let beside = |whole: usize, other: usize| whole.saturating_sub(other).max(whole / 2);
        Self { in_head: beside(header_bytes_max, HEAD_ROOM), in_body: beside(body_bytes_max, BODY_ROOM) }
    }
}

/// Access tokens of our own.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub issuer: String,
    /// Scheme, host and port of the issuer; `None` where it is no URL (RFC 8414, section 2).
    pub origin: Option<String>,
    /// What `aud` says, and of which a token must name at least one. Never empty.
    pub audience: Vec<String>,
    /// Of keys that are made; each key on disk has its own.
    pub algorithm: Algorithm,
    pub lifetime: Duration,
    /// How far clocks may differ, for `exp` and `nbf` of our own tokens.
    pub leeway: Duration,
    /// The largest token that is issued or accepted, of any issuer, in bytes.
    pub bytes_max: usize,
    /// Verified tokens remembered, for each worker.
    pub cache_entries: usize,
}

impl Tokens {
    pub(super) fn read(s: &mut Section<'_>, room: TokenRoom) -> Self {
        let issuer = s.read("issuer", parse::filled_text());
        let tokens = Self {
            origin: origin_of(&issuer),
            issuer,
            audience: s.read("audience", parse::list(parse::filled_text())),
            algorithm: s.read("algorithm", parse::choice(&GENERATED)),
            lifetime: s.read("lifetime", parse::duration(LIFETIME_MIN, DAY)),
            leeway: s.read("leeway", parse::duration(Duration::ZERO, CLOCK_SKEW_MAX)),
            bytes_max: s
                .optional("bytes_max", parse::memory(1 << 10, 1 << 20))
                .unwrap_or_else(|| BYTES_MAX_DEFAULT.min(room.in_head).min(room.in_body)),
            cache_entries: s.read("cache_entries", parse::count(0, 10_000_000)),
        };
        if tokens.audience.is_empty() {
            s.fault("audience", "must name at least one audience");
        }
        if tokens.leeway >= tokens.lifetime {
            s.fault("leeway", "must be shorter than tokens.lifetime");
        }
        tokens
    }
}

/// Scheme, host and port of an issuer, where it is a URL as RFC 8414, section 2, has it.
fn origin_of(issuer: &str) -> Option<String> {
    let url = url::Url::parse(issuer).ok()?;
    let is_plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    let is_web = matches!(url.scheme(), "https" | "http") && url.has_host();
    (is_plain && is_web).then(|| url.origin().ascii_serialization())
}

/// The key ring.
#[derive(Clone, Debug)]
pub struct Keys {
    /// `None`: made at start and kept in memory alone.
    pub directory: Option<PathBuf>,
    /// The `kid` of the key that signs; `None`: the only one that can.
    pub signing: Option<String>,
    /// Whether keys (and the refresh secret) that are missing are made at start: only where no other node must have the same.
    pub generate: bool,
}

/// Refresh tokens and their rotation.
#[derive(Clone, Debug)]
pub struct Refresh {
    /// The first makes tokens, the others only verify. Empty: one is made and kept beside the keys.
    pub secrets: Vec<DeploymentSecret>,
    pub leeway: Duration,
    pub idle_lifetime: Duration,
    pub absolute_lifetime: Duration,
    pub rotation: bool,
    pub reuse: ReusePolicy,
    /// How long generations that were seen are collected before the store is told.
    pub acknowledge_interval: Duration,
    /// Until when refresh tokens of someone else, imported, are looked up. `None`: never.
    pub imported_until: Option<Timestamp>,
}

open_settings!(ReusePolicy);

impl Refresh {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let refresh = Self {
            secrets: s.secret("secret", "secret_file", parse::deployment_secrets()).unwrap_or_default(),
            leeway: s.read("leeway", parse::duration(Duration::ZERO, 10 * MINUTE)),
            idle_lifetime: s.read("idle_lifetime", parse::duration(MINUTE, 3650 * DAY)),
            absolute_lifetime: s.read("absolute_lifetime", parse::duration(MINUTE, 3650 * DAY)),
            rotation: s.read("rotation", parse::flag()),
            reuse: s.read("reuse", parse::choice(&[("revoke", ReusePolicy::Revoke), ("refuse", ReusePolicy::Refuse)])),
            acknowledge_interval: s.read("acknowledge_interval", parse::duration(MINUTE / 6000, MINUTE)),
            imported_until: s.read("imported_until", parse::or_off(parse::moment())),
        };
        if refresh.idle_lifetime > refresh.absolute_lifetime {
            s.fault("idle_lifetime", "must not be longer than refresh.absolute_lifetime");
        }
        if refresh.leeway >= refresh.idle_lifetime {
            s.fault("leeway", "must be shorter than refresh.idle_lifetime");
        }
        refresh
    }
}

#[derive(Clone, Debug)]
pub struct Sessions {
    /// Live sessions of one subject; more end the oldest. `None`: unlimited.
    pub per_subject_max: Option<u32>,
}

impl Sessions {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let per_subject_max = s.read("per_subject_max", parse::number_u32(0, 10_000));
        Self { per_subject_max: Some(per_subject_max).filter(|max| *max > 0) }
    }
}

/// The replica of the revocations that every node holds.
#[derive(Clone, Debug)]
pub struct Revocation {
    /// How long the log may stay unconfirmed before protected routes return 503.
    pub max_staleness: Duration,
    /// How long a read of the log waits for new entries; its end is the heartbeat.
    pub heartbeat: Duration,
    /// How long a revocation is kept.
    pub retention: Retention,
    /// Between two canaries by which the node measures the delay of the log.
    pub canary_interval: Duration,
}

impl Revocation {
    /// `needed`: the shortest retention that covers every accepted token.
    pub(super) fn read(s: &mut Section<'_>, needed: Retention) -> Self {
        let max_staleness = s.read("max_staleness", parse::duration(Duration::from_secs(1), HOUR));
        let heartbeat = s.read("heartbeat", parse::duration(Duration::from_millis(50), MINUTE));
        let retention = s.optional("retention", parse::duration(MINUTE, 400 * DAY));
        let canary_interval = s.read("canary_interval", parse::duration(Duration::from_millis(50), HOUR));
        if heartbeat * 3 > max_staleness {
            s.fault("heartbeat", "must be at most a third of revocation.max_staleness: one lost heartbeat is no fault");
        }
        let retention = retention.map_or(needed, |span| {
            needed.extended_to(span).unwrap_or_else(|TooShort { needed: shortest }| {
                let shortest = parse::duration_text(shortest);
                s.fault(
                    "retention",
                    format!("must be at least {shortest}: a revoked token that lives longer would be accepted again"),
                );
                needed
            })
        });
        Self { max_staleness, heartbeat, retention, canary_interval }
    }
}

/// The folder of the keys and the `kid` of the signing one, as they are written.
pub(super) fn read_keys(s: &mut Section<'_>) -> (Option<PathBuf>, Option<String>) {
    (s.optional("directory", parse::path()), s.optional("signing", parse::filled_text()))
}

impl Keys {
    /// Beside the embedded store's data unless a folder is named.
    pub(super) fn kept_for(store: &Store, directory: Option<PathBuf>, signing: Option<String>) -> Self {
        let beside = match store {
            Store::Embedded(embedded) => Some(embedded.directory.join("keys")),
            Store::Memory | Store::Redis(_) => None,
        };
        Self { directory: directory.or(beside), signing, generate: !store.is_shared() }
    }
}
