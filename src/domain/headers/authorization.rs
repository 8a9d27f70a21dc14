//! Which Authorization fields of a request go on to the upstream.

/// What a route does with the Authorization fields of its requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AuthorizationRule {
    /// Tokens that are accepted here stay; what is meant for the upstream passes.
    #[default]
    RemoveOurs,
    /// All pass: the upstream verifies tokens itself.
    Pass,
    Remove,
}

/// Which Authorization fields of one request stay here.
#[derive(Clone, Copy)]
pub enum Withheld<'a> {
    None,
    All,
    /// Those with a token of which this is true. It may say so of any token once it was asked about too many.
    Tokens(&'a dyn Fn(&str) -> bool),
}

impl std::fmt::Debug for Withheld<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::All => "All",
            Self::Tokens(_) => "Tokens",
        })
    }
}

impl Withheld<'_> {
    /// Whether a field with this value stays here.
    pub fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Tokens(is_ours) => tokens(value).any(is_ours),
        }
    }
}

/// Whatever in the value could be a JWT, under whatever scheme and however it is set off: who gets to see a token can use it.
fn tokens(value: &[u8]) -> impl Iterator<Item = &str> {
    let is_of_token = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    value
        .split(move |byte| !is_of_token(byte))
        .filter_map(|run| std::str::from_utf8(run).ok())
        .map(|run| run.trim_matches('.'))
        .filter(|run| run.bytes().filter(|byte| *byte == b'.').count() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_however_it_is_set_off() {
        let withheld = Withheld::Tokens(&|token| token == "aa.b-b.c_c");
        for value in [
            "Bearer aa.b-b.c_c",
            "bearer   aa.b-b.c_c ",
            "BEARER\taa.b-b.c_c",
            "Bearer \"aa.b-b.c_c\"",
            "Bearer: aa.b-b.c_c",
            "Basic YTpi, Bearer aa.b-b.c_c",
            "Bearer x.y.z,aa.b-b.c_c",
            "Bearer aa.b-b.c_c.",
            "Bearer ..aa.b-b.c_c",
            "Token aa.b-b.c_c",
            "aa.b-b.c_c",
        ] {
            assert!(withheld.holds(value.as_bytes()), "{value}");
        }
        assert!(withheld.holds(b"Bearer \xff aa.b-b.c_c"));
    }

    #[test]
    fn what_is_no_token_of_ours_is_not_held_back() {
        let withheld = Withheld::Tokens(&|token| token == "a.b.c");
        for value in [
            "",
            "Basic dXNlcjpwYXNz",
            "Bearer whsec_1234",
            "Bearer x.y.z",
            "Bearer a.b.c.d",
            "Bearer null",
            "AWS4-HMAC-SHA256 Credential=AKIA/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;range, Signature=fe5f",
        ] {
            assert!(!withheld.holds(value.as_bytes()), "{value}");
        }
        assert!(Withheld::All.holds(b"Basic x") && !Withheld::None.holds(b"Bearer a.b.c"));
    }
}
