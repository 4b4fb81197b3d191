//! Where the numbers of a connection begin: its initial sequence number, and its timestamps.
//!
//! Both are a clock and an offset that is the connection's own. The clocks grow, so that an end that remembers a pair of ports
//! takes the next connection on it for a newer one (RFC 6191); the offsets keep those who see one connection of ours from
//! knowing the numbers of another, and for how long the machine has run.

use wire::Tuple;

use crate::siphash::SipHash;

/// What follows the ports, where the cookie has its epoch and option bits: those are never this.
const INITIAL: u64 = u64::MAX;

/// F(addresses, ports, secret): for sequence numbers in the upper half, for timestamps in the lower one.
///
/// Source: RFC 6528 section 3; RFC 7323 section 5.4.
#[inline(never)]
#[must_use]
pub fn offsets(key: &[u64; 2], tuple: &Tuple) -> u64 {
    let mut state = SipHash::new(key);
    state.tuple(tuple);
    state.word(INITIAL);
    state.finish()
}

/// The initial sequence number, `now` nanoseconds by the programs' clock: M counts every 1.024 us, where RFC 9293 section 3.4.1
/// has about 4. Never 0.
#[inline(always)]
#[must_use]
pub const fn sequence(offsets: u64, now: u64) -> u32 {
    let isn = ((now >> 10) as u32).wrapping_add((offsets >> 32) as u32);
    if isn == 0 { 1 } else { isn }
}

/// The timestamp of that moment: it counts milliseconds (RFC 7323 section 5.4).
#[inline(always)]
#[must_use]
pub const fn timestamp(offsets: u64, now: u64) -> u32 {
    ((now / 1_000_000) as u32).wrapping_add(offsets as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequence::before;

    const KEY: [u64; 2] = [1, 2];
    const SECOND: u64 = 1_000_000_000;

    fn tuple(port: u8) -> Tuple {
        Tuple { source: [7; 16], destination: [9; 16], source_port: [0, 80], destination_port: [40, port] }
    }

    #[test]
    fn numbers_of_a_pair_of_ports_grow() {
        let offsets = offsets(&KEY, &tuple(1));
        for now in [0, SECOND, 4000 * SECOND, 1 << 60] {
            for later in [2_000_000, SECOND, 60 * SECOND] {
                assert!(before(sequence(offsets, now), sequence(offsets, now + later)));
                assert!(before(timestamp(offsets, now), timestamp(offsets, now + later)));
            }
        }
        assert_eq!(sequence(offsets, SECOND).wrapping_sub(sequence(offsets, 0)), 976_562);
        assert_eq!(timestamp(offsets, SECOND).wrapping_sub(timestamp(offsets, 0)), 1000);
    }

    #[test]
    fn one_connection_says_nothing_about_another() {
        let all = || (0..=255).map(|port| offsets(&KEY, &tuple(port)));
        // As many bits as chance has: of 256 draws, each is set in 128, give or take five deviations.
        for bit in 0..64 {
            let set = all().filter(|offsets| offsets >> bit & 1 != 0).count();
            assert!((88..=168).contains(&set), "bit {bit}: {set}");
        }
        // Neither neighbours nor the two halves go together.
        let apart = |a: u32, b: u32| (a ^ b).count_ones();
        let neighbours: u32 = all().zip(all().skip(1)).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert!((255 * 30..255 * 34).contains(&neighbours), "{neighbours}");
        let halves: u32 = all().map(|offsets| apart((offsets >> 32) as u32, offsets as u32)).sum();
        assert!((256 * 15..256 * 17).contains(&halves), "{halves}");
        // Nor does it without the key.
        assert_ne!(offsets(&[1, 3], &tuple(1)), offsets(&KEY, &tuple(1)));
    }

    #[test]
    fn no_connection_begins_at_zero() {
        assert_eq!(sequence(0, 0), 1);
        assert_eq!(sequence(u64::MAX << 32, 1 << 10), 1);
    }
}
