//! Cookies that an upstream sets.

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue};

/// Removes what would set a cookie of one of the names, as a browser reads it.
pub fn remove(headers: &mut HeaderMap, names: &[String]) {
    let is_own = |field: &HeaderValue| names.iter().any(|name| sets(field.as_bytes(), name.as_bytes()));
    // Almost always there is none: look first, collect only then.
    if names.is_empty() || !headers.get_all(SET_COOKIE).iter().any(is_own) {
        return;
    }
    let others: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().filter(|field| !is_own(field)).cloned().collect();
    headers.remove(SET_COOKIE);
    for other in others {
        headers.append(SET_COOKIE, other);
    }
}

/// Whether the field sets a cookie of that name, or one without a name that is sent back as if it had that.
fn sets(field: &[u8], name: &[u8]) -> bool {
    let pair = field.split(|byte| *byte == b';').next().unwrap_or_default();
    let pair = pair.trim_ascii().strip_prefix(b"=").unwrap_or(pair).trim_ascii();
    pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii() == name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(fields: &[&'static str]) -> Vec<String> {
        let mut headers: HeaderMap = HeaderMap::new();
        for field in fields {
            headers.append(SET_COOKIE, HeaderValue::from_static(field));
        }
        remove(&mut headers, &["s".to_owned(), "r".to_owned()]);
        headers.get_all(SET_COOKIE).iter().map(|field| field.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_a_browser_would_send_back_under_an_own_name_is_not_set() {
        for own in ["s=x", "s=", " s\t= x; Path=/; Domain=example.com", "r=y; HttpOnly", "=s=x", " = s=x", "s", "s; Path=/"] {
            assert!(left(&[own]).is_empty(), "{own}");
        }
        assert_eq!(left(&["a=1; Path=/", "s=x", "b=s=x", "r=y"]), ["a=1; Path=/", "b=s=x"], "the order stays");
    }

    #[test]
    fn all_other_cookies_are_the_upstreams() {
        let others = ["S=x", "ss=x", "as=x", "a=1; s=x", "\"s\"=x", "s.1=x", ""];
        assert_eq!(left(&others), others);
    }
}
