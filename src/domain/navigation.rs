//! Whether a browser is about to show what it gets, as a page, rather than a script to read it.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

use super::media_type;

/// What a browser does with the response (Fetch Metadata); no page can set it.
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// The browser says so, or, if it is older, would rather have HTML than JSON and sends no token.
#[must_use]
pub fn shows_a_page(headers: &HeaderMap) -> bool {
    if let Some(mode) = headers.get(SEC_FETCH_MODE) {
        return mode == "navigate";
    }
    let weight = |names: [&str; 3]| media_type::accepted_weight(headers, &names);
    let prefers_html = weight(["text/html", "text/*", "*/*"]) > weight(["application/json", "application/*", "*/*"]);
    prefers_html && !headers.contains_key(AUTHORIZATION)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn shows(fields: &[(&'static str, &'static str)]) -> bool {
        let field = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        shows_a_page(&fields.iter().map(field).collect())
    }

    #[test]
    fn a_browser_says_so_itself_or_prefers_html() {
        const CHROMIUM: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        assert!(shows(&[("sec-fetch-mode", "navigate"), ("accept", "*/*")]));
        assert!(shows(&[("accept", CHROMIUM)]) && shows(&[("accept", "text/html")]));
        for fields in [
            &[("sec-fetch-mode", "cors"), ("accept", CHROMIUM)][..],
            &[("sec-fetch-mode", "websocket")],
            &[("accept", "*/*")],
            &[("accept", "application/json, text/html;q=0.9")],
            &[("accept", CHROMIUM), ("authorization", "Bearer x")],
            &[],
        ] {
            assert!(!shows(fields), "{fields:?}");
        }
    }
}
