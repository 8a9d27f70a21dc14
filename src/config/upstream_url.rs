//! Where an upstream is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use http::Uri;
use http::uri::Authority;

use super::parse;
use super::reading::Reading;
use super::setting::open_settings;
use crate::domain::host::Host;

/// `http` or `https`, a host, a port where it differs from the scheme's, and a path that is put before those of requests; or a socket of
/// this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamUrl {
    is_tls: bool,
    authority: Authority,
    host: Host,
    base_path: String,
    socket: Option<PathBuf>,
}

/// What a socket of this machine is called in Host.
const LOCAL: &str = "localhost";

/// The longest path that the system takes for a socket.
const SOCKET_PATH_BYTES_MAX: usize = 107;

open_settings!(UpstreamUrl);

impl UpstreamUrl {
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Where it is, if it is a socket of this machine.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// `unix:/run/api.sock`.
    fn of_socket(path: &str) -> Option<Self> {
        let is_sound = path.starts_with('/') && !path.ends_with('/') && path.len() <= SOCKET_PATH_BYTES_MAX;
        if !is_sound || path.contains(char::is_control) {
            return None;
        }
        let host = Host::parse(LOCAL.as_bytes()).ok()?;
        let (authority, base_path) = (Authority::from_static(LOCAL), String::new());
        Some(Self { is_tls: false, authority, host, base_path, socket: Some(path.into()) })
    }

    /// What is connected to and what a certificate must name. An IPv6 address is without brackets.
    pub fn server_name(&self) -> &str {
        self.authority.host().trim_matches(['[', ']'])
    }

    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.is_tls { 443 } else { 80 })
    }

    /// The canonical form of host and port, for the Host field.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// What is put before the paths of requests: canonical, without a slash at its end; empty where there is nothing.
    pub fn base_path(&self) -> &str {
        &self.base_path
    }
}

/// `scheme://host[:port][/path]` and nothing more.
pub(super) fn upstream_url() -> Reading<UpstreamUrl> {
    parse::text().like(r"^([Hh][Tt][Tt][Pp][Ss]?://[^/?#\s]|unix:/).*$").then(|text| text.parse())
}

impl FromStr for UpstreamUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const ALLOWED: &str = "allowed is \"http://host:port\" or \"https://host:port\", and a path such as \"/v2\" where requests \
                               are to have one put before theirs: without user, query, fragment, empty, \".\" and \"..\" segments, \
                               and without % ; \\ or characters beyond ASCII; or \"unix:/path/of/a/socket\", of 107 bytes at most";
        // A parsed URI has lost its fragment.
        let read = || {
            if let Some(path) = text.strip_prefix("unix:") {
                return Self::of_socket(path);
            }
            let uri: Uri = text.parse().ok().filter(|_| !text.contains('#'))?;
            let is_tls = match uri.scheme_str() {
                Some("http") => false,
                Some("https") => true,
                _ => return None,
            };
            let authority = uri.authority().filter(|authority| parse::has_sound_port(authority))?.clone();
            let host = Host::parse(authority.as_str().as_bytes()).ok()?;
            let is_plain = parse::is_url_path(uri.path()) && uri.query().is_none();
            is_plain.then(|| Self {
                is_tls,
                authority,
                host,
                base_path: uri.path().trim_end_matches('/').to_owned(),
                socket: None,
            })
        };
        read().ok_or_else(|| ALLOWED.to_owned())
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.socket {
            return write!(f, "unix:{}", path.display());
        }
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.base_path)
    }
}
