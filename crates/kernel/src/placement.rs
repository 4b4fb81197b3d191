use std::fmt;

use model::{RouteId, Tier};
use serde::Serialize;

/// The tier that a route gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoutePlacement {
    /// Which route.
    pub route: RouteId,
    /// The lowest tier that decides requests of it.
    pub tier: Tier,
    /// The tier that was asked for.
    pub asked: Option<Tier>,
    /// Why it is not the tier asked for, or not the kernel; of a route in the kernel, why some of its requests are
    /// userspace's.
    pub reason: Option<Why>,
}

/// Why userspace serves a route, or a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Why {
    /// The user asked for Tier 3.
    Asked,
    /// The kernel may not forward on this host.
    ForwardingOff,
    /// Every request gets an id (a setting).
    RequestId,
    /// Every request belongs to a trace (a setting).
    Tracing,
    /// Every request is in the access log (a setting).
    AccessLog,
    /// No listener has it.
    NoListener,
    /// Its listener ends TLS.
    Tls,
    /// Its listener shares a port with one that ends TLS.
    SharedPort,
    /// Its listener takes the PROXY protocol.
    ProxyProtocol,
    /// It is no route of requests.
    L4,
    /// The gateway answers itself.
    Respond,
    /// Filters of the rule or of a backend.
    Filters,
    /// A share of its requests is copied.
    Copies,
    /// Time limits.
    Timeouts,
    /// Retries on answers.
    Retry,
    /// Errors have another answer than that of the endpoint.
    Errors,
    /// Clients that keep their endpoint by a cookie or header.
    Session,
    /// A RoutePolicy says something of it.
    RoutePolicy,
    /// A balancer other than Maglev over flows.
    Balancing,
    /// A backend has limits of what is under way.
    CircuitBreaker,
    /// A backend's endpoints are left out for their answers.
    OutlierDetection,
    /// A backend's new endpoints get less than their share.
    SlowStart,
    /// A Maglev table larger than the kernel's.
    TableSize,
    /// More backends than a record holds.
    ManyBackends,
    /// A path by regular expression.
    PathRegex,
    /// A path longer than the kernel compares.
    PathLength,
    /// A condition on the query.
    Query,
    /// A header by regular expression.
    HeaderRegex,
    /// More header conditions, or longer ones, than the kernel checks.
    HeaderSize,
    /// A header that the kernel does not look at.
    HeaderName,
    /// More header names than the kernel can tell apart.
    ManyHeaderNames,
    /// A header name that the kernel has only just begun to look for.
    NewHeaderName,
    /// A method that the kernel does not read.
    Method,
    /// A backend reference that cannot be followed.
    InvalidBackend,
    /// No backend has weight.
    NoBackend,
    /// The backend does not speak cleartext HTTP/1.1.
    Protocol,
    /// The backend's endpoints are told of clients in version 1 of the PROXY protocol.
    ToldInText,
    /// The backend has no endpoint that takes requests.
    NoEndpoint,
    /// An endpoint on this host.
    HostLocal,
    /// An endpoint whose devices have no hook yet.
    NoHook,
    /// An endpoint behind network policy.
    Policy,
    /// An endpoint that cannot be reached.
    NoRoute,
    /// A kernel table is full.
    Full,
    /// XDP was asked for, which no route has for itself.
    TcInstead,
}

impl Why {
    /// A clause for people: "TC routes it in part: a condition on the query".
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "Tier 3 was asked for",
            Self::ForwardingOff => "the kernel may not forward on this host",
            Self::RequestId => "every request gets an id (requestId)",
            Self::Tracing => "every request belongs to a trace (tracing)",
            Self::AccessLog => "every request is in the access log (accessLog.complete)",
            Self::NoListener => "no listener has it",
            Self::Tls => "its listener ends TLS",
            Self::SharedPort => "its listener shares a port with one that ends TLS",
            Self::ProxyProtocol => "its listener takes the PROXY protocol",
            Self::L4 => "it passes connections or datagrams on, not requests",
            Self::Respond => "the gateway answers such requests itself",
            Self::Filters => "it has filters",
            Self::Copies => "a mirror gets a copy of some of its requests",
            Self::Timeouts => "it has time limits",
            Self::Retry => "it asks for retries",
            Self::Errors => "a default backend answers its errors",
            Self::Session => "it has session persistence",
            Self::RoutePolicy => "a RoutePolicy is for it",
            Self::Balancing => "its balancer chooses for each request",
            Self::CircuitBreaker => "a backend has a circuit breaker",
            Self::OutlierDetection => "a backend has outlier detection",
            Self::SlowStart => "a backend has a slow start",
            Self::TableSize => "its Maglev table is larger than 4099 slots",
            Self::ManyBackends => "it has more than 16 backends",
            Self::PathRegex => "a path is a regular expression",
            Self::PathLength => "a path is longer than 247 bytes",
            Self::Query => "a match has a condition on the query",
            Self::HeaderRegex => "a header condition is a regular expression",
            Self::HeaderSize => "a match has more than 4 header conditions, or a value over 48 bytes",
            Self::HeaderName => "a match is on a header that the kernel does not look at",
            Self::ManyHeaderNames => "the routes together match on more than 16 header names",
            Self::NewHeaderName => "a header name is new; the kernel looks for it in a moment",
            Self::Method => "a match is on a method that the kernel does not read",
            Self::InvalidBackend => "a backend reference cannot be followed",
            Self::NoBackend => "no backend has weight",
            Self::Protocol => "a backend does not speak HTTP/1.1 in cleartext",
            Self::ToldInText => "a backend is told of clients in version 1 of the PROXY protocol",
            Self::NoEndpoint => "a backend has no endpoint that takes requests",
            Self::HostLocal => "an endpoint is on this host itself",
            Self::NoHook => "an endpoint answers through a device that has no hook yet",
            Self::Policy => "network policy is enforced for an endpoint",
            Self::NoRoute => "there is no route to an endpoint",
            Self::Full => "a kernel table is full",
            Self::TcInstead => {
                "TC decides the same requests; whether XDP goes before it is the interface's (dataplane.hook)"
            }
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
