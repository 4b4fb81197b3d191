use wire::Payload;

use super::word::{aligned, controls, gathered, ones};
use crate::repeat::{Step, repeat};

/// CR and LF as the first two bytes of a word.
pub(crate) const CRLF: u64 = 0x0a0d;

/// Bytes that the first look takes in: most lines end there, or close behind.
const NEAR: u32 = 32;

/// Bytes that each further round takes in. A round of a loop costs as much as the look at 32 bytes.
const STRIDE: u32 = 64;

struct Search<'p> {
    payload: &'p Payload,
    /// Where the first round looks, a multiple of 8.
    start: u32,
    len: u32,
    /// Where [`NEAR`] bytes with a control byte among them begin.
    found: u32,
}

/// Nothing found.
const NONE: u32 = u32::MAX;

/// Offset of the first control byte (HTAB is one) from `from` on; at least `len` if there is none before it.
#[inline(always)]
pub(crate) fn control_byte(payload: &Payload, from: u32, len: u32) -> u32 {
    let start = from & !7;
    let mut near: [u64; 4] = aligned(payload, start).map(controls);
    near[0] &= u64::MAX << ((from & 7) * 8);
    if near[0] | near[1] | near[2] | near[3] != 0 {
        return start + first_of(near);
    }
    far(payload, start + NEAR, len)
}

/// The same from `start` on, a multiple of 8.
#[inline(never)]
fn far(payload: &Payload, start: u32, len: u32) -> u32 {
    let mut search = Search { payload, start, len, found: NONE };
    repeat(wire::PAYLOAD_MAX as u32 / STRIDE, &mut search, |round, search| {
        let at = search.start + round * STRIDE;
        let [a, b, c, d, e, f, g, h] = aligned(search.payload, at).map(controls);
        if a | b | c | d | e | f | g | h != 0 {
            search.found = if a | b | c | d != 0 { at } else { at + NEAR };
            return Step::Stop;
        }
        if at + STRIDE < search.len { Step::Next } else { Step::Stop }
    });
    let found = search.found;
    if found == NONE {
        return len;
    }
    found + first_of(aligned(payload, found).map(controls))
}

/// Which byte of 32 bears the first mark. There is one. Without branches, each of which would be a path.
#[inline(always)]
fn first_of([a, b, c, d]: [u64; 4]) -> u32 {
    // A bit for each byte.
    let bits = gathered(a) | gathered(b) << 8 | gathered(c) << 16 | gathered(d) << 24;
    ones(!bits & bits.wrapping_sub(1))
}
