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

    fn shows_all(&self) -> bool {
        self.names.iter().any(|shown| shown == ALL)
    }

    fn names(&self, name: &str) -> bool {
        self.names.iter().any(|shown| shown == name)
    }
}

/// A query, without its question mark, with the values of those parameters alone that may be shown. What is not clearly a name with a value
/// may be a value as a whole, and is taken for one.
#[must_use]
pub fn query(query: &str, shown: &QueryValues) -> String {
    if shown.shows_all() {
        return query.to_owned();
    }
    let mut redacted = String::with_capacity(query.len().min(256));
    for (index, parameter) in query.split('&').enumerate() {
        if index > 0 {
            redacted.push('&');
        }
        match parameter.split_once('=') {
            _ if parameter.is_empty() => {}
            Some((name, value)) if shown.names(name) => {
                redacted.push_str(name);
                redacted.push('=');
                // Some servers read another parameter from there on.
                let end = value.find(';').map_or(value.len(), |at| at + 1);
                redacted.push_str(&value[..end]);
                if end < value.len() {
                    redacted.push_str(REDACTED);
                }
            }
            Some((name, value)) if is_name(name) && value.bytes().any(|byte| byte != b'=') => {
                redacted.push_str(name);
                redacted.push('=');
                redacted.push_str(REDACTED);
            }
            None if shown.names(parameter) => redacted.push_str(parameter),
            // Base64 ends with `=` too.
            Some(_) | None => redacted.push_str(REDACTED),
        }
    }
    redacted
}

/// The longest name that is shown.
const NAME_BYTES_MAX: usize = 64;

fn is_name(name: &str) -> bool {
    let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'[' | b']' | b'-');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_of_names)
}

/// A Referer without user, password and fragment, and with its query as [`query`] has it. What is no plain URL with an authority is `*` as
/// a whole: browsers read others in ways of their own, and find a password where nobody else would.
#[must_use]
pub fn referer<'a>(referer: &'a [u8], shown: &QueryValues) -> Cow<'a, [u8]> {
    let end_of_url = referer.iter().position(|byte| *byte == b'#').unwrap_or(referer.len());
    let (url, fragment) = referer.split_at(end_of_url);
    let end_of_path = url.iter().position(|byte| *byte == b'?').unwrap_or(url.len());
    let (start, asked) = url.split_at(end_of_path);
    let Some(Plain { scheme, host, path }) = plain(start) else { return Cow::Borrowed(REDACTED.as_bytes()) };
    if fragment.is_empty() && asked.is_empty() && scheme.len() + host.len() + path.len() == referer.len() {
        return Cow::Borrowed(referer);
    }
    let mut redacted = [scheme, host, path].concat();
    if !asked.is_empty() {
        redacted.push(b'?');
        match std::str::from_utf8(&asked[1..]) {
            Ok(asked) => redacted.extend_from_slice(query(asked, shown).as_bytes()),
            Err(_) => redacted.extend_from_slice(REDACTED.as_bytes()),
        }
    }
    Cow::Owned(redacted)
}

/// A URL up to its query, without user and password.
struct Plain<'a> {
    /// With its `://`.
    scheme: &'a [u8],
    /// With its port.
    host: &'a [u8],
    path: &'a [u8],
}

fn plain(url: &[u8]) -> Option<Plain<'_>> {
    let colon = url.iter().position(|byte| *byte == b':')?;
    let is_of_schemes = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if colon == 0 || !url[..colon].iter().all(is_of_schemes) || url.contains(&b'\\') {
        return None;
    }
    let (scheme, rest) = url.split_at(colon + 3.min(url.len() - colon));
    if !scheme.ends_with(b"://") {
        return None;
    }
    let (authority, path) = rest.split_at(rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len()));
    let host = authority.iter().rposition(|byte| *byte == b'@').map_or(authority, |at| &authority[at + 1..]);
    is_host(host).then_some(Plain { scheme, host, path })
}

/// Whether it is a host, with or without a port: a name, also one that is no ASCII, or an address.
fn is_host(text: &[u8]) -> bool {
    let is_of_names = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') || !byte.is_ascii();
    let is_of_addresses = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let (is_good, port) = if let Some(address) = text.strip_prefix(b"[") {
        let Some(end) = address.iter().position(|byte| *byte == b']') else { return false };
        (address[..end].iter().all(is_of_addresses), &address[end + 1..])
    } else {
        let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
        (end > 0 && text[..end].iter().all(is_of_names), &text[end..])
    };
    is_good && (port.is_empty() || port.strip_prefix(b":").is_some_and(|digits| digits.iter().all(u8::is_ascii_digit)))
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
        assert_eq!(query("a=1&b=2&c&&d=", &shown(&[])), "a=*&b=*&*&&*");
        assert_eq!(query("page=2&token=t&page=x=y&page=", &shown(&["page"])), "page=2&token=*&page=x=y&page=");
        assert_eq!(query("a=1;token=t", &shown(&["token"])), "a=*", "a semicolon divides nothing that is hidden");
        assert_eq!(query("page=2;token=S&page=2;", &shown(&["page"])), "page=2;*&page=2;", "but ends what is shown");
        assert_eq!(query("Page=2&p%61ge=2", &shown(&["page"])), "Page=*&*", "names are compared as they are");
        assert_eq!(query("a=1&secret", &shown(&["*"])), "a=1&secret");
        assert_eq!(query("", &shown(&[])), "");
    }

    #[test]
    fn what_may_be_a_value_without_a_name_is_taken_for_one() {
        for text in
            ["aHVudGVyMg==", "aHVudGVyMg=", "SECRET;page=2", "=SECRET", "SECRET", "S/E+C=1", &format!("{}=1", "s".repeat(65))]
        {
            assert_eq!(query(text, &shown(&["page"])), "*", "{text}");
        }
        assert_eq!(query("filter[a.b-c_1]=x", &shown(&[])), "filter[a.b-c_1]=*");
    }

    #[test]
    fn a_referer_has_no_user_no_fragment_and_no_values() {
        let of = |text: &str| String::from_utf8(referer(text.as_bytes(), &shown(&["page"])).into_owned()).unwrap();
        for plain in [
            "https://app.example/a/b",
            "https://app.example",
            "http://[::1]:8080/",
            "https://m\u{fc}nchen.example/",
            "android-app://com.example/",
        ] {
            assert_eq!(of(plain), plain);
        }
        assert_eq!(
            of("https://ann:hunter2@app.example:8443/a@b?page=1&code=c#token=t"),
            "https://app.example:8443/a@b?page=1&code=*"
        );
        assert_eq!(of("https://ann:p@ss@app.example"), "https://app.example");
        assert_eq!(of("https://app.example#secret"), "https://app.example");
        assert_eq!(of("https://app.example?secret"), "https://app.example?*");
        assert_eq!(referer(b"https://a.example/\xff?x=\xff", &shown(&["*"])).as_ref(), b"https://a.example/\xff?*");
    }

    #[test]
    fn what_is_no_plain_url_is_not_shown() {
        for text in [
            "https:/u:p@h",
            "https:\\\\u:p@h",
            "https:\\u:p@h",
            "https:///u:p@h",
            "https:u:p@h",
            "//u:p@h/",
            "/\\u:p@h",
            "u:p@h/x",
            "https://u:p@h\\x@y",
            "https://\t/u:p@h",
            "https://u:secret",
            "https://u:p%40h/",
            "https://u:p@",
            "h ttps://h/",
            "#secret",
            "?secret",
            "secret",
            "about:secret",
            "://h/",
            "https://[::1",
            "https://[::1]x/",
        ] {
            let left = referer(text.as_bytes(), &QueryValues::default());
            assert_eq!(left.as_ref(), REDACTED.as_bytes(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_value_and_no_password_is_left(
            name in "[a-z]{1,4}", user in "[a-z:@]{0,6}", slashes in r"[/\\]{0,4}", rest in "[a-z/?&=@:#]{0,12}",
        ) {
            let secret = "S3CRET";
            for text in [
                format!("https://{user}{secret}@h/{rest}"),
                format!("https:{slashes}{user}:{secret}@h{slashes}{rest}"),
                format!("https://h/{name}?{rest}&{name}={secret}"),
                format!("https://h/{name}?{secret}"),
                format!("https://h/{name}?{secret}="),
                format!("https://h/{name}?{secret}=="),
                format!("https://h/{name}?{secret};{name}=1"),
                format!("https://h/{name}?{rest}&{secret};{name}=1&{rest}"),
                format!("https://h/{name}#{rest}{secret}"),
            ] {
                let left = referer(text.as_bytes(), &QueryValues::default());
                prop_assert!(memchr::memmem::find(&left, secret.as_bytes()).is_none(), "{}", text);
            }
        }
    }
}
