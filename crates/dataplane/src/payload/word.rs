use wire::{PAYLOAD_MAX, Payload};

use crate::opaque::opaque;

/// 0x80 in every byte: where marks stand.
pub(crate) const TOPS: u64 = 0x8080_8080_8080_8080;
/// In every byte all but the mark.
const LOWS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
/// What makes letters small.
const SMALL: u64 = 0x2020_2020_2020_2020;

/// Keeps offsets of aligned words inside a payload: two words more are always there.
const ALIGNED: u32 = PAYLOAD_MAX as u32 - 8;
const _: () = assert!(PAYLOAD_MAX.is_power_of_two() && size_of::<Payload>() >= PAYLOAD_MAX + 64);

/// Up to eight bytes as a word, the first in the lowest place, zeros behind the last.
pub(crate) const fn text(bytes: &[u8]) -> u64 {
    let mut word = 0;
    let mut at = bytes.len();
    while at > 0 {
        at -= 1;
        word = (word << 8) | bytes[at] as u64;
    }
    word
}

/// `N` words from the last boundary of eight at or before `at`.
#[inline(always)]
pub(crate) fn aligned<const N: usize>(payload: &Payload, at: u32) -> [u64; N] {
    const { assert!(N <= 8) };
    let base = (at & ALIGNED) as usize;
    let mut words = [0; N];
    let mut index = 0;
    while index < N {
        // SAFETY: the record is aligned to 8 and `base` is a multiple of it, at most PAYLOAD_MAX - 8; up to 8 words
        // from there end within the 64 bytes behind PAYLOAD_MAX.
        words[index] =
            u64::from_le(unsafe { payload.bytes.as_ptr().add(base).add(8 * index).cast::<u64>().read() });
        index += 1;
    }
    words
}

/// The eight bytes from `at` on; behind the record those at its start.
#[inline(always)]
pub(crate) fn word(payload: &Payload, at: u32) -> u64 {
    let [low, high] = aligned(payload, at);
    // The kernel programs' instructions read words at their boundaries only.
    let shift = (at & 7) * 8;
    (low >> shift) | ((high << 1) << (63 - shift))
}

/// The byte at `at`.
#[inline(always)]
pub(crate) fn byte(payload: &Payload, at: u32) -> u8 {
    // SAFETY: the mask keeps the offset below PAYLOAD_MAX.
    unsafe { *payload.bytes.as_ptr().add((at & (PAYLOAD_MAX as u32 - 1)) as usize) }
}

/// Writes an offset into a map's value and reads it back, after which the verifier knows nothing of it.
///
/// Else it follows where an offset came from and takes every way to it for another, and what comes behind with it.
#[inline(always)]
pub(crate) fn forget(offset: u32, scratch: &mut u16) -> u32 {
    // SAFETY: a reference may be written and read; volatile, or the compiler would leave both out.
    unsafe {
        core::ptr::from_mut(scratch).write_volatile(offset as u16);
        u32::from(core::ptr::from_mut(scratch).read_volatile())
    }
}

/// Zero, of which the verifier knows nothing: with a constant it would take the ways that leave it there for others than
/// the ways that write something.
#[inline(always)]
pub(crate) fn nothing(word: u64) -> u64 {
    word ^ opaque(word)
}

/// `byte` in every place.
const fn each(byte: u8) -> u64 {
    0x0101_0101_0101_0101 * byte as u64
}

/// Marks the bytes equal to `byte`.
#[inline(always)]
pub(crate) fn equal(word: u64, byte: u8) -> u64 {
    let zero_where_equal = word ^ each(byte);
    !(((zero_where_equal & LOWS) + LOWS) | zero_where_equal) & TOPS
}

/// Marks the control bytes: 0x00 to 0x1f and 0x7f.
#[inline(always)]
pub(crate) fn controls(word: u64) -> u64 {
    let low = word & LOWS;
    (!(low + each(0x60)) | (low + each(1))) & !word & TOPS
}

/// Marks the bytes from `from` to `to`, both below 0x80.
#[inline(always)]
fn between(word: u64, from: u8, to: u8) -> u64 {
    let low = word & LOWS;
    (low + each(0x80 - from)) & !(low + each(0x7f - to)) & !word & TOPS
}

/// Marks letters and digits.
#[inline(always)]
pub(crate) fn alphanumeric(word: u64) -> u64 {
    between(small(word), b'a', b'z') | digits(word)
}

/// Marks digits.
#[inline(always)]
pub(crate) fn digits(word: u64) -> u64 {
    between(word, b'0', b'9')
}

/// Letters made small; digits and hyphens stay, other bytes may change.
#[inline(always)]
pub(crate) fn small(word: u64) -> u64 {
    word | SMALL
}

/// Which byte, 0 to 7, bears the first mark. There is one.
#[inline(always)]
pub(crate) fn first(marks: u64) -> u32 {
    (((marks & marks.wrapping_neg()) >> 7).wrapping_mul(0x0001_0203_0405_0607) >> 56) as u32
}

/// Bit n: byte n bears a mark.
#[inline(always)]
pub(crate) fn gathered(marks: u64) -> u64 {
    // Bit 8n goes to bit 56 + n.
    (marks >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// How many bits are set: the programs' instructions have none for it.
#[inline(always)]
pub(crate) fn ones(word: u64) -> u32 {
    let pairs = word - ((word >> 1) & 0x5555_5555_5555_5555);
    let fours = (pairs & 0x3333_3333_3333_3333) + ((pairs >> 2) & 0x3333_3333_3333_3333);
    let eights = (fours + (fours >> 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    (eights.wrapping_mul(0x0101_0101_0101_0101) >> 56) as u32
}

/// All bits of the bytes before the first mark; all bits without one.
#[inline(always)]
pub(crate) fn before(marks: u64) -> u64 {
    ((marks & marks.wrapping_neg()) >> 7).wrapping_sub(1)
}

/// All bits of the first `count` bytes.
#[inline(always)]
pub(crate) fn front(count: u32) -> u64 {
    if count >= 8 { u64::MAX } else { (1 << (count * 8)) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each function of a word against its meaning, byte by byte, for all bytes in all places beside all kinds.
    #[test]
    fn marks_are_exact() {
        for other in [0x00, 0x0d, 0x1f, 0x20, b'/', b':', b'a', b'Z', b'9', 0x7e, 0x7f, 0x80, 0xff] {
            for place in 0..8 {
                for is in 0..=255 {
                    let mut bytes = [other; 8];
                    bytes[place] = is;
                    let word = u64::from_le_bytes(bytes);
                    let marks = |what: fn(u8) -> bool| {
                        bytes
                            .iter()
                            .rev()
                            .fold(0u64, |marks, b| (marks << 8) | if what(*b) { 0x80 } else { 0 })
                    };
                    assert_eq!(controls(word), marks(|b| b < 0x20 || b == 0x7f), "{bytes:?}");
                    assert_eq!(alphanumeric(word), marks(|b| b.is_ascii_alphanumeric()), "{bytes:?}");
                    assert_eq!(digits(word), marks(|b| b.is_ascii_digit()), "{bytes:?}");
                    assert_eq!(equal(word, b':'), marks(|b| b == b':'), "{bytes:?}");
                    assert_eq!(equal(word, 0xff), marks(|b| b == 0xff), "{bytes:?}");
                    let found = digits(word);
                    if found == 0 {
                        assert_eq!(before(found), u64::MAX);
                    } else {
                        let at = bytes.iter().position(u8::is_ascii_digit);
                        assert_eq!(Some(first(found) as usize), at);
                        assert_eq!(before(found), front(first(found)));
                    }
                    let bits =
                        bytes.iter().rev().fold(0, |bits, b| bits << 1 | u64::from(b.is_ascii_digit()));
                    assert_eq!(gathered(found), bits);
                    assert_eq!((ones(word), nothing(word)), (word.count_ones(), 0));
                }
            }
        }
        assert_eq!([front(0), front(1), front(7), front(8), front(9)], [0, 0xff, !0 >> 8, !0, !0]);
    }

    #[test]
    fn words_are_read_at_any_offset() {
        let mut payload = Payload { bytes: [0; size_of::<Payload>()] };
        for (index, byte) in payload.bytes.iter_mut().enumerate() {
            *byte = (index * 7 % 251) as u8;
        }
        for at in 0..PAYLOAD_MAX {
            let expected = u64::from_le_bytes(payload.bytes[at..at + 8].try_into().unwrap_or_default());
            assert_eq!(word(&payload, at as u32), expected, "{at}");
            assert_eq!(byte(&payload, at as u32), payload.bytes[at]);
        }
        assert_eq!(word(&payload, PAYLOAD_MAX as u32 + 3), word(&payload, 3));
        assert_eq!(text(b"abc"), 0x0063_6261);
    }
}
