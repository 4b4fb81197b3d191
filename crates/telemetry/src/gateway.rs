use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::sharded::{HistogramCells, HistogramTotals, Padded, cells};

/// Classes of status codes, as label values; the last is for codes that HTTP does not define.
pub(crate) const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// What one Gateway's listeners have served.
#[derive(Debug)]
pub struct GatewayMetrics {
    shards: Box<[Padded<Cells>]>,
}

/// One proxy thread's counts: together, since one request touches them all.
#[derive(Debug, Default)]
struct Cells {
    requests: [AtomicU64; CLASSES.len()],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    duration: HistogramCells,
}

/// The counts summed over the shards.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GatewayTotals {
    pub(crate) requests: [u64; CLASSES.len()],
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) duration: HistogramTotals,
}

impl GatewayMetrics {
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards: cells(shards) }
    }

    /// Counts one answered request.
    ///
    /// `duration` runs from the first byte of the request to the last byte of the response; `bytes_in` and `bytes_out`
    /// are what went over the downstream connection, heads and framing included.
    #[inline]
    pub fn observe(&self, shard: usize, status: u16, duration: Duration, bytes_in: u64, bytes_out: u64) {
        let cells = &self.shards[shard % self.shards.len()].0;
        let class = match status {
            100..=599 => usize::from(status / 100 - 1),
            _ => CLASSES.len() - 1,
        };
        cells.requests[class].fetch_add(1, Relaxed);
        cells.bytes_in.fetch_add(bytes_in, Relaxed);
        cells.bytes_out.fetch_add(bytes_out, Relaxed);
        cells.duration.observe(duration);
    }

    /// How many requests were answered, and how many of them with 5xx.
    pub fn requests(&self) -> (u64, u64) {
        let totals = self.totals();
        (totals.requests.iter().sum(), totals.requests[4])
    }

    pub(crate) fn totals(&self) -> GatewayTotals {
        let mut totals = GatewayTotals::default();
        for shard in &self.shards {
            let cells = &shard.0;
            for (total, requests) in totals.requests.iter_mut().zip(&cells.requests) {
                *total += requests.load(Relaxed);
            }
            totals.bytes_in += cells.bytes_in.load(Relaxed);
            totals.bytes_out += cells.bytes_out.load(Relaxed);
            cells.duration.add_to(&mut totals.duration);
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_class() {
        let metrics = GatewayMetrics::new(2);
        for (shard, status) in [(0, 200), (1, 204), (0, 404), (1, 503), (5, 503), (0, 999), (0, 0)] {
            metrics.observe(shard, status, Duration::from_millis(1), 10, 100);
        }
        let totals = metrics.totals();
        assert_eq!(totals.requests, [0, 2, 0, 1, 2, 2]);
        assert_eq!((totals.bytes_in, totals.bytes_out), (70, 700));
        assert_eq!(totals.duration.count(), 7);
        assert_eq!(metrics.requests(), (7, 2));
    }
}
