//! The protected header of a JWS in compact form, read strictly (RFC 7515, RFC 8725).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::domain::access_claims::AccessClaims;
use crate::domain::claims::Denial;
use crate::domain::json;

/// The longest header, in bytes of its encoded form.
const HEADER_CHARS_MAX: usize = 2048;
/// `jwk` holds an object; nothing that we read nests deeper.
const HEADER_DEPTH_MAX: u8 = 4;

/// The three parts of a token, still encoded.
#[derive(Clone, Copy)]
pub(super) struct Segments<'a> {
    pub(super) header: &'a str,
    pub(super) payload: &'a str,
    pub(super) signature: &'a str,
    /// Header and payload with the dot between: what the signature covers.
    pub(super) signed: &'a str,
}

impl<'a> Segments<'a> {
    pub(super) fn split(token: &'a str) -> Result<Self, Denial> {
        let two_dots = token.rsplit_once('.').and_then(|(signed, signature)| {
            let (header, payload) = signed.split_once('.')?;
            (!payload.contains('.')).then_some(Self { header, payload, signature, signed })
        });
        two_dots.ok_or(Denial::Invalid("the token does not have three parts"))
    }

    /// What the payload says. Nothing of it is to be believed before the signature was verified.
    pub(super) fn claims(self) -> Result<AccessClaims, Denial> {
        let payload = URL_SAFE_NO_PAD.decode(self.payload).map_err(|_| Denial::Invalid("the payload is malformed"))?;
        Ok(AccessClaims::read(&payload)?)
    }
}

/// What a header says that matters. Its key references (`jwk`, `jku`, `x5u`, `x5c`) are never looked at.
#[derive(Debug)]
pub(super) struct TokenHeader {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    pub(super) typ: Option<String>,
}

impl TokenHeader {
    pub(super) fn parse(segment: &str) -> Result<Self, Denial> {
        const MALFORMED: Denial = Denial::Invalid("the header is malformed");
        if segment.len() > HEADER_CHARS_MAX {
            return Err(Denial::Invalid("the header is too long"));
        }
        let bytes = URL_SAFE_NO_PAD.decode(segment).map_err(|_| MALFORMED)?;
        let mut members = json::object(&bytes, HEADER_DEPTH_MAX).map_err(|_| MALFORMED)?;
        // We understand no extension, so whatever `crit` lists, or fails to, cannot be honoured; `b64` and `zip` would change what
        // the signature covers and what the payload means.
        if ["crit", "b64", "zip"].iter().any(|name| members.contains_key(*name)) {
            return Err(Denial::Invalid("the header demands an extension"));
        }
        let alg = text(&mut members, "alg")?.ok_or(MALFORMED)?;
        Ok(Self { alg, kid: text(&mut members, "kid")?, typ: text(&mut members, "typ")? })
    }
}

fn text(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Denial> {
    match members.get_mut(name).map(Value::take) {
        // To many libraries null and absence are the same, as in claims.
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(Denial::Invalid("a member of the header has a wrong type"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<TokenHeader, Denial> {
        TokenHeader::parse(&URL_SAFE_NO_PAD.encode(json))
    }

    #[test]
    fn exactly_three_parts_are_split() {
        let parts = Segments::split("a.b.c").unwrap();
        assert_eq!((parts.header, parts.payload, parts.signature, parts.signed), ("a", "b", "c", "a.b"));
        for bad in ["", "a", "a.b", "a.b.c.d", "a.b.c.d.e"] {
            assert!(Segments::split(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn key_references_are_not_looked_at() {
        let header =
            parse(r#"{"alg":"ES256","kid":"k","jwk":{"kty":"oct","k":"AA"},"jku":"https://e","x5u":"https://e","x5c":["AA"]}"#);
        assert_eq!(header.unwrap().kid.as_deref(), Some("k"));
    }

    #[test]
    fn null_is_absent() {
        let header = parse(r#"{"alg":"ES256","kid":null,"typ":null}"#).unwrap();
        assert_eq!((header.kid, header.typ), (None, None));
        assert!(parse(r#"{"alg":null}"#).is_err(), "what must be there is not");
        assert!(parse(r#"{"alg":"ES256","crit":null}"#).is_err(), "an extension is not taken for absent");
    }

    #[test]
    fn extensions_wrong_types_and_repetitions_are_refused() {
        for bad in [
            "{}",
            r#"{"kid":"k"}"#,
            r#"{"alg":null}"#,
            r#"{"alg":["ES256"]}"#,
            r#"{"alg":"ES256","kid":1}"#,
            r#"{"alg":"ES256","typ":{}}"#,
            r#"{"alg":"ES256","alg":"ES256"}"#,
            r#"{"alg":"ES256","kid":"a","kid":"b"}"#,
            r#"{"alg":"ES256","crit":[]}"#,
            r#"{"alg":"ES256","crit":"exp"}"#,
            r#"{"alg":"ES256","crit":["exp"],"exp":1}"#,
            r#"{"alg":"ES256","b64":false}"#,
            r#"{"alg":"ES256","b64":true}"#,
            r#"{"alg":"ES256","zip":"DEF"}"#,
            r#"{"alg":"ES256","x":[[[[1]]]]}"#,
            r#"{"alg":"ES256"}{}"#,
            r#"["alg"]"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&format!(r#"{{"alg":"ES256","x":"{}"}}"#, "a".repeat(HEADER_CHARS_MAX))).is_err());
    }
}
