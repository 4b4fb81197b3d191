//! Bytes in words of eight, wherever they begin.

use wire::{PAYLOAD_MAX, Payload};

/// The eight bytes from `offset` (below [`PAYLOAD_MAX`]; of others the low bits count) as they lie in memory, the first one
/// lowest.
#[inline(always)]
pub(super) fn word_at(payload: &Payload, offset: u32) -> u64 {
    let offset = offset as usize;
    let first = (offset & (PAYLOAD_MAX - 8)) / 8;
    let words = payload.bytes.as_ptr().cast::<u64>();
    // SAFETY: a payload is aligned to 8, and `first` is at most PAYLOAD_MAX / 8 - 1: this word and the next are inside.
    let (low, high) = unsafe { (*words.add(first), *words.add(first + 1)) };
    // Loads of the kernel's programs are aligned; the compiler would take eight bytes one by one.
    let shift = (offset as u32 & 7) * 8;
    u64::from_le(low) >> shift | (u64::from_le(high) << (63 - shift)) << 1
}

/// Which bits of a word belong to a text of which `left` bytes begin with it.
#[inline(always)]
pub(super) const fn mask(left: u32) -> u64 {
    if left >= 8 { u64::MAX } else { (1 << (left * 8)) - 1 }
}

/// Word `index` of an aligned text.
///
/// # Safety
/// `text` is aligned to 8 and has more than `8 * index + 7` bytes.
#[inline(always)]
pub(super) unsafe fn word_of(text: *const u8, index: usize) -> u64 {
    // SAFETY: as the caller says.
    unsafe { *text.cast::<u64>().add(index) }
}

/// The same, for a record that may be replaced at any time.
///
/// # Safety
/// As for [`word_of`].
#[inline(always)]
pub(super) unsafe fn volatile_word_of(text: *const u8, index: usize) -> u64 {
    // SAFETY: as the caller says.
    unsafe { text.cast::<u64>().add(index).read_volatile() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_begin_anywhere() {
        let mut payload = Payload { bytes: [0; size_of::<Payload>()] };
        for (at, byte) in payload.bytes.iter_mut().enumerate() {
            *byte = (at * 7 % 251) as u8;
        }
        for offset in 0..PAYLOAD_MAX {
            let bytes: [u8; 8] = payload.bytes[offset..offset + 8].try_into().unwrap();
            assert_eq!(word_at(&payload, offset as u32), u64::from_le_bytes(bytes), "{offset}");
        }
        assert_eq!(word_at(&payload, PAYLOAD_MAX as u32), word_at(&payload, 0));
    }

    #[test]
    fn masks_keep_what_is_left() {
        assert_eq!([0, 1, 7, 8, 9].map(mask), [0, 0xff, (1 << 56) - 1, u64::MAX, u64::MAX]);
    }
}
