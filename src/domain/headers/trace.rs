//! Request ids and trace context (W3C Trace Context).

use http::{HeaderMap, HeaderName, HeaderValue};

pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest request id that is taken over from outside.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Whose X-Request-Id is taken over; all others get one of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestIdFrom {
    Nobody,
    TrustedPeers,
    Anyone,
}

/// The request's id: the one that came along if it may be believed and is harmless, or 32 hexadecimal digits of `entropy`.
pub fn request_id(given: Option<&HeaderValue>, believed: bool, entropy: [u8; 16]) -> HeaderValue {
    let harmless = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(byte);
        !bytes.is_empty() && bytes.len() <= REQUEST_ID_BYTES_MAX && bytes.iter().all(plain)
    };
    let mut id = given.filter(|_| believed).filter(harmless).cloned().unwrap_or_else(|| {
        let mut digits = [0; 32];
        hex(&entropy, &mut digits);
        HeaderValue::from_bytes(&digits).expect("hexadecimal digits are a field value")
    });
    comes_once(&mut id);
    id
}

/// Marks a value that the next messages will hardly have. By HTTP/2 it is then sent without being kept for them: it would take the place
/// of values that do come again, and each later value of its field would be compared with it (RFC 7541, section 6.2.3).
pub fn comes_once(value: &mut HeaderValue) {
    value.set_sensitive(true);
}

/// Whether the request's trace context is one that others would go on with: exactly one `traceparent`, and that valid. Otherwise
/// neither it nor `tracestate` means anything, and whoever begins a trace next begins a new one.
///
/// The gateway exports no span. So it is no part of a trace, and changes nothing in the context: a parent of its own would be one that
/// nobody ever finds.
pub fn is_sound(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(TRACEPARENT).iter();
    let first = fields.next();
    first.is_some_and(|value| is_valid(value.as_bytes())) && fields.next().is_none()
}

/// The trace that a request belongs to, if it says so in a sound way: 32 hexadecimal digits, for the log.
pub fn id(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(TRACEPARENT).filter(|_| is_sound(headers))?;
    value.to_str().ok()?.get(3..35)
}

/// Version 00 to the letter; a later one as far as it is known to begin the same way.
fn is_valid(value: &[u8]) -> bool {
    let lower_hex = |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let not_zero = |bytes: &[u8]| bytes.iter().any(|byte| *byte != b'0');
    let Some((known, rest)) = value.split_at_checked(55) else { return false };
    let version = &known[..2];
    let is_of_version = match version {
        b"00" => rest.is_empty(),
        b"ff" => false,
        _ => rest.is_empty() || rest[0] == b'-',
    };
    is_of_version
        && [2, 35, 52].iter().all(|dash| known[*dash] == b'-')
        && [version, &known[3..35], &known[36..52], &known[53..]].iter().all(|part| lower_hex(part))
        && not_zero(&known[3..35])
        && not_zero(&known[36..52])
}

fn hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_taken_over_only_if_believed_and_harmless() {
        let id = |text: &'static str, believed| request_id(Some(&HeaderValue::from_static(text)), believed, [0xab; 16]);
        assert_eq!(id("abc-123", true), "abc-123");
        assert_eq!(id("abc-123", false), "ab".repeat(16));
        assert_eq!(id("a b", true), "ab".repeat(16));
        assert_eq!(id("", true), "ab".repeat(16));
        assert_eq!(request_id(None, true, [1; 16]), "01".repeat(16));
        assert!(id("abc-123", true).is_sensitive() && id("abc-123", false).is_sensitive(), "it comes once");
    }

    fn sound(fields: &[&'static str]) -> bool {
        is_sound(&fields.iter().map(|value| (TRACEPARENT, HeaderValue::from_static(value))).collect())
    }

    #[test]
    fn a_trace_is_sound_if_others_would_go_on_with_it() {
        for good in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes-later",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(sound(&[good]), "{good}");
        }
        for bad in [
            "",
            "xx",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
        ] {
            assert!(!sound(&[bad]), "{bad}");
        }
        let one = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(!sound(&[]) && !sound(&[one, one]));
        let told = |value| id(&std::iter::once((TRACEPARENT, HeaderValue::from_static(value))).collect()).map(str::to_owned);
        assert_eq!((told(one).as_deref(), told("00-broken")), (Some("0af7651916cd43dd8448eb211c80319c"), None));
    }
}
