//! Bodies in chunks (RFC 9112, section 7.1).

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{FIELDS_BYTES_MAX, FIELDS_MAX, Malformed};
use crate::domain::headers::write_field;

/// The longest chunk-size line, extensions included.
const CHUNK_LINE_BYTES_MAX: usize = 4 * 1024;

/// What stands behind the data of a chunk.
pub(in crate::proxy) const CHUNK_END: &[u8] = b"\r\n";

/// The last chunk, and no trailers.
pub(in crate::proxy) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends what stands before the data of a chunk. One without data would be the last.
pub(in crate::proxy) fn write_chunk_size(out: &mut Vec<u8>, size: usize) {
    out.extend_from_slice(format!("{size:x}\r\n").as_bytes());
}

/// Appends the last chunk, with trailers.
pub(in crate::proxy) fn write_last_chunk(out: &mut Vec<u8>, trailers: &HeaderMap) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        write_field(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Reads a chunked body (RFC 9112, section 7.1): CRLF only, bounded lines, no signs and no spaces in sizes.
#[derive(Clone, Debug)]
pub(in crate::proxy) enum Chunks {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// What the next bytes of a chunked body are.
#[derive(Debug)]
pub(in crate::proxy) enum Chunk {
    Data(Bytes),
    Trailers(HeaderMap),
    NeedMore,
    Done,
}

impl Chunks {
    /// Whether the body ends within these bytes.
    pub(in crate::proxy) fn end_within(&mut self, bytes: &mut BytesMut) -> Result<bool, Malformed> {
        loop {
            match self.next(bytes)? {
                Chunk::Data(_) | Chunk::Trailers(_) => {}
                Chunk::Done => return Ok(true),
                Chunk::NeedMore => return Ok(false),
            }
        }
    }

    pub(in crate::proxy) fn next(&mut self, buffer: &mut BytesMut) -> Result<Chunk, Malformed> {
        loop {
            match self {
                Self::Size => {
                    let Some(line) = take_line(buffer, CHUNK_LINE_BYTES_MAX)? else { return Ok(Chunk::NeedMore) };
                    *self = match chunk_size(&line)? {
                        0 => Self::Trailers,
                        size => Self::Data(size),
                    };
                }
                Self::Data(left) => {
                    if buffer.is_empty() {
                        return Ok(Chunk::NeedMore);
                    }
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                    let data = buffer.split_to(take).freeze();
                    *left -= take as u64;
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    return Ok(Chunk::Data(data));
                }
                Self::DataEnd => {
                    if !b"\r\n".starts_with(&buffer[..buffer.len().min(2)]) {
                        return Err(Malformed("chunk does not end in CRLF"));
                    }
                    if buffer.len() < 2 {
                        return Ok(Chunk::NeedMore);
                    }
                    buffer.advance(2);
                    *self = Self::Size;
                }
                Self::Trailers => {
                    let Some(trailers) = read_trailers(buffer)? else { return Ok(Chunk::NeedMore) };
                    *self = Self::Done;
                    if !trailers.is_empty() {
                        return Ok(Chunk::Trailers(trailers));
                    }
                }
                Self::Done => return Ok(Chunk::Done),
            }
        }
    }
}

/// One line without its CRLF; `None` while it is incomplete.
fn take_line(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Bytes>, Malformed> {
    match buffer.iter().take(bytes_max).position(|byte| *byte == b'\n') {
        Some(0) => Err(Malformed("bare LF in chunked body")),
        Some(at) if buffer[at - 1] == b'\r' => {
            let line = buffer.split_to(at + 1).freeze();
            Ok(Some(line.slice(..at - 1)))
        }
        Some(_) => Err(Malformed("bare LF in chunked body")),
        None if buffer.len() >= bytes_max => Err(Malformed("chunk-size line too long")),
        None => Ok(None),
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let extension = line[digits..].trim_ascii_start();
    if digits == 0 || digits > 15 || !(extension.is_empty() || extension[0] == b';') || line.contains(&b'\r') {
        return Err(Malformed("bad chunk size"));
    }
    let text = std::str::from_utf8(&line[..digits]).map_err(|_| Malformed("bad chunk size"))?;
    u64::from_str_radix(text, 16).map_err(|_| Malformed("bad chunk size"))
}

fn read_trailers(buffer: &mut BytesMut) -> Result<Option<HeaderMap>, Malformed> {
    if buffer.starts_with(b"\r\n") {
        buffer.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let (length, trailers) = match httparse::parse_headers(buffer, &mut fields) {
        Ok(httparse::Status::Complete((length, fields))) => {
            let mut trailers = HeaderMap::with_capacity(fields.len());
            for field in fields {
                let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed("bad trailer name"))?;
                let value = HeaderValue::from_bytes(field.value).map_err(|_| Malformed("bad trailer value"))?;
                trailers.append(name, value);
            }
            (length, trailers)
        }
        Ok(httparse::Status::Partial) if buffer.len() < FIELDS_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(Malformed("trailers too large")),
        Err(_) => return Err(Malformed("bad trailers")),
    };
    let is_bare = |at: usize| at == 0 || buffer[at - 1] != b'\r';
    if memchr::memchr_iter(b'\n', &buffer[..length]).any(is_bare) {
        return Err(Malformed("bare LF in trailers"));
    }
    buffer.advance(length);
    Ok(Some(trailers))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dechunk(pieces: &[&[u8]]) -> Result<(Vec<u8>, HeaderMap, bool), Malformed> {
        let (mut chunks, mut buffer) = (Chunks::Size, BytesMut::new());
        let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match chunks.next(&mut buffer)? {
                    Chunk::Data(data) => body.extend_from_slice(&data),
                    Chunk::Trailers(fields) => trailers = fields,
                    Chunk::NeedMore => break,
                    Chunk::Done => return Ok((body, trailers, buffer.is_empty())),
                }
            }
        }
        Err(Malformed("incomplete"))
    }

    #[test]
    fn chunks_are_read_however_they_arrive() {
        let wire = b"5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n";
        let whole = dechunk(&[wire]).unwrap();
        assert_eq!(whole.0, b"hello0123456789");
        assert_eq!(whole.1["x-sum"], "1");
        let bytes: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(dechunk(&bytes).unwrap(), whole);
    }

    #[test]
    fn chunks_that_two_readers_could_read_differently_are_refused() {
        for wire in [
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhelloX\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "-1\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "\r\n",
            "1234567890abcdef0\r\n",
            "5 6\r\nhello\r\n",
            "\n",
            "5\r\nhello\n\n0\r\n\r\n",
            "0\r\n\n",
            "0\r\na: b\n\r\n",
            "0\r\na: b\r\n\n",
        ] {
            let outcome = dechunk(&[wire.as_bytes()]);
            assert!(outcome.is_err() && outcome != Err(Malformed("incomplete")), "{wire:?} {outcome:?}");
        }
        let endless = format!("5;{}", "x".repeat(CHUNK_LINE_BYTES_MAX));
        assert_eq!(dechunk(&[endless.as_bytes()]), Err(Malformed("chunk-size line too long")));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = dechunk(&[&bytes]);
        }

        #[test]
        fn what_was_chunked_comes_out_whole(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..10)) {
            let mut wire = Vec::new();
            for part in &parts {
                wire.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                wire.extend_from_slice(part);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let (body, _, nothing_left) = dechunk(&[&wire]).unwrap();
            prop_assert_eq!(body, parts.concat());
            prop_assert!(nothing_left);
        }
    }
}
