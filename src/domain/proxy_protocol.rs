//! The PROXY protocol, versions 1 and 2: the line or block before a connection's first byte by which a load balancer says whose the
//! connection is (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! Read strictly: there is one way to write each header, and whatever else comes is refused. What a header says beside the client's
//! address is passed over.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 1, line end included.
const LINE_BYTES_MAX: usize = 107;

const LINE_BEGINNING: &[u8] = b"PROXY ";

/// With what version 2 begins: no HTTP or TLS server takes it for a request.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
const BLOCK_HEAD_BYTES: usize = 16;

/// What may follow the head of a block: addresses and what is passed over.
const BLOCK_BODY_BYTES_MAX: usize = 4096;

/// Why a header is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderFault {
    #[error("it does not begin with a PROXY header")]
    Absent,
    #[error("its PROXY header is malformed")]
    Malformed,
    #[error("its PROXY header is longer than is read")]
    TooLong,
    #[error("its PROXY header tells of no TCP connection")]
    NotTcp,
}

/// Whose a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Of the load balancer itself, which checks whether we are there.
    Balancer,
    /// Of a client whose address the balancer does not know, or that has none.
    Unknown,
    Client(SocketAddr),
}

/// What came of some more bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fed {
    /// All of them belong to the header, and more have to come.
    More,
    /// The header ends with the first so many of them.
    Done(usize, Source),
}

/// A header as far as it has come.
#[derive(Debug, Default)]
pub struct HeaderReader {
    /// What is needed of it: a line, or the head and the addresses of a block.
    kept: Vec<u8>,
    /// All that came.
    length: usize,
}

impl HeaderReader {
    /// Takes the next bytes of a connection, of which there is at least one. Those behind the header are not looked at.
    ///
    /// # Errors
    /// As soon as what came is the beginning of no header.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Fed, HeaderFault> {
        let before = self.length;
        for (position, byte) in bytes.iter().enumerate() {
            self.length += 1;
            if self.kept.len() < LINE_BYTES_MAX {
                self.kept.push(*byte);
            }
            if let Some(source) = self.source()? {
                return Ok(Fed::Done(position + 1, source));
            }
        }
        debug_assert_eq!(self.length, before + bytes.len());
        Ok(Fed::More)
    }

    /// `None`: the header has not come whole.
    fn source(&self) -> Result<Option<Source>, HeaderFault> {
        let begins = |beginning: &[u8]| self.kept.iter().zip(beginning).all(|(came, due)| came == due);
        if begins(LINE_BEGINNING) {
            self.source_of_line()
        } else if begins(SIGNATURE) {
            self.source_of_block()
        } else {
            Err(HeaderFault::Absent)
        }
    }

    fn source_of_line(&self) -> Result<Option<Source>, HeaderFault> {
        if self.kept.last() == Some(&b'\n') {
            let line = self.kept.strip_suffix(b"\r\n").ok_or(HeaderFault::Malformed)?;
            return read_line(line.strip_prefix(LINE_BEGINNING).ok_or(HeaderFault::Malformed)?).map(Some);
        }
        if self.length >= LINE_BYTES_MAX { Err(HeaderFault::TooLong) } else { Ok(None) }
    }

    fn source_of_block(&self) -> Result<Option<Source>, HeaderFault> {
        let Some((head, body)) = self.kept.split_first_chunk::<BLOCK_HEAD_BYTES>() else { return Ok(None) };
        let block = Block::of_head(head)?;
        if self.length < BLOCK_HEAD_BYTES + block.body_bytes {
            return Ok(None);
        }
        Ok(Some(block.family.source(body)))
    }
}

/// What is behind `PROXY `, without the line end.
fn read_line(line: &[u8]) -> Result<Source, HeaderFault> {
    let text = std::str::from_utf8(line).map_err(|_| HeaderFault::Malformed)?;
    let mut words = text.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Source::Unknown);
    }
    let words: Vec<&str> = words.collect();
    let [source, destination, source_port, destination_port] = words[..] else { return Err(HeaderFault::Malformed) };
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            Some("TCP4") => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            Some("TCP6") => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, _) = address(source).zip(address(destination)).ok_or(HeaderFault::Malformed)?;
    let (source_port, _) = port(source_port).zip(port(destination_port)).ok_or(HeaderFault::Malformed)?;
    Ok(Source::Client(SocketAddr::new(source, source_port)))
}

/// Without leading zeros.
fn port(text: &str) -> Option<u16> {
    let is_canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_canonical)
}

/// The head of a block of version 2.
#[derive(Clone, Copy)]
struct Block {
    family: Family,
    body_bytes: usize,
}

#[derive(Clone, Copy)]
enum Family {
    /// Whatever is said of the balancer's own connection.
    Own,
    /// Nothing is said, or nothing that is an internet address.
    Unspecified,
    Tcp4,
    Tcp6,
}

impl Block {
    fn of_head(head: &[u8; BLOCK_HEAD_BYTES]) -> Result<Self, HeaderFault> {
        let [.., version_and_command, family, high, low] = *head;
        let family = match (version_and_command, family) {
            // Of its own connection a balancer says nothing that counts.
            (0x20, 0x00 | 0x11 | 0x12 | 0x21 | 0x22 | 0x31 | 0x32) => Family::Own,
            (0x21, 0x00 | 0x31) => Family::Unspecified,
            (0x21, 0x11) => Family::Tcp4,
            (0x21, 0x21) => Family::Tcp6,
            (0x21, 0x12 | 0x22 | 0x32) => return Err(HeaderFault::NotTcp),
            _ => return Err(HeaderFault::Malformed),
        };
        let body_bytes = usize::from(u16::from_be_bytes([high, low]));
        if body_bytes > BLOCK_BODY_BYTES_MAX {
            return Err(HeaderFault::TooLong);
        }
        if body_bytes < family.address_bytes() {
            return Err(HeaderFault::Malformed);
        }
        Ok(Self { family, body_bytes })
    }
}

impl Family {
    /// Two addresses and two ports.
    const fn address_bytes(self) -> usize {
        match self {
            Self::Own | Self::Unspecified => 0,
            Self::Tcp4 => 2 * (4 + 2),
            Self::Tcp6 => 2 * (16 + 2),
        }
    }

    /// `body` has [`Family::address_bytes`] at the least.
    fn source(self, body: &[u8]) -> Source {
        let port = |bytes: &[u8]| bytes.first_chunk().map_or(0, |port| u16::from_be_bytes(*port));
        match self {
            Self::Own => Source::Balancer,
            Self::Unspecified => Source::Unknown,
            Self::Tcp4 => body.first_chunk::<4>().map_or(Source::Unknown, |address| {
                Source::Client(SocketAddr::new(Ipv4Addr::from(*address).into(), port(&body[2 * 4..])))
            }),
            Self::Tcp6 => body.first_chunk::<16>().map_or(Source::Unknown, |address| {
                Source::Client(SocketAddr::new(Ipv6Addr::from(*address).into(), port(&body[2 * 16..])))
            }),
        }
    }
}
