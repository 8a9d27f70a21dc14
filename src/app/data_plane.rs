//! Settings as the data plane takes them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use http::HeaderValue;

use super::StartError;
use super::upstream_files::{self, Fault, InUse};
use crate::config::{self, HostField, Settings, UpstreamProtocol};
use crate::crypto::client_identity::ClientIdentity;
use crate::crypto::server_authorities::ServerAuthorities;
use crate::crypto::ticket::Tickets;
use crate::domain::headers::RewriteRules;
use crate::domain::headers::forwarded::Forwarding;
use crate::domain::per_upstream::{PerUpstream, UpstreamIndex};
use crate::domain::routing::Routing;
use crate::domain::time::{Clock, Timestamp};
use crate::proxy::access_log::AccessLog;
use crate::proxy::auth::admission::AdmissionOptions;
use crate::proxy::auth::ticket_reader::TicketReader;
use crate::proxy::policy::{AccessCookie, LoginRules, Policy};
use crate::proxy::route_limits::RouteLimits;
use crate::proxy::seats::SeatLimits;
use crate::proxy::upstream::backends::{BackendRules, Backends, Place, ProbeRules};
use crate::proxy::upstream::{ExchangeTimeouts, Http2Options, Protocol, Target, Tls, UpstreamOptions};

/// The gateway's name in Via.
const VIA: HeaderValue = HeaderValue::from_static("1.1 tokengate");

/// How many threads carry requests.
pub(super) fn workers(settings: &Settings) -> usize {
    match settings.listen.workers {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        workers => workers,
    }
}

/// `former` are those that these settings follow: what stayed of them is kept.
pub(super) fn upstreams(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    former: Option<&PerUpstream<UpstreamOptions>>,
) -> Result<PerUpstream<UpstreamOptions>, StartError> {
    let of_name = |name: &str| former?.iter().find(|former| *former.name == *name);
    settings.upstreams.try_map(|one| upstream(one, clock, of_name(&one.name)))
}

/// The servers of each upstream, by its name.
pub(super) fn backends(policy: &Policy) -> Vec<(Arc<str>, Arc<Backends>)> {
    let named = |upstream: &UpstreamOptions| (Arc::clone(&upstream.name), Arc::clone(&upstream.backends));
    policy.routing.upstreams().iter().map(named).collect()
}

fn routing(settings: &Settings, clock: &Arc<dyn Clock>, former: Option<&Policy>) -> Result<Routing<UpstreamOptions>, StartError> {
    // Where the settings name none, no endpoint asks for it.
    let login = settings.login.upstream.unwrap_or(UpstreamIndex::FIRST);
    let upstreams = upstreams(settings, clock, former.map(|former| former.routing.upstreams()))?;
    Ok(Routing::new(Arc::new(settings.routes.table().clone()), login, upstreams)?)
}

fn upstream(
    upstream: &config::Upstream,
    clock: &Arc<dyn Clock>,
    former: Option<&UpstreamOptions>,
) -> Result<UpstreamOptions, StartError> {
    let rules = BackendRules {
        resolve_interval: upstream.resolve_interval,
        tells_host: matches!(upstream.host, HostField::Replace),
        ejection: upstream.ejection,
        probing: upstream.health.as_ref().map(|health| Arc::new(probing(health))),
    };
    let files = Files::of(upstream, former, clock.now())?;
    let places = places(upstream, &files)?;
    Ok(UpstreamOptions {
        name: Arc::clone(&upstream.name),
        backends: Backends::new(places, rules, Arc::clone(clock), former.map(|former| &*former.backends)),
        identity: files.identity,
        authorities: files.authorities,
        balance: upstream.balance,
        base_path: upstream.targets.base_path().into(),
        replaces_host: match upstream.host {
            HostField::Preserve => false,
            HostField::Replace => true,
        },
        connect_timeout: upstream.connect_timeout,
        write_timeout: upstream.write_timeout,
        idle_timeout: upstream.idle_timeout,
        idle_max: upstream.connections_idle_max,
        connections_max: upstream.connections_max,
        connections_wait: upstream.connections_wait,
        retries: upstream.retries,
        http2: Http2Options { streams_max: upstream.http2.streams_max, stream_window_bytes: upstream.http2.stream_window_bytes },
    })
}

fn probing(health: &config::Health) -> ProbeRules {
    ProbeRules {
        path: health.path.clone(),
        host: health.host.as_ref().map(|host| host.field().clone()),
        statuses: health.statuses.clone(),
        interval: health.interval,
        timeout: health.timeout,
        thresholds: health.thresholds,
    }
}

/// For which of the files of an upstream a start would be refused.
pub(super) fn file_fault(upstream: &config::Upstream) -> Option<StartError> {
    // Nothing is shown yet, so the moment says nothing.
    let files = Files::of(upstream, None, Timestamp::from_secs(0));
    files.and_then(|files| places(upstream, &files)).err()
}

/// What the files of an upstream say of TLS towards it.
struct Files {
    identity: Option<Arc<ClientIdentity>>,
    authorities: Option<Arc<ServerAuthorities>>,
}

impl Files {
    fn of(upstream: &config::Upstream, former: Option<&UpstreamOptions>, now: Timestamp) -> Result<Self, StartError> {
        let fault = |Fault { key, error }| StartError::Upstream { name: Arc::clone(&upstream.name), key, error };
        let identity = upstream_files::identity(upstream, former.and_then(|former| former.identity.as_ref()), now);
        let authorities = upstream_files::authorities(upstream, former.and_then(|former| former.authorities.as_ref()));
        Ok(Self { authorities: authorities.map_err(fault)?, identity: identity.map_err(fault)? })
    }
}

/// What the upstreams have in use of their files.
pub(super) fn in_use(policy: &Policy) -> Vec<InUse> {
    let of_one = |upstream: &UpstreamOptions| InUse {
        upstream: Arc::clone(&upstream.name),
        identity: upstream.identity.clone(),
        authorities: upstream.authorities.clone(),
    };
    policy.routing.upstreams().iter().map(of_one).collect()
}

/// Where the servers of an upstream are.
fn places(upstream: &config::Upstream, files: &Files) -> Result<Vec<Place>, StartError> {
    let fault = |key: &str, error: String| StartError::Upstream { name: Arc::clone(&upstream.name), key: key.to_owned(), error };
    let place = |target: &config::Target| {
        let url = &target.url;
        let name = upstream.server_name.as_deref().unwrap_or_else(|| url.server_name());
        let tls = match &files.authorities {
            _ if !url.is_tls() => None,
            None => Some(Tls::of_web(name)),
            Some(authorities) => Some(Tls::vouched_by(name, Arc::clone(authorities))),
        };
        let tls = tls.transpose().map_err(|error| fault(&target.key, error))?;
        let tls = tls.map(|tls| match &files.identity {
            Some(identity) => tls.showing(Arc::clone(identity)),
            None => tls,
        });
        let place = match url.socket() {
            Some(path) => Target::unix(path.to_owned()),
            None => Target::tcp(url.server_name().to_owned(), url.port(), tls),
        };
        Ok(Place {
            key: target.key.as_str().into(),
            target: place.speaking(match upstream.protocol {
                UpstreamProtocol::Http1 => Protocol::Http1,
                UpstreamProtocol::Http2 => Protocol::Http2,
            }),
            own_host: url.host().field().clone(),
            weight: target.weight,
        })
    };
    upstream.targets.iter().map(place).collect()
}

/// All that the settings say to the data plane. `tickets` reads those of the deployment. `former` is the policy that it follows: upstreams
/// that stayed and limits in force are kept.
pub(super) fn policy(
    settings: &Settings,
    tickets: &Tickets,
    access_log: Option<Arc<AccessLog>>,
    clock: &Arc<dyn Clock>,
    former: Option<&Policy>,
) -> Result<Policy, StartError> {
    let listen = &settings.listen;
    let fields = settings.identity.fields();
    let cookies = settings.cookies.clone();
    let own_cookies = cookies.as_ref().map_or_else(Vec::new, |cookies| cookies.own.names().to_vec());
    let forwarding = Forwarding::new(listen.trusted_peers.clone());
    Ok(Policy {
        routing: routing(settings, clock, former)?,
        limits: RouteLimits::new(
            settings.routes.listed(),
            settings.limits.entries_max,
            clock,
            former.map(|former| &former.limits),
        ),
        login: login(settings),
        rewrite: RewriteRules::new(fields, &settings.headers.remove, own_cookies, forwarding, VIA),
        access_cookie: cookies.map(|cookies| AccessCookie {
            own: cookies.own,
            origins: cookies.origins,
            in_flight: cookies.in_flight,
        }),
        cors: settings.cors.clone(),
        problem_types: settings.errors.types.clone(),
        tickets: TicketReader::new(
            settings.endpoints.paths.ticket.is_some().then(|| settings.tickets.parameter.clone()),
            tickets.clone(),
        ),
        ipv6_prefix: settings.limits.ipv6_prefix,
        own_body_bytes_max: settings.endpoints.body_bytes_max as u64,
        own_body_rate_min: listen.body_rate_min,
        questions: settings.decision.questions.clone(),
        request_id_from: listen.request_id_from,
        unnamed_proxy_told: AtomicBool::new(false),
        client: listen.limits,
        seats: SeatLimits { connections_max: listen.connections_max, per_address_max: listen.connections_per_address_max },
        drain_deadline: settings.shutdown.drain_deadline,
        admission: AdmissionOptions {
            cache_entries_max: settings.tokens.cache_entries,
            max_staleness: settings.revocation.max_staleness,
        },
        access_log,
    })
}

fn login(settings: &Settings) -> LoginRules {
    let upstream = &settings.upstreams[settings.login.upstream.unwrap_or(UpstreamIndex::FIRST)];
    LoginRules {
        timeouts: ExchangeTimeouts { response: upstream.response_timeout, idle: upstream.body_idle_timeout },
        response_bytes_max: settings.login.response_bytes_max,
    }
}
