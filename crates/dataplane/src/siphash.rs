//! SipHash-1-3, for what strangers must not be able to foresee.
//!
//! Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012. The kernel takes 2-4 for its sequence numbers; one
//! and three rounds are what fits a packet's time, over a key that never leaves this machine.

use wire::Tuple;

/// A hash in the making.
pub(crate) struct SipHash {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl SipHash {
    /// Of nothing yet.
    #[inline(always)]
    pub(crate) fn new(key: &[u64; 2]) -> Self {
        Self {
            v0: key[0] ^ 0x736f_6d65_7073_6575,
            v1: key[1] ^ 0x646f_7261_6e64_6f6d,
            v2: key[0] ^ 0x6c79_6765_6e65_7261,
            v3: key[1] ^ 0x7465_6462_7974_6573,
        }
    }

    /// Five words: addresses and ports. Addresses that are IPv4 mapped have a constant first half: as many words for both
    /// families keep it one path.
    #[inline(always)]
    pub(crate) fn tuple(&mut self, tuple: &Tuple) {
        self.word(half(&tuple.source, 0));
        self.word(half(&tuple.source, 8));
        self.word(half(&tuple.destination, 0));
        self.word(half(&tuple.destination, 8));
        self.word(u64::from(u32::from_ne_bytes([
            tuple.source_port[0],
            tuple.source_port[1],
            tuple.destination_port[0],
            tuple.destination_port[1],
        ])));
    }

    /// One word more.
    #[inline(always)]
    pub(crate) fn word(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    /// The hash of what came so far, as if that were six words: more may come.
    #[inline(always)]
    pub(crate) fn finish(&self) -> u64 {
        let Self { v0, v1, v2, v3 } = *self;
        Self { v0, v1, v2, v3 }.end()
    }

    #[inline(always)]
    fn end(mut self) -> u64 {
        self.word(48 << 56);
        self.v2 ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }

    #[inline(always)]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }
}

/// Eight bytes of an address.
#[inline(always)]
fn half(address: &[u8; 16], at: usize) -> u64 {
    let mut bytes = [0; 8];
    let mut i = 0;
    while i < 8 {
        bytes[i] = address[at + i];
        i += 1;
    }
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::hash::Hasher;
    use std::hash::DefaultHasher;

    use super::*;

    /// The standard library's hasher is SipHash-1-3 of a key of zeros.
    #[test]
    fn six_words_hash_as_elsewhere() {
        for seed in 0..100_u64 {
            let mut ours = SipHash::new(&[0, 0]);
            let mut theirs = DefaultHasher::new();
            for i in 0..6 {
                let word = (seed << 7 ^ i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                ours.word(word);
                theirs.write(&word.to_le_bytes());
            }
            assert_eq!(ours.finish(), theirs.finish());
        }
    }
}
