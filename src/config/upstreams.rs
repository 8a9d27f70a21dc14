//! `[upstreams.NAME]`: where requests are sent.

use std::ops::{Index, IndexMut};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::health::Health;
use super::listeners::CertificateFiles;
use super::parse;
use super::reading::{Form, Reading};
use super::section::Section;
use super::setting::open_settings;
use super::targets::Targets;
use crate::domain::affinity::{Balance, HashBy};
use crate::domain::ejection::EjectionRules;
use crate::domain::host::Host;
use crate::domain::per_upstream::{PerUpstream, UpstreamIndex};
use crate::domain::share::Share;

/// An API that stands behind the gateway.
#[derive(Clone, Debug)]
pub struct Upstream {
    pub name: Arc<str>,
    pub targets: Targets,
    /// How often the names of its targets are resolved.
    pub resolve_interval: Duration,
    pub connect_timeout: Duration,
    /// How long it may take none of the bytes that there are of a request.
    pub write_timeout: Duration,
    /// From the end of the request to the end of the response's head; routes may set their own.
    pub response_timeout: Duration,
    /// Once a response has begun: how long no byte may move, in either direction; routes may set their own.
    pub body_idle_timeout: Duration,
    /// How long an unused connection is kept. Shorter than what the upstream itself allows.
    pub idle_timeout: Duration,
    /// Unused connections kept to each address, for each worker.
    pub connections_idle_max: usize,
    /// Connections to each address, of all workers. `None`: as many as there are requests.
    pub connections_max: Option<u32>,
    /// How long a request waits for one of them.
    pub connections_wait: Duration,
    /// Of so many requests in a hundred, one may be sent to another server after one of them may have got it.
    pub retries: Share,
    /// By what its requests are divided among its servers.
    pub balance: Balance,
    pub protocol: UpstreamProtocol,
    /// For [`UpstreamProtocol::Http2`].
    pub http2: UpstreamHttp2,
    pub ejection: EjectionRules,
    /// `None`: nobody asks how its servers are.
    pub health: Option<Health>,
    pub host: HostField,
    /// PEM certificates to trust for `https` instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// What servers are shown that ask for a certificate.
    pub client_certificate: Option<CertificateFiles>,
    /// What their certificates must name, instead of the host of the URL.
    pub server_name: Option<String>,
}

/// The Host field that the upstream sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostField {
    /// As the client sent it.
    Preserve,
    /// Host and port of the target's URL.
    Replace,
}

/// What the word of `balance` stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum BalanceBy {
    LeastRequests,
    Hash,
}

open_settings!(HostField, BalanceBy, HashBy);

/// What is spoken with an upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpstreamProtocol {
    Http1,
    Http2,
}

open_settings!(UpstreamProtocol);

/// What one connection carries on which HTTP/2 is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpstreamHttp2 {
    /// Requests at once.
    pub streams_max: u32,
    /// How many bytes of one response's body may wait for its client.
    pub stream_window_bytes: u32,
}

/// Well below the largest window that HTTP/2 knows, 2 GiB.
const STREAM_WINDOW_BYTES_MAX: u64 = 1 << 24;

impl Upstream {
    /// `None` when its URL or the path of its probes is missing or wrong, after that was noted.
    fn read(name: &str, s: &mut Section<'_>) -> Option<Self> {
        let second = Duration::from_secs(1);
        let targets = Targets::read(s);
        let resolve_interval = s.read("resolve_interval", parse::duration(second, 3600 * second));
        let connect_timeout = s.read("connect_timeout", parse::duration(second / 100, 60 * second));
        let write_timeout = s.read("write_timeout", parse::duration(second / 100, 3600 * second));
        let response_timeout = s.read("response_timeout", parse::duration(second / 100, 3600 * second));
        let body_idle_timeout = s.read("body_idle_timeout", parse::duration(second / 10, 86_400 * second));
        let idle_timeout = s.read("idle_timeout", parse::duration(second / 10, 3600 * second));
        let connections_idle_max = s.read("connections_idle_max", parse::count(0, 100_000));
        let connections_max = s.optional("connections_max", parse::number_u32(1, 1_000_000));
        let connections_wait = s.read("connections_wait", parse::duration(second / 100, 60 * second));
        let retries = s.read("retries", parse::percentage());
        let balance = balance(s);
        let protocol =
            s.read("protocol", parse::choice(&[("http1", UpstreamProtocol::Http1), ("http2", UpstreamProtocol::Http2)]));
        let ejection = EjectionRules {
            failures: s.read("eject_after", parse::number_u32(0, 1000)),
            pause: s.read("eject_for", parse::duration(second, 3600 * second)),
            slow_start: s.read("slow_start", parse::duration(Duration::ZERO, 3600 * second)),
            slow_factor: Some(s.read("eject_slow_factor", slow_factor())).filter(|factor| *factor > 0),
        };
        let host = s.read("host", parse::choice(&[("preserve", HostField::Preserve), ("replace", HostField::Replace)]));
        let ca_file = s.optional("ca_file", parse::path());
        let certificate = s.optional("client_certificate_file", parse::path());
        let key = s.key_file("client_key_file");
        let server_name = s.optional("server_name", server_name());
        // Tables of their own: behind all keys of this one.
        let http2 = s.section("http2", |s| Self::read_http2(s, protocol));
        let health = s.has_any(&["health"]).then(|| s.section("health", Health::read));
        let (targets, health) = (targets?, health.map_or(Some(None), |health| health.map(Some))?);
        let client_certificate = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(CertificateFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => {
                s.fault("client_certificate_file", "needs `client_key_file`, the key of the certificate");
                None
            }
            (None, Some(_)) => {
                s.fault("client_key_file", "needs `client_certificate_file`, the certificate of the key");
                None
            }
        };
        for key in ["ca_file", "client_certificate_file", "client_key_file", "server_name"] {
            if !targets.is_tls() && s.has_any(&[key]) {
                s.fault(key, "has no meaning for an http upstream; allowed with \"https://…\" alone");
            }
        }
        Some(Self {
            name: name.into(),
            targets,
            resolve_interval,
            connect_timeout,
            write_timeout,
            response_timeout,
            body_idle_timeout,
            idle_timeout,
            connections_idle_max,
            connections_max,
            connections_wait,
            retries,
            balance,
            protocol,
            http2,
            ejection,
            health,
            host,
            ca_file,
            client_certificate,
            server_name,
        })
    }

    fn read_http2(s: &mut Section<'_>, protocol: UpstreamProtocol) -> UpstreamHttp2 {
        let streams_max = s.read("streams_max", parse::number_u32(1, 10_000));
        let window = s.read("stream_window_bytes", parse::memory(1 << 14, STREAM_WINDOW_BYTES_MAX));
        for key in ["streams_max", "stream_window_bytes"] {
            if protocol == UpstreamProtocol::Http1 && !s.has_default(key) {
                s.fault(key, "has no meaning without protocol = \"http2\"");
            }
        }
        UpstreamHttp2 { streams_max, stream_window_bytes: u32::try_from(window).unwrap_or(u32::MAX) }
    }
}

/// A name or an address, without a port. An IPv6 address is without brackets, as in certificates.
fn server_name() -> Reading<String> {
    parse::text().then(|text| {
        let host = Host::parse(text.as_bytes()).ok().filter(|host| host.port().is_none());
        host.map(|host| host.name().trim_matches(['[', ']']).to_owned())
            .ok_or_else(|| "allowed is a name or an address, without a port, such as \"api.internal\"".to_owned())
    })
}

/// 0 is off.
fn slow_factor() -> Reading<u32> {
    let factor = parse::number_u32(0, 1000).then(|factor| if factor == 1 { Err(String::new()) } else { Ok(factor) });
    let form = Form::Either(vec![Form::Integer { min: 0, max: 0 }, Form::Integer { min: 2, max: 1000 }]);
    factor.or_say(|| "allowed is 0, or a whole number from 2 to 1000".to_owned()).written(form)
}

fn balance(s: &mut Section<'_>) -> Balance {
    let hash_by = parse::choice(&[("subject", HashBy::Subject), ("session", HashBy::Session)]);
    if s.read("balance", parse::choice(&[("least_requests", BalanceBy::LeastRequests), ("hash", BalanceBy::Hash)]))
        == BalanceBy::Hash
    {
        return Balance::Hash(s.read("hash_by", hash_by));
    }
    s.meaningless("hash_by", hash_by, "has no meaning without balance = \"hash\"");
    Balance::LeastRequests
}

/// All upstreams, by name in alphabetical order. Never empty, and every [`UpstreamIndex`] of the same settings is the position of one.
#[derive(Clone, Debug)]
pub struct Upstreams(PerUpstream<Upstream>);

impl Upstreams {
    pub fn iter(&self) -> std::slice::Iter<'_, Upstream> {
        self.0.iter()
    }

    /// For each upstream something.
    ///
    /// # Errors
    /// The first for which it cannot be had.
    pub fn try_map<T, E>(&self, each: impl FnMut(&Upstream) -> Result<T, E>) -> Result<PerUpstream<T>, E> {
        self.0.try_map(each)
    }
}

impl<'a> IntoIterator for &'a Upstreams {
    type Item = &'a Upstream;
    type IntoIter = std::slice::Iter<'a, Upstream>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Index<UpstreamIndex> for Upstreams {
    type Output = Upstream;

    fn index(&self, index: UpstreamIndex) -> &Upstream {
        self.0.get(index).expect("an index of these settings")
    }
}

impl IndexMut<UpstreamIndex> for Upstreams {
    fn index_mut(&mut self, index: UpstreamIndex) -> &mut Upstream {
        self.0.get_mut(index).expect("an index of these settings")
    }
}

/// The upstreams that the settings name, while the rest of the settings is read: some may be faulty, and there may be none.
pub(super) struct NamedUpstreams(PerUpstream<(Arc<str>, Option<Upstream>)>);

impl NamedUpstreams {
    pub(super) fn read(root: &mut Section<'_>) -> Self {
        Self(PerUpstream::new(root.named("upstreams", |name, s| (name.into(), Upstream::read(name, s)))))
    }

    /// Whether there is none at all: that fault is noted once, and not for each reference.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The upstream of that name; for an empty name the one called [`UPSTREAM_DEFAULT`], or the only one.
    pub(super) fn resolve(&self, name: &str) -> Result<UpstreamIndex, String> {
        let called = |wanted: &str| self.0.position(|(name, _)| &**name == wanted);
        let found = match (name, self.0.iter().len()) {
            ("", 1) => Some(UpstreamIndex::FIRST),
            ("", _) => called(UPSTREAM_DEFAULT),
            (name, _) => called(name),
        };
        found.ok_or_else(|| {
            let names: Vec<String> = self.0.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            format!("names no upstream that is there; allowed: {}", names.join(", "))
        })
    }

    /// `None` for a faulty one.
    pub(super) fn at(&self, index: UpstreamIndex) -> Option<&Upstream> {
        self.0.get(index)?.1.as_ref()
    }

    /// `None` when there is none, or a faulty one.
    pub(super) fn complete(self) -> Option<Upstreams> {
        let complete = self.0.try_map(|(_, upstream)| upstream.clone().ok_or(())).ok()?;
        (!complete.is_empty()).then_some(Upstreams(complete))
    }
}

/// The upstream that is meant where none is named.
pub const UPSTREAM_DEFAULT: &str = "default";
