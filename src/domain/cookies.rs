//! Cookies (RFC 6265) as bytes: what browsers send, of which only the gateway's own are understood.
//!
//! A browser sends the cookies of all who could set one, and their names and values may be anything that a field may be. So a field is
//! never read as text: it is cut at its semicolons, and what one pair is changes nothing for the others.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod own;
pub mod set_by_others;

use http::HeaderMap;
use http::header::COOKIE;

use super::claims::Denial;

pub use own::{
    ATTRIBUTE_BYTES_MAX, CookieMode, FormerCookie, HOST_PREFIX, NAME_BYTES_MAX, NewCookies, OwnCookies, SECURE_PREFIX, SameSite,
    Slot,
};

/// What a request has under one name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent<'a> {
    /// Nothing, or nothing but empty values, as of cookies that were cleared.
    Nothing,
    Once(&'a [u8]),
    /// Two with a value. Which of them was set by whom cannot be told, even where they are the same.
    Repeatedly,
}

/// Looks for a cookie by its whole name.
#[must_use]
pub fn find<'a>(headers: &'a HeaderMap, name: &str) -> Sent<'a> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|field| segments(field.as_bytes()));
    let mut values = pairs.filter_map(name_and_value).filter(|(own, value)| *own == name.as_bytes() && !value.is_empty());
    match (values.next(), values.next()) {
        (None, _) => Sent::Nothing,
        (Some((_, value)), None) => Sent::Once(value),
        (Some(_), Some(_)) => Sent::Repeatedly,
    }
}

/// The token in the cookie of that name. What is no text is kept as a text that is no token: something was sent.
///
/// # Errors
/// Two of them: one was set by someone else.
pub fn token<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Denial> {
    match find(headers, name) {
        Sent::Nothing => Ok(None),
        Sent::Once(value) => Ok(Some(std::str::from_utf8(value).unwrap_or(NO_TEXT))),
        Sent::Repeatedly => Err(Denial::CookieRepeated),
    }
}

/// Stands for a value that is no text.
pub const NO_TEXT: &str = "\u{fffd}";

/// Whether one of the gateway's `own` cookies came along, cleared ones too.
#[must_use]
pub fn are_among(headers: &HeaderMap, own: &[String]) -> bool {
    headers.get_all(COOKIE).iter().flat_map(|field| segments(field.as_bytes())).any(|segment| is_own(segment, own))
}

/// Appends the value of one field of all cookies but the gateway's `own`, as they came; nothing where there are none. Servers do not
/// agree on what several fields mean, so those become one, as RFC 9113, section 8.2.3, has it.
pub fn write_others(headers: &HeaderMap, own: &[String], out: &mut Vec<u8>) {
    let begin = out.len();
    for field in headers.get_all(COOKIE) {
        let before = out.len();
        if before > begin {
            out.extend_from_slice(b"; ");
        }
        if !write_field_without(field.as_bytes(), own, out) {
            out.truncate(before);
        }
    }
}

/// Whether anything is left of the field. Each own pair goes with one semicolon; nothing else is touched.
fn write_field_without(field: &[u8], own: &[String], out: &mut Vec<u8>) -> bool {
    if !segments(field).any(|segment| is_own(segment, own)) {
        out.extend_from_slice(field);
        return !field.is_empty();
    }
    let begin = out.len();
    let mut is_filled = false;
    for segment in segments(field).filter(|segment| !is_own(segment, own)) {
        if out.len() == begin {
            out.extend_from_slice(segment.trim_ascii_start());
        } else {
            out.push(b';');
            out.extend_from_slice(segment);
        }
        is_filled |= !segment.trim_ascii().is_empty();
    }
    is_filled
}

fn is_own(segment: &[u8], own: &[String]) -> bool {
    name_and_value(segment).is_some_and(|(name, _)| own.iter().any(|own| own.as_bytes() == name))
}

fn segments(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.split(|byte| *byte == b';')
}

/// Name and value of a pair; a cookie without a name has no `=`. Quotes are part of a value, and a semicolon between them ends it.
fn name_and_value(segment: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = segment.iter().position(|byte| *byte == b'=')?;
    Some((segment[..at].trim_ascii(), segment[at + 1..].trim_ascii()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(fields: &[&[u8]]) -> HeaderMap {
        fields.iter().map(|field| (COOKIE, HeaderValue::from_bytes(field).unwrap())).collect()
    }

    fn found(fields: &[&'static [u8]]) -> Option<Vec<u8>> {
        match find(&headers(fields), "s") {
            Sent::Nothing => None,
            Sent::Once(value) => Some(value.to_vec()),
            Sent::Repeatedly => Some(b"twice".to_vec()),
        }
    }

    fn others(fields: &[&[u8]]) -> String {
        let mut out = Vec::new();
        write_others(&headers(fields), &["s".to_owned(), "r".to_owned()], &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn a_cookie_is_found_whatever_stands_beside_it() {
        let beside: [&'static [u8]; 12] = [
            "n=Zoë; s=x=y".as_bytes(),
            b"n=\xff\xfe; s=x=y",
            b"\x80\x81; s=x=y; \xe9=1",
            b"plain; =nameless; ; ;; s=x=y",
            b"a=\"q; s=x=y; b=q\"",
            b"a=1,2 3\t; s=x=y;",
            b"  s = x=y ",
            b"ss=1; S=2; s=x=y",
            b"s; s=x=y",
            b"s=; s=x=y",
            b"[object Object]; {}=1; s=x=y",
            b"$Version=1; s=x=y; $Path=/",
        ];
        for field in beside {
            assert_eq!(found(&[field]).as_deref(), Some(&b"x=y"[..]), "{}", field.escape_ascii());
        }
        assert_eq!(found(&[b"a=\xe9", b"s=x"]).as_deref(), Some(&b"x"[..]), "HTTP/2 may split the field");
        assert_eq!(found(&[b"s=\xe9"]).as_deref(), Some(&b"\xe9"[..]), "ours, and no token");
    }

    #[test]
    fn a_token_is_text_or_none_of_anybody() {
        assert_eq!(token(&headers(&[b"a=\xe9; s=x=y"]), "s"), Ok(Some("x=y")));
        assert_eq!(token(&headers(&[b"s=\xe9"]), "s"), Ok(Some(NO_TEXT)));
        assert_eq!(token(&headers(&[b"s=; S=x; as=y"]), "s"), Ok(None));
        assert_eq!(token(&headers(&[b"s=x", b"s=x"]), "s"), Err(Denial::CookieRepeated));
    }

    #[test]
    fn an_own_cookie_is_seen_among_others_though_it_was_cleared() {
        let are_among = |fields: &[&[u8]]| are_among(&headers(fields), &["s".to_owned(), "r".to_owned()]);
        assert!(are_among(&[b"a=1;  r =x"]) && are_among(&[b"a=1", b"b=\xe9; s="]));
        assert!(!are_among(&[]) && !are_among(&[b"a=1; rr=x; S=1; b= r=x", b"s"]));
    }

    #[test]
    fn what_only_looks_alike_is_no_cookie_of_ours() {
        let alike: [&[u8]; 8] = [b"", b"s", b"s=", b"S=x", b"as=x", b"sa=x", b"a=s=x", b"a=1, s=x"];
        for field in alike {
            assert_eq!(find(&headers(&[field]), "s"), Sent::Nothing, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn of_two_with_a_value_none_is_chosen() {
        for fields in [&[&b"s=x; s=x"[..]][..], &[b"s=x", b"s=y"], &[b"s=\xe9; s=x"], &[b"s=x; a=1; s =y"]] {
            assert_eq!(find(&headers(fields), "s"), Sent::Repeatedly);
        }
    }

    #[test]
    fn what_is_not_ours_goes_on_byte_for_byte() {
        let untouched: [&[u8]; 6] = [b"a=1;b=2 ;  c=3;", b"a=\"q;w\"", b"plain", b"=x; y", b";;a=1", b"a=1,2\t;b= s=3"];
        for field in untouched {
            assert_eq!(others(&[field]).as_bytes(), field);
        }
        let mut out = Vec::new();
        write_others(&headers(&["n=Zoë; s=1; m=\u{e9}".as_bytes()]), &["s".to_owned()], &mut out);
        assert_eq!(out, "n=Zoë; m=\u{e9}".as_bytes());
        for (fields, left) in [
            (&[&b"a=1; s=x; b=2"[..]][..], "a=1; b=2"),
            (&[b"s=x; a=1;b=2"], "a=1;b=2"),
            (&[b"a=1 ;s=x"], "a=1 "),
            (&[b"s=x; r=y; s=z"], ""),
            (&[b"s=x; ;"], ""),
            (&[b""], ""),
            (&[b"a=1", b"s=x", b"b=2; r=y"], "a=1; b=2"),
            (&[b"s=x", b"a=1"], "a=1"),
        ] {
            assert_eq!(others(fields), left, "{fields:?}");
        }
    }
}
