//! Responses that a route gives without an upstream.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use crate::domain::host::Host;
use crate::domain::path::{CanonicalTarget, PathError};

/// The client is sent elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirect {
    pub to: Destination,
    pub status: StatusCode,
}

/// Where to. Scheme and host are always the operator's: nothing of a request can stand before the end of its host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Destination {
    /// A URL, or a path on the same host. Without a slash at its end where something follows.
    base: String,
    has_host: bool,
    tail: Tail,
}

/// What of a request follows the base.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tail {
    Nothing,
    /// Its canonical path, and the query.
    Path,
    /// What follows the route's prefix in that, and the query.
    Rest,
}

const PATH: &str = "{path}";
const REST: &str = "{rest}";

impl Destination {
    /// The value of Location. `rest` is what follows the route's prefix in the path.
    ///
    /// # Errors
    /// It would name another host: a browser takes what follows two slashes for one.
    pub fn location(&self, target: &CanonicalTarget<'_>, rest: &str) -> Result<HeaderValue, PathError> {
        let (path, query) = match self.tail {
            Tail::Nothing => ("", ""),
            Tail::Path => (target.path(), target.query()),
            Tail::Rest => (rest, target.query()),
        };
        let base = if self.base.is_empty() && path.is_empty() { "/" } else { &self.base };
        if !self.has_host && base.is_empty() && path.starts_with("//") {
            return Err(PathError::LooksLikeHost);
        }
        HeaderValue::try_from([base, path, query].concat()).map_err(|_| PathError::BadCharacter)
    }
}

const ALLOWED: &str = "allowed is a path such as \"/new\" or a URL such as \"https://new.example.com/docs\", with {path} (the path) or \
                       {rest} (what follows the prefix) at its end, if anywhere, and no slash before that";

impl FromStr for Destination {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (base, tail) = match (text.strip_suffix(PATH), text.strip_suffix(REST)) {
            (Some(base), _) => (base, Tail::Path),
            (_, Some(base)) => (base, Tail::Rest),
            (None, None) => (text, Tail::Nothing),
        };
        let has_tail = tail != Tail::Nothing;
        let is_visible = base.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte));
        let is_open = has_tail && (base.ends_with('/') || base.contains(['?', '#']));
        if !is_visible || is_open || base.is_empty() && !has_tail {
            return Err(ALLOWED);
        }
        if base.is_empty() {
            return Ok(Self { base: String::new(), has_host: false, tail });
        }
        let (before_fragment, _) = base.split_once('#').unwrap_or((base, ""));
        let uri: Uri = before_fragment.parse().map_err(|_| ALLOWED)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        CanonicalTarget::parse(path).ok().filter(|target| target.path_and_query() == path).ok_or(ALLOWED)?;
        let is_of_web = |scheme: &Scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS;
        let has_host = match (uri.scheme(), uri.authority()) {
            (None, None) => false,
            (Some(scheme), Some(authority)) if is_of_web(scheme) && is_host(authority) => true,
            _ => return Err(ALLOWED),
        };
        if !has_host && !base.starts_with('/') { Err(ALLOWED) } else { Ok(Self { base: base.to_owned(), has_host, tail }) }
    }
}

/// A host, and perhaps a port; no user.
fn is_host(authority: &Authority) -> bool {
    Host::parse(authority.as_str().as_bytes()).is_ok()
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tail = match self.tail {
            Tail::Nothing => "",
            Tail::Path => PATH,
            Tail::Rest => REST,
        };
        write!(f, "{}{tail}", self.base)
    }
}

/// The same response to everyone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FixedResponse {
    pub status: StatusCode,
    pub fields: HeaderMap,
    pub body: Bytes,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn location(to: &str, target: &str, rest: &str) -> Result<String, PathError> {
        let location = to.parse::<Destination>().unwrap().location(&CanonicalTarget::parse(target).unwrap(), rest)?;
        Ok(location.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_redirect_keeps_what_it_is_to_keep() {
        for (to, target, rest, location_expected) in [
            ("/new{path}", "/a/b?q=1", "/b", "/new/a/b?q=1"),
            ("/new{rest}", "/a/b?q=1", "/b", "/new/b?q=1"),
            ("/new{rest}", "/a?q", "", "/new?q"),
            ("{rest}", "/a/b", "/b", "/b"),
            ("{rest}", "/a", "", "/"),
            ("https://new.example:8443{path}", "/a", "", "https://new.example:8443/a"),
            ("https://new.example{rest}", "/a//evil.example", "//evil.example", "https://new.example//evil.example"),
            ("https://new.example/x?y=1#z", "/a?q=1", "", "https://new.example/x?y=1#z"),
            ("/", "/a?q=1", "", "/"),
        ] {
            assert_eq!(location(to, target, rest).as_deref(), Ok(location_expected), "{to} {target}");
        }
    }

    #[test]
    fn nothing_of_a_request_becomes_a_host() {
        assert_eq!(location("{rest}", "/a//evil.example", "//evil.example"), Err(PathError::LooksLikeHost));
        assert_eq!(location("/new{rest}", "/a//evil.example", "//evil.example").as_deref(), Ok("/new//evil.example"));
    }

    #[test]
    fn a_destination_names_its_host_itself() {
        for bad in [
            "",
            "new",
            "//new.example",
            "//new.example{path}",
            "///x",
            "https://{path}",
            "https:/{path}",
            "https://new.example/{path}",
            "/new/{rest}",
            "/new?x={path}",
            "/{path}/x",
            "/new{host}",
            "https://user@new.example/",
            "https://new.example:99999/",
            "javascript:alert(1)",
            "ftp://new.example/",
            "/a/../b",
            "/new\\x",
            "/new\r\nset-cookie: x",
            "/neü",
            "*",
            "new.example:80",
        ] {
            assert!(bad.parse::<Destination>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_redirect_stays_where_the_operator_sends_it(target in "/[a-z./%&:@;=?]{0,12}", to in 0..4_usize, cut in 0..6_usize) {
            if let Ok(target) = CanonicalTarget::parse(&target) {
                let path = target.path();
                let rest = path.get(cut..).filter(|rest| rest.starts_with('/')).unwrap_or_default();
                let (to, begin) = [("{path}", "/"), ("{rest}", "/"), ("/n{rest}", "/n"), ("https://h.example{rest}", "https://h.example")][to];
                if let Ok(location) = to.parse::<Destination>().unwrap().location(&target, rest) {
                    let location = location.to_str().unwrap();
                    prop_assert!(location.starts_with(begin) && !location.starts_with("//"), "{}", location);
                    let behind = &location[begin.len()..];
                    prop_assert!(begin == "/" || behind.is_empty() || behind.starts_with(['/', '?']), "{}", location);
                }
            }
        }
    }
}
