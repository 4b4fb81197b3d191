use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use crate::sharded::{Padded, cells};

/// What one Gateway's listeners of one protocol have passed on: TCP connections, TLS connections, UDP sessions.
#[derive(Debug)]
pub struct L4Metrics {
    shards: Box<[Padded<Cells>]>,
}

#[derive(Debug, Default)]
struct Cells {
    opened: AtomicU64,
    active: AtomicI64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// The counts summed over the shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct L4Totals {
    /// Connections or sessions that began.
    pub opened: u64,
    /// Those that are open now.
    pub active: i64,
    /// Bytes from clients to endpoints, without what the gateway says itself.
    pub bytes_in: u64,
    /// Bytes from endpoints to clients.
    pub bytes_out: u64,
}

impl L4Metrics {
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards: cells(shards) }
    }

    /// Counts a connection or session that begins.
    pub fn opened(&self, shard: usize) {
        self.cells(shard).opened.fetch_add(1, Relaxed);
        self.cells(shard).active.fetch_add(1, Relaxed);
    }

    /// Counts one that ended.
    pub fn closed(&self, shard: usize) {
        self.cells(shard).active.fetch_sub(1, Relaxed);
    }

    /// Counts bytes that were passed on.
    #[inline]
    pub fn moved(&self, shard: usize, from_client: bool, bytes: u64) {
        let cells = self.cells(shard);
        let cell = if from_client { &cells.bytes_in } else { &cells.bytes_out };
        cell.fetch_add(bytes, Relaxed);
    }

    /// All shards together.
    pub fn totals(&self) -> L4Totals {
        self.shards.iter().map(|shard| &shard.0).fold(L4Totals::default(), |sum, cells| L4Totals {
            opened: sum.opened + cells.opened.load(Relaxed),
            active: sum.active + cells.active.load(Relaxed),
            bytes_in: sum.bytes_in + cells.bytes_in.load(Relaxed),
            bytes_out: sum.bytes_out + cells.bytes_out.load(Relaxed),
        })
    }

    fn cells(&self, shard: usize) -> &Cells {
        &self.shards[shard % self.shards.len()].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_bytes_are_counted_over_the_shards() {
        let metrics = L4Metrics::new(2);
        metrics.opened(0);
        metrics.opened(1);
        metrics.closed(1);
        metrics.moved(0, true, 5);
        metrics.moved(7, false, 7);
        assert_eq!(metrics.totals(), L4Totals { opened: 2, active: 1, bytes_in: 5, bytes_out: 7 });
    }
}
