use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{PolicyStatus, PolicyTargetRef};

/// What is asked for the endpoints of a Service, whichever route leads to them.
///
/// Each field counts by itself: of two policies for a port of a Service, the one that names the port wins.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "rauta.io",
    version = "v1",
    kind = "BackendPolicy",
    plural = "backendpolicies",
    namespaced,
    derive = "PartialEq",
    status = "PolicyStatus",
    shortname = "bp",
    category = "rauta",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendPolicySpec {
    /// What it is for: Services (sectionName: a port) of its namespace.
    #[schemars(length(min = 1, max = 16))]
    pub target_refs: Vec<PolicyTargetRef>,
    /// How an endpoint is chosen; unset: as the route says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<BackendLoadBalancer>,
    /// How the gateway finds out which endpoints work; unset: it does not ask them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<BackendHealthCheck>,
    /// If less than this share of the endpoints is healthy, in percent, all are used; 0: never; unset: 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub panic_threshold: Option<u8>,
    /// When an endpoint is left out for a while for what it answers; unset: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<BackendOutlierDetection>,
    /// How much may be under way at once, from each gateway; unset: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
}

/// How an endpoint is chosen.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = (
    "(self.type == 'ConsistentHash') == has(self.consistentHash)",
    "consistentHash goes with type ConsistentHash, and with no other"
))]
pub struct BackendLoadBalancer {
    /// The method.
    #[serde(rename = "type")]
    pub kind: BackendLoadBalancerType,
    /// What ConsistentHash is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistent_hash: Option<ConsistentHash>,
    /// Less than their share for endpoints that are new to a running service; unset: all of it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<SlowStart>,
}

/// The share of an endpoint that joins a running service, or comes back to health, rises evenly from a tenth to all of it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlowStart {
    /// Over how long, such as `30s`; `10ms` or more.
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub window: String,
}

/// A method of choosing endpoints.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendLoadBalancerType {
    /// Consistent hashing over the connection and the number of its request.
    #[default]
    Maglev,
    /// In turn.
    RoundRobin,
    /// By chance.
    Random,
    /// Of two drawn by chance the one with fewer requests under way.
    LeastRequest,
    /// Of two drawn by chance the one that is expected to answer sooner.
    PeakEWMA,
    /// Consistent hashing over something of the request.
    ConsistentHash,
}

/// What consistent hashing is over. A request that does not have it is spread as by Maglev.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = (
    "(self.type == 'Header') == has(self.header)",
    "header goes with type Header, and with no other"
))]
#[x_kube(validation = (
    "(self.type == 'Cookie') == has(self.cookie)",
    "cookie goes with type Cookie, and with no other"
))]
pub struct ConsistentHash {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: ConsistentHashType,
    /// The header, for type Header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<HashName>,
    /// The cookie, for type Cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<HashName>,
    /// Slots of the table: a prime from 251 to 65537; unset: `balancing.maglevTableSize` of the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 251, max = 65537))]
    pub table_size: Option<u32>,
}

/// What of a request or its client is hashed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsistentHashType {
    /// The address that the client's connection comes from.
    #[default]
    SourceIP,
    /// A header.
    Header,
    /// A cookie.
    Cookie,
}

/// A header or a cookie.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HashName {
    /// Its name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
}

/// An active health check: each endpoint is asked again and again, by each gateway once.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = ("!has(self.http) || self.type == 'HTTP'", "http is for type HTTP only"))]
#[x_kube(validation = ("!has(self.grpc) || self.type == 'GRPC'", "grpc is for type GRPC only"))]
pub struct BackendHealthCheck {
    /// What it is asked; unset: HTTP.
    #[serde(default, rename = "type")]
    pub kind: HealthCheckType,
    /// From the end of one probe to the next, at least `10ms`; unset: `3s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub interval: Option<String>,
    /// How long a probe may take, at least `1ms`; unset: `1s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub timeout: Option<String>,
    /// Probes in a row that must fail before an endpoint gets no new requests; unset: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub unhealthy_threshold: Option<u32>,
    /// Probes in a row that must pass before it gets them again; unset: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub healthy_threshold: Option<u32>,
    /// The request of type HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpHealthCheck>,
    /// The question of type GRPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcHealthCheck>,
}

/// What endpoints are asked.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HealthCheckType {
    /// A GET, over TLS and HTTP/2 where requests go so.
    #[default]
    HTTP,
    /// A connection.
    TCP,
    /// `grpc.health.v1.Health/Check`.
    GRPC,
}

/// A health check by HTTP.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpHealthCheck {
    /// The path, with a query if need be; unset: `/health`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: Option<String>,
    /// The `Host`; unset: the endpoint's address and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub hostname: Option<String>,
    /// The statuses that pass; unset: 200 to 299.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(range(min = 200, max = 599)))]
    pub expected_statuses: Vec<u16>,
}

/// A health check by gRPC.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrpcHealthCheck {
    /// The service that must be SERVING; unset: the server as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub service: Option<String>,
}

/// When an endpoint is left out for what it answers to requests of the Service. One that cannot be connected to, or gives no
/// answer, has failed in both ways.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = (
    "!has(self.consecutive5xxErrors) || self.consecutive5xxErrors > 0 || has(self.consecutiveGatewayErrors) && self.consecutiveGatewayErrors > 0",
    "consecutive5xxErrors or consecutiveGatewayErrors must count something"
))]
#[x_kube(validation = (
    "!has(self.maxEjectionTime) || duration(self.maxEjectionTime) >= duration(has(self.baseEjectionTime) ? self.baseEjectionTime : '30s')",
    "maxEjectionTime must not be shorter than baseEjectionTime"
))]
pub struct BackendOutlierDetection {
    /// Answers of 500 to 599 in a row; 0: these do not count; unset: 5.
    #[serde(default, rename = "consecutive5xxErrors", skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100_000))]
    pub consecutive_5xx_errors: Option<u32>,
    /// Answers of 502 to 504 in a row; 0 or unset: these do not count by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100_000))]
    pub consecutive_gateway_errors: Option<u32>,
    /// For how long the first time; twice as long the second time in a row, and so on; at least `10ms`; unset: `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub base_ejection_time: Option<String>,
    /// For how long at most; unset: `300s`, or the base if that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub max_ejection_time: Option<String>,
    /// The share of the endpoints that may be left out, in percent; one may always be; unset: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub max_ejection_percent: Option<u8>,
}

/// How much of a Service may be under way at once, from each gateway. What is not set has no limit.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = (
    "has(self.maxConnections) || has(self.maxPendingRequests) || has(self.maxParallelRequests) || has(self.maxParallelRetries)",
    "at least one limit must be set"
))]
pub struct CircuitBreaker {
    /// Connections to its endpoints, idle ones included; more requests wait for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<u32>,
    /// Requests under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel_requests: Option<u32>,
    /// Requests under way that are retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel_retries: Option<u32>,
}
