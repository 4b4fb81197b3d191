//! What the programs tell of requests: histograms per listener, and sampled events.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

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

/// An event in the ring buffer `EVENTS`, one in `Settings::trace_every` requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
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
    /// A tier: 2 for TC, 3 for a hand-off.
    pub tier: u8,
    /// Zero.
    pub pad: u32,
}
const _: () = assert!(size_of::<Event>() == 72 && align_of::<Event>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_powers_of_two_of_microseconds() {
        let bucket = |us: u64| Responses::bucket(us * 1000);
        assert_eq!([0, 1, 2, 3, 4, 1023, 1024].map(bucket), [0, 1, 2, 2, 3, 10, 11]);
        assert_eq!(Responses::bucket(u64::MAX), BUCKETS - 1);
    }
}
