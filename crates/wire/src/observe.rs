//! What the programs tell of requests: histograms per listener, and sampled events.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::Tuple;

/// Listeners that have histograms of their own; the index is [`crate::Vip::listener`].
pub const RESPONSES_MAX: usize = 1024;

/// Buckets of [`Responses::first_byte`].
pub const BUCKETS: usize = 32;

/// Value of maps `LISTENER_RESPONSES`, `ROUTE_RESPONSES` and `ENDPOINT_RESPONSES` (per CPU).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Responses {
    /// Final responses by the first digit of their status: 1 to 5; 0: any other; the last two are never used.
    pub classes: [u64; 8],
    /// Requests whose time from the request to the first byte of the response was below 2^k microseconds and not below
    /// 2^(k-1); the last bucket has all that took longer.
    pub first_byte: [u64; BUCKETS],
    /// Sum of those times, in nanoseconds.
    pub first_byte_ns: u64,
}
const _: () = assert!(size_of::<Responses>() == 8 * (9 + BUCKETS));

impl Responses {
    /// The bucket of a time.
    #[inline(always)]
    #[must_use]
    pub const fn bucket(nanoseconds: u64) -> usize {
        let bits = 64 - (nanoseconds / 1000).leading_zeros() as usize;
        if bits < BUCKETS { bits } else { BUCKETS - 1 }
    }

    /// The sum of two.
    #[must_use]
    pub fn merged(mut self, other: &Self) -> Self {
        self.each(other, u64::wrapping_add);
        self
    }

    /// What was counted since `before`.
    #[must_use]
    pub fn since(mut self, before: &Self) -> Self {
        self.each(before, u64::wrapping_sub);
        self
    }

    fn each(&mut self, other: &Self, with: impl Fn(u64, u64) -> u64) {
        let pairs = self.classes.iter_mut().zip(other.classes);
        for (ours, theirs) in pairs.chain(self.first_byte.iter_mut().zip(other.first_byte)) {
            *ours = with(*ours, theirs);
        }
        self.first_byte_ns = with(self.first_byte_ns, other.first_byte_ns);
    }
}

/// Bytes of a path that an event has.
pub const EVENT_PATH: usize = 96;

/// Bytes of a host that an event has.
pub const EVENT_HOST: usize = 48;

/// An event in the ring buffer `EVENTS`, of one in `Settings::trace_every` requests: those with a low [`Event::lot`], so that a
/// request and its response are both told of, or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Event {
    /// Nanoseconds since boot.
    pub time: u64,
    /// Time from the request to the first byte of its response, in nanoseconds; 0 for other events.
    pub first_byte_ns: u64,
    /// Client to VIP.
    pub client: Tuple,
    /// Index of `ROUTE_ACTIONS`; `u32::MAX`: none.
    pub route: u32,
    /// Index of `ENDPOINTS`; `u32::MAX`: none.
    pub endpoint: u32,
    /// Index of the listener.
    pub listener: u32,
    /// Status of the response; 0: none yet.
    pub status: u16,
    /// A [`crate::Reason`].
    pub reason: u8,
    /// A tier: 1 for XDP, 2 for TC, 3 for a hand-off.
    pub tier: u8,
    /// The lot of the request, over 32 bits: told of where its product with `Settings::trace_every` is below 2^32.
    pub lot: u32,
    /// Which request of its connection, from 1. One that goes to userspace after an endpoint was tried for it keeps its own.
    pub number: u32,
    /// Length of the path, of which [`Event::path`] may have the beginning only; 0: not told.
    pub path_len: u16,
    /// Length of the host.
    pub host_len: u16,
    /// A [`crate::Method`].
    pub method: u8,
    /// Flags: [`Event::WHOLE`], [`Event::ENDLESS`].
    pub flags: u8,
    /// Zero.
    pub pad: [u8; 2],
    /// Length of a request, head and body.
    pub len: u32,
    /// Where a response begins, in sequence numbers of its leg.
    pub begins_at: u32,
    /// Where it ends, in the same.
    pub ends_at: u32,
    /// As sent, without the query; behind its length anything.
    pub path: [u8; EVENT_PATH],
    /// As sent, without the port.
    pub host: [u8; EVENT_HOST],
}
const _: () = assert!(size_of::<Event>() == 240 && align_of::<Event>() == 8);

impl Default for Event {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

impl Event {
    /// The response has ended in the segment in which it began.
    pub const WHOLE: u8 = 1;
    /// Where the response ends cannot be seen.
    pub const ENDLESS: u8 = 2;

    /// The lot of a request: `isn` is its connection's cookie, `number` which request on it that is. Every connection draws anew.
    ///
    /// Source: the finalizer `lowbias32` of C. Wellons, "Prospecting for Hash Functions", 2018.
    #[inline(always)]
    pub const fn lot_of(isn: u32, number: u32) -> u32 {
        let mut lot = isn.wrapping_add(number.wrapping_mul(0x9e37_79b9));
        lot = (lot ^ (lot >> 16)).wrapping_mul(0x7feb_352d);
        lot = (lot ^ (lot >> 15)).wrapping_mul(0x846c_a68b);
        lot ^ (lot >> 16)
    }

    /// Whether a request with this lot is among one in `every`; of a greater `every` they are among those of a lesser one.
    #[inline(always)]
    pub const fn is_drawn(lot: u32, every: u32) -> bool {
        (lot as u64 * every as u64) >> 32 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_powers_of_two_of_microseconds() {
        let bucket = |us: u64| Responses::bucket(us * 1000);
        assert_eq!([0, 1, 2, 3, 4, 1023, 1024].map(bucket), [0, 1, 2, 2, 3, 10, 11]);
        assert_eq!(Responses::bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn lots_draw_their_share_and_finer_samples_hold_coarser_ones() {
        let lots = (0..1000u32).flat_map(|isn| (1..=100).map(move |number| Event::lot_of(isn << 8, number)));
        let mut drawn = [0u32; 2];
        for lot in lots {
            let [fine, coarse] = [10, 100].map(|every| Event::is_drawn(lot, every));
            assert!(fine || !coarse);
            assert!(Event::is_drawn(lot, 1));
            drawn[0] += u32::from(fine);
            drawn[1] += u32::from(coarse);
        }
        // Five deviations of 100,000 draws.
        assert!(drawn[0].abs_diff(10_000) < 475 && drawn[1].abs_diff(1000) < 158, "{drawn:?}");
    }
}
