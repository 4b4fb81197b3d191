use std::sync::Arc;
use std::time::Duration;

use ::addresses::Pool;
use ipnet::IpNet;
use policy::PathRules;
use telemetry::access::AccessLog;

/// Settings of the userspace tier that hold for its lifetime.
#[derive(Clone, Debug)]
pub struct Config {
    /// Threads, each with its own sockets, connections and pools. At least 1.
    pub threads: usize,
    /// Bounds of request and response heads and of chunk framing.
    pub limits: http1::Limits,
    /// Time limits.
    pub timeouts: TimeoutConfig,
    /// Addresses that are listened on whether this machine has them or not: others may have them now, and this one later.
    pub floating: Pool,
    /// Peers whose forwarding headers are believed and passed on.
    pub trusted_proxies: Vec<IpNet>,
    /// Client connections in all; one more is answered 503 and closed. Streams of HTTP/2 in all, too, of which each thread has an equal
    /// share; one more is reset, and its client may ask again.
    pub connections_max: usize,
    /// Clients whose endpoint is remembered, on routes that want it.
    pub affinity_entries: usize,
    /// What the values of sessions are written with, the same for all gateways that a client may come to; none: one for this
    /// process alone.
    pub session_key: Option<tls::MacKey>,
    /// Idle connections kept for each endpoint by each thread.
    pub pool_idle_max: usize,
    /// UDP sessions in all; a new one takes the place of the one that was idle longest.
    pub udp_sessions_max: usize,
    /// Routes that have metrics of their own; 0: none are counted.
    pub route_metrics: usize,
    /// What is done about paths that more than one spelling has.
    pub paths: PathRules,
    /// The header in which a refusal names its reason; none: it does not.
    pub reason_header: Option<String>,
    /// Where requests are logged, if they are.
    pub access_log: Option<AccessConfig>,
    /// Where spans of recorded traces go.
    pub spans: Option<Arc<otlp::Exporter>>,
    /// By what requests are found again.
    pub ids: IdConfig,
    /// Different endpoints tried for one request that none has acknowledged.
    pub tries_max: u32,
    /// What each thread does before anything else.
    pub on_thread: fn(),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            limits: http1::Limits::default(),
            timeouts: TimeoutConfig::default(),
            floating: Pool::default(),
            trusted_proxies: Vec::new(),
            connections_max: 65_536,
            affinity_entries: 65_536,
            session_key: None,
            pool_idle_max: 512,
            udp_sessions_max: 16_384,
            route_metrics: 0,
            paths: PathRules::default(),
            reason_header: None,
            access_log: None,
            spans: None,
            ids: IdConfig::default(),
            tries_max: 3,
            on_thread: || {},
        }
    }
}

/// Which requests are logged.
#[derive(Clone, Debug)]
pub struct AccessConfig {
    /// Where.
    pub log: Arc<AccessLog>,
    /// One of so many; those that failed (400 and above) always. At least 1.
    pub sample_one_in: u64,
}

/// By what requests are found again, in the logs and traces of all that have a part in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdConfig {
    /// The header that holds a request's id, which trusted proxies may bring and others get; none: no ids.
    pub request_id_header: Option<String>,
    /// Whether W3C trace contexts are continued, and begun where none came. Otherwise they pass as they are.
    pub trace_context: bool,
    /// Of so many traces that begin here, one is recorded. At least 1.
    pub sample_one_in: u64,
}

impl Default for IdConfig {
    fn default() -> Self {
        Self { request_id_header: None, trace_context: false, sample_one_in: 100 }
    }
}

/// Time limits. There is none on a whole request unless its route sets one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutConfig {
    /// First to last byte of a request head; then 408.
    pub header_read: Duration,
    /// A client that sends no byte of a body that it announced, or takes no byte of a response; then 408 or close.
    pub stall: Duration,
    /// Connecting to an endpoint; then another one, at last 504.
    pub connect: Duration,
    /// A client connection without a request, or an endpoint that sends no byte; then close, or 504.
    pub idle: Duration,
    /// A TCP or TLS connection that is passed on and on which nothing moves in either direction; then close.
    pub l4_idle: Duration,
    /// A UDP session without a datagram in either direction.
    pub udp_idle: Duration,
    /// A connection that was upgraded and on which nobody says anything; then close.
    pub tunnel_idle: Duration,
    /// An endpoint connection in the pool. Shorter than common servers' own limit (nginx: 75 s).
    pub pool_idle: Duration,
    /// How long [`crate::Gateway::drain`] waits for requests in flight.
    pub drain: Duration,
    /// How long a draining gateway waits for the next request on an idle connection, to answer it with `close`.
    pub drain_idle: Duration,
    /// How long an endpoint that refused a connection is passed over while others remain.
    pub endpoint_retry: Duration,
}

impl Default for TimeoutConfig {
    fn default() -> Self {
        Self {
            header_read: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(300),
            l4_idle: Duration::from_secs(3600),
            udp_idle: Duration::from_secs(60),
            tunnel_idle: Duration::from_secs(3600),
            pool_idle: Duration::from_secs(60),
            drain: Duration::from_secs(30),
            drain_idle: Duration::from_secs(2),
            endpoint_retry: Duration::from_secs(1),
        }
    }
}
