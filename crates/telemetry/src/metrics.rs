use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::family::OTHER;
use crate::routes::RouteCounters;
use crate::{
    DatapathCounters, DatapathSource, GatewayMetrics, HealthMetrics, L4Metrics, LabelledCounter,
    ProtocolCounters, ShardedCounter, ShardedGauge, ShardedHistogram, encode,
};

/// Gateways with series of their own; more fold into `gateway="other"`.
pub const GATEWAYS_MAX: usize = 200;

/// How a connection attempt to an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectResult {
    /// Connected.
    Ok,
    /// Refused by the endpoint (RST).
    Refused,
    /// No answer in time.
    Timeout,
    /// No way there (ICMP unreachable, no route).
    Unreachable,
    /// TLS failed: the endpoint is not who it must be, refused our certificate, or speaks none.
    Tls,
    /// Anything else, such as no free local port.
    Failed,
}

impl ConnectResult {
    const ALL: [Self; 6] =
        [Self::Ok, Self::Refused, Self::Timeout, Self::Unreachable, Self::Tls, Self::Failed];

    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Failed => "failed",
        }
    }
}

/// Everything the agent counts. Made once; shared by all threads.
#[derive(Debug)]
pub struct Metrics {
    /// Downstream connections accepted.
    pub connections_accepted: ShardedCounter,
    /// Downstream connections open now.
    pub connections_active: ShardedGauge,
    /// Downstream connections closed at once because there are too many.
    pub connections_rejected: ShardedCounter,
    /// Requests answered, by what they came by.
    pub requests: ProtocolCounters,
    /// Requests that went over a kept upstream connection.
    pub upstream_reuses: ShardedCounter,
    /// Upstream connections open now, idle ones included.
    pub upstream_connections_active: ShardedGauge,
    /// Requests sent again to another endpoint because the first one failed before it took them.
    pub upstream_retries: ShardedCounter,
    /// Spans that a collector took.
    pub spans_sent: ShardedCounter,
    /// Spans that none got, by reason.
    pub spans_dropped: LabelledCounter,
    /// Lines of the access log that were written.
    pub access_lines: ShardedCounter,
    /// Lines of the access log that were not, by reason.
    pub access_dropped: LabelledCounter,
    /// Bytes of responses that were compressed, as they came, by coding.
    pub compression_in: LabelledCounter,
    /// What was made of them, framing not counted, by coding.
    pub compression_out: LabelledCounter,
    /// Requests that an external authorization service could not be asked about, by what became of them: `open`, `closed`.
    pub ext_auth_failures: LabelledCounter,
    /// Copies of requests, by what became of them.
    pub mirrors: LabelledCounter,
    /// Values of sessions that were of no use, by reason.
    pub session_refusals: LabelledCounter,
    /// Malformed requests refused, by the codec's reason.
    pub refusals: LabelledCounter,
    /// TLS handshakes that failed, by reason.
    pub tls_failures: LabelledCounter,
    /// Connections, sessions and datagrams that were not passed on, by reason.
    pub l4_refusals: LabelledCounter,
    /// Answers made here (404, 500, 502, 503, 504), by reason.
    pub responses_generated: LabelledCounter,
    pub(crate) upstream_connects: [ShardedCounter; ConnectResult::ALL.len()],
    pub(crate) config_apply: ShardedHistogram,
    pub(crate) config_propagation: ShardedHistogram,
    pub(crate) snapshot_version: AtomicU64,
    pub(crate) diagnostics_errors: AtomicU64,
    pub(crate) diagnostics_warnings: AtomicU64,
    pub(crate) listener_problems: AtomicU64,
    pub(crate) health: HealthMetrics,
    shards: usize,
    gateways: RwLock<BTreeMap<String, Arc<GatewayMetrics>>>,
    pub(crate) routes: RouteCounters,
    l4: RwLock<BTreeMap<(String, &'static str), Arc<L4Metrics>>>,
    datapath: RwLock<Option<Source>>,
}

struct Source(DatapathSource);

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatapathSource")
    }
}

impl Metrics {
    /// Makes the counters, all 0, with `shards` cells each: one per proxy thread.
    pub fn new(shards: usize) -> Arc<Self> {
        let counter = || ShardedCounter::new(shards);
        Arc::new(Self {
            connections_accepted: counter(),
            connections_active: ShardedGauge::new(shards),
            connections_rejected: counter(),
            requests: ProtocolCounters::new(shards),
            upstream_reuses: counter(),
            upstream_connections_active: ShardedGauge::new(shards),
            upstream_retries: counter(),
            spans_sent: counter(),
            spans_dropped: LabelledCounter::new(shards),
            access_lines: counter(),
            access_dropped: LabelledCounter::new(shards),
            compression_in: LabelledCounter::new(shards),
            compression_out: LabelledCounter::new(shards),
            ext_auth_failures: LabelledCounter::new(shards),
            mirrors: LabelledCounter::new(shards),
            session_refusals: LabelledCounter::new(shards),
            refusals: LabelledCounter::new(shards),
            tls_failures: LabelledCounter::new(shards),
            l4_refusals: LabelledCounter::new(shards),
            responses_generated: LabelledCounter::new(shards),
            upstream_connects: std::array::from_fn(|_| counter()),
            config_apply: ShardedHistogram::new(1),
            config_propagation: ShardedHistogram::new(1),
            snapshot_version: AtomicU64::new(0),
            diagnostics_errors: AtomicU64::new(0),
            diagnostics_warnings: AtomicU64::new(0),
            listener_problems: AtomicU64::new(0),
            health: HealthMetrics::new(),
            shards,
            gateways: RwLock::default(),
            routes: RouteCounters::default(),
            l4: RwLock::default(),
            datapath: RwLock::default(),
        })
    }

    /// The counters of Gateway `gateway` (`namespace/name`); of `other` once [`GATEWAYS_MAX`] have their own.
    ///
    /// Takes a lock: look it up when a snapshot is applied, not per request.
    pub fn gateway(&self, gateway: &str) -> Arc<GatewayMetrics> {
        if let Some(found) = self.gateways.read().unwrap_or_else(PoisonError::into_inner).get(gateway) {
            return Arc::clone(found);
        }
        let mut gateways = self.gateways.write().unwrap_or_else(PoisonError::into_inner);
        let name =
            if gateways.len() < GATEWAYS_MAX || gateways.contains_key(gateway) { gateway } else { OTHER };
        let made =
            gateways.entry(name.to_owned()).or_insert_with(|| Arc::new(GatewayMetrics::new(self.shards)));
        Arc::clone(made)
    }

    /// From now on so many routes have counters of their own, and the others share those of `route="other"`; 0: none are
    /// counted.
    pub fn set_routes_max(&self, max: usize) {
        self.routes.set_max(max);
    }

    /// The counters of each of these routes, which are all there are; empty if none are counted.
    ///
    /// Takes a lock: for when a snapshot is applied.
    pub fn routes(&self, routes: impl Iterator<Item = String>) -> Vec<Arc<GatewayMetrics>> {
        self.routes.of_all(routes, self.shards)
    }

    /// Every Gateway with its counters, sorted by name.
    pub fn gateways(&self) -> Vec<(String, Arc<GatewayMetrics>)> {
        let gateways = self.gateways.read().unwrap_or_else(PoisonError::into_inner);
        gateways.iter().map(|(name, metrics)| (name.clone(), Arc::clone(metrics))).collect()
    }

    /// The counters of what Gateway `gateway` (`namespace/name`) passes on of `protocol` (`tcp`, `tls`, `udp`); of `other`
    /// once [`GATEWAYS_MAX`] have their own.
    ///
    /// Takes a lock: look it up when a snapshot is applied, not per connection.
    pub fn l4(&self, gateway: &str, protocol: &'static str) -> Arc<L4Metrics> {
        let mut all = self.l4.write().unwrap_or_else(PoisonError::into_inner);
        let key = (gateway.to_owned(), protocol);
        let is_known = all.len() < GATEWAYS_MAX || all.contains_key(&key);
        let key = if is_known { key } else { (OTHER.to_owned(), protocol) };
        Arc::clone(all.entry(key).or_insert_with(|| Arc::new(L4Metrics::new(self.shards))))
    }

    /// Every Gateway and protocol with what was passed on, sorted.
    pub fn passed_on(&self) -> Vec<((String, &'static str), Arc<L4Metrics>)> {
        let all = self.l4.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(key, metrics)| (key.clone(), Arc::clone(metrics))).collect()
    }

    /// Counts what was not passed on.
    pub fn l4_refused(&self, shard: usize, reason: &'static str) {
        self.l4_refusals.inc(shard, reason);
    }

    /// Counts a malformed request by the codec's reason.
    pub fn refused(&self, shard: usize, reason: &'static str) {
        self.refusals.inc(shard, reason);
    }

    /// Counts a session's value that was of no use.
    pub fn session_refused(&self, shard: usize, reason: &'static str) {
        self.session_refusals.inc(shard, reason);
    }

    /// Counts a TLS handshake that failed.
    pub fn tls_failed(&self, shard: usize, reason: &'static str) {
        self.tls_failures.inc(shard, reason);
    }

    /// Counts a copy of a request by what became of it.
    pub fn mirrored(&self, shard: usize, result: &'static str) {
        self.mirrors.inc(shard, result);
    }

    /// Counts an answer made here by its reason.
    pub fn response_generated(&self, shard: usize, reason: &'static str) {
        self.responses_generated.inc(shard, reason);
    }

    /// Counts an attempt to connect to an endpoint.
    #[inline]
    pub fn upstream_connected(&self, shard: usize, result: ConnectResult) {
        self.upstream_connects[result as usize].add(shard, 1);
    }

    /// How many attempts to connect ended with `result`.
    pub fn upstream_connects(&self, result: ConnectResult) -> u64 {
        self.upstream_connects[result as usize].get()
    }

    /// What health checks do.
    pub fn health(&self) -> &HealthMetrics {
        &self.health
    }

    /// Tells which snapshot is served, how long it took to apply, and how many listeners are not bound.
    pub fn config_applied(&self, version: u64, took: Duration, listener_problems: usize) {
        self.snapshot_version.store(version, Relaxed);
        self.config_apply.observe(0, took);
        self.set_listener_problems(listener_problems);
    }

    /// Tells how long it took from the first event of a change to its being in force in all tiers.
    pub fn config_propagated(&self, took: Duration) {
        self.config_propagation.observe(0, took);
    }

    /// Tells how many listener addresses are not bound.
    pub fn set_listener_problems(&self, problems: usize) {
        self.listener_problems.store(problems as u64, Relaxed);
    }

    /// Tells how many errors and warnings the configuration has now.
    pub fn set_diagnostics(&self, errors: usize, warnings: usize) {
        self.diagnostics_errors.store(errors as u64, Relaxed);
        self.diagnostics_warnings.store(warnings as u64, Relaxed);
    }

    /// Sets where the kernel's counters come from; called at each scrape, on the scraping thread.
    pub fn set_datapath_source(&self, source: DatapathSource) {
        *self.datapath.write().unwrap_or_else(PoisonError::into_inner) = Some(Source(source));
    }

    /// Reads the kernel's counters; none without kernel programs.
    pub fn datapath(&self) -> Option<DatapathCounters> {
        let source = self.datapath.read().unwrap_or_else(PoisonError::into_inner);
        source.as_ref().and_then(|source| (source.0)())
    }

    /// Everything in the OpenMetrics text format, version 1.0.0.
    pub fn encode(self: &Arc<Self>) -> String {
        encode::encode(self)
    }

    pub(crate) fn connects(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ConnectResult::ALL.into_iter().map(|result| (result.as_str(), self.upstream_connects(result)))
    }
}
