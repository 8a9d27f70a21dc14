//! Fields whose values are lists with commas (RFC 9110, section 5.6.1), read as bytes.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The members of one field, without the whitespace around them. Empty ones are among them: whether they count is for the field to say.
pub fn members_of(field: &HeaderValue) -> impl DoubleEndedIterator<Item = &[u8]> {
    field.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// The members of all fields of that name, which mean the same as one field.
pub fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).iter().flat_map(members_of)
}

/// Whether a word is among the members, in any case.
#[must_use]
pub fn has(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    members(headers, name).any(|member| member.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::header::CONNECTION;

    use super::*;

    #[test]
    fn several_fields_are_one_list_and_words_are_whole() {
        let fields: [&[u8]; 3] = [b"Keep-Alive ,\tx", b"", b"a=\xff,,Upgrade"];
        let headers: HeaderMap = fields.iter().map(|field| (CONNECTION, HeaderValue::from_bytes(field).unwrap())).collect();
        let found: Vec<&[u8]> = members(&headers, &CONNECTION).collect();
        assert_eq!(found, [&b"Keep-Alive"[..], b"x", b"", b"a=\xff", b"", b"Upgrade"]);
        assert!(members(&headers, &CONNECTION).rev().eq(found.into_iter().rev()));
        assert!(has(&headers, &CONNECTION, "keep-alive") && has(&headers, &CONNECTION, "upgrade"));
        assert!(!has(&headers, &CONNECTION, "keep") && !has(&headers, &CONNECTION, "upgraded"));
    }
}
