//! What a route does with a request: forwards it, or responds by itself.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::SEC_WEBSOCKET_EXTENSIONS;

use super::{Beside, fields, response};
use crate::config::parse;
use crate::config::section::Section;
use crate::config::setting::open_settings;
use crate::config::upstreams::NamedUpstreams;
use crate::domain::headers::{AuthorizationRule, FieldEdits};
use crate::domain::pace::ByteRate;
use crate::domain::renewal_prefix::RenewalPrefix;
use crate::domain::route::{Action, Forward, PrefixRule};

open_settings!(AuthorizationRule, RenewalPrefix);

/// `None` only after a fault was noted.
pub(super) fn read(s: &mut Section<'_>, prefix: &str, upstreams: &NamedUpstreams, beside: &Beside<'_>) -> Option<Action> {
    let forwarding = Forwarding::read(s, prefix, beside);
    let redirect = s.has_any(&["redirect"]).then(|| response::redirect(s));
    let respond = s.has_any(&["respond"]).then(|| response::fixed(s));
    match (redirect, respond) {
        (None, None) => forwarding.resolved(s, upstreams).map(Action::Forward),
        (Some(_), Some(_)) => {
            s.fault("respond", "is given beside `redirect`; allowed is one of the two");
            None
        }
        (Some(redirect), None) => {
            forwarding.must_be_left_out(s);
            redirect.map(Action::Redirect)
        }
        (None, Some(respond)) => {
            forwarding.must_be_left_out(s);
            respond.map(Action::Respond)
        }
    }
}

/// The keys that are about forwarding, as they are given. All are read whether the route forwards or not.
struct Forwarding {
    upstream: String,
    prefix: PrefixRule,
    authorization: AuthorizationRule,
    body_bytes_max: u64,
    body_rate_min: Option<ByteRate>,
    idle_timeout: Option<Duration>,
    response_timeout: Option<Duration>,
    websocket_renewal: Option<RenewalPrefix>,
    request_fields: Option<FieldEdits>,
    response_fields: Option<FieldEdits>,
}

impl Forwarding {
    /// Tables come last: in print-config, what follows a table would be another route's.
    fn read(s: &mut Section<'_>, prefix: &str, Beside { listen, identity }: &Beside<'_>) -> Self {
        Self {
            upstream: s.read("upstream", parse::text()),
            prefix: prefix_rule(s, prefix),
            authorization: s.read(
                "authorization",
                parse::choice(&[
                    ("remove_ours", AuthorizationRule::RemoveOurs),
                    ("pass", AuthorizationRule::Pass),
                    ("remove", AuthorizationRule::Remove),
                ]),
            ),
            body_bytes_max: s.read("body_bytes_max", parse::size(0, 1 << 40)),
            body_rate_min: s.optional("body_rate_min", parse::byte_rate()).unwrap_or(listen.body_rate_min),
            idle_timeout: s.optional("idle_timeout", parse::duration(Duration::from_millis(100), Duration::from_hours(24))),
            response_timeout: s.optional("response_timeout", parse::duration(Duration::from_millis(10), Duration::from_hours(1))),
            websocket_renewal: s.optional("websocket_renewal", parse::text().then(|text| text.parse())),
            request_fields: s.section("request_headers", |s| fields::of_requests(s, identity)),
            response_fields: s.section("response_headers", fields::of_responses),
        }
    }

    /// `None` when the route names no upstream that exists, after that was noted.
    fn resolved(self, s: &Section<'_>, upstreams: &NamedUpstreams) -> Option<Forward> {
        let index = match upstreams.resolve(&self.upstream) {
            Ok(found) => found,
            // Without any upstream the fault is noted once, for all.
            Err(message) => {
                if !upstreams.is_empty() {
                    s.fault("upstream", message);
                }
                return None;
            }
        };
        let upstream = upstreams.at(index)?;
        let request_fields = match &self.websocket_renewal {
            // A message of the client is looked at as it was written, not compressed.
            Some(_) => Some(FieldEdits::removing(self.request_fields, &SEC_WEBSOCKET_EXTENSIONS)),
            None => self.request_fields,
        };
        Some(Forward {
            upstream: index,
            prefix: self.prefix,
            authorization: self.authorization,
            request_fields: request_fields.map(Arc::new),
            response_fields: self.response_fields.map(Arc::new),
            body_bytes_max: self.body_bytes_max,
            body_rate_min: self.body_rate_min,
            response_timeout: self.response_timeout.unwrap_or(upstream.response_timeout),
            idle_timeout: self.idle_timeout.unwrap_or(upstream.body_idle_timeout),
            websocket_renewal: self.websocket_renewal,
        })
    }

    /// Where nothing is forwarded, nothing would come of these keys.
    fn must_be_left_out(&self, s: &Section<'_>) {
        let with_default = ["upstream", "strip_prefix", "authorization", "body_bytes_max"].map(|key| (key, !s.has_default(key)));
        let optional = ["replace_prefix", "body_rate_min", "idle_timeout", "response_timeout", "websocket_renewal"];
        let optional = optional.map(|key| (key, s.has_any(&[key])));
        let tables = [("request_headers", self.request_fields.is_some()), ("response_headers", self.response_fields.is_some())];
        for (key, _) in with_default.into_iter().chain(optional).chain(tables).filter(|(_, is_given)| *is_given) {
            s.fault(key, "has no meaning beside `redirect` or `respond`: nothing is forwarded");
        }
    }
}

fn prefix_rule(s: &mut Section<'_>, prefix: &str) -> PrefixRule {
    let strips = s.read("strip_prefix", parse::flag());
    let replacement = s.optional("replace_prefix", parse::url_path());
    match (strips, replacement) {
        (true, Some(_)) => {
            s.fault("replace_prefix", "is given beside `strip_prefix`; allowed is one of the two");
            PrefixRule::Keep
        }
        (true, None) if prefix == "/" => {
            s.fault("strip_prefix", "has no meaning with prefix = \"/\": there is nothing to strip");
            PrefixRule::Keep
        }
        (true, None) => HeaderValue::from_str(prefix).map_or(PrefixRule::Keep, PrefixRule::Strip),
        (false, Some(other)) if other == prefix => {
            s.fault("replace_prefix", "is the prefix itself: nothing would be replaced");
            PrefixRule::Keep
        }
        (false, Some(other)) => PrefixRule::Replace(other),
        (false, None) => PrefixRule::Keep,
    }
}
