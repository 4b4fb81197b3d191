//! From the host to the scopes.

use wire::{HOST_MAX, HostRecord, Payload, RequestFacts};

use super::LookupScratch;
use super::words::{mask, volatile_word_of, word_at};
use crate::repeat::{Step, repeat};

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

struct Copying<'a> {
    payload: &'a Payload,
    scratch: &'a mut LookupScratch,
    /// Just behind the host in the payload.
    end: u32,
    len: u32,
}

/// Writes the host backwards and in lower case, without a trailing dot; says whether it is one that is looked up.
#[inline(always)]
pub(super) fn write_key(
    socket: u32,
    payload: &Payload,
    facts: &RequestFacts,
    scratch: &mut LookupScratch,
) -> bool {
    let start = u32::from(facts.host.start);
    let mut len = u32::from(facts.host.len);
    // RFC 1034 section 3.1: a name that ends with a dot is the same name, complete.
    len -= u32::from(len > 0 && word_at(payload, start + len - 1) & 0xff == u64::from(b'.'));
    // An empty label in front would pass for a label.
    let is_odd = word_at(payload, start) & 0xff == u64::from(b'.');
    if len == 0 || len > HOST_MAX as u32 || is_odd {
        return false;
    }
    scratch.host.socket = socket;
    // A zero byte ends the name.
    scratch.host.bits = 32 + 8 * (len + 1);
    scratch.dots = 0;
    let mut copying = Copying { payload, scratch, end: start + len, len };
    // With the zero byte; what lies behind it is not looked at.
    repeat((len + 1).div_ceil(8), &mut copying, |round, copying| {
        let index = round & 7;
        let left = copying.len.saturating_sub(8 * index);
        // In front of a short host this reads what the mask drops.
        let word = word_at(copying.payload, copying.end.wrapping_sub(8 * (index + 1)));
        let word = lower(word.swap_bytes() & mask(left));
        let text = copying.scratch.host.text.as_mut_ptr().cast::<u64>();
        // SAFETY: the text has 8 words and is aligned to 8: it lies at offset 8 of a record that is.
        unsafe { *text.add(index as usize) = word.to_le() };
        copying.scratch.dots |= dots(word) << (8 * index);
        Step::Next
    });
    true
}

/// (Volatile reads stay in this order.)
/// Copies the scopes for the host out of its record; false if the record was given to another host meanwhile.
#[inline(always)]
pub(super) fn read_scopes(record: &HostRecord, scratch: &mut LookupScratch) -> bool {
    // SAFETY: a live field of the record.
    let len = unsafe { (&raw const record.len).read_volatile() };
    // A dot in front of the text: more than one label is there. (An exact name has the same scopes in both lists.)
    let several = (scratch.dots >> (len & 63)) != 0;
    let lists = if several { record.more.as_ptr() } else { record.one.as_ptr() };
    let mut copied = [0u64; 4];
    for (index, word) in copied.iter_mut().enumerate() {
        // SAFETY: each list has 32 bytes and is aligned to 8: the record is, and all offsets before it.
        *word = unsafe { volatile_word_of(lists.cast(), index) };
    }
    let mut differs = 0;
    let request = scratch.host.text.as_ptr();
    for index in 0..8u32 {
        // SAFETY: both texts have 64 bytes and are aligned to 8.
        let (ours, theirs) = unsafe {
            (
                volatile_word_of(request, index as usize),
                volatile_word_of(record.text.as_ptr(), index as usize),
            )
        };
        differs |= u64::from_le(ours ^ theirs) & mask(len.saturating_sub(8 * index));
    }
    // SAFETY: live fields of the record.
    let (socket, after) =
        unsafe { ((&raw const record.socket).read_volatile(), (&raw const record.len).read_volatile()) };
    let scopes = scratch.scopes.as_mut_ptr().cast::<u64>();
    for (index, word) in copied.into_iter().enumerate() {
        // SAFETY: 32 bytes, and an offset that is a multiple of 8 in a record aligned to 8.
        unsafe { *scopes.add(index) = word };
    }
    differs == 0 && socket == scratch.host.socket && after == len
}

/// The letters of a word in lower case. Its bytes are ASCII.
#[inline(always)]
const fn lower(word: u64) -> u64 {
    // The top bit of each byte: at least `A`, and not above `Z`.
    let from_a = word + (0x80 - b'A' as u64) * ONES;
    let above_z = word + (0x7f - b'Z' as u64) * ONES;
    word | ((from_a & !above_z & TOPS) >> 2)
}

/// Bit n: byte n is a dot. The bytes are ASCII.
#[inline(always)]
const fn dots(word: u64) -> u64 {
    let zero_at_dots = word ^ (b'.' as u64 * ONES);
    // No borrow from one byte to the next: exact for ASCII.
    let marks = (!(zero_at_dots + 0x7f * ONES) & TOPS) >> 7;
    // Gathers bit 8n into bit 56 + n.
    marks.wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &[u8; 8]) -> u64 {
        u64::from_le_bytes(*text)
    }

    #[test]
    fn letters_fold_and_nothing_else_does() {
        for byte in 0..128u8 {
            let other = byte.wrapping_mul(31) & 0x7f;
            let text = [byte, other, byte, byte, other, other, byte, other];
            assert_eq!(lower(word(&text)), word(&text.map(|b| b.to_ascii_lowercase())), "{byte} {other}");
        }
    }

    #[test]
    fn dots_are_marked() {
        for marks in 0..256u64 {
            let text: [u8; 8] =
                core::array::from_fn(|n| if marks >> n & 1 == 1 { b'.' } else { b'/' - n as u8 % 2 * 2 });
            assert_eq!(dots(word(&text)), marks);
        }
    }
}
