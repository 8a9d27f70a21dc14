//! The dashboard: one page of the operators' figures. It holds no figure itself, but asks `/stats` as any program would.

use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderName, HeaderValue, StatusCode};

use super::response::{BoxedResponse, text};

const PAGE: &str = include_str!("dashboard/page.html");
const STYLE: &str = include_str!("dashboard/style.css");
const SCRIPT: &str = include_str!("dashboard/script.js");

/// Nothing from elsewhere, nothing inline, nobody's frame.
const FIELDS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    ),
    (X_FRAME_OPTIONS, "DENY"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
];

const PATHS: [&str; 3] = ["/", "/dashboard.css", "/dashboard.js"];

pub(super) fn is_part(path: &str) -> bool {
    PATHS.contains(&path)
}

/// The part of the page at this path, if there is one.
pub(super) fn part(path: &str) -> Option<BoxedResponse> {
    let (content_type, body) = match path {
        "/" => ("text/html; charset=utf-8", PAGE),
        "/dashboard.css" => ("text/css; charset=utf-8", STYLE),
        "/dashboard.js" => ("text/javascript; charset=utf-8", SCRIPT),
        _ => return None,
    };
    let mut response = text(StatusCode::OK, content_type, body);
    for (name, value) in FIELDS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_its_parts_and_nothing_from_elsewhere() {
        assert!(PAGE.contains("href=\"dashboard.css\"") && PAGE.contains("src=\"dashboard.js\""));
        // The name of a vocabulary, which nobody fetches.
        let script = SCRIPT.replace("http://www.w3.org/2000/svg", "");
        for text in [PAGE, STYLE, &script] {
            assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("@import"), "{text}");
        }
        // What the policy would block is not there.
        assert!(!PAGE.contains("<style") && !PAGE.contains("style=") && !PAGE.contains("onclick"));
        assert!(!SCRIPT.contains("innerHTML") && !SCRIPT.contains("eval("));
    }
}
