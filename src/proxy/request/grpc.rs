//! What tells calls of gRPC from other requests.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Version};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

const MEDIA_TYPE: &[u8] = b"application/grpc";

/// The media type of a call, by HTTP/2 or as gRPC-Web. `None`: it is none.
pub(in crate::proxy) fn media_type(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(CONTENT_TYPE).filter(|value| {
        let (beginning, rest) = value.as_bytes().split_at_checked(MEDIA_TYPE.len()).unwrap_or_default();
        beginning.eq_ignore_ascii_case(MEDIA_TYPE) && matches!(rest.first(), None | Some(b'+' | b'-' | b';' | b' '))
    })
}

/// How long the caller waits for the response. `None`: as long as it takes.
pub(in crate::proxy) fn timeout(head: &Parts) -> Option<Duration> {
    if head.version != Version::HTTP_2 {
        return None;
    }
    let text = head.headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    // So many are allowed: the product stays within bounds.
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let value: u64 = digits.parse().ok().filter(|_| is_number)?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn calls_are_told_by_their_media_type() {
        let is_call = |value: &'static str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            media_type(&headers).is_some()
        };
        for call in ["application/grpc", "Application/gRPC+proto", "application/grpc-web-text", "application/grpc;charset=utf-8"]
        {
            assert!(is_call(call), "{call}");
        }
        for other in ["application/grpcx", "application/json", "application/grp", ""] {
            assert!(!is_call(other), "{other}");
        }
        assert!(media_type(&HeaderMap::new()).is_none());
    }

    #[test]
    fn the_time_of_a_caller_is_read_or_there_is_none() {
        let timeout_of = |value: &str, version| {
            timeout(&Request::builder().version(version).header(GRPC_TIMEOUT, value).body(()).unwrap().into_parts().0)
        };
        let read = |value: &str| timeout_of(value, Version::HTTP_2);
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!((read("150m"), read("1H")), (Some(Duration::from_millis(150)), Some(Duration::from_secs(3600))));
        assert_eq!(
            (read("99999999H").is_some(), read("7u"), read("0n")),
            (true, Some(Duration::from_micros(7)), Some(Duration::ZERO))
        );
        for bad in ["", "S", "5", "-1S", "+1S", "1 S", "999999999S", "1s", "1.5S", "ä"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(timeout_of("2S", Version::HTTP_11), None);
    }
}
