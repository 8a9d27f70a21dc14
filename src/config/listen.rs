//! `[listen]`, `[node]`, `[shutdown]`, `[reload]`, `[admin]`, `[log]`: the process and its edges.

use std::time::Duration;

use ipnet::IpNet;

use super::access_log::AccessLog;
use super::address::ListenAddress;
use super::listeners::NamedListeners;
use super::parse;
use super::reading::Reading;
use super::section::Section;
use super::setting::open_settings;
use crate::domain::client_limits::{ClientLimits, Http2Limits, LingerLimits};
use crate::domain::headers::trace::RequestIdFrom;
use crate::domain::pace::ByteRate;
use crate::domain::secret::Secret;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What the listeners for clients have in common, and what one client may take up.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Data-plane threads; 0: one per core.
    pub workers: usize,
    /// Open client connections of the process; more wait in the backlog.
    pub connections_max: usize,
    /// Of one address, trusted peers excepted. `None`: as many as there are places.
    pub connections_per_address_max: Option<usize>,
    /// Whether other processes may listen at the same address.
    pub share_port: bool,
    pub limits: ClientLimits,
    /// The fewest bytes of a request's body in a second, in the long run; routes may set their own. `None`: any.
    pub body_rate_min: Option<ByteRate>,
    /// Peers whose X-Forwarded-* and Forwarded fields are believed.
    pub trusted_peers: Vec<IpNet>,
    pub request_id_from: RequestIdFrom,
}

impl Listen {
    /// And the address that is the short form of one listener; `None`: there are `[[listeners]]`.
    pub(super) fn read(s: &mut Section<'_>, listeners: &NamedListeners) -> (Self, Option<ListenAddress>) {
        let address = if listeners.is_empty() {
            Some(s.read("address", parse::address()))
        } else {
            let mend = "is the short form of one listener; beside [[listeners]] it belongs there: [[listeners]] address = …";
            s.meaningless("address", parse::address(), mend);
            None
        };
        (Self::read_common(s), address)
    }

    fn read_common(s: &mut Section<'_>) -> Self {
        use RequestIdFrom::{Anyone, Nobody, TrustedPeers};
        let mut listen = Self {
            workers: s.read("workers", parse::count(0, 1024)),
            connections_max: s.read("connections_max", parse::count(1, 10_000_000)),
            connections_per_address_max: s.optional("connections_per_address_max", parse::count(1, 10_000_000)),
            share_port: s.read("share_port", parse::flag()),
            limits: read_limits(s),
            body_rate_min: s.read("body_rate_min", parse::byte_rate()),
            trusted_peers: s.read("trusted_peers", parse::list(parse::network())),
            request_id_from: s.read(
                "request_id_from",
                parse::choice(&[("nobody", Nobody), ("trusted_peers", TrustedPeers), ("anyone", Anyone)]),
            ),
        };
        // A table of its own: behind all keys of this one.
        listen.limits.http2 = s.section("http2", read_http2);
        listen
    }
}

fn read_limits(s: &mut Section<'_>) -> ClientLimits {
    ClientLimits {
        handshake_timeout: s.read("handshake_timeout", parse::duration(SECOND / 10, 5 * MINUTE)),
        header_timeout: s.read("header_timeout", parse::duration(SECOND / 10, 5 * MINUTE)),
        idle_timeout: s.read("idle_timeout", parse::duration(SECOND / 10, HOUR)),
        body_idle_timeout: s.read("body_idle_timeout", parse::duration(SECOND / 10, HOUR)),
        write_timeout: s.read("write_timeout", parse::duration(SECOND / 10, HOUR)),
        header_bytes_max: s.read("header_bytes_max", parse::memory(1 << 10, 1 << 20)),
        header_count_max: s.read("header_count_max", parse::count(10, 1000)),
        linger: LingerLimits {
            bytes_max: s.read("linger_bytes_max", parse::size(0, 1 << 40)),
            timeout: s.read("linger_timeout", parse::duration(Duration::ZERO, HOUR)),
        },
        http2: None,
    }
}

/// Well below the largest window that HTTP/2 knows, 2 GiB.
const HTTP2_WINDOW_BYTES_MAX: u64 = 1 << 30;

fn read_http2(s: &mut Section<'_>) -> Option<Http2Limits> {
    let is_enabled = s.read("enabled", parse::flag());
    let limits = Http2Limits {
        streams_max: s.read("streams_max", parse::number_u32(1, 10_000)),
        stream_window_bytes: s.read("stream_window_bytes", parse::memory(1 << 14, HTTP2_WINDOW_BYTES_MAX)),
        connection_window_bytes: s.read("connection_window_bytes", parse::memory(1 << 16, HTTP2_WINDOW_BYTES_MAX)),
        resets_max: s.read("resets_max", parse::number_u32(10, 1_000_000)),
        control_frames_max: s.read("control_frames_max", parse::number_u32(100, 10_000_000)),
        ping_interval: s.read("ping_interval", parse::or_off(parse::duration(SECOND, HOUR))),
        ping_timeout: s.read("ping_timeout", parse::duration(SECOND / 10, 5 * MINUTE)),
    };
    is_enabled.then_some(limits)
}

/// This process among those that share the store.
#[derive(Clone, Debug)]
pub struct Node {
    /// For people. `None`: the machine's name and the port of the listener.
    pub name: Option<String>,
}

/// The most characters of a node's name.
const NODE_NAME_CHARS_MAX: usize = 64;

impl Node {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let name = parse::filled_text().then(|name| {
            let is_short = name.chars().count() <= NODE_NAME_CHARS_MAX;
            if is_short { Ok(name) } else { Err(format!("allowed are up to {NODE_NAME_CHARS_MAX} characters")) }
        });
        Self { name: s.optional("name", name) }
    }
}

/// What happens between SIGTERM and the end of the process.
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// How long `/readyz` says no before connections are refused, so that balancers notice.
    pub drain_delay: Duration,
    /// How long requests in flight may take to finish after that.
    pub drain_deadline: Duration,
}

impl Shutdown {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        Self {
            drain_delay: s.read("drain_delay", parse::duration(Duration::ZERO, 5 * MINUTE)),
            drain_deadline: s.read("drain_deadline", parse::duration(Duration::ZERO, HOUR)),
        }
    }
}

/// When the settings are read again.
#[derive(Clone, Copy, Debug)]
pub struct Reloading {
    /// Whenever the settings file says something else, beside when it is asked for.
    pub watch: bool,
}

impl Reloading {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        Self { watch: s.read("watch", parse::flag()) }
    }
}

/// The listener for operators.
#[derive(Clone, Debug)]
pub struct Admin {
    /// `None`: off.
    pub address: Option<ListenAddress>,
    /// The bearer token that calls must carry. Always there unless the address is a loopback one.
    pub token: Option<Secret<String>>,
}

/// The fewest characters of the token that guards the admin listener.
const ADMIN_TOKEN_CHARS_MIN: usize = 16;

impl Admin {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let address = s.read("address", parse::or_off(parse::own_address()));
        let token = s.secret(
            "token",
            "token_file",
            parse::password().like(r"^[!-~]+$").then(|token| {
                let is_fit =
                    token.expose().len() >= ADMIN_TOKEN_CHARS_MIN && token.expose().bytes().all(|b| b.is_ascii_graphic());
                let refusal = || format!("allowed are {ADMIN_TOKEN_CHARS_MIN} or more visible ASCII characters");
                if is_fit { Ok(token) } else { Err(refusal()) }
            }),
        );
        if address.as_ref().is_some_and(|address| !address.is_loopback())
            && token.is_none()
            && !s.has_any(&["token", "token_file"])
        {
            s.fault(
                "address",
                "an admin listener that others can reach needs admin.token or admin.token_file; \
                 allowed without one is a loopback address, or \"\" to switch it off",
            );
        }
        Self { address, token }
    }
}

#[derive(Clone, Debug)]
pub struct Log {
    pub format: LogFormat,
    /// Directives of tracing-subscriber's `EnvFilter`: `info`, or `info,tokengate::proxy=debug`.
    pub level: String,
    /// `None`: off.
    pub access: Option<AccessLog>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    Text,
    Json,
}

open_settings!(LogFormat, RequestIdFrom);

impl Log {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        Self {
            format: s.read("format", parse::choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)])),
            level: s.read("level", log_level()),
            access: s.section("access", AccessLog::read),
        }
    }
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

fn log_level() -> Reading<String> {
    parse::filled_text().then(|text| {
        let is_directive = |directive: &str| {
            let (target, level) = directive.rsplit_once('=').unwrap_or(("all", directive));
            let is_target = !target.is_empty() && target.bytes().all(|b| b.is_ascii_alphanumeric() || b == b':' || b == b'_');
            is_target && LEVELS.contains(&level)
        };
        if text.split(',').all(is_directive) {
            return Ok(text);
        }
        Err(format!("allowed is one of {}, or for parts such as \"info,tokengate::proxy=debug\"", LEVELS.join(", ")))
    })
}
