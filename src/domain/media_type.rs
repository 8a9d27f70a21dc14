//! What a body is said to be (RFC 9110, section 8.3).

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// Type and subtype, without parameters: those of the one Content-Type. Read as bytes, since a parameter may be anything.
fn essence(headers: &HeaderMap) -> Option<&[u8]> {
    let mut fields = headers.get_all(CONTENT_TYPE).iter();
    let (field, None) = (fields.next()?, fields.next()) else { return None };
    Some(field.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii())
}

/// Whether it is exactly this.
#[must_use]
pub fn is(headers: &HeaderMap, wanted: &str) -> bool {
    essence(headers).is_some_and(|essence| essence.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// Whether it is JSON, by its name or by its suffix (RFC 6839, section 3.1).
#[must_use]
pub fn is_json(headers: &HeaderMap) -> bool {
    essence(headers).is_some_and(|essence| {
        let essence = essence.to_ascii_lowercase();
        essence == b"application/json" || essence.starts_with(b"application/") && essence.ends_with(b"+json")
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (CONTENT_TYPE, HeaderValue::from_bytes(value.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn a_parameter_changes_nothing_whatever_its_bytes() {
        for value in ["application/json", "Application/JSON ; charset=utf-8", "application/json; x=\"é;\"", "application/a+json;"]
        {
            assert!(is_json(&headers(&[value])), "{value}");
        }
        for value in ["", "text/json", "application/jsonp", "x-application/json", "application/json+xml", "json"] {
            assert!(!is_json(&headers(&[value])), "{value}");
        }
        assert!(!is_json(&headers(&["application/json", "application/json"])), "which of two counts is anybody's guess");
        assert!(is(&headers(&["application/x-www-form-urlencoded; v=é"]), "application/x-www-form-urlencoded"));
    }
}
