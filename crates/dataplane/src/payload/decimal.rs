use wire::Payload;

use super::word::{TOPS, digits, word};

/// The most digits that [`decimal`] reads.
pub(crate) const DIGITS_MAX: u32 = 19;

/// The number whose `count` digits (1 to [`DIGITS_MAX`]) stand before `end`; `None` if they are not all digits.
#[inline(always)]
pub(crate) fn decimal(payload: &Payload, end: u32, count: u32) -> Option<u64> {
    if count == 0 || count > DIGITS_MAX {
        return None;
    }
    let mut number = eight(payload, end, count)?;
    if count > 8 {
        number += eight(payload, end.wrapping_sub(8), count - 8)? * 100_000_000;
    }
    if count > 16 {
        number += eight(payload, end.wrapping_sub(16), count - 16)? * 10_000_000_000_000_000;
    }
    Some(number)
}

/// The last `count` (at least 1), at most eight, digits before `end`.
#[inline(always)]
fn eight(payload: &Payload, end: u32, count: u32) -> Option<u64> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let keep = if count >= 8 { u64::MAX } else { u64::MAX << (64 - count * 8) };
    let text = (word(payload, end.wrapping_sub(8)) & keep) | (ZEROS & !keep);
    if digits(text) != TOPS {
        return None;
    }
    // Neighbours join: eight digits, four pairs, two fours, one number.
    let ones = text - ZEROS;
    let pairs = (ones.wrapping_mul(10 * 0x100 + 1) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100 * 0x1_0000 + 1) >> 16) & 0x0000_ffff_0000_ffff;
    Some(fours.wrapping_mul(10_000 * 0x1_0000_0000 + 1) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Option<u64> {
        let mut payload = Payload { bytes: [b'x'; size_of::<Payload>()] };
        payload.bytes[30..30 + text.len()].copy_from_slice(text);
        decimal(&payload, 30 + text.len() as u32, text.len() as u32)
    }

    #[test]
    fn it_reads_every_length() {
        let all = b"9876543210123456789";
        for count in 1..=19 {
            let mut expected = 0u64;
            for digit in &all[..count] {
                expected = expected * 10 + u64::from(digit - b'0');
            }
            assert_eq!(read(&all[..count]), Some(expected), "{count}");
        }
        assert_eq!(read(b"0000"), Some(0));
        assert_eq!(read(b"9999999999999999999"), Some(9_999_999_999_999_999_999));
    }

    #[test]
    fn anything_but_digits_is_none() {
        for count in 1..=19 {
            for place in 0..count {
                for wrong in [b'/', b':', b' ', b'+', b'-', b'a', 0, 0x80, 0xb5] {
                    let mut text = [b'1'; 19];
                    text[place] = wrong;
                    assert_eq!(read(&text[..count]), None);
                }
            }
        }
        assert_eq!(read(b""), None);
        assert_eq!(read(b"11111111111111111111"), None);
    }
}
