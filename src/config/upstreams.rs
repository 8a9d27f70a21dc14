//! `[upstreams.NAME]`: where requests are sent.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::parse;
use super::section::Section;
use super::setting::open_settings;

/// An API that stands behind the gateway.
#[derive(Clone, Debug)]
pub struct Upstream {
    pub name: Arc<str>,
    /// `http` or `https`, host, a port where it differs from the scheme's, and a path; nothing else.
    pub url: Uri,
    pub connect_timeout: Duration,
    /// How long it may take none of the bytes that there are of a request.
    pub write_timeout: Duration,
    /// From the end of the request to the end of the response's head; routes may set their own.
    pub response_timeout: Duration,
    /// Once a response has begun: how long no byte may move, in either direction; routes may set their own.
    pub body_idle_timeout: Duration,
    /// How long an unused connection is kept. Shorter than what the upstream itself allows.
    pub idle_timeout: Duration,
    /// Unused connections kept, for each worker.
    pub connections_idle_max: usize,
    pub host: HostField,
    /// PEM certificates to trust for `https` instead of the public ones.
    pub ca_file: Option<PathBuf>,
}

/// The Host field that the upstream sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostField {
    /// As the client sent it.
    Preserve,
    /// Host and port of the upstream's URL.
    Replace,
}

open_settings!(HostField);

impl Upstream {
    pub fn is_tls(&self) -> bool {
        self.url.scheme_str() == Some("https")
    }

    /// An IPv6 address is in brackets.
    pub fn host(&self) -> &str {
        self.url.host().unwrap_or_default()
    }

    pub fn port(&self) -> u16 {
        self.url.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    /// What is put before the paths of requests: canonical, without a slash at its end; empty where there is nothing.
    pub fn base_path(&self) -> &str {
        self.url.path().trim_end_matches('/')
    }

    pub(super) fn read(name: &str, s: &mut Section<'_>) -> Self {
        let second = Duration::from_secs(1);
        let url = s.require("url", parse::base_url);
        let upstream = Self {
            name: name.into(),
            url: url.clone().unwrap_or_default(),
            connect_timeout: s.read("connect_timeout", parse::duration(second / 100, 60 * second)),
            write_timeout: s.read("write_timeout", parse::duration(second / 100, 3600 * second)),
            response_timeout: s.read("response_timeout", parse::duration(second / 100, 3600 * second)),
            body_idle_timeout: s.read("body_idle_timeout", parse::duration(second / 10, 86_400 * second)),
            idle_timeout: s.read("idle_timeout", parse::duration(second / 10, 3600 * second)),
            connections_idle_max: s.read("connections_idle_max", parse::count(0, 100_000)),
            host: s.read("host", parse::choice(&[("preserve", HostField::Preserve), ("replace", HostField::Replace)])),
            ca_file: s.optional("ca_file", parse::path),
        };
        if upstream.ca_file.is_some() && url.is_some() && !upstream.is_tls() {
            s.fault("ca_file", "has no meaning for an http upstream; allowed with \"https://…\" alone");
        }
        upstream
    }
}
