//! Tokens that a client sends for its stream, in messages that go no further than here, and what it is told of them.

use bytes::{Buf as _, BytesMut};

use crate::domain::renewal_prefix::RenewalPrefix;
use crate::domain::secret::Secret;
use crate::domain::websocket_frames::Header;
use crate::proxy::bond::Renewal;

/// Takes a client's messages to the gateway out of its bytes: text messages of one frame that begin with the prefix, and are not longer
/// than a request with a token may be. Everything else passes as it came.
#[derive(Debug)]
pub(super) struct Screen {
    prefix: RenewalPrefix,
    message_bytes_max: usize,
    /// Read, and neither passed on nor taken.
    held: BytesMut,
    /// What is left of a frame that passes.
    passing: u64,
}

/// What is to become of a frame.
enum Sorted {
    Passes(Header),
    Taken(Header),
    /// More of it has to come.
    Unknown,
}

impl Screen {
    pub(super) fn new(prefix: RenewalPrefix, message_bytes_max: usize, early: BytesMut) -> Self {
        Self { prefix, message_bytes_max, held: early, passing: 0 }
    }

    /// Where bytes are read to.
    pub(super) const fn room(&mut self) -> &mut BytesMut {
        &mut self.held
    }

    /// Moves what passes to `onward`. Returns the token of the last message that was taken: a newer one is meant in the place of those
    /// before it.
    pub(super) fn sift(&mut self, onward: &mut BytesMut) -> Option<Secret<String>> {
        let mut token = None;
        loop {
            let passes = usize::try_from(self.passing).unwrap_or(usize::MAX).min(self.held.len());
            onward.extend_from_slice(&self.held[..passes]);
            self.held.advance(passes);
            self.passing -= passes as u64;
            match self.sort() {
                Sorted::Unknown => return token,
                Sorted::Passes(header) => self.passing = header.frame_length(),
                Sorted::Taken(header) => token = Some(self.take(&header)),
            }
        }
    }

    fn sort(&self) -> Sorted {
        if self.passing > 0 {
            return Sorted::Unknown;
        }
        let Some(header) = Header::of(&self.held) else { return Sorted::Unknown };
        let prefix = self.prefix.as_bytes();
        let may_be_ours = header.is_text_alone() && header.payload_within(prefix.len()..=self.message_bytes_max).is_some();
        let begun = header.unmasked(&self.held).zip(prefix);
        if !may_be_ours || !begun.into_iter().all(|(sent, wanted)| sent == *wanted) {
            return Sorted::Passes(header);
        }
        if header.frame_length() <= self.held.len() as u64 { Sorted::Taken(header) } else { Sorted::Unknown }
    }

    /// What is no text is no token either.
    fn take(&mut self, header: &Header) -> Secret<String> {
        let sent = header.unmasked(&self.held).skip(self.prefix.as_bytes().len()).collect();
        let token = Secret::new(String::from_utf8(sent).unwrap_or_default());
        self.held.advance(usize::try_from(header.frame_length()).unwrap_or(usize::MAX).min(self.held.len()));
        token
    }
}

/// What a client is told of the tokens that it sends. An answer has the end of the token that it is about, which nobody knows but the client:
/// an application may pass on what others wrote to look like one.
#[derive(Debug)]
pub(super) struct Answers {
    prefix: RenewalPrefix,
    /// Of the token that was sent last, which is the one that is judged.
    token_end: Secret<String>,
    /// Of its tokens in a row.
    refused: u32,
}

/// Of a token's signature: what nobody guesses.
const END_CHARS: usize = 8;

/// So many tokens may be refused before the stream ends: a client that goes on guessing has none.
const REFUSED_MAX: u32 = 5;

impl Answers {
    pub(super) const fn new(prefix: RenewalPrefix) -> Self {
        Self { prefix, token_end: Secret::new(String::new()), refused: 0 }
    }

    /// What is said from now on is about this token.
    pub(super) fn are_about(&mut self, token: &Secret<String>) {
        let token = token.expose();
        let end = token.get(token.len().saturating_sub(END_CHARS)..).unwrap_or_default();
        // Of what is no token there is none.
        let is_of_token = end.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        self.token_end = Secret::new(if is_of_token { end.to_owned() } else { String::new() });
    }

    /// The text message of a server that says what became of a token; `None`: too many were refused.
    pub(super) fn to(&mut self, renewal: &Renewal) -> Option<Vec<u8>> {
        let said = match renewal {
            Ok(until) => {
                self.refused = 0;
                format!("\"renewed_until\":{}", until.secs())
            }
            Err(refused) => {
                self.refused += u32::from(refused.is_for_good);
                if self.refused >= REFUSED_MAX {
                    return None;
                }
                format!("\"error\":\"{}\"", refused.code)
            }
        };
        let text = format!("{}{{{said},\"token_end\":\"{}\"}}", self.prefix, self.token_end.expose());
        Some(text_message(text.as_bytes()))
    }
}

/// Of a server, which does not mask. `text` is shorter than 64 KiB.
fn text_message(text: &[u8]) -> Vec<u8> {
    let length = match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(short @ ..=125), _) => vec![short],
        (_, length) => [&[126][..], &length.unwrap_or(u16::MAX).to_be_bytes()].concat(),
    };
    [&[0x81][..], &length, text].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::time::Timestamp;
    use crate::proxy::bond::NotRenewed;

    const PREFIX: &[u8] = b"tokengate:";
    const MESSAGE_BYTES_MAX: usize = 300;
    const TEXT: u8 = 0x81;

    fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let flag = if mask.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![first];
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(short @ ..=125), _) => bytes.push(flag | short),
            (_, Ok(length)) => {
                bytes.push(flag | 0x7e);
                bytes.extend(length.to_be_bytes());
            }
            (_, Err(_)) => unreachable!("no test has such a payload"),
        }
        bytes.extend(mask.unwrap_or_default().into_iter().take(if mask.is_some() { 4 } else { 0 }));
        let mask = mask.unwrap_or_default();
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    fn ours(token: &str) -> Vec<u8> {
        frame(TEXT, &[PREFIX, token.as_bytes()].concat(), Some([1, 2, 3, 250]))
    }

    fn screen() -> Screen {
        Screen::new("tokengate:".parse().unwrap(), MESSAGE_BYTES_MAX, BytesMut::new())
    }

    /// What passes of bytes that arrive so, and which tokens were taken.
    fn sifted<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<String>) {
        let (mut screen, mut onward, mut tokens) = (screen(), BytesMut::new(), Vec::new());
        for piece in pieces {
            screen.room().extend_from_slice(piece);
            tokens.extend(screen.sift(&mut onward).map(|token| token.expose().clone()));
        }
        (onward.to_vec(), tokens)
    }

    #[test]
    fn a_token_is_taken_wherever_its_message_is_cut() {
        let (before, after) = (frame(TEXT, b"tokengate is a word", Some([9; 4])), frame(0x82, b"tokengate:binary", Some([0; 4])));
        let wire = [&before[..], &ours("e30.e30.c2ln"), &after].concat();
        for size in 1..=wire.len() {
            let (passed, tokens) = sifted(wire.chunks(size));
            assert_eq!(passed, [&before[..], &after].concat(), "pieces of {size}");
            assert_eq!(tokens, ["e30.e30.c2ln"], "pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_message_to_the_gateway_passes_as_it_came() {
        let message = [PREFIX, b"e30.e30.c2ln"].concat();
        let long = [PREFIX, &[b'a'; MESSAGE_BYTES_MAX]].concat();
        for wire in [
            frame(0x82, &message, Some([7; 4])),
            // Begins a message of several frames; goes on with one; has a bit that no extension was agreed for.
            frame(0x01, &message, Some([7; 4])),
            frame(0x80, &message, Some([7; 4])),
            frame(0xc1, &message, Some([7; 4])),
            // Nothing that a client may send.
            frame(TEXT, &message, None),
            frame(TEXT, &long, Some([7; 4])),
            frame(TEXT, b"tokengate", Some([7; 4])),
            frame(TEXT, b" tokengate:e30", Some([7; 4])),
            frame(TEXT, b"Tokengate:e30", Some([7; 4])),
            frame(0x89, &message, Some([7; 4])),
            frame(0x88, b"\x03\xe8tokengate:", Some([7; 4])),
        ] {
            assert_eq!(sifted(wire.chunks(1)), (wire.clone(), Vec::new()), "{}", wire.escape_ascii());
            assert_eq!(sifted(std::iter::once(&wire[..])), (wire.clone(), Vec::new()), "{}", wire.escape_ascii());
        }
    }

    #[test]
    fn a_frame_that_can_be_none_of_ours_waits_for_nothing() {
        let (mut screen, mut onward) = (screen(), BytesMut::new());
        let wire = frame(TEXT, b"token of my esteem", Some([3; 4]));
        screen.room().extend_from_slice(&wire[..13]);
        assert!(screen.sift(&mut onward).is_none());
        assert_eq!(onward, wire[..13], "its seventh character tells");
    }

    #[test]
    fn of_several_tokens_at_once_the_last_counts() {
        let wire = [ours("one"), ours("two")].concat();
        assert_eq!(sifted(std::iter::once(&wire[..])), (Vec::new(), vec!["two".to_owned()]));
        assert_eq!(sifted(std::iter::once(&ours("")[..])), (Vec::new(), vec![String::new()]), "it is answered as no token");
    }

    #[test]
    fn answers_are_text_messages_and_end_after_too_many_refusals() {
        let mut answers = Answers::new("tokengate:".parse().unwrap());
        let (held_against, passing) = (
            Err(NotRenewed { code: "token_invalid", is_for_good: true }),
            Err(NotRenewed { code: "revocations_stale", is_for_good: false }),
        );
        let until = Ok(Timestamp::from_secs(1_700_000_000));
        answers.are_about(&Secret::new("e30.e30.signature".to_owned()));
        let said = b"\x81\x3dtokengate:{\"renewed_until\":1700000000,\"token_end\":\"ignature\"}";
        assert_eq!(answers.to(&until).unwrap().escape_ascii().to_string(), said.escape_ascii().to_string());
        for _ in 0..2 {
            for _ in 1..REFUSED_MAX {
                let said = answers.to(&held_against).unwrap();
                assert!(
                    said.ends_with(b"tokengate:{\"error\":\"token_invalid\",\"token_end\":\"ignature\"}"),
                    "{}",
                    said.escape_ascii()
                );
            }
            for _ in 0..2 * REFUSED_MAX {
                assert!(answers.to(&passing).is_some());
            }
            answers.to(&until).unwrap();
        }
        for _ in 1..REFUSED_MAX {
            answers.to(&held_against).unwrap();
        }
        assert_eq!(answers.to(&held_against), None);
    }

    #[test]
    fn an_answer_has_the_end_of_a_token_and_nothing_of_what_is_none() {
        let mut answers = Answers::new("tokengate:".parse().unwrap());
        for (sent, end) in [("a.b.c", "a.b.c"), ("", ""), ("a.b.\"}{\"", ""), ("a.b.ccccccc\u{e9}", ""), ("\u{e9}1234567", "")] {
            answers.are_about(&Secret::new(sent.to_owned()));
            let said = answers.to(&Ok(Timestamp::from_secs(1))).unwrap();
            let said: serde_json::Value = serde_json::from_slice(&said[2 + PREFIX.len()..]).unwrap();
            assert_eq!((&said["token_end"], &said["renewed_until"]), (&end.into(), &1.into()), "{sent}");
        }
    }

    proptest! {
        #[test]
        fn nothing_else_is_lost_or_changed(
            frames in proptest::collection::vec(
                (
                    prop_oneof![Just(TEXT), Just(0x82), Just(0x01), Just(0x80), Just(0x89)],
                    proptest::collection::vec(any::<u8>(), 0..140),
                    any::<[u8; 4]>(),
                    any::<bool>(),
                ),
                1..6,
            ),
            size in 1_usize..400,
        ) {
            let (mut wire, mut expected, mut expected_tokens) = (Vec::new(), Vec::<u8>::new(), Vec::new());
            for (first, payload, mask, is_ours) in frames {
                let payload = if is_ours { [PREFIX, b"token"].concat() } else { payload };
                let frame = frame(first, &payload, Some(mask));
                if is_ours && first == TEXT { expected_tokens.push("token".to_owned()) } else { expected.extend(&frame) }
                wire.extend(frame);
            }
            let (passed, tokens) = sifted(wire.chunks(size));
            prop_assert_eq!(passed, expected);
            prop_assert!(tokens.len() <= expected_tokens.len() && tokens.is_empty() == expected_tokens.is_empty());
        }
    }
}
