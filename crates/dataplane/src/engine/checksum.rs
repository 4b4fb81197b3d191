//! Whether a segment is what its sender sent.

use wire::{PAYLOAD_MAX, PAYLOAD_ROOM};

use super::emit::end_with_zeros;
use super::{Env, Scratch};
use crate::repeat::{Step, repeat};
use crate::sum::Sum;

/// Bytes that are summed at a time.
const PIECE: u32 = PAYLOAD_MAX as u32;

/// Pieces of the longest segment.
const PIECES: u32 = 65_536 / PIECE;

struct Summing<'s, E> {
    env: &'s mut E,
    scratch: &'s mut Scratch,
    /// Of what was read so far.
    sum: u64,
    /// Bytes of the payload that are still to come.
    left: u32,
}

/// Whether the checksum of the segment at hand fits its bytes (RFC 9293 section 3.1). Costs nothing where the device or the
/// kernel has verified it; else each byte is read. What is left to a device never left this machine.
#[inline(never)]
pub(super) fn is_sound<E: Env>(env: &mut E, scratch: &mut Scratch) -> bool {
    if env.is_verified() {
        return true;
    }
    let image = &scratch.image;
    let pseudo = image.pseudo_sum(image.tcp_len + image.payload_len);
    if u16::from_ne_bytes(image.checksum()) == pseudo.folded() {
        return true;
    }
    let sum = pseudo.plus(image.header_sum()).half(image.checksum());
    let mut summing = Summing { sum: sum.0, left: image.payload_len, env, scratch };
    if summing.left != 0 {
        repeat(PIECES, &mut summing, |round, summing| summing.piece(round));
    }
    summing.left == 0 && Sum(summing.sum).folded() == 0xffff
}

impl<E: Env> Summing<'_, E> {
    #[inline(always)]
    fn piece(&mut self, round: u32) -> Step {
        let len = self.left.min(PIECE);
        let at = self.scratch.image.payload_at() + (round & (PIECES - 1)) * PIECE;
        let bytes = &mut self.scratch.payload.bytes;
        if !self.env.load_at::<PAYLOAD_ROOM, PAYLOAD_MAX>(at, bytes, 0, len) {
            return Step::Stop;
        }
        end_with_zeros(bytes, len);
        self.sum = Sum(self.sum).plus(self.env.sum(bytes, len)).0;
        self.left -= len;
        if self.left == 0 { Step::Stop } else { Step::Next }
    }
}
