//! What stays of a query and of a Referer: nothing that could be a secret, unless its parameter was asked for.

use std::borrow::Cow;

/// Parameters of queries whose values may be shown.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct QueryValues {
    names: Vec<String>,
}

/// Stands in the place of a value.
const REDACTED: &str = "*";

/// In the list of names: all of them.
const ALL: &str = "*";

impl QueryValues {
    #[must_use]
    pub const fn new(names: Vec<String>) -> Self {
        Self { names }
    }

    fn show(&self, name: &str) -> bool {
        self.names.iter().any(|shown| shown == ALL || shown == name)
    }
}

/// A query, without its question mark, with the values of those parameters alone that may be shown. A parameter without `=` may be a value
/// as a whole, and is taken for one.
#[must_use]
pub fn query(query: &str, shown: &QueryValues) -> String {
    let mut redacted = String::with_capacity(query.len().min(256));
    for (index, parameter) in query.split('&').enumerate() {
        if index > 0 {
            redacted.push('&');
        }
        match parameter.split_once('=') {
            _ if parameter.is_empty() => {}
            Some((name, _)) if shown.show(name) => redacted.push_str(parameter),
            None if shown.show(parameter) => redacted.push_str(parameter),
            Some((name, _)) => {
                redacted.push_str(name);
                redacted.push('=');
                redacted.push_str(REDACTED);
            }
            None => redacted.push_str(REDACTED),
        }
    }
    redacted
}

/// A Referer without user, password and fragment, and with its query as [`query`] has it. It need be neither a URL nor text.
#[must_use]
pub fn referer<'a>(referer: &'a [u8], shown: &QueryValues) -> Cow<'a, [u8]> {
    let end_of_url = referer.iter().position(|byte| *byte == b'#').unwrap_or(referer.len());
    let (url, fragment) = referer.split_at(end_of_url);
    let end_of_path = url.iter().position(|byte| *byte == b'?').unwrap_or(url.len());
    let (path, asked) = url.split_at(end_of_path);
    // Without a scheme, what comes first may be an authority all the same.
    let authority = find(path, b"//").map_or(0, |at| at + 2);
    let end = path[authority..].iter().position(|byte| matches!(byte, b'/' | b'\\')).map_or(path.len(), |at| authority + at);
    let host = path[authority..end].iter().rposition(|byte| *byte == b'@').map_or(authority, |at| authority + at + 1);
    if fragment.is_empty() && asked.is_empty() && host == authority {
        return Cow::Borrowed(referer);
    }
    let mut redacted = [&path[..authority], &path[host..]].concat();
    if !asked.is_empty() {
        redacted.push(b'?');
        match std::str::from_utf8(&asked[1..]) {
            Ok(asked) => redacted.extend_from_slice(query(asked, shown).as_bytes()),
            Err(_) => redacted.extend_from_slice(REDACTED.as_bytes()),
        }
    }
    Cow::Owned(redacted)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(names: &[&str]) -> QueryValues {
        QueryValues::new(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn values_are_shown_of_those_parameters_alone_that_were_asked_for() {
        assert_eq!(query("a=1&b=2&c&&d=", &shown(&[])), "a=*&b=*&*&&d=*");
        assert_eq!(query("page=2&token=t&page=x=y", &shown(&["page"])), "page=2&token=*&page=x=y");
        assert_eq!(query("a=1;token=t", &shown(&["token"])), "a=*", "a semicolon divides nothing");
        assert_eq!(query("Page=2&p%61ge=2", &shown(&["page"])), "Page=*&p%61ge=*", "names are compared as they are");
        assert_eq!(query("a=1&secret", &shown(&["*"])), "a=1&secret");
        assert_eq!(query("", &shown(&[])), "");
    }

    #[test]
    fn a_referer_has_no_user_no_fragment_and_no_values() {
        let of = |text: &str| String::from_utf8(referer(text.as_bytes(), &shown(&["page"])).into_owned()).unwrap();
        assert_eq!(of("https://app.example/a/b"), "https://app.example/a/b");
        assert_eq!(
            of("https://ann:hunter2@app.example:8443/a@b?page=1&code=c#token=t"),
            "https://app.example:8443/a@b?page=1&code=*"
        );
        assert_eq!(of("https://ann:p@ss@app.example"), "https://app.example");
        assert_eq!(of("//ann:hunter2@app.example/"), "//app.example/");
        assert_eq!(of("ann:hunter2@app.example/x"), "app.example/x");
        assert_eq!(of("https://ann:hunter2@app.example\\x@y"), "https://app.example\\x@y");
        assert_eq!(of("#secret"), "");
        assert_eq!(of("?secret"), "?*");
        assert_eq!(of("android-app://com.example/"), "android-app://com.example/");
        assert_eq!(referer(b"https://a.example/\xff?x=\xff", &shown(&["*"])).as_ref(), b"https://a.example/\xff?*");
    }

    proptest! {
        #[test]
        fn no_value_and_no_password_is_left(name in "[a-z]{1,4}", user in "[a-z:@]{0,6}", rest in "[a-z/?&=@:#]{0,12}") {
            let secret = "S3CRET";
            for text in [
                format!("https://{user}{secret}@h/{rest}"),
                format!("https://h/{name}?{rest}&{name}={secret}"),
                format!("https://h/{name}?{secret}"),
                format!("https://h/{name}#{rest}{secret}"),
            ] {
                let left = referer(text.as_bytes(), &QueryValues::default());
                prop_assert!(find(&left, secret.as_bytes()).is_none(), "{}", text);
            }
        }
    }
}
