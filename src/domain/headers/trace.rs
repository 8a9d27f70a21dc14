//! Request ids and trace context (W3C Trace Context, level 1).

use http::HeaderValue;

/// The longest request id that is taken over from outside.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The request's id: the one that came along if it may be believed and is harmless, or 32 hexadecimal digits of `entropy`.
pub fn request_id(given: Option<&HeaderValue>, believed: bool, entropy: [u8; 16]) -> HeaderValue {
    let harmless = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(byte);
        !bytes.is_empty() && bytes.len() <= REQUEST_ID_BYTES_MAX && bytes.iter().all(plain)
    };
    given.filter(|_| believed).filter(harmless).cloned().unwrap_or_else(|| {
        let mut digits = [0; 32];
        hex(&entropy, &mut digits);
        HeaderValue::from_bytes(&digits).expect("hexadecimal digits are a field value")
    })
}

/// The value of a `traceparent` field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceParent([u8; 55]);

impl TraceParent {
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The `traceparent` for the upstream: the caller's trace with a span of ours, or a new trace, sampled as the caller says.
pub fn traceparent(given: Option<&HeaderValue>, entropy: [u8; 24]) -> TraceParent {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    hex(&entropy[16..], &mut text[36..52]);
    match given.map(HeaderValue::as_bytes).filter(|value| is_valid(value)) {
        Some(value) => {
            text[3..35].copy_from_slice(&value[3..35]);
            text[53..55].copy_from_slice(&value[53..55]);
        }
        None => hex(&entropy[..16], &mut text[3..35]),
    }
    TraceParent(text)
}

fn is_valid(value: &[u8]) -> bool {
    let lower_hex = |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let not_zero = |bytes: &[u8]| bytes.iter().any(|byte| *byte != b'0');
    value.len() == 55
        && value.starts_with(b"00-")
        && value[35] == b'-'
        && value[52] == b'-'
        && [&value[3..35], &value[36..52], &value[53..55]].iter().all(|part| lower_hex(part))
        && not_zero(&value[3..35])
        && not_zero(&value[36..52])
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
    }

    #[test]
    fn a_trace_goes_on_with_a_span_of_ours() {
        let given = HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let ours = traceparent(Some(&given), [2; 24]);
        assert_eq!(ours.as_bytes(), b"00-0af7651916cd43dd8448eb211c80319c-0202020202020202-01");
    }

    #[test]
    fn a_broken_trace_is_replaced() {
        for bad in [
            "",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "xx",
        ] {
            let fresh = traceparent(Some(&HeaderValue::from_static(bad)), [3; 24]);
            assert_eq!(fresh.as_bytes(), format!("00-{}-{}-00", "03".repeat(16), "03".repeat(8)).as_bytes(), "{bad}");
        }
    }
}
