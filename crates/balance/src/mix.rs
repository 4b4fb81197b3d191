/// Spreads every bit of `word` over all 64 (a bijection): what follows a counter, or numbers that lie close, looks like chance.
///
/// Source: the finaliser of SplitMix64, variant 13 of Stafford, "Better Bit Mixing" (2011).
pub const fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Maps 64 evenly spread bits to `0..bound` (0 if the bound is 0).
///
/// Source: Lemire, "Fast Random Integer Generation in an Interval" (2019); the bias, below `bound` / 2^64, is left in.
pub(crate) const fn scale(bits: u64, bound: u64) -> u64 {
    ((bits as u128 * bound as u128) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flipped_bit_flips_about_half() {
        for bit in 0..64 {
            let flipped: u32 = (0..1000).map(|i| (mix(i) ^ mix(i ^ (1 << bit))).count_ones()).sum();
            assert!((30_000..34_000).contains(&flipped), "bit {bit}: {flipped} of 64,000");
        }
    }

    #[test]
    fn scaling_stays_below_the_bound_and_reaches_it() {
        assert_eq!(scale(u64::MAX, 0), 0);
        assert_eq!(scale(0, 7), 0);
        assert_eq!(scale(u64::MAX, 7), 6);
        assert_eq!(scale(1 << 63, 1000), 500);
    }
}
