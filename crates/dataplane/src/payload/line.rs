use wire::Payload;

use super::word::{aligned, controls, first};
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
    found: u32,
}

/// Offset of the first control byte (HTAB is one) from `from` on; at least `len` if there is none before it.
#[inline(always)]
pub(crate) fn control_byte(payload: &Payload, from: u32, len: u32) -> u32 {
    let start = from & !7;
    let mut near = aligned(payload, start).map(controls);
    near[0] &= u64::MAX << ((from & 7) * 8);
    if near[0] | near[1] | near[2] | near[3] != 0 {
        return start + first_of(near);
    }
    far(payload, start + NEAR, len)
}

/// The same from `start` on, a multiple of 8.
#[inline(never)]
fn far(payload: &Payload, start: u32, len: u32) -> u32 {
    let mut search = Search { payload, start, len, found: len };
    repeat(wire::PAYLOAD_MAX as u32 / STRIDE, &mut search, |round, search| {
        let at = search.start + round * STRIDE;
        let [a, b, c, d, e, f, g, h] = aligned(search.payload, at).map(controls);
        if a | b | c | d != 0 {
            search.found = at + first_of([a, b, c, d]);
            return Step::Stop;
        }
        if e | f | g | h != 0 {
            search.found = at + 32 + first_of([e, f, g, h]);
            return Step::Stop;
        }
        if at + STRIDE < search.len { Step::Next } else { Step::Stop }
    });
    search.found
}

/// Which byte of 32 bears the first mark. There is one.
#[inline(always)]
fn first_of(marks: [u64; 4]) -> u32 {
    let [a, b, c, d] = marks;
    let (front, [a, b]) = if a | b != 0 { (0, [a, b]) } else { (16, [c, d]) };
    if a != 0 { front + first(a) } else { front + 8 + first(b) }
}
