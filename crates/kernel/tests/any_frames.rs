//! What came out of fuzzing the engine with frames, and some that are made up here.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "bytes of numbers")]

mod frames;

use frames::kernel_segment;

#[test]
fn whatever_comes_to_a_live_connection_leaves_records_that_can_be_true() {
    // SplitMix64 (Steele et al. 2014): the same in every run.
    let mut word = 0u64;
    let mut next = move || {
        word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    for _ in 0..20_000 {
        let data: Vec<u8> = (0..40).flat_map(|_| next().to_le_bytes()).collect();
        kernel_segment(&data);
    }
}

#[test]
fn the_corpus_passes() {
    corpus::inputs("kernel_segment", 5).iter().for_each(|data| kernel_segment(data));
}
