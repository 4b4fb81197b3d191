//! How often: a token bucket as one number, and many of them in a table of fixed size.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A bucket that holds `burst` tokens and gets one back every `interval_ns`.
///
/// It is kept as the time at which it will be full again (GCRA, ITU-T I.371 annex A): one number, which is changed in one
/// step. Times are nanoseconds of the caller's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    interval_ns: u64,
    /// What `burst` tokens take to come back.
    full_ns: u64,
}

/// What a bucket says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateVerdict {
    /// It goes on.
    Pass,
    /// It does not.
    Limited {
        /// When the next one would, in ns from now.
        retry_after_ns: u64,
    },
}

impl RateLimit {
    /// `requests` in each `period_ns`, and up to `burst` at once. All above 0; no more than a request a nanosecond counts.
    pub fn new(requests: u32, period_ns: u64, burst: u32) -> Self {
        let interval_ns = (period_ns / u64::from(requests.max(1))).max(1);
        Self { interval_ns, full_ns: interval_ns.saturating_mul(u64::from(burst.max(1))) }
    }

    /// Takes a token out of the bucket that is full again at `full_at_ns` (0: it is full). Across threads no token is given out
    /// twice.
    pub fn take(&self, full_at_ns: &AtomicU64, now_ns: u64) -> RateVerdict {
        let mut seen = full_at_ns.load(Relaxed);
        loop {
            let full_at = seen.max(now_ns).saturating_add(self.interval_ns);
            let most = now_ns.saturating_add(self.full_ns);
            if full_at > most {
                return RateVerdict::Limited { retry_after_ns: full_at - most };
            }
            match full_at_ns.compare_exchange_weak(seen, full_at, Relaxed, Relaxed) {
                Ok(_) => return RateVerdict::Pass,
                Err(other) => seen = other,
            }
        }
    }
}

/// Slots that one key may be in.
const WAYS: usize = 8;

/// A bucket for each key, in a table that does not grow: what a client can make us remember is bounded.
///
/// Where all places of a key are taken, it gets that of the bucket which is full soonest: of who has asked least. So who makes up
/// keys throws out others like it, and those who are at their limit stay. A bucket that is thrown out begins anew, full.
///
/// No locks: a key's bucket is exact across threads but for the moment in which a place changes hands, when a request more
/// or less may be counted.
#[derive(Debug)]
pub struct RateTable {
    sets: Box<[[Slot; WAYS]]>,
}

#[derive(Debug, Default)]
struct Slot {
    /// 0: nobody's.
    key: AtomicU64,
    full_at_ns: AtomicU64,
}

impl RateTable {
    /// With room for `keys` or a few more; 16 bytes each.
    pub fn new(keys: usize) -> Self {
        let sets = keys.div_ceil(WAYS).max(1).next_power_of_two();
        Self { sets: (0..sets).map(|_| Default::default()).collect() }
    }

    /// The bucket of `key`, which must be a hash that clients cannot foresee.
    pub fn bucket(&self, key: u64) -> &AtomicU64 {
        let key = key.max(1);
        // The high bits choose the set; all of them are compared.
        let set = &self.sets[(key >> 32) as usize & (self.sets.len() - 1)];
        loop {
            let mut soonest = &set[0];
            let mut soonest_at = u64::MAX;
            for slot in set {
                let owner = slot.key.load(Relaxed);
                if owner == key {
                    return &slot.full_at_ns;
                }
                let full_at = if owner == 0 { 0 } else { slot.full_at_ns.load(Relaxed).max(1) };
                if full_at < soonest_at {
                    (soonest, soonest_at) = (slot, full_at);
                }
            }
            let owner = soonest.key.load(Relaxed);
            if owner != key && soonest.key.compare_exchange(owner, key, Relaxed, Relaxed).is_ok() {
                soonest.full_at_ns.store(0, Relaxed);
                return &soonest.full_at_ns;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn passed(limit: &RateLimit, bucket: &AtomicU64, times: impl IntoIterator<Item = u64>) -> usize {
        times.into_iter().filter(|now| limit.take(bucket, *now) == RateVerdict::Pass).count()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let limit = RateLimit::new(10, SECOND, 5);
        let bucket = AtomicU64::new(0);
        assert_eq!(passed(&limit, &bucket, [7; 20]), 5);
        assert_eq!(limit.take(&bucket, 7), RateVerdict::Limited { retry_after_ns: SECOND / 10 });
        assert_eq!(
            limit.take(&bucket, 7 + SECOND / 20),
            RateVerdict::Limited { retry_after_ns: SECOND / 20 }
        );
        assert_eq!(limit.take(&bucket, 7 + SECOND / 10), RateVerdict::Pass);
        // A hundred seconds at a hundred a second.
        let bucket = AtomicU64::new(0);
        let times = (0..10_000).map(|i| i * SECOND / 100);
        assert_eq!(passed(&limit, &bucket, times), 1000 + 4);
    }

    #[test]
    fn silence_saves_up_no_more_than_the_burst() {
        let limit = RateLimit::new(1, SECOND, 3);
        let bucket = AtomicU64::new(0);
        assert_eq!(passed(&limit, &bucket, [0; 9]), 3);
        assert_eq!(passed(&limit, &bucket, [3600 * SECOND; 9]), 3);
        // A clock that goes back gives nothing away.
        assert_eq!(passed(&limit, &bucket, [0; 9]), 0);
    }

    #[test]
    fn any_order_of_times_gives_no_more_than_was_promised() {
        // A linear congruential generator (Knuth, MMIX).
        let mut state = 1_u64;
        let mut random = |below: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u32::try_from(state >> 33).unwrap() % below
        };
        for _ in 0..200 {
            let (requests, burst) = (1 + random(50), 1 + random(20));
            let limit = RateLimit::new(requests, SECOND, burst);
            let bucket = AtomicU64::new(0);
            let mut now = 0;
            let mut taken = Vec::new();
            for _ in 0..500 {
                now += u64::from(random(50_000_000));
                if limit.take(&bucket, now) == RateVerdict::Pass {
                    taken.push(now);
                }
            }
            for (i, from) in taken.iter().enumerate() {
                let within = taken[i..].iter().filter(|at| **at - from < SECOND).count();
                assert!(
                    within <= (requests + burst) as usize,
                    "{within} in a second of {requests}, burst {burst}"
                );
            }
        }
    }

    #[test]
    fn threads_share_a_bucket_exactly() {
        let limit = RateLimit::new(1, 3600 * SECOND, 1000);
        let bucket = AtomicU64::new(0);
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| passed(&limit, &bucket, [1; 1000]))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 1000);
    }

    /// A good hash of a number (SplitMix64).
    fn hash(number: u64) -> u64 {
        let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    #[test]
    fn keys_have_buckets_of_their_own() {
        let limit = RateLimit::new(1, SECOND, 2);
        let table = RateTable::new(1024);
        for key in 0..300 {
            assert_eq!(passed(&limit, table.bucket(hash(key)), [0; 5]), 2, "{key}");
        }
        for key in 0..300 {
            assert_eq!(passed(&limit, table.bucket(hash(key)), [0; 5]), 0, "{key}");
        }
    }

    #[test]
    fn made_up_keys_do_not_free_who_is_at_the_limit() {
        let limit = RateLimit::new(1, SECOND, 10);
        let table = RateTable::new(1024);
        let greedy: Vec<u64> = (0..50).map(hash).collect();
        for key in &greedy {
            assert_eq!(passed(&limit, table.bucket(*key), [0; 20]), 10);
        }
        for made_up in 0..100_000 {
            assert_eq!(limit.take(table.bucket(hash(1_000_000 + made_up)), 0), RateVerdict::Pass);
        }
        assert!(greedy.iter().all(|key| passed(&limit, table.bucket(*key), [0; 20]) == 0));
        assert_eq!(table.sets.len() * WAYS, 1024);
    }
}
