//! One endpoint as all threads see it: counters, and whether to pass it over for a while.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use balance::PeakEwma;

use crate::addresses::Addresses;
use crate::dial::{Dial, Favour};
use crate::passed_over::PassedOver;

/// An endpoint, shared by every backend that holds its addresses and speaks to it in the same way, and by every snapshot that keeps it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The address that names it.
    pub(crate) address: SocketAddr,
    pub(crate) addresses: Addresses,
    favour: Arc<Favour>,
    /// In ms since `epoch`.
    passed_over: PassedOver,
    epoch: Instant,
    shards: Box<[Shard]>,
}

/// One thread's counters, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    active: AtomicI64,
    requests: AtomicU64,
    connects: AtomicU64,
    connect_failures: AtomicU64,
    failures: AtomicU64,
    /// How long it takes to answer this thread: [`PeakEwma`].
    latency: AtomicU64,
}

/// What an endpoint has been through since the gateway first knew it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointStats {
    /// Requests under way.
    pub active: u64,
    /// Requests sent to it, tries included.
    pub requests: u64,
    /// Connections opened.
    pub connects: u64,
    /// Connections refused or timed out.
    pub connect_failures: u64,
    /// Requests that it did not answer, or not with valid HTTP.
    pub failures: u64,
    /// Whether everybody passes it over at the moment, because it refused a connection.
    pub is_passed_over: bool,
}

impl Endpoint {
    /// `favour`: the record of which of its addresses comes first, shared with whoever else connects to them.
    pub(crate) fn new(addresses: Addresses, threads: usize, favour: Arc<Favour>) -> Self {
        let shards = (0..threads).map(|_| Shard::default()).collect();
        let (address, passed_over) = (addresses.name, PassedOver::default());
        Self { address, addresses, favour, passed_over, epoch: Instant::now(), shards }
    }

    /// Which of its addresses it is to be reached by first.
    pub(crate) fn favour(&self) -> &Favour {
        &self.favour
    }

    /// The way to connect to it within `limit`.
    pub(crate) fn dial(&self, limit: Duration) -> Dial<'_> {
        Dial { addresses: self.addresses, favour: &self.favour, limit }
    }

    pub(crate) fn stats(&self) -> EndpointStats {
        let sum = |of: fn(&Shard) -> &AtomicU64| self.shards.iter().map(|s| of(s).load(Relaxed)).sum();
        EndpointStats {
            active: self.active(),
            requests: sum(|s| &s.requests),
            connects: sum(|s| &s.connects),
            connect_failures: sum(|s| &s.connect_failures),
            failures: sum(|s| &s.failures),
            is_passed_over: self.is_passed_over(Duration::MAX),
        }
    }

    /// Requests under way, of all threads: each writes its own line, and whoever chooses by it reads two or three of them.
    pub(crate) fn active(&self) -> u64 {
        let active: i64 = self.shards.iter().map(|s| s.active.load(Relaxed)).sum();
        u64::try_from(active).unwrap_or(0)
    }

    /// Notes how long an answer to this thread took. What one thread sees is a fair sample of what all see, so each has an average
    /// of its own, and none writes another's.
    pub(crate) fn answered(&self, shard: usize, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let latency = &self.shards[shard].latency;
        let average = PeakEwma::from_bits(latency.load(Relaxed)).with(micros, self.now_ms_wrapping());
        latency.store(average.to_bits(), Relaxed);
    }

    /// What one more request would cost it, as far as this thread has seen.
    pub(crate) fn cost(&self, shard: usize) -> f64 {
        let average = PeakEwma::from_bits(self.shards[shard].latency.load(Relaxed));
        average.cost(self.active(), self.now_ms_wrapping())
    }

    /// Whether it refused a connection a short time ago, or did not take it within the time that who asks would wait.
    pub(crate) fn is_passed_over(&self, patience: Duration) -> bool {
        self.passed_over.by(patience, || self.now_ms())
    }

    pub(crate) fn connected(&self, shard: usize) {
        add(&self.shards[shard].connects);
        self.passed_over.end();
    }

    /// Those who would wait no longer than for `patience` are to pass it over; [`Duration::MAX`]: everybody.
    pub(crate) fn connect_failed(&self, shard: usize, pass_over: Duration, patience: Duration) {
        add(&self.shards[shard].connect_failures);
        self.passed_over.begin(self.now_ms(), pass_over, patience);
    }

    pub(crate) fn failed(&self, shard: usize) {
        add(&self.shards[shard].failures);
    }

    /// Counts a request as under way until the guard goes.
    pub(crate) fn begin(&self, shard: usize) -> Active<'_> {
        add(&self.shards[shard].requests);
        self.shards[shard].active.fetch_add(1, Relaxed);
        Active { endpoint: self, shard }
    }

    #[expect(clippy::cast_possible_truncation, reason = "its low half: averages know of clocks that wrap")]
    fn now_ms_wrapping(&self) -> u32 {
        self.now_ms() as u32
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A request under way at an endpoint. Borrows it: a count of its owners would be a line that all threads write.
#[derive(Debug)]
pub(crate) struct Active<'e> {
    endpoint: &'e Endpoint,
    shard: usize,
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.endpoint.shards[self.shard].active.fetch_sub(1, Relaxed);
    }
}

/// Each shard has one writer, its thread; a plain store would do, but costs the same and invites mistakes.
fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_sum_over_threads_and_active_falls_when_the_guard_goes() {
        let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let endpoint = Arc::new(Endpoint::new(address.into(), 2, Arc::default()));
        let first = endpoint.begin(0);
        let second = endpoint.begin(1);
        endpoint.failed(1);
        assert_eq!(
            endpoint.stats(),
            EndpointStats { active: 2, requests: 2, failures: 1, ..Default::default() }
        );
        drop(first);
        drop(second);
        assert_eq!(endpoint.stats().active, 0);
    }

    #[test]
    fn a_refused_connection_passes_the_endpoint_over_until_one_succeeds() {
        let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let endpoint = Endpoint::new(address.into(), 1, Arc::default());
        let own = Duration::from_secs(5);
        assert!(!endpoint.is_passed_over(own));
        endpoint.connect_failed(0, Duration::from_secs(3600), Duration::MAX);
        assert!(endpoint.stats().is_passed_over && endpoint.is_passed_over(own));
        endpoint.connected(0);
        assert!(!endpoint.is_passed_over(own));
    }
}
