//! What a body is said to be (RFC 9110, section 8.3), and what it should be (section 12.5.1).

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

use super::field_list;

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

/// How much Accept wants the first of these media ranges that it names, in thousandths; 0 where it names none.
#[must_use]
pub fn accepted_weight(headers: &HeaderMap, ranges: &[&str]) -> u16 {
    let members = || field_list::members(headers, &ACCEPT).filter_map(|member| std::str::from_utf8(member).ok()).map(range);
    let of = |wanted: &&str| members().find(|(range, _)| range.eq_ignore_ascii_case(wanted)).map(|(_, weight)| weight);
    ranges.iter().find_map(of).unwrap_or(0)
}

/// A media range without its parameters, and its weight in thousandths (RFC 9110, section 12.4.2).
fn range(text: &str) -> (&str, u16) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let Some((whole, fraction)) = weight.map(|weight| weight.split_once('.').unwrap_or((weight, ""))) else {
        return (name, 1000);
    };
    let thousandths =
        fraction.bytes().chain(*b"000").take(3).fold(0, |sum, digit| sum * 10 + u16::from(digit.wrapping_sub(b'0').min(9)));
    (name, if whole == "1" { 1000 } else { thousandths })
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

    #[test]
    fn the_first_range_that_accept_names_has_its_weight() {
        let weight = |accept: &str, ranges: &[&str]| {
            let headers = [(ACCEPT, HeaderValue::from_bytes(accept.as_bytes()).unwrap())].into_iter().collect();
            accepted_weight(&headers, ranges)
        };
        let html = ["text/html", "text/*", "*/*"];
        for (accept, thousandths) in [
            ("text/html", 1000),
            ("TEXT/HTML ; level=1; Q=0.5, */*", 500),
            ("application/json, text/*;q=0.25", 250),
            ("é, */*;q=0.001", 1),
            ("text/html;q=0", 0),
            ("application/json", 0),
            ("", 0),
        ] {
            assert_eq!(weight(accept, &html), thousandths, "{accept}");
        }
    }
}
