//! As much of Redis' protocol (RESP2) as tells where a command or a reply ends.

/// The length of the first frame, once all of it is there.
pub(crate) fn frame_length(bytes: &[u8]) -> Option<usize> {
    let head = memchr::memmem::find(bytes, b"\r\n")?;
    let after_head = head + 2;
    let count = || std::str::from_utf8(&bytes[1..head]).ok()?.parse::<i64>().ok();
    match bytes[0] {
        b'$' => match usize::try_from(count()?) {
            Ok(length) => Some(after_head + length + 2).filter(|&length| length <= bytes.len()),
            // There is none.
            Err(_) => Some(after_head),
        },
        b'*' => (0..count()?).try_fold(after_head, |length, _| Some(length + frame_length(&bytes[length..])?)),
        // A line: simple, an error, a number; or a command typed by hand.
        _ => Some(after_head),
    }
}

/// The name and the arguments of a command, which is an array of texts.
pub(crate) fn arguments(frame: &[u8]) -> Vec<&[u8]> {
    let mut arguments = Vec::new();
    let mut rest = frame;
    while let Some(head) = memchr::memmem::find(rest, b"\r\n") {
        let length = std::str::from_utf8(&rest[1..head]).ok().and_then(|text| text.parse::<usize>().ok()).unwrap_or_default();
        let is_text = rest[0] == b'$';
        rest = &rest[head + 2..];
        if is_text {
            arguments.push(&rest[..length]);
            rest = &rest[length + 2..];
        }
    }
    arguments
}

#[test]
fn frames_end_where_they_end() {
    let whole = b"*2\r\n$1\r\nA\r\n*3\r\n:1\r\n$-1\r\n*-1\r\n+OK\r\n-ERR x\r\n$0\r\n\r\n";
    let (mut at, mut lengths) = (0, Vec::new());
    while let Some(length) = frame_length(&whole[at..]) {
        lengths.push(length);
        at += length;
    }
    assert_eq!((lengths, at), (vec![29, 5, 8, 6], whole.len()));
    for cut in 0..29 {
        assert_eq!(frame_length(&whole[..cut]), None, "{cut}");
    }
    assert_eq!(arguments(b"*3\r\n$3\r\nSET\r\n$2\r\na\n\r\n$0\r\n\r\n"), [&b"SET"[..], b"a\n", b""]);
}
