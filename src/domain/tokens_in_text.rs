//! Tokens in texts that somebody else chose: paths, fields, names. A log has such a text without them.
//!
//! They are known by their shape: a JWT of any issuer, or a secret of our making ([`token_prefix`]). Nothing is verified, so a token that has expired, or is
//! somebody else's, is not shown either.

use std::borrow::Cow;
use std::ops::Range;

use super::token_prefix;

/// Stands in the place of a token.
const REDACTED: &[u8] = b"*";

/// What a JWT begins with: base64url of `{"`.
const JWT_PREFIX: &[u8] = b"eyJ";

/// The parts of a signed JWT. One that is encrypted has more.
const JWT_PARTS_MIN: usize = 3;

/// The length of the least that is taken for a token. All of ours are longer; of those, what is shorter opens nothing.
const TOKEN_BYTES_MIN: usize = 40;

/// How often a text is decoded in search of a token: so often servers behind each other may do that.
const DECODED_MAX: usize = 3;

/// A text with `*` for each token in it, in whatever percent-encoding it is. Case does not count, since names of hosts lose it. The time
/// is linear in the length of the text.
#[must_use]
pub fn without_tokens(text: &[u8]) -> Cow<'_, [u8]> {
    if !may_hold_token(text) {
        return Cow::Borrowed(text);
    }
    let mut found = Vec::new();
    let mut reading = Reading::of(text);
    for _ in 0..DECODED_MAX {
        reading.find(&mut found);
        match reading.decoded() {
            Some(decoded) => reading = decoded,
            None => return without(text, found),
        }
    }
    reading.find(&mut found);
    without(text, found)
}

fn may_hold_token(text: &[u8]) -> bool {
    let has_sign = |at: usize| match text[at] {
        b'%' => true,
        b'_' => token_prefix::ALL
            .iter()
            .any(|prefix| (at + 1).checked_sub(prefix.len()).is_some_and(|start| begins_with(&text[start..], prefix.as_bytes()))),
        b'J' | b'j' => text[..at].last_chunk().is_some_and(|before: &[u8; 2]| before.eq_ignore_ascii_case(&JWT_PREFIX[..2])),
        _ => false,
    };
    text.len() >= TOKEN_BYTES_MIN && (0..text.len()).any(has_sign)
}

fn without(text: &[u8], mut found: Vec<Range<usize>>) -> Cow<'_, [u8]> {
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    found.sort_unstable_by_key(|range| range.start);
    let (mut left, mut at) = (Vec::with_capacity(text.len()), 0);
    for range in found {
        if range.start >= at {
            left.extend_from_slice(&text[at..range.start]);
            left.extend_from_slice(REDACTED);
        }
        at = at.max(range.end);
    }
    left.extend_from_slice(&text[at..]);
    Cow::Owned(left)
}

/// A text as it is read, and where in the text as it came each of its bytes begins. The end of the last one comes last.
struct Reading {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Reading {
    fn of(text: &[u8]) -> Self {
        Self { bytes: text.to_vec(), starts: (0..=text.len()).collect() }
    }

    /// `None`: nothing is encoded.
    fn decoded(&self) -> Option<Self> {
        let mut next = Self { bytes: Vec::with_capacity(self.bytes.len()), starts: Vec::with_capacity(self.starts.len()) };
        let mut at = 0;
        while let Some(byte) = self.bytes.get(at) {
            next.starts.push(self.starts[at]);
            if let Some(decoded) = self.bytes.get(at + 1..at + 3).and_then(hex).filter(|_| *byte == b'%') {
                next.bytes.push(decoded);
                at += 3;
            } else {
                next.bytes.push(*byte);
                at += 1;
            }
        }
        next.starts.extend(self.starts.last());
        (next.bytes.len() < self.bytes.len()).then_some(next)
    }

    /// Where tokens are in the text as it came.
    fn find(&self, found: &mut Vec<Range<usize>>) {
        let bytes = &self.bytes[..];
        // Within a run that is no token, no later beginning is one: it has less of it.
        let (mut at, mut no_jwt_until, mut no_other_until) = (0, 0, 0);
        while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= TOKEN_BYTES_MIN) {
            let mut end = None;
            if at >= no_jwt_until && begins_with(rest, JWT_PREFIX) {
                let run = run_of(rest, |byte| is_sign(byte) || byte == b'.');
                let parts = run.split(|byte| *byte == b'.').count();
                no_jwt_until = at + run.len();
                end = (run.len() >= TOKEN_BYTES_MIN && parts >= JWT_PARTS_MIN).then_some(no_jwt_until);
            } else if at >= no_other_until && token_prefix::ALL.iter().any(|prefix| begins_with(rest, prefix.as_bytes())) {
                let run = run_of(rest, is_sign);
                no_other_until = at + run.len();
                end = (run.len() >= TOKEN_BYTES_MIN).then_some(no_other_until);
            }
            at = match end {
                Some(end) => {
                    found.push(self.starts[at]..self.starts[end]);
                    end
                }
                None => at + 1,
            };
        }
    }
}

fn begins_with(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn run_of(text: &[u8], is_of_it: impl Fn(u8) -> bool) -> &[u8] {
    let end = text.iter().position(|byte| !is_of_it(*byte)).unwrap_or(text.len());
    &text[..end]
}

const fn is_sign(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn hex(digits: &[u8]) -> Option<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    match digits {
        [high, low] => u8::try_from(value(*high)? * 16 + value(*low)?).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JWT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJlLXNpZ25hdHVyZQ";

    fn shown(text: &str) -> String {
        String::from_utf8(without_tokens(text.as_bytes()).into_owned()).unwrap()
    }

    fn all() -> [String; 5] {
        [
            JWT.to_owned(),
            format!("eyJhbGciOiJkaXIifQ..{}.{}.tag", "i".repeat(16), "c".repeat(16)),
            format!("tgr_{}", "R-_9".repeat(16)),
            format!("tgt_{}", "t".repeat(67)),
            format!("tgc_{}", "c".repeat(43)),
        ]
    }

    #[test]
    fn tokens_of_all_kinds_are_found_wherever_they_stand() {
        for token in all() {
            for (before, after) in [("", ""), ("/public/", "/x"), ("/x;token=", ";a"), ("Agent/1 (", ")"), ("xeyJ.tgt_", "%zz")] {
                let found = shown(&format!("{before}{token}{after}"));
                assert!(found.ends_with(&format!("*{after}")) && found.len() <= before.len() + after.len() + 1, "{found}");
            }
            assert_eq!(shown(&format!("/{token}/{token}")), "/*/*");
            assert_eq!(shown(&format!("{}.example", token.to_ascii_lowercase())).trim_end_matches(".example"), "*");
        }
    }

    #[test]
    fn tokens_are_found_in_any_percent_encoding() {
        for token in all() {
            let mut encoded = token;
            for _ in 0..DECODED_MAX {
                encoded = encoded.bytes().fold(String::new(), |so_far, byte| format!("{so_far}%{byte:02X}"));
                assert_eq!(shown(&format!("/a%20b/{encoded}/%C3%B6")), "/a%20b/*/%C3%B6");
            }
        }
    }

    #[test]
    fn what_has_no_such_shape_stays_as_it_is() {
        for text in [
            "/files/tgt_report-of-the-year.pdf",
            "/eyJ.a.b",
            "/assets/eyJhbGciOiJFUzI1NiJ9eyJzdWIiOiI0MiJ9c2lnbmF0dXJl.js",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
            "/reports/2026.11.29/a-rather-long-name-with-dots.and.more.of.them.tar.gz",
            "/100%/%zz/a%20path%20with%20escapes/that/is/long/enough",
        ] {
            assert!(matches!(without_tokens(text.as_bytes()), Cow::Borrowed(same) if same == text.as_bytes()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_token_is_left(before in "[a-zA-Z0-9/%._;= -]{0,60}", after in "([/;= %].{0,60})?", kind in 0..5_usize) {
            let token = &all()[kind];
            let left = without_tokens(format!("{before}{token}{after}").as_bytes()).into_owned();
            prop_assert!(memchr::memmem::find(&left, token.as_bytes()).is_none());
        }

        #[test]
        fn nothing_grows_and_nothing_panics(text in "[eyJtgr_.%2-]{0,200}|\\PC{0,200}") {
            let once = without_tokens(text.as_bytes()).into_owned();
            prop_assert!(once.len() <= text.len());
            prop_assert!(once == text.as_bytes() || once.contains(&b'*'));
        }
    }
}
