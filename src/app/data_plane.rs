//! Settings as the data plane takes them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use http::HeaderValue;

use super::{StartError, files};
use crate::config::{self, HostField, Settings};
use crate::domain::headers::RewriteRules;
use crate::domain::headers::forwarded::Forwarding;
use crate::domain::per_upstream::{PerUpstream, UpstreamIndex};
use crate::domain::routing::Routing;
use crate::domain::time::Clock;
use crate::proxy::auth::admission::AdmissionOptions;
use crate::proxy::listener::{Listener, ListenerOptions};
use crate::proxy::policy::{AccessCookie, LoginRules, Policy};
use crate::proxy::route_limits::RouteLimits;
use crate::proxy::seats::SeatLimits;
use crate::proxy::upstream::{ExchangeTimeouts, Target, Tls, UpstreamOptions};

/// The gateway's name in Via.
const VIA: HeaderValue = HeaderValue::from_static("1.1 tokengate");

pub(super) fn listeners(settings: &Settings, listeners: Vec<Listener>) -> ListenerOptions {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let listen = &settings.listen;
    ListenerOptions {
        listeners,
        workers: if listen.workers == 0 { cores } else { listen.workers },
        share_port: listen.share_port,
    }
}

pub(super) fn upstreams(settings: &Settings) -> Result<PerUpstream<UpstreamOptions>, StartError> {
    settings.upstreams.try_map(upstream)
}

fn routing(settings: &Settings) -> Result<Routing<UpstreamOptions>, StartError> {
    // Where the settings name none, no endpoint asks for it.
    let login = settings.login.upstream.unwrap_or(UpstreamIndex::FIRST);
    Ok(Routing::new(Arc::new(settings.routes.table().clone()), login, upstreams(settings)?)?)
}

pub(super) fn upstream(upstream: &config::Upstream) -> Result<UpstreamOptions, StartError> {
    let fault = |key: &'static str, error: String| StartError::Upstream { name: Arc::clone(&upstream.name), key, error };
    let name = upstream.url.server_name();
    let tls = match (upstream.url.is_tls(), &upstream.ca_file) {
        (false, _) => None,
        (true, None) => Some(Tls::of_web(name).map_err(|error| fault("url", error))?),
        (true, Some(file)) => {
            let of_file = |error: String| fault("ca_file", format!("{}: {error}", file.display()));
            let pem = files::read(file, files::PEM_BYTES_MAX).map_err(|error| of_file(format!("cannot be read: {error}")))?;
            Some(Tls::of_authorities(name, &pem).map_err(of_file)?)
        }
    };
    Ok(UpstreamOptions {
        name: Arc::clone(&upstream.name),
        target: Target { host: name.to_owned(), port: upstream.url.port(), tls },
        base_path: upstream.url.base_path().into(),
        own_host: upstream.url.host().field().clone(),
        replaces_host: match upstream.host {
            HostField::Preserve => false,
            HostField::Replace => true,
        },
        connect_timeout: upstream.connect_timeout,
        write_timeout: upstream.write_timeout,
        idle_timeout: upstream.idle_timeout,
        idle_max: upstream.connections_idle_max,
    })
}

/// All that the settings say to the data plane. `former` are the limits that are in force, if any are.
pub(super) fn policy(settings: &Settings, clock: &Arc<dyn Clock>, former: Option<&RouteLimits>) -> Result<Policy, StartError> {
    let listen = &settings.listen;
    let fields = settings.identity.fields();
    let cookies = settings.cookies.clone();
    let own_cookies = cookies.as_ref().map_or_else(Vec::new, |cookies| cookies.own.names().to_vec());
    let forwarding = Forwarding::new(listen.trusted_peers.clone());
    Ok(Policy {
        routing: routing(settings)?,
        limits: RouteLimits::new(settings.routes.listed(), settings.limits.entries_max, clock, former),
        login: login(settings),
        rewrite: RewriteRules::new(fields, &settings.headers.remove, own_cookies, forwarding, VIA),
        access_cookie: cookies.map(|cookies| AccessCookie { own: cookies.own, origins: cookies.origins }),
        cors: settings.cors.clone(),
        ipv6_prefix: settings.limits.ipv6_prefix,
        own_body_bytes_max: settings.endpoints.body_bytes_max as u64,
        own_body_rate_min: listen.body_rate_min,
        request_id_from: listen.request_id_from,
        unnamed_proxy_told: AtomicBool::new(false),
        client: listen.limits,
        seats: SeatLimits { connections_max: listen.connections_max, per_address_max: listen.connections_per_address_max },
        admission: AdmissionOptions {
            cache_entries_max: settings.tokens.cache_entries,
            max_staleness: settings.revocation.max_staleness,
        },
    })
}

fn login(settings: &Settings) -> LoginRules {
    let upstream = &settings.upstreams[settings.login.upstream.unwrap_or(UpstreamIndex::FIRST)];
    LoginRules {
        timeouts: ExchangeTimeouts { response: upstream.response_timeout, idle: upstream.body_idle_timeout },
        answer_bytes_max: settings.login.answer_bytes_max,
    }
}
