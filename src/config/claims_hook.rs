//! `[claims_hook]`: which upstream is asked, on refresh, for a subject's present claims.

use std::time::Duration;

use super::parse;
use super::section::Section;
use super::setting::open_settings;
use super::upstreams::NamedUpstreams;
use crate::domain::per_upstream::UpstreamIndex;
use crate::domain::secret::Secret;
use crate::domain::session_policy::WithoutClaims;

#[derive(Clone, Debug)]
pub struct ClaimsHook {
    pub upstream: UpstreamIndex,
    pub path: String,
    /// Authenticates the gateway to the upstream.
    pub token: Option<Secret<String>>,
    /// From the request to the end of the response.
    pub timeout: Duration,
    pub response_bytes_max: usize,
    pub on_failure: WithoutClaims,
}

open_settings!(WithoutClaims);

/// Clients give a refresh up after ten seconds.
const TIMEOUT_MAX: Duration = Duration::from_secs(8);

impl ClaimsHook {
    /// `None`: off, or without the upstream that it names, after that was noted.
    pub(super) fn read(s: &mut Section<'_>, upstreams: &NamedUpstreams) -> Option<Self> {
        let path = s.read("path", parse::or_off(parse::url_path()));
        let name = s.read("upstream", parse::text());
        let token = s.secret(
            "token",
            "token_file",
            parse::password().like(r"^[!-~]+$").then(|token| {
                let is_visible = token.expose().bytes().all(|byte| byte.is_ascii_graphic());
                if is_visible { Ok(token) } else { Err("allowed are visible ASCII characters".to_owned()) }
            }),
        );
        let timeout = s.read("timeout", parse::duration(Duration::from_millis(10), TIMEOUT_MAX));
        let response_bytes_max = s.read("response_bytes_max", parse::memory(1 << 10, 1 << 20));
        let on_failure = s.read("on_failure", parse::choice(&[("keep", WithoutClaims::Keep), ("refuse", WithoutClaims::Refuse)]));
        let path = path?;
        match upstreams.resolve(&name) {
            Ok(upstream) => Some(Self { upstream, path, token, timeout, response_bytes_max, on_failure }),
            Err(message) => {
                // Without any upstream the fault is noted once, for all.
                if !upstreams.is_empty() {
                    s.fault("upstream", message);
                }
                None
            }
        }
    }
}
