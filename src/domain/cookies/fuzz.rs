//! What must hold for cookies, whatever the bytes are.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use super::{Sent, find, write_others};

/// A Cookie field a line: ours is found if it is there once, whatever the others are; and they go on as they came, without it.
pub fn cookies(bytes: &[u8]) {
    let fields = bytes.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line.trim_ascii()).ok());
    let headers: HeaderMap = fields.map(|field| (COOKIE, field)).collect();
    let own = ["session".to_owned(), "__Host-refresh".to_owned()];

    let named = |pair: &[u8]| pair.iter().position(|byte| *byte == b'=').map(|at| pair[..at].trim_ascii().to_vec());
    let is_own = |pair: &Vec<u8>| named(pair).is_some_and(|name| own.iter().any(|own| own.as_bytes() == name));
    let pairs = pairs_of(&headers);
    for name in &own {
        let values = pairs.iter().filter(|pair| named(pair).is_some_and(|named| named == name.as_bytes()));
        let values: Vec<&[u8]> =
            values.map(|pair| pair.splitn(2, |b| *b == b'=').nth(1).unwrap_or_default().trim_ascii()).collect();
        let filled: Vec<&[u8]> = values.into_iter().filter(|value| !value.is_empty()).collect();
        let expected = match filled[..] {
            [] => Sent::Nothing,
            [value] => Sent::Once(value),
            [_, _, ..] => Sent::Repeatedly,
        };
        assert_eq!(find(&headers, name), expected, "{name}");
    }

    let mut written = Vec::new();
    write_others(&headers, &own, &mut written);
    if written.is_empty() {
        return assert!(pairs.iter().all(|pair| pair.is_empty() || is_own(pair)), "a cookie was lost");
    }
    let value = HeaderValue::from_bytes(&written).expect("a field value");
    let sent: HeaderMap = std::iter::once((COOKIE, value.clone())).collect();
    assert!(own.iter().all(|name| find(&sent, name) == Sent::Nothing), "ours stays here");
    let filled = |pairs: Vec<Vec<u8>>| pairs.into_iter().filter(|pair| !pair.is_empty()).collect::<Vec<_>>();
    let theirs: Vec<Vec<u8>> = pairs.iter().filter(|pair| !is_own(pair)).cloned().collect();
    assert_eq!(filled(pairs_of(&sent)), filled(theirs), "theirs goes on, in its order");
    if headers.len() == 1 && !pairs.iter().any(is_own) {
        assert_eq!(value, headers[COOKIE], "byte for byte");
    }
}

/// Between the semicolons, without the space around.
fn pairs_of(headers: &HeaderMap) -> Vec<Vec<u8>> {
    let fields = headers.get_all(COOKIE).iter().flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    fields.map(|pair| pair.trim_ascii().to_vec()).collect()
}
