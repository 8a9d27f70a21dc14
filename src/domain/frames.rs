//! Where the frames of HTTP/2 begin (RFC 9113, section 4.1), in whatever pieces their bytes come.

pub const HEAD_BYTES: usize = 9;

/// The first bytes of a client, before its first frame.
pub const PREFACE_BYTES: usize = 24;

pub const DATA: u8 = 0x0;
pub const HEADERS: u8 = 0x1;
pub const RST_STREAM: u8 = 0x3;
pub const SETTINGS: u8 = 0x4;
pub const PUSH_PROMISE: u8 = 0x5;
pub const PING: u8 = 0x6;
pub const CONTINUATION: u8 = 0x9;

pub const ACK: u8 = 0x1;
pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;

/// The head of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHead {
    pub length: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl FrameHead {
    const fn of(bytes: [u8; HEAD_BYTES]) -> Self {
        let [first, second, third, kind, flags, stream @ ..] = bytes;
        let length = u32::from_be_bytes([0, first, second, third]) as usize;
        // The highest bit means nothing.
        Self { length, kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff }
    }

    pub const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// A DATA frame that changes nothing: no byte, not even of padding, and not the end.
    pub const fn is_data_of_nothing(self) -> bool {
        self.kind == DATA && self.length == 0 && !self.has(END_STREAM) && !self.has(PADDED)
    }
}

/// Follows the frames of one side of one connection.
#[derive(Clone, Copy, Debug)]
pub struct FrameWalk(Position);

#[derive(Clone, Copy, Debug)]
enum Position {
    /// Within what is not looked at: so many bytes are left of it.
    Within(usize),
    /// Within the head of a frame, of which so many bytes have come.
    Head([u8; HEAD_BYTES], usize),
}

/// What the next bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The last ones of a head, which is this one.
    Head(FrameHead),
    /// Some of a head, of which more is to come.
    Cut,
    /// Some of a payload, or of the preface.
    Payload,
}

impl FrameWalk {
    /// A client's first bytes are the preface.
    pub const fn of_client() -> Self {
        Self(Position::Within(PREFACE_BYTES))
    }

    pub const fn of_server() -> Self {
        Self(Position::Head([0; HEAD_BYTES], 0))
    }

    /// Goes one step, and says how many of `bytes` that were. They are not empty.
    pub fn step(&mut self, bytes: &[u8]) -> (usize, Step) {
        match &mut self.0 {
            Position::Within(left) => {
                let taken = bytes.len().min(*left);
                *left -= taken;
                if *left == 0 {
                    *self = Self::of_server();
                }
                (taken, Step::Payload)
            }
            Position::Head(head, come) => {
                let taken = bytes.len().min(HEAD_BYTES - *come);
                head[*come..*come + taken].copy_from_slice(&bytes[..taken]);
                *come += taken;
                if *come < HEAD_BYTES {
                    return (taken, Step::Cut);
                }
                let head = FrameHead::of(*head);
                *self = if head.length == 0 { Self::of_server() } else { Self(Position::Within(head.length)) };
                (taken, Step::Head(head))
            }
        }
    }
}
