use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Keeps neighbours off the cache line (two lines: the adjacent-line prefetcher of x86 pulls pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// Makes one padded cell per shard, at least one.
pub(crate) fn cells<T: Default>(shards: usize) -> Box<[Padded<T>]> {
    (0..shards.max(1)).map(|_| Padded(T::default())).collect()
}

/// A counter with one cell per proxy thread.
#[derive(Debug)]
pub struct ShardedCounter {
    cells: Box<[Padded<AtomicU64>]>,
}

impl ShardedCounter {
    /// Makes a counter of `shards` cells (at least one).
    pub fn new(shards: usize) -> Self {
        Self { cells: cells(shards) }
    }

    /// Adds `n` to the cell of `shard`; shards beyond the last wrap around.
    #[inline]
    pub fn add(&self, shard: usize, n: u64) {
        self.cells[shard % self.cells.len()].0.fetch_add(n, Relaxed);
    }

    /// The sum over all shards.
    pub fn get(&self) -> u64 {
        self.cells.iter().map(|cell| cell.0.load(Relaxed)).sum()
    }
}

/// A gauge that goes up and down, with one cell per proxy thread.
#[derive(Debug)]
pub struct ShardedGauge {
    cells: Box<[Padded<AtomicI64>]>,
}

impl ShardedGauge {
    /// Makes a gauge of `shards` cells (at least one), all 0.
    pub fn new(shards: usize) -> Self {
        Self { cells: cells(shards) }
    }

    /// One more.
    #[inline]
    pub fn inc(&self, shard: usize) {
        self.add(shard, 1);
    }

    /// One less. The shard need not be the one that was incremented: the sum counts.
    #[inline]
    pub fn dec(&self, shard: usize) {
        self.add(shard, -1);
    }

    /// Adds `n`, which may be negative.
    #[inline]
    pub fn add(&self, shard: usize, n: i64) {
        self.cells[shard % self.cells.len()].0.fetch_add(n, Relaxed);
    }

    /// The sum over all shards.
    pub fn get(&self) -> i64 {
        self.cells.iter().map(|cell| cell.0.load(Relaxed)).sum()
    }
}

/// How many bounds a histogram has, without `+Inf`.
pub(crate) const BOUNDS: usize = 12;

/// Upper bounds of the buckets in microseconds: three a decade where proxied requests live, coarser above.
pub(crate) const BOUNDS_US: [u64; BOUNDS] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000];

/// The cells of one shard's histogram: the last bucket is `+Inf`.
#[derive(Debug, Default)]
pub(crate) struct HistogramCells {
    buckets: [AtomicU64; BOUNDS + 1],
    sum_ns: AtomicU64,
}

impl HistogramCells {
    #[inline]
    pub(crate) fn observe(&self, duration: Duration) {
        let us = duration.as_micros();
        let bucket = BOUNDS_US.iter().position(|&bound| us <= u128::from(bound)).unwrap_or(BOUNDS);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn add_to(&self, totals: &mut HistogramTotals) {
        for (total, bucket) in totals.buckets.iter_mut().zip(&self.buckets) {
            *total += bucket.load(Relaxed);
        }
        totals.sum_ns += u128::from(self.sum_ns.load(Relaxed));
    }
}

/// A histogram summed over its shards.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HistogramTotals {
    /// Not cumulative; the last one is `+Inf`.
    pub(crate) buckets: [u64; BOUNDS + 1],
    pub(crate) sum_ns: u128,
}

impl HistogramTotals {
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The upper bounds in seconds, each with its own count (not cumulative).
    pub(crate) fn buckets_seconds(&self) -> [(f64, u64); BOUNDS + 1] {
        std::array::from_fn(|i| {
            let bound = BOUNDS_US.get(i).map_or(f64::INFINITY, |&us| Duration::from_micros(us).as_secs_f64());
            (bound, self.buckets[i])
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds are exported as a float")]
    pub(crate) fn sum_seconds(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }
}

/// A histogram of durations with fixed bounds from 100 us to 10 s and one set of cells per proxy thread.
#[derive(Debug)]
pub struct ShardedHistogram {
    cells: Box<[Padded<HistogramCells>]>,
}

impl ShardedHistogram {
    /// Makes an empty histogram of `shards` sets of cells (at least one).
    pub fn new(shards: usize) -> Self {
        Self { cells: cells(shards) }
    }

    /// Counts `duration` in the bucket it belongs to.
    #[inline]
    pub fn observe(&self, shard: usize, duration: Duration) {
        self.cells[shard % self.cells.len()].0.observe(duration);
    }

    pub(crate) fn totals(&self) -> HistogramTotals {
        let mut totals = HistogramTotals::default();
        for cells in &self.cells {
            cells.0.add_to(&mut totals);
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_sum_their_shards_and_wrap_unknown_ones() {
        let counter = ShardedCounter::new(2);
        counter.add(0, 1);
        counter.add(1, 2);
        counter.add(7, 4);
        assert_eq!(counter.get(), 7);
    }

    #[test]
    fn gauges_may_fall_on_another_shard_than_they_rose_on() {
        let gauge = ShardedGauge::new(2);
        gauge.inc(0);
        gauge.inc(0);
        gauge.dec(1);
        assert_eq!(gauge.get(), 1);
    }

    #[test]
    fn a_duration_on_a_bound_falls_into_its_bucket() {
        let histogram = ShardedHistogram::new(1);
        histogram.observe(0, Duration::from_micros(100));
        histogram.observe(0, Duration::from_micros(101));
        histogram.observe(0, Duration::from_secs(60));
        let totals = histogram.totals();
        assert_eq!((totals.buckets[0], totals.buckets[1], totals.buckets[BOUNDS]), (1, 1, 1));
        assert_eq!(totals.count(), 3);
        assert!((totals.sum_seconds() - 60.000_201).abs() < 1e-9);
    }
}
