//! What must hold for whatever comes where a PROXY header is due.

use super::{BLOCK_BODY_BYTES_MAX, BLOCK_HEAD_BYTES, Fed, HeaderFault, HeaderReader, Source};
use crate::domain::fuzz::{Input, pieces};

/// A choice of pieces, then bytes of a connection: how they are cut changes nothing, and what is read can be written.
pub fn proxy_headers(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let seed = input.byte();
    let wire = input.rest();
    let read = read(std::iter::once(wire).filter(|wire| !wire.is_empty()));
    assert_eq!(read, self::read(pieces(wire, seed)));
    let Ok(Some((length, source))) = read else { return };
    assert!(length <= wire.len() && length <= BLOCK_HEAD_BYTES + BLOCK_BODY_BYTES_MAX);
    assert_eq!(self::read(std::iter::once(&wire[..length])), read, "what follows does not count");
    if length > 1 {
        assert_eq!(self::read(std::iter::once(&wire[..length - 1])), Ok(None), "no byte of it is missed");
    }
    if let (Source::Client(address), true) = (source, wire.starts_with(b"PROXY ")) {
        let family = if address.is_ipv4() { "TCP4" } else { "TCP6" };
        let line = format!("PROXY {family} {0} {0} {1} 1\r\n", address.ip(), address.port());
        assert_eq!(self::read(std::iter::once(line.as_bytes())), Ok(Some((line.len(), source))));
    }
}

/// `None`: more has to come.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Option<(usize, Source)>, HeaderFault> {
    let (mut reader, mut before) = (HeaderReader::default(), 0);
    for piece in pieces {
        match reader.feed(piece)? {
            Fed::More => before += piece.len(),
            Fed::Done(length, source) => return Ok(Some((before + length, source))),
        }
    }
    Ok(None)
}
