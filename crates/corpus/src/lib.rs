//! What tests of any input share: the committed fuzz corpora, and chance that is the same in every run. A dev-dependency; never in
//! production.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::path::Path;

/// The inputs in `fuzz/corpus/TARGET`, in the order of their names.
///
/// # Panics
/// The folder cannot be read, or has fewer than `least`: a corpus that is lost is not to pass.
pub fn inputs(target: &str, least: usize) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= least, "{} has {} files", folder.display(), paths.len());
    paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Numbers that look random and are the same in every run, from a seed.
///
/// Source: SplitMix64, Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014).
pub struct Dice(pub u64);

impl Dice {
    /// The next number.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `bound - 1`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.word() % bound as u64).unwrap()
    }

    /// Whether it is this time, of `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of them.
    pub fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}
