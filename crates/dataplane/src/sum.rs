//! One's complement sums (RFC 1071), as 16-bit words in the byte order of the packet as loaded on this machine.
//!
//! Sums of words that were loaded without swapping are right up to the same swap (RFC 1071 section 2 (B)), so nothing is
//! swapped: parts add up as long as each starts at an even offset.

/// A sum under way: up to 2^32 words of 32 bits fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum(pub u64);

impl Sum {
    /// Adds four bytes.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, bytes: [u8; 4]) -> Self {
        Self(self.0 + u32::from_ne_bytes(bytes) as u64)
    }

    /// Adds two bytes.
    #[inline(always)]
    #[must_use]
    pub const fn half(self, bytes: [u8; 2]) -> Self {
        Self(self.0 + u16::from_ne_bytes(bytes) as u64)
    }

    /// Takes four bytes out.
    #[inline(always)]
    #[must_use]
    pub const fn less_word(self, bytes: [u8; 4]) -> Self {
        Self(self.0 + (!u32::from_ne_bytes(bytes)) as u64)
    }

    /// Takes two bytes out.
    #[inline(always)]
    #[must_use]
    pub const fn less_half(self, bytes: [u8; 2]) -> Self {
        Self(self.0 + (!u16::from_ne_bytes(bytes)) as u64)
    }

    /// Adds another sum.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.folded() as u64)
    }

    /// Takes another sum out.
    #[inline(always)]
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self(self.0 + (!other.folded()) as u64)
    }

    /// The sum in 16 bits.
    #[inline(always)]
    #[must_use]
    pub const fn folded(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        sum as u16
    }

    /// The checksum: the complement of the sum.
    #[inline(always)]
    #[must_use]
    pub const fn checksum(self) -> [u8; 2] {
        (!self.folded()).to_ne_bytes()
    }

    /// The checksum `field` of a packet to which this sum was added (RFC 1624), with the zero that Linux has
    /// (`csum_replace_by_diff`, include/net/checksum.h).
    #[inline(always)]
    #[must_use]
    pub const fn corrected(self, field: [u8; 2]) -> [u8; 2] {
        let others = !(u16::from_ne_bytes(field) as u32);
        Self(self.folded() as u64 + others as u64).checksum()
    }

    /// Adds an address: IPv4 mapped ones count their last four bytes only.
    #[inline(always)]
    #[must_use]
    pub const fn address(self, address: &[u8; 16], is_v6: bool) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *address;
        let last = self.word([m, n, o, p]);
        if !is_v6 {
            return last;
        }
        last.word([a, b, c, d]).word([e, f, g, h]).word([i, j, k, l])
    }

    /// Adds length and protocol of the pseudo-header (RFC 9293 section 3.1; RFC 8200 section 8.1).
    #[inline(always)]
    #[must_use]
    pub const fn tcp_length(self, bytes: u32) -> Self {
        self.word(bytes.to_be_bytes()).word([0, 0, 0, 6])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let sum = Sum::default().word([0x00, 0x01, 0xf2, 0x03]).word([0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.folded().to_ne_bytes(), [0xdd, 0xf2]);
    }

    #[test]
    fn what_is_taken_out_was_never_there() {
        let base = Sum::default().word([1, 2, 3, 4]).half([9, 9]);
        let there_and_back = base.word([0xff, 7, 0x80, 1]).less_word([0xff, 7, 0x80, 1]);
        assert_eq!(there_and_back.folded(), base.folded());
        assert_eq!(base.half([1, 2]).less_half([1, 2]).folded(), base.folded());
        assert_eq!(base.plus(base).less(base).folded(), base.folded());
    }

    #[test]
    fn a_corrected_checksum_is_that_of_what_is_there_now() {
        for (old, new) in [([1, 2, 3, 4], [5, 6, 7, 8]), ([0xff; 4], [0; 4]), ([0; 4], [0xff; 4])] {
            let rest = Sum::default().word([9, 8, 7, 6]);
            let difference = Sum::default().word(new).less_word(old);
            let field = difference.corrected(rest.word(old).checksum());
            assert_eq!(rest.word(new).half(field).folded(), 0xffff, "{old:?} {new:?}");
        }
        // RFC 1624 section 4: m 0x5555 becomes 0x3285, and the sum of all is 0xffff.
        let difference = Sum::default().half([0x32, 0x85]).less_half([0x55, 0x55]);
        assert_eq!(difference.corrected([0xdd, 0x2f]), [0x00, 0x00]);
    }

    #[test]
    fn folding_keeps_every_carry() {
        assert_eq!(Sum(u64::MAX).folded(), 0xffff);
        assert_eq!(Sum(0x1_0000).folded(), 1);
        assert_eq!(Sum(0xffff_ffff_ffff).folded(), 0xffff);
    }
}
