//! Where the body of a request ends.

/// How the bytes behind the head of a request are delimited (RFC 9112, section 6.3). A request never ends with its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) enum Framing {
    /// So many bytes, or none.
    Length(u64),
    Chunked,
}

impl Framing {
    /// Of a body whose length is known or not.
    pub(in crate::proxy) fn of(length: Option<u64>) -> Self {
        length.map_or(Self::Chunked, Self::Length)
    }
}
