use std::net::IpAddr;

use crate::flow::words;
use crate::mix::mix;

/// Hashes a client, for a choice that all of its connections share: [`crate::Pick::hash`], or [`crate::WeightedChoice::at`]
/// with the high 32 bits.
///
/// `subject` says what is chosen from ([`subject`]); `round` is 0 for the first choice, and counts on where that may not be
/// had. The kernel tier has the same function, so a client gets one answer from both. An IPv4 address and its IPv4-mapped
/// IPv6 form are the same client.
pub fn hash_client(client: IpAddr, subject: u64, round: u64) -> u64 {
    let [high, low] = words(client);
    // Each step is a bijection of what came before, as in `hash_flow`.
    [high, low, round].into_iter().fold(mix(subject), |hash, word| mix(hash.rotate_left(23) ^ word))
}

/// A number that stands for what a name names: the same on every machine and in every run.
///
/// Source: FNV-1a, 64 bits (draft-eastlake-fnv), mixed, for names differ in few bits.
pub fn subject(name: &str) -> u64 {
    hash_value(name.as_bytes())
}

/// Hashes what requests bring, such as the value of a header, for [`crate::Pick::hash`]: the same on every machine and in
/// every run.
///
/// Source: FNV-1a, 64 bits, as above.
pub fn hash_value(value: &[u8]) -> u64 {
    let fnv = value.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(fnv)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WeightedChoice;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_numbers_are_stable() {
        let shop = subject("shop/cart:80");
        assert_eq!(shop, 18_266_730_544_873_859_517);
        assert_eq!(hash_client(ip("192.0.2.1"), shop, 0), 13_465_769_503_443_915_911);
        assert_eq!(hash_client(ip("2001:db8::1"), shop, 3), 10_111_649_789_914_979_803);
    }

    #[test]
    fn client_subject_and_round_count_and_a_mapped_address_is_the_same_client() {
        let base = hash_client(ip("192.0.2.1"), 1, 0);
        assert_eq!(hash_client(ip("::ffff:192.0.2.1"), 1, 0), base);
        for (client, subject, round) in [("192.0.2.2", 1, 0), ("192.0.2.1", 2, 0), ("192.0.2.1", 1, 1)] {
            assert_ne!(hash_client(ip(client), subject, round), base, "{client} {subject} {round}");
        }
    }

    #[test]
    fn neighbouring_clients_spread_evenly() {
        let mut counts = [0u32; 16];
        for n in 0..16_000u16 {
            let client = IpAddr::from([10, 0, (n >> 8) as u8, (n & 0xff) as u8]);
            counts[(hash_client(client, subject("a/b:80"), 0) >> 60) as usize] += 1;
        }
        // Chi-square with 15 degrees of freedom: 37.7 has p = 0.001.
        let chi_square: f64 = counts.iter().map(|&n| (f64::from(n) - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi_square < 37.7, "{chi_square} {counts:?}");
    }

    #[test]
    fn a_clients_backend_moves_only_with_the_weight_that_moves() {
        let point = |n: u32| n.wrapping_mul(0x9e37_79b9);
        let (before, after) = (WeightedChoice::new(&[90, 0, 10]), WeightedChoice::new(&[70, 0, 30]));
        let mut moved = 0;
        for n in 0..10_000 {
            match (before.at(point(n)), after.at(point(n))) {
                (Some(0), Some(2)) => moved += 1,
                (Some(was), Some(is)) => assert!(was == is && was != 1),
                none => panic!("{none:?}"),
            }
        }
        assert!((1_950..2_050).contains(&moved), "{moved}");
        assert_eq!(WeightedChoice::new(&[0, 0]).at(7), None);
        assert_eq!(WeightedChoice::new(&[u32::MAX, u32::MAX]).at(u32::MAX), Some(1));
    }
}
