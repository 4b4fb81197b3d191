//! Ids of requests, by which one is found again in the logs of all that had a part in it.

/// Longer ones are nobody's id.
const LEN_MAX: usize = 128;

/// An id in the text form of UUIDs.
pub type RequestIdText = [u8; 36];

/// Whether a trusted proxy's id may be kept: visible ASCII, of a length that logs can bear.
pub fn is_request_id(value: &[u8]) -> bool {
    (1..=LEN_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

/// Writes a UUID of version 7: the time, then chance (RFC 9562 section 5.7). Ids sort by time.
///
/// `unix_ms` is the time in milliseconds; of `random` 74 bits are used.
pub fn request_id(unix_ms: u64, random: u128) -> RequestIdText {
    const VERSION: u128 = 7 << 76;
    const VERSION_MASK: u128 = 0xf << 76;
    const VARIANT: u128 = 0b10 << 62;
    const VARIANT_MASK: u128 = 0b11 << 62;
    const RANDOM_MASK: u128 = (1 << 80) - 1;
    let id = u128::from(unix_ms) << 80 | random & RANDOM_MASK;
    let id = id & !VERSION_MASK & !VARIANT_MASK | VERSION | VARIANT;
    let mut text = [b'-'; 36];
    let mut digit = 32;
    for (at, byte) in text.iter_mut().enumerate() {
        if ![8, 13, 18, 23].contains(&at) {
            digit -= 1;
            *byte = b"0123456789abcdef"[(id >> (4 * digit)) as usize & 15];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 9562 appendix A.6.
    #[test]
    fn ids_are_those_of_the_standard() {
        let random = 0x0cc3_18c4_dc0c_0c07_398f_u128;
        assert_eq!(&request_id(0x017f_22e2_79b0, random), b"017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
        assert_eq!(&request_id(0, u128::MAX), b"00000000-0000-7fff-bfff-ffffffffffff");
    }

    #[test]
    fn only_what_logs_can_bear_is_kept() {
        for good in [&b"1"[..], b"017f22e2-79b0-7cc3-98c4-dc0c0c07398f", &[b'x'; 128]] {
            assert!(is_request_id(good));
        }
        for bad in [&b""[..], b"a b", b"a\tb", b"\xff", &[b'x'; 129]] {
            assert!(!is_request_id(bad), "{bad:?}");
        }
    }
}
