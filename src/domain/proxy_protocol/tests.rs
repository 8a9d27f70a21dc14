use super::*;

fn read(bytes: &[u8]) -> Result<Fed, HeaderFault> {
    HeaderReader::default().feed(bytes)
}

fn client(text: &str) -> Source {
    Source::Client(text.parse().unwrap())
}

fn block(version_and_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE.as_slice(), &[version_and_command, family], &length, body].concat()
}

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0xdb, 0x25, 0x01, 0xbb];

#[test]
fn a_line_names_the_client() {
    for (line, source) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.7 56101 443\r\n", client("192.0.2.1:56101")),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", client("255.255.255.255:65535")),
        ("PROXY TCP6 2001:db8::1 ::1 1 0\r\n", client("[2001:db8::1]:1")),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            client("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        ),
        ("PROXY UNKNOWN\r\n", Source::Unknown),
        ("PROXY UNKNOWN ffff::1 anything at all\r\n", Source::Unknown),
    ] {
        assert_eq!(read(line.as_bytes()), Ok(Fed::Done(line.len(), source)), "{line}");
        let with_request = format!("{line}GET / HTTP/1.1\r\n\r\n");
        assert_eq!(read(with_request.as_bytes()), Ok(Fed::Done(line.len(), source)), "{line}");
        for end in 1..line.len() {
            assert_eq!(read(&line.as_bytes()[..end]), Ok(Fed::More), "{line} up to {end}");
        }
    }
}

#[test]
fn a_line_is_written_in_one_way() {
    for line in [
        "PROXY TCP4 192.0.2.1 198.51.100.7 56101\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 56101 443 \r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.7 56101 443\r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.7 56101 443\r\n",
        "PROXY TCP4\t192.0.2.1 198.51.100.7 56101 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 56101 443\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 56101\n443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 056101 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 +1 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 65536 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 \r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.7 1 443\r\n",
        "PROXY TCP4 192.0.2 198.51.100.7 1 443\r\n",
        "PROXY TCP4 2001:db8::1 ::1 1 443\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.7 1 443\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 443\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.7 1 443\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.7 1 443\r\n",
        "PROXY \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 443\0\r\n",
    ] {
        assert_eq!(read(line.as_bytes()), Err(HeaderFault::Malformed), "{line:?}");
    }
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(LINE_BYTES_MAX));
    assert_eq!(read(endless.as_bytes()), Err(HeaderFault::TooLong));
}

#[test]
fn what_is_no_header_is_known_by_its_first_byte_that_differs() {
    for wire in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"PROXX", b"proxy TCP4", b"\r\n\r\nG", b"\0", b"P\r"] {
        assert_eq!(read(wire), Err(HeaderFault::Absent), "{}", wire.escape_ascii());
    }
}

#[test]
fn a_block_names_the_client() {
    let v6: Vec<u8> = [[0x20; 16].as_slice(), &[1; 16], &[0, 80, 1, 187]].concat();
    for (wire, source) in [
        (block(0x21, 0x11, &V4), client("192.0.2.1:56101")),
        (block(0x21, 0x21, &v6), client("[2020:2020:2020:2020:2020:2020:2020:2020]:80")),
        (block(0x21, 0x00, &[]), Source::Unknown),
        (block(0x21, 0x31, &[0; 216]), Source::Unknown),
        (block(0x20, 0x00, &[]), Source::Balancer),
        (block(0x20, 0x11, &V4), Source::Balancer),
        // Extensions, of whatever content.
        (block(0x21, 0x11, &[V4.as_slice(), &[4, 255, 255, 0]].concat()), client("192.0.2.1:56101")),
        (block(0x21, 0x11, &[V4.as_slice(), &[0; BLOCK_BODY_BYTES_MAX - 12]].concat()), client("192.0.2.1:56101")),
    ] {
        assert_eq!(read(&wire), Ok(Fed::Done(wire.len(), source)));
        let with_request = [wire.as_slice(), b"GET /"].concat();
        assert_eq!(read(&with_request), Ok(Fed::Done(wire.len(), source)));
        for end in 1..wire.len() {
            assert_eq!(read(&wire[..end]), Ok(Fed::More), "up to {end}");
        }
    }
}

#[test]
fn a_block_that_says_what_it_must_not_is_refused() {
    for (wire, fault) in [
        (block(0x11, 0x11, &V4), HeaderFault::Malformed),
        (block(0x22, 0x11, &V4), HeaderFault::Malformed),
        (block(0x21, 0x13, &V4), HeaderFault::Malformed),
        (block(0x21, 0x41, &V4), HeaderFault::Malformed),
        (block(0x20, 0xff, &V4), HeaderFault::Malformed),
        (block(0x21, 0x11, &V4[..11]), HeaderFault::Malformed),
        (block(0x21, 0x21, &[0; 35]), HeaderFault::Malformed),
        (block(0x21, 0x12, &V4), HeaderFault::NotTcp),
        (block(0x21, 0x11, &[0; BLOCK_BODY_BYTES_MAX + 1]), HeaderFault::TooLong),
        (block(0x20, 0x00, &vec![0; u16::MAX.into()]), HeaderFault::TooLong),
    ] {
        assert_eq!(read(&wire), Err(fault));
    }
}
