//! The SYN cookie: the handshake and its options in the 32 bits of our initial sequence number.
//!
//! ```text
//! 31           24 23             8 7              4     3   2           1       0
//! MAC of tuple (8) | MAC of ISN (16) | window scale (4) | SACK | MSS index (2) | epoch
//! ```
//!
//! Nothing is stored for a SYN. The first MAC says that the connection is ours; the second one covers the client's initial
//! sequence number too, so that only a segment that starts right behind the handshake is taken for the first one: a later
//! segment that overtook it must wait.
//! Source of the idea: D. J. Bernstein, "SYN cookies"; RFC 4987 section 3.6.

use wire::{TcpOptions, Tuple};

use crate::siphash::SipHash;

/// Length of an epoch, as a power of two of nanoseconds: 2^37 ns, 137 s. A cookie lives for one to two of them.
const EPOCH_BITS: u32 = 37;

/// The sizes that a cookie can remember, ascending: a client's MSS is rounded down to one of them.
const MSS: [u16; 4] = [536, 1220, 1440, 1460];

/// What a segment's acknowledgement says of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cookie {
    /// No cookie of ours, or too old.
    Foreign,
    /// Our cookie, but the segment does not start where the handshake ended.
    Later,
    /// The first segment. The options are those of the handshake, but for timestamps: whether the segment has some tells.
    First(TcpOptions),
}

/// The cookie for a client at `tuple` whose SYN had `client_isn` and `options`.
#[inline(always)]
#[must_use]
pub fn make(key: &[u64; 2], tuple: &Tuple, client_isn: u32, options: TcpOptions, now: u64) -> u32 {
    let epoch = (now >> EPOCH_BITS) as u32;
    let low = encode(options) << 1 | (epoch & 1);
    mac(key, tuple, client_isn, epoch, low) << 8 | low
}

/// What `cookie` is to a segment of `tuple` that would be the first one, had the client begun with `client_isn`.
#[inline(always)]
#[must_use]
pub fn check(key: &[u64; 2], tuple: &Tuple, client_isn: u32, cookie: u32, now: u64) -> Cookie {
    let epoch = (now >> EPOCH_BITS) as u32;
    let low = cookie & 0xff;
    // The epoch of the same parity: this one or the one before.
    let epoch = epoch.wrapping_sub((epoch ^ low) & 1);
    let difference = mac(key, tuple, client_isn, epoch, low) ^ (cookie >> 8);
    match (difference >> 16, difference) {
        (_, 0) => Cookie::First(decode(low >> 1)),
        (0, _) => Cookie::Later,
        _ => Cookie::Foreign,
    }
}

/// Options with a little less in them, for another cookie to the same SYN: 16 bits tell one connection of a tuple from the next,
/// and may happen not to.
#[inline(always)]
#[must_use]
pub const fn lesser(options: TcpOptions) -> TcpOptions {
    let index = mss_index(options.mss);
    if index > 0 {
        return TcpOptions { mss: mss_of(index - 1), ..options };
    }
    TcpOptions { flags: options.flags & !TcpOptions::SACK, ..options }
}

/// The MSS that a cookie will remember for one of `mss`.
#[inline(always)]
#[must_use]
pub const fn rounded_mss(mss: u16) -> u16 {
    mss_of(mss_index(mss))
}

#[inline(always)]
const fn mss_index(mss: u16) -> u32 {
    (mss >= MSS[1]) as u32 + (mss >= MSS[2]) as u32 + (mss >= MSS[3]) as u32
}

#[inline(always)]
const fn mss_of(index: u32) -> u16 {
    // Spelled out: an indexed table would be memory that the verifier must follow.
    match index & 3 {
        0 => MSS[0],
        1 => MSS[1],
        2 => MSS[2],
        _ => MSS[3],
    }
}

#[inline(always)]
fn encode(options: TcpOptions) -> u32 {
    u32::from(options.window_scale & 15) << 3 | u32::from(options.sack()) << 2 | mss_index(options.mss)
}

#[inline(always)]
fn decode(bits: u32) -> TcpOptions {
    TcpOptions {
        mss: mss_of(bits),
        window_scale: (bits >> 3 & 15) as u8,
        flags: if bits & 4 != 0 { TcpOptions::SACK } else { 0 },
    }
}

/// 8 bits over tuple, epoch and option bits, and below them 16 bits over these and the client's ISN.
#[inline(never)]
fn mac(key: &[u64; 2], tuple: &Tuple, client_isn: u32, epoch: u32, low: u32) -> u32 {
    let mut state = SipHash::new(key);
    state.tuple(tuple);
    state.word(u64::from(epoch) << 32 | u64::from(low));
    let connection = state.finish();
    state.word(u64::from(client_isn));
    let first = state.finish();
    ((connection >> 56) as u32) << 16 | (first >> 48) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u64; 2] = [1, 2];
    const EPOCH: u64 = 1 << EPOCH_BITS;

    fn tuple(port: u8) -> Tuple {
        Tuple { source: [7; 16], destination: [9; 16], source_port: [1, port], destination_port: [0, 80] }
    }

    #[test]
    fn less_in_the_options_is_another_cookie() {
        let tuple = Tuple { source_port: [1, 2], ..Tuple::default() };
        for mss in [536, 1220, 1440, 1460, 9000] {
            let options = TcpOptions { mss, window_scale: 7, flags: TcpOptions::SACK };
            let [one, other] = [options, lesser(options)].map(|options| make(&[1, 2], &tuple, 5, options, 7));
            assert_ne!(one, other, "{mss}");
            let Cookie::First(found) = check(&[1, 2], &tuple, 5, other, 7) else { panic!("{mss}") };
            assert!(found.mss <= mss && found.window_scale == 7, "{found:?}");
        }
    }

    #[test]
    fn options_come_back() {
        for mss in [100, 536, 1219, 1220, 1300, 1440, 1448, 1460, 8960] {
            for window_scale in 0..=15 {
                for flags in [0, TcpOptions::SACK] {
                    let options = TcpOptions { mss, window_scale, flags };
                    let cookie = make(&KEY, &tuple(1), 99, options, 5);
                    let expected = TcpOptions { mss: rounded_mss(mss), ..options };
                    assert_eq!(check(&KEY, &tuple(1), 99, cookie, 5), Cookie::First(expected));
                }
            }
        }
        assert_eq!(rounded_mss(1459), 1440);
    }

    #[test]
    fn another_client_key_or_isn_does_not_fit() {
        let options = TcpOptions { mss: 1460, window_scale: 7, flags: TcpOptions::SACK };
        let cookie = make(&KEY, &tuple(1), 99, options, 5);
        assert_eq!(check(&KEY, &tuple(2), 99, cookie, 5), Cookie::Foreign);
        assert_eq!(check(&KEY, &tuple(1), 98, cookie, 5), Cookie::Later);
        assert_eq!(check(&[1, 3], &tuple(1), 99, cookie, 5), Cookie::Foreign);
        for bit in 0..32 {
            let found = check(&KEY, &tuple(1), 99, cookie ^ 1 << bit, 5);
            let expected = if (8..24).contains(&bit) { Cookie::Later } else { Cookie::Foreign };
            assert_eq!(found, expected, "bit {bit}");
        }
    }

    #[test]
    fn a_cookie_lives_for_one_to_two_epochs() {
        let options = TcpOptions { mss: 1460, window_scale: 7, flags: 0 };
        for made in [0, EPOCH - 1, EPOCH, 8 * EPOCH + 3] {
            let cookie = make(&KEY, &tuple(1), 99, options, made);
            let start = made / EPOCH * EPOCH;
            for (at, is_valid) in [
                (made, true),
                (start + EPOCH, true),
                (start + 2 * EPOCH - 1, true),
                (start + 2 * EPOCH, false),
                (start + 4 * EPOCH, false),
            ] {
                let found = check(&KEY, &tuple(1), 99, cookie, at);
                assert_eq!(found != Cookie::Foreign, is_valid, "{made} {at}");
            }
        }
    }

    #[test]
    fn cookies_of_neighbours_look_unrelated() {
        let options = TcpOptions::default();
        let mut seen: [u32; 256] =
            core::array::from_fn(|port| make(&KEY, &tuple(port as u8), 1, options, 0) >> 8);
        seen.sort_unstable();
        assert!(seen.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
