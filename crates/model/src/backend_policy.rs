use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::Balancing;

/// What is asked for a backend, whichever route names it (`rauta.io/v1` BackendPolicy).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendPolicy {
    /// How an endpoint is chosen, whatever the route says.
    pub balancing: Option<Balancing>,
    /// What a Maglev table is asked with; none: the flow and the number of its request.
    pub hash_by: Option<HashBy>,
    /// For how long an endpoint that is new to a running service gets less than its share; none: it gets all of it at once.
    pub slow_start: Option<Duration>,
    /// How the gateway finds out by itself which endpoints work.
    pub health_check: Option<HealthCheck>,
    /// If less than this share of the endpoints works, in percent, all are used: 0 (never) to 100.
    pub panic_percent: u8,
    /// Which endpoints are left out for what they answer.
    pub outliers: Option<OutlierDetection>,
    /// How much may be under way.
    pub limits: Option<CircuitLimits>,
}

impl BackendPolicy {
    /// Source of the number: Envoy, `common_lb_config.healthy_panic_threshold`.
    pub const PANIC_PERCENT_DEFAULT: u8 = 50;
}

impl Default for BackendPolicy {
    fn default() -> Self {
        Self {
            balancing: None,
            hash_by: None,
            slow_start: None,
            health_check: None,
            panic_percent: Self::PANIC_PERCENT_DEFAULT,
            outliers: None,
            limits: None,
        }
    }
}

/// What consistent hashing is over. A request that does not have it goes by its flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HashBy {
    /// The value of the first line of this name, in lower case.
    Header(Arc<str>),
    /// The value of the first cookie of this name.
    Cookie(Arc<str>),
    /// The address that the client's connection comes from.
    SourceAddress,
}

/// An active health check: each endpoint is asked again and again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// What it is asked.
    pub probe: Probe,
    /// From the end of one probe to the start of the next.
    pub interval: Duration,
    /// How long a probe may take, connecting included.
    pub timeout: Duration,
    /// So many probes in a row that pass make an unhealthy endpoint healthy; at least 1.
    pub healthy_after: u32,
    /// So many in a row that fail make a healthy one unhealthy; at least 1.
    pub unhealthy_after: u32,
}

/// What an endpoint is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Probe {
    /// A GET; over TLS and HTTP/2 where requests go so.
    Http {
        /// The request target.
        path: Arc<str>,
        /// The `Host`; none: the endpoint's address and port.
        host: Option<Arc<str>>,
        /// The statuses that pass; empty: 200 to 299.
        statuses: Vec<u16>,
    },
    /// Whether it accepts a connection.
    Tcp,
    /// `grpc.health.v1.Health/Check`; over TLS where requests go so.
    Grpc {
        /// The service that must be SERVING; empty: the server as a whole.
        service: Arc<str>,
    },
}

impl HealthCheck {
    /// The path of a probe unless something else is said.
    pub const PATH_DEFAULT: &str = "/health";
    /// Source of this and the next three: Envoy Gateway v1, `ActiveHealthCheck`.
    pub const INTERVAL_DEFAULT: Duration = Duration::from_secs(3);
    /// How long a probe may take.
    pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
    /// Probes in a row that pass.
    pub const HEALTHY_AFTER_DEFAULT: u32 = 1;
    /// Probes in a row that fail.
    pub const UNHEALTHY_AFTER_DEFAULT: u32 = 3;
}

/// When an endpoint is left out for a while for what it answers to requests of this backend. What cannot be connected to, or
/// gives no answer, has failed in both ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutlierDetection {
    /// So many answers of 500 to 599 in a row; none: these do not count.
    pub consecutive_5xx: Option<u32>,
    /// So many answers of 502 to 504 in a row; none: these do not count by themselves.
    pub consecutive_gateway_errors: Option<u32>,
    /// How long the first time; twice as long the second time in a row, and so on.
    pub base_ejection: Duration,
    /// How long at most.
    pub max_ejection: Duration,
    /// The share of the endpoints that may be left out, in percent; one may always be.
    pub max_percent: u8,
}

impl OutlierDetection {
    /// Source of this and the next three: Envoy v3, `OutlierDetection`.
    pub const CONSECUTIVE_5XX_DEFAULT: u32 = 5;
    /// How long the first time.
    pub const BASE_EJECTION_DEFAULT: Duration = Duration::from_secs(30);
    /// How long at most.
    pub const MAX_EJECTION_DEFAULT: Duration = Duration::from_secs(300);
    /// The share that may be left out.
    pub const MAX_PERCENT_DEFAULT: u8 = 10;
}

/// How much of a backend may be under way at once, from one gateway; none: any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CircuitLimits {
    /// Connections, idle ones included. More requests wait for one.
    pub connections: Option<u32>,
    /// Requests that wait for a connection.
    pub pending: Option<u32>,
    /// Requests under way.
    pub requests: Option<u32>,
    /// Requests under way that are retries.
    pub retries: Option<u32>,
}
