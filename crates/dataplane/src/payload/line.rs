use wire::Payload;

use super::word::{aligned, controls, first};
use crate::repeat::{Step, repeat};

/// CR and LF as the first two bytes of a word.
pub(crate) const CRLF: u64 = 0x0a0d;

/// Bytes that one round looks at.
const STRIDE: u32 = 32;

struct Search<'p> {
    payload: &'p Payload,
    /// Where the first round looks, a multiple of 8.
    start: u32,
    len: u32,
    /// The bits of the first word that count.
    keep: u64,
    found: u32,
}

/// Offset of the first control byte (HTAB is one) from `from` on; at least `len` if there is none before it.
#[inline(never)]
pub(crate) fn control_byte(payload: &Payload, from: u32, len: u32) -> u32 {
    let keep = u64::MAX << ((from & 7) * 8);
    let mut search = Search { payload, start: from & !7, len, keep, found: len };
    repeat(wire::PAYLOAD_MAX as u32 / STRIDE, &mut search, |round, search| {
        let at = search.start + round * STRIDE;
        let [a, b, c, d] = aligned(search.payload, at).map(controls);
        let a = a & search.keep;
        search.keep = u64::MAX;
        if a | b | c | d != 0 {
            // The first word with a mark, without a way for each.
            let (front, marks) = if a | b != 0 { (0, [a, b]) } else { (16, [c, d]) };
            let (more, marks) = if marks[0] != 0 { (0, marks[0]) } else { (8, marks[1]) };
            search.found = at + front + more + first(marks);
            return Step::Stop;
        }
        if at + STRIDE < search.len { Step::Next } else { Step::Stop }
    });
    search.found
}
