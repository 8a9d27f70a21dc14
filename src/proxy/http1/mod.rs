//! What HTTP/1.1 is towards clients and towards upstreams alike (RFC 9112).

pub(in crate::proxy) mod chunked;
pub(in crate::proxy) mod framing;

/// The largest head of a response, and the largest trailer section.
pub(in crate::proxy) const FIELDS_BYTES_MAX: usize = 64 * 1024;

/// The most fields in either.
pub(in crate::proxy) const FIELDS_MAX: usize = 128;

/// Why bytes cannot be understood. The text holds nothing of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::proxy) struct Malformed(pub(in crate::proxy) &'static str);
