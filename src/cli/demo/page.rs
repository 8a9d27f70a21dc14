//! The demo's page: built from `clients/js/demo` and embedded in the binary, so that trying it needs no npm.

use http::header::{CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};

use crate::admin::response::{BoxedResponse, text};

/// Nothing but the page's own files, no markup from strings, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

const FIELDS: [(HeaderName, &str); 4] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

struct File {
    path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

const FILES: [File; 4] = [
    File { path: "/", content_type: "text/html; charset=utf-8", content: include_str!("page/index.html") },
    File { path: "/assets/app.js", content_type: "text/javascript; charset=utf-8", content: include_str!("page/app.js") },
    File { path: "/assets/style.css", content_type: "text/css; charset=utf-8", content: include_str!("page/style.css") },
    File { path: "/assets/icon.svg", content_type: "image/svg+xml", content: include_str!("page/icon.svg") },
];

/// The file at that path, if it is one of the page's.
pub(super) fn file(path: &str) -> Option<BoxedResponse> {
    let file = FILES.iter().find(|file| file.path == path)?;
    let mut response = text(StatusCode::OK, file.content_type, file.content);
    for (name, value) in FIELDS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_and_what_it_names_are_there_and_nothing_else() {
        let page = FILES[0].content;
        let named: Vec<&str> = page.split("/assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(named.len(), 3, "{named:?}");
        for name in named {
            assert!(file(&format!("/assets/{name}")).is_some(), "{name}");
        }
        for path in ["", "/assets", "/assets/", "/assets/../page.rs", "/index.html"] {
            assert!(file(path).is_none(), "{path}");
        }
    }

    #[test]
    fn the_page_runs_its_own_script_alone() {
        let response = file("/").unwrap();
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        assert!(
            !FILES[0].content.contains("<style")
                && !FILES[0].content.contains(" style=")
                && !FILES[0].content.contains("onclick")
        );
    }
}
