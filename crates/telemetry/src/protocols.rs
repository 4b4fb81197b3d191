use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::sharded::{Padded, cells};

/// A protocol that clients send requests by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 (RFC 1945).
    Http10,
    /// HTTP/1.1 (RFC 9112).
    Http11,
    /// HTTP/2 (RFC 9113).
    Http2,
}

impl Protocol {
    const ALL: [Self; 3] = [Self::Http10, Self::Http11, Self::Http2];

    /// The label value, which is also what logs say.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// Requests answered in userspace, by protocol, in cleartext and over TLS.
#[derive(Debug)]
pub struct ProtocolCounters {
    shards: Box<[Padded<[[AtomicU64; 2]; Protocol::ALL.len()]>]>,
}

impl ProtocolCounters {
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards: cells(shards) }
    }

    /// Counts one request.
    #[inline]
    pub fn inc(&self, shard: usize, protocol: Protocol, is_tls: bool) {
        let cells = &self.shards[shard % self.shards.len()].0;
        cells[protocol as usize][usize::from(is_tls)].fetch_add(1, Relaxed);
    }

    /// How many there were.
    pub fn get(&self, protocol: Protocol, is_tls: bool) -> u64 {
        let cells = self.shards.iter().map(|shard| &shard.0[protocol as usize][usize::from(is_tls)]);
        cells.map(|cell| cell.load(Relaxed)).sum()
    }

    /// Label values of protocol and scheme with their counts.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        Protocol::ALL.into_iter().flat_map(move |protocol| {
            [(false, "http"), (true, "https")]
                .map(|(is_tls, scheme)| (protocol.as_str(), scheme, self.get(protocol, is_tls)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_protocol_and_scheme() {
        let counters = ProtocolCounters::new(2);
        for (shard, protocol, is_tls) in
            [(0, Protocol::Http11, false), (1, Protocol::Http11, false), (3, Protocol::Http2, true)]
        {
            counters.inc(shard, protocol, is_tls);
        }
        let counted: Vec<_> = counters.values().filter(|(.., count)| *count > 0).collect();
        assert_eq!(counted, [("HTTP/1.1", "http", 2), ("HTTP/2", "https", 1)]);
    }
}
