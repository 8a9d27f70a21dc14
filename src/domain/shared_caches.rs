//! Caches between the gateway and its clients (RFC 9111), and responses that are for one browser alone.

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::field_list;

/// Fields that some caches go by before Cache-Control, beside those of RFC 9213, whose names end alike.
const TARGETED: [&str; 4] = ["surrogate-control", "edge-control", "x-accel-expires", "x-litespeed-cache-control"];
const TARGETED_ENDING: &str = "cdn-cache-control";

const PRIVATE: &str = "private";

/// Lets no cache keep a response but that of the browser that it is for, whatever an upstream said of it. What the browser's own cache may
/// do stays as it was.
pub fn keep_out(headers: &mut HeaderMap) {
    let targeted: Vec<HeaderName> = headers.keys().filter(|name| is_targeted(name)).cloned().collect();
    for name in targeted {
        headers.remove(name);
    }
    let value = for_one_alone(headers);
    headers.insert(CACHE_CONTROL, value);
}

fn is_targeted(name: &HeaderName) -> bool {
    TARGETED.contains(&name.as_str()) || name.as_str().ends_with(TARGETED_ENDING)
}

fn for_one_alone(headers: &HeaderMap) -> HeaderValue {
    let is_plain = |value: &HeaderValue| value.to_str().is_ok_and(|text| !text.contains('"'));
    // A list of fields within a directive has commas of its own. It bounds what the directive says, and nothing here may.
    if !headers.get_all(CACHE_CONTROL).iter().all(is_plain) {
        return HeaderValue::from_static("private, no-cache");
    }
    let members = field_list::members(headers, &CACHE_CONTROL).filter_map(|member| std::str::from_utf8(member).ok());
    let kept = members.filter(|member| !member.is_empty() && !is_of_shared_caches(member));
    let text = std::iter::once(PRIVATE).chain(kept).collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(PRIVATE))
}

/// What lets others keep it, and what is said anew.
fn is_of_shared_caches(directive: &str) -> bool {
    let name = directive.split('=').next().unwrap_or_default().trim();
    ["public", PRIVATE, "s-maxage", "proxy-revalidate"].iter().any(|other| name.eq_ignore_ascii_case(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept_out(fields: &[(&'static str, &'static str)]) -> Vec<String> {
        let field = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let mut headers = HeaderMap::new();
        for (name, value) in fields.iter().map(field) {
            headers.append(name, value);
        }
        keep_out(&mut headers);
        let mut left: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        left.sort();
        left
    }

    #[test]
    fn no_shared_cache_keeps_it_whatever_the_upstream_said() {
        for (said, left) in [
            (&[][..], "private"),
            (&["public, max-age=60"], "private, max-age=60"),
            (&["max-age=60", "Public", "S-MaxAge=600, immutable"], "private, max-age=60, immutable"),
            (&["s-maxage=60"], "private"),
            (&["no-store"], "private, no-store"),
            (&["private, max-age=0, must-revalidate"], "private, max-age=0, must-revalidate"),
            (&["PRIVATE=\"set-cookie\", max-age=60"], "private, no-cache"),
            (&["no-cache=\"set-cookie, x\", public"], "private, no-cache"),
            (&["", ",, public ,"], "private"),
            (&["public=1, s-maxage = 5"], "private"),
        ] {
            let fields: Vec<_> = said.iter().map(|value| ("cache-control", *value)).collect();
            assert_eq!(kept_out(&fields), [format!("cache-control: {left}")], "{said:?}");
        }
    }

    #[test]
    fn caches_that_go_by_fields_of_their_own_are_told_nothing_else() {
        let fields = [
            ("cdn-cache-control", "max-age=600"),
            ("cloudflare-cdn-cache-control", "max-age=600"),
            ("surrogate-control", "max-age=600"),
            ("x-accel-expires", "600"),
            ("edge-control", "!no-store, max-age=1d"),
            ("etag", "\"a\""),
            ("expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
        ];
        assert_eq!(kept_out(&fields), ["cache-control: private", "etag: \"a\"", "expires: Thu, 01 Jan 2099 00:00:00 GMT"]);
    }
}
