//! The framing of chunked bodies, in pieces of a few bytes.
//!
//! ```text
//!  1a CRLF <26 bytes of data> CRLF 0 CRLF CRLF
//!  feed    (skipped unseen)   feed ...
//! ```

use crate::repeat::{Step, repeat};

/// Bytes that one call looks at, at most.
pub const PIECE_MAX: usize = 20;

/// Digits of a chunk size; more would not fit 64 bits.
const DIGITS_MAX: u8 = 16;

/// The largest chunk: no recipient can read it as negative.
const SIZE_MAX: u64 = u64::MAX / 2;

/// Which byte comes next. The numbers are kept in flow records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// A digit of a chunk's size, or the CR behind it.
    Size = 0,
    /// The LF of the size's line.
    SizeLf = 1,
    /// The CR behind a chunk's data.
    DataCr = 2,
    /// The LF behind a chunk's data.
    DataLf = 3,
    /// The CR of the empty line behind the last chunk.
    LastCr = 4,
    /// The LF of the empty line behind the last chunk.
    LastLf = 5,
    /// Nothing: the body has ended.
    End = 6,
}

/// Where in the framing of a body the walk is. All zero at its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chunks {
    /// A [`Phase`].
    pub phase: u8,
    /// Digits of the size read so far.
    pub digits: u8,
    /// The size: of the chunk whose line is being read, or whose data follow.
    pub remaining: u64,
}

/// What a piece held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    /// How many bytes of the piece were framing of this body.
    pub consumed: u32,
    /// What comes behind them.
    pub next: Next,
}

/// What comes behind the consumed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Next {
    /// More framing; all of the piece was consumed.
    Framing,
    /// [`Chunks::remaining`] bytes of data, at least one: skip them, and feed what stands behind them.
    Data,
    /// Nothing more: the body ends here.
    End,
    /// Something that is not walked: extensions, trailers, a fault.
    Unknown,
}

impl Chunks {
    /// Reads the first `len` (at most [`PIECE_MAX`]) of `bytes`, up to where data start or the body ends. Every byte of the
    /// body but data goes through here, in any pieces.
    ///
    /// Source: RFC 9112 section 7.1, without chunk-ext and trailer-section.
    #[inline(always)]
    pub fn feed(&mut self, bytes: &[u8; PIECE_MAX], len: u32) -> Fed {
        let mut walk = Walk { chunks: *self, bytes, consumed: 0, len, next: Next::Framing };
        // The round is the offset, so that all rounds are alike to the verifier.
        repeat(PIECE_MAX as u32, &mut walk, |round, walk| {
            let Some(&byte) = walk.bytes.get(round as usize) else { return Step::Stop };
            if round >= walk.len {
                return Step::Stop;
            }
            walk.next = walk.chunks.step(byte);
            if walk.next == Next::Unknown {
                return Step::Stop;
            }
            walk.consumed = round + 1;
            if walk.next == Next::Framing { Step::Next } else { Step::Stop }
        });
        *self = walk.chunks;
        Fed { consumed: walk.consumed, next: walk.next }
    }

    #[inline(always)]
    fn step(&mut self, byte: u8) -> Next {
        const SIZE: u8 = Phase::Size as u8;
        const SIZE_LF: u8 = Phase::SizeLf as u8;
        const DATA_CR: u8 = Phase::DataCr as u8;
        const DATA_LF: u8 = Phase::DataLf as u8;
        const LAST_CR: u8 = Phase::LastCr as u8;
        const LAST_LF: u8 = Phase::LastLf as u8;
        let (phase, next) = match (self.phase, byte) {
            (SIZE, b'\r') if self.digits > 0 => (Phase::SizeLf, Next::Framing),
            (SIZE, digit) => return self.digit(digit),
            (SIZE_LF, b'\n') if self.remaining == 0 => (Phase::LastCr, Next::Framing),
            (SIZE_LF, b'\n') => (Phase::DataCr, Next::Data),
            (DATA_CR, b'\r') => (Phase::DataLf, Next::Framing),
            (DATA_LF, b'\n') => {
                self.digits = 0;
                self.remaining = 0;
                (Phase::Size, Next::Framing)
            }
            (LAST_CR, b'\r') => (Phase::LastLf, Next::Framing),
            (LAST_LF, b'\n') => (Phase::End, Next::End),
            _ => return Next::Unknown,
        };
        self.phase = phase as u8;
        next
    }

    #[inline(always)]
    fn digit(&mut self, byte: u8) -> Next {
        let letter = (byte | 0x20).wrapping_sub(b'a');
        let value = if letter < 6 { letter + 10 } else { byte.wrapping_sub(b'0') };
        let number = value < 10 || letter < 6;
        let size = (self.remaining << 4) | u64::from(value & 0xf);
        if !number || self.digits >= DIGITS_MAX || size > SIZE_MAX {
            return Next::Unknown;
        }
        self.remaining = size;
        self.digits += 1;
        Next::Framing
    }
}

struct Walk<'b> {
    chunks: Chunks,
    bytes: &'b [u8; PIECE_MAX],
    consumed: u32,
    len: u32,
    next: Next,
}
