//! Which names of fields are whose, however they are spelt.
//!
//! Servers give fields to programs under names in which every character outside letters and digits is the same (RFC 3875, section
//! 4.1.18): `X.Auth.Subject` and `x!auth_subject` arrive as `HTTP_X_AUTH_SUBJECT`, as `X-Auth-Subject` does. So names are compared
//! as such servers do, and a field that counts has one spelling: every other one is taken for an attempt to pass as it.

use std::fmt;
use std::str::FromStr;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields that have a meaning on the way: each passes, if at all, by its own rules and in this spelling alone. A `*` at the end
/// stands for the rest of a name.
const PROTECTED: [&str; 22] = [
    // Where the body ends, and what it is.
    "content-length",
    "transfer-encoding",
    "content-type",
    "content-encoding",
    "trailer",
    "expect",
    // One connection's.
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "upgrade",
    "http2-settings",
    // To whom, and from whom.
    "host",
    "authorization",
    "cookie",
    // Where from, by what way.
    "forwarded",
    "x-forwarded-*",
    "x-real-ip",
    "via",
    "x-request-id",
    "traceparent",
];

/// The rest of what tracing says (W3C Trace Context, W3C Baggage, B3).
const PROTECTED_TRACING: [&str; 3] = ["tracestate", "baggage", "x-b3-*"];

/// Fields that the gateway sets itself, or without which a message would mean something else: no setting can have them removed.
const KEPT: [&str; 15] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

/// Fields of a response that say how its body is framed, that concern one connection, or that the gateway writes itself: no setting
/// changes them.
const KEPT_IN_RESPONSES: [&str; 14] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-request-id",
];

/// Whether every reader takes this for a name. Of what is no token (RFC 9110, section 5.6.2), [`HeaderName`] knows a quotation mark;
/// parsers of HTTP/1 refuse it, decoders of HTTP/2 do not.
pub fn is_token(name: &HeaderName) -> bool {
    !name.as_str().contains('"')
}

/// Refuses fields, read by another way than HTTP/1, that its parsers would read otherwise or refuse.
///
/// # Errors
/// Fixed text for the client.
pub fn check_fields(fields: &HeaderMap) -> Result<(), &'static str> {
    if !fields.keys().all(is_token) {
        return Err("The name of a field is no token.");
    }
    // Such spaces are taken away: another value would be seen than the one that was judged.
    let is_padded = |value: &HeaderValue| value.as_bytes().trim_ascii().len() != value.len();
    if fields.values().any(is_padded) {
        return Err("The value of a field begins or ends with a space.");
    }
    Ok(())
}

/// Whether a field has a meaning on the way, in whatever spelling: it can be nobody's own.
pub fn is_protected(name: &str) -> bool {
    protected().any(|field| field.covers(name))
}

fn protected() -> impl Iterator<Item = NamePattern> {
    PROTECTED.into_iter().chain(PROTECTED_TRACING).map(NamePattern::known)
}

/// What is written for every character outside letters and digits.
const SEPARATOR: u8 = b'-';

/// A byte of a name as the most lenient servers read it.
const fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { SEPARATOR }
}

/// A name in the one form in which names are compared.
#[derive(Clone, PartialEq, Eq, Debug)]
struct FoldedName(Box<str>);

impl FoldedName {
    fn of(name: &str) -> Self {
        Self(name.bytes().map(|byte| char::from(fold(byte))).collect())
    }

    /// Compares without an intermediate copy: what is asked about comes from outside.
    fn is(&self, name: &str) -> bool {
        self.0.len() == name.len() && self.begins(name)
    }

    fn begins(&self, name: &str) -> bool {
        name.len() >= self.0.len() && self.0.bytes().eq(name.bytes().take(self.0.len()).map(fold))
    }
}

/// One name, or with a `*` at its end all that begin so; in every spelling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamePattern {
    name: FoldedName,
    is_beginning: bool,
}

impl NamePattern {
    pub fn covers(&self, name: &str) -> bool {
        if self.is_beginning { self.name.begins(name) } else { self.name.is(name) }
    }

    /// The first field among those that covers which cannot be removed.
    pub fn covers_kept(&self) -> Option<&'static str> {
        KEPT.into_iter().find(|name| self.covers(name))
    }

    /// The first field among those that covers which no setting changes in a response.
    pub fn covers_kept_in_responses(&self) -> Option<&'static str> {
        KEPT_IN_RESPONSES.into_iter().find(|name| self.covers(name))
    }

    /// This one name, in every spelling.
    pub fn exactly(name: &HeaderName) -> Self {
        Self { name: FoldedName::of(name.as_str()), is_beginning: false }
    }

    fn known(text: &'static str) -> Self {
        Self::read(text).expect("the gateway's own lists hold names")
    }

    fn read(text: &str) -> Option<Self> {
        let (name, is_beginning) = text.strip_suffix('*').map_or((text, false), |name| (name, true));
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == SEPARATOR || byte == b'_');
        let has_letters = name.bytes().any(|byte| byte.is_ascii_alphanumeric());
        (is_name && has_letters).then(|| Self { name: FoldedName::of(name), is_beginning })
    }
}

impl FromStr for NamePattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::read(text)
            .ok_or("allowed is the name of a field, such as \"x-original-url\", or the beginning of names and one `*`")
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name.0, if self.is_beginning { "*" } else { "" })
    }
}

/// Whose a field's name is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// Nobody's on the way: the field passes as it came.
    Free,
    /// That of a protected field, spelt as it ought to be: what becomes of it is for the rules of that field to say.
    Protected,
    /// Passes nowhere: only the gateway may set the field, or it is to be removed, or it is another spelling of a protected one.
    Barred,
}

/// Decides for every name whose it is. Made once for a policy.
#[derive(Clone, Debug)]
pub(super) struct FieldNames {
    /// Those that the gateway alone may set, and how it spells them.
    ours: NameSet,
    spelt: Box<[Box<str>]>,
    barred: NameSet,
    protected: NameSet,
}

impl FieldNames {
    /// `ours` are the fields that the gateway alone may set, `removed` those that never pass.
    pub(super) fn new<'a>(ours: impl Iterator<Item = &'a str>, removed: &[NamePattern]) -> Self {
        let spelt: Box<[Box<str>]> = ours.map(Box::from).collect();
        let ours: Vec<_> = spelt.iter().map(|name| NamePattern { name: FoldedName::of(name), is_beginning: false }).collect();
        Self {
            barred: NameSet::new(ours.iter().chain(removed).cloned().collect()),
            ours: NameSet::new(ours),
            spelt,
            protected: NameSet::new(protected().collect()),
        }
    }

    /// Whether some server takes a name for one that the gateway alone may set, though it is spelt otherwise.
    pub(super) fn misspells_ours(&self, name: &str) -> bool {
        self.ours.has(name) && !self.spelt.iter().any(|own| **own == *name)
    }

    /// For a request's head and its trailers alike. `name` is in lower case, as [`http::HeaderName`] has it.
    pub(super) fn standing(&self, name: &str) -> Standing {
        if self.barred.has(name) {
            return Standing::Barred;
        }
        match self.protected.find(name) {
            None => Standing::Free,
            Some(Spelling::Canonical) => Standing::Protected,
            Some(Spelling::Other) => Standing::Barred,
        }
    }
}

/// How a name that is in a set is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spelling {
    Canonical,
    Other,
}

#[derive(Clone, Debug)]
struct NameSet {
    /// Tells most names that are not in the set by their length and first letter.
    sieve: Sieve,
    /// By their lengths.
    whole: Box<[Vec<FoldedName>]>,
    beginnings: Box<[FoldedName]>,
}

impl NameSet {
    fn new(patterns: Vec<NamePattern>) -> Self {
        let mut sieve = Sieve::default();
        let mut whole = Vec::new();
        let mut beginnings = Vec::new();
        for pattern in patterns {
            sieve.add(&pattern);
            let NamePattern { name, is_beginning } = pattern;
            if is_beginning {
                beginnings.push(name);
            } else {
                let length = name.0.len();
                whole.resize(whole.len().max(length + 1), Vec::new());
                whole[length].push(name);
            }
        }
        Self { sieve, whole: whole.into(), beginnings: beginnings.into() }
    }

    fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &str) -> Option<Spelling> {
        if !self.sieve.may_hold(name) {
            return None;
        }
        let alike = self.whole.get(name.len()).map_or(&[][..], Vec::as_slice);
        // Honest fields are spelt as they ought to be, and found without folding.
        if alike.iter().any(|known| *known.0 == *name) {
            return Some(Spelling::Canonical);
        }
        let is_canonical = name.bytes().all(|byte| byte == fold(byte));
        let is_other_spelling = !is_canonical && alike.iter().any(|known| known.is(name));
        let is_in = is_other_spelling || self.beginnings.iter().any(|known| known.begins(name));
        is_in.then_some(if is_canonical { Spelling::Canonical } else { Spelling::Other })
    }
}

/// For each first character the lengths of names that begin with it.
#[derive(Clone, Debug)]
struct Sieve([u64; Self::INITIALS]);

impl Sieve {
    /// Letters, digits, and all else.
    const INITIALS: usize = 37;
    /// All lengths from here on share a bit.
    const LENGTH_MAX: usize = 63;

    fn add(&mut self, pattern: &NamePattern) {
        let name = &pattern.name.0;
        let from = 1_u64 << name.len().min(Self::LENGTH_MAX);
        let lengths = if pattern.is_beginning { !(from - 1) } else { from };
        self.0[Self::initial(name)] |= lengths;
    }

    fn may_hold(&self, name: &str) -> bool {
        self.0[Self::initial(name)] & (1 << name.len().min(Self::LENGTH_MAX)) != 0
    }

    fn initial(name: &str) -> usize {
        match fold(name.bytes().next().unwrap_or(SEPARATOR)) {
            letter @ b'a'..=b'z' => usize::from(letter - b'a'),
            digit @ b'0'..=b'9' => 26 + usize::from(digit - b'0'),
            _ => Self::INITIALS - 1,
        }
    }
}

impl Default for Sieve {
    fn default() -> Self {
        Self([0; Self::INITIALS])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> FieldNames {
        let removed = ["x-original-url", "x-remote-*", "proxy"].map(|text| text.parse().unwrap());
        FieldNames::new(["x-auth-subject", "x.user"].into_iter(), &removed)
    }

    #[test]
    fn a_name_is_what_every_reader_takes_for_one() {
        assert!(is_token(&HeaderName::from_static("x-a!#$%&'*+.^_`|~9")));
        for byte in (0x21..0x7f_u8).filter(|byte| !byte.is_ascii_alphanumeric() && !b"!#$%&'*+-.^_`|~".contains(byte)) {
            assert!(HeaderName::from_bytes(&[b'x', byte]).ok().is_none_or(|name| !is_token(&name)), "{byte}");
        }
    }

    #[test]
    fn a_protected_field_has_one_spelling() {
        for (name, standing) in [
            ("content-length", Standing::Protected),
            ("content_length", Standing::Barred),
            ("content.length", Standing::Barred),
            ("x-forwarded-anything", Standing::Protected),
            ("x-forwarded_for", Standing::Barred),
            ("x~forwarded~for", Standing::Barred),
            ("x-real_ip", Standing::Barred),
            ("trace_parent", Standing::Free),
            ("content--length", Standing::Free),
            ("contentlength", Standing::Free),
            ("host", Standing::Protected),
            ("host_", Standing::Free),
            ("accept", Standing::Free),
        ] {
            assert_eq!(names().standing(name), standing, "{name}");
        }
    }

    #[test]
    fn what_the_gateway_sets_or_removes_passes_in_no_spelling() {
        for name in ["x-auth-subject", "x!auth-subject", "x|auth^subject", "x.user", "x-user", "x-original-url", "x_original.url"]
        {
            assert_eq!(names().standing(name), Standing::Barred, "{name}");
        }
        for name in ["x-remote-user", "x_remote_anything-at-all", "x-remote-", "proxy"] {
            assert_eq!(names().standing(name), Standing::Barred, "{name}");
        }
    }

    #[test]
    fn names_that_merely_resemble_them_pass() {
        for name in ["x-auth-token", "x-auth-key", "x-auth-subjects", "x-remote", "proxy-status", "x-original", "my_field", "x.y"]
        {
            assert_eq!(names().standing(name), Standing::Free, "{name}");
        }
    }

    #[test]
    fn a_pattern_is_a_name_or_a_beginning() {
        for good in ["x-a", "X_A", "x-ssl-client-*", "a*"] {
            assert!(good.parse::<NamePattern>().is_ok(), "{good}");
        }
        for bad in ["", "*", "-*", "x-*-a", "x**", "x a", "x:", "ä", "_"] {
            assert!(bad.parse::<NamePattern>().is_err(), "{bad}");
        }
        let kept = |text: &str| text.parse::<NamePattern>().unwrap().covers_kept();
        assert_eq!(
            (kept("Host"), kept("content_length"), kept("x-forwarded-*")),
            (Some("host"), Some("content-length"), Some("x-forwarded-for"))
        );
        assert_eq!((kept("x-forwarded-user"), kept("x-forwarded-prefix"), kept("traceparent")), (None, None, None));
    }

    proptest! {
        #[test]
        fn the_sieve_holds_back_nothing_that_is_known(
            known in prop::sample::select(vec!["x-auth-subject", "x-original-url", "x-remote-user", "proxy", "content-type", "host", "x-b3-sampled"]),
            separators in "[!#$%&'*+.^_`|~-]{1,5}",
        ) {
            let mut separators = separators.chars().cycle();
            let spelt: String = known.chars().map(|c| if c == '-' { separators.next().unwrap() } else { c }).collect();
            let canonical = names().standing(known);
            prop_assert_ne!(canonical, Standing::Free);
            let expected = if spelt == known { canonical } else { Standing::Barred };
            prop_assert_eq!(names().standing(&spelt), expected);
        }
    }
}
