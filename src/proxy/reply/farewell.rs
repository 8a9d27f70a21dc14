//! Problems as bytes, for a connection that ends before there was a request.

use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderValue, StatusCode};

use super::Problem;
use crate::domain::problem_code::ProblemTypes;

impl Problem {
    /// A whole response of HTTP/1.1, after which the connection is closed.
    #[must_use]
    pub fn into_farewell(self, types: &ProblemTypes) -> Vec<u8> {
        let mut reply = self.into_reply(types);
        let length = reply.body().len();
        reply.headers_mut().insert(CONTENT_LENGTH, length.into());
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        let mut bytes = status_line(reply.status()).into_bytes();
        for (name, value) in reply.headers() {
            bytes.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(reply.body());
        bytes
    }
}

fn status_line(status: StatusCode) -> String {
    format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::problem_code::ProblemCode;

    #[test]
    fn it_is_a_whole_response_whose_length_is_right() {
        let types = "https://docs.example/errors#".parse().unwrap();
        let text = String::from_utf8(Problem::new(ProblemCode::TlsRequired, "Use https here.").into_farewell(&types)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        let fields: Vec<&str> = head.lines().skip(1).collect();
        let length = format!("content-length: {}", body.len());
        for field in ["content-type: application/problem+json", "cache-control: no-store", "connection: close", &length] {
            assert!(fields.contains(&field), "{field}: {head}");
        }
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["type"], "https://docs.example/errors#tls_required");
    }
}
