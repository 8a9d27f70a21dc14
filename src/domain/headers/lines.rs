//! Fields as HTTP/1.1 writes them.

/// Appends one line of a head. Name and value were checked when they were parsed or made.
pub fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
