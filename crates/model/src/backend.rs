use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::{BackendPolicy, BackendSecurity, Balancing, Speaks};

/// What kind of object stands behind a [`Backend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum BackendKind {
    /// A Service; its endpoints come from EndpointSlices.
    Service,
    /// A RoutingRule with literal endpoints.
    RoutingRule,
    /// A UDP port of a Service.
    UdpService,
}

/// Names a backend. Routes share a backend by naming the same id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct BackendId {
    /// What stands behind it.
    pub kind: BackendKind,
    /// The object's namespace.
    pub namespace: Arc<str>,
    /// The object's name.
    pub name: Arc<str>,
    /// The Service's port (not the endpoint's); 0 for literal endpoints, which carry their own.
    pub port: u16,
    /// How it is spoken to, where routes say it: then those that say the same share it. None: as the Service says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaks: Option<Arc<Speaks>>,
}

impl BackendId {
    /// Names port `port` of Service `namespace/name`.
    pub fn service(namespace: &str, name: &str, port: u16) -> Self {
        let (namespace, name) = (namespace.into(), name.into());
        Self { kind: BackendKind::Service, namespace, name, port, speaks: None }
    }

    /// Names UDP port `port` of Service `namespace/name`.
    pub fn udp_service(namespace: &str, name: &str, port: u16) -> Self {
        Self { kind: BackendKind::UdpService, ..Self::service(namespace, name, port) }
    }

    /// Names the literal endpoints of RoutingRule `namespace/name`.
    pub fn routing_rule(namespace: &str, name: &str) -> Self {
        Self { kind: BackendKind::RoutingRule, ..Self::service(namespace, name, 0) }
    }

    /// The same however it is spoken to: what its endpoints are called by, for clients that keep one of them. A protocol or a
    /// certificate that changes makes no other endpoints.
    pub fn unspoken(&self) -> Self {
        Self { speaks: None, ..self.clone() }
    }
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            BackendKind::Service => write!(f, "{}/{}:{}", self.namespace, self.name, self.port),
            BackendKind::UdpService => write!(f, "{}/{}:{}/udp", self.namespace, self.name, self.port),
            BackendKind::RoutingRule => write!(f, "RoutingRule {}/{}", self.namespace, self.name),
        }?;
        self.speaks.iter().try_for_each(|speaks| write!(f, " ({speaks})"))
    }
}

/// What a backend's endpoints speak (`appProtocol` of the Service port).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AppProtocol {
    /// HTTP/1.1; WebSocket is an upgrade of it.
    #[default]
    Http1,
    /// HTTP/2; in cleartext with prior knowledge (`kubernetes.io/h2c`, `grpc`).
    Http2,
    /// Either, as the endpoint chooses in TLS (`https`); in cleartext HTTP/1.1.
    Negotiated,
}

/// A version of the PROXY protocol (HAProxy, "The PROXY protocol", versions 1 & 2, 2020/03/05).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What a route names: a set of endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Backend {
    /// Which one.
    pub id: BackendId,
    /// What the endpoints speak.
    pub protocol: AppProtocol,
    /// How connections to them are secured.
    pub security: BackendSecurity,
    /// What they are told first on each connection, so that they know who the client is; none: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// The endpoints that may get traffic, sorted by address, each address once and in one of them. The source has already applied the
    /// rules for ready, serving and terminating; a [`EndpointCondition::Draining`] one gets no new connections.
    pub endpoints: Vec<Endpoint>,
    /// Whether its clients keep their endpoint, where the route does not say it (`sessionAffinity` of the Service).
    pub affinity: Option<Affinity>,
    /// What else is asked for it; none: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Arc<BackendPolicy>>,
}

impl Backend {
    /// How an endpoint is chosen for a route that asks for `of_route`: of the endpoints of a Service its policy decides.
    pub fn balancing(&self, of_route: Balancing) -> Balancing {
        self.policy.as_ref().and_then(|policy| policy.balancing).unwrap_or(of_route)
    }
}

/// A client, known by the address that its connections come from, keeps the endpoint that was chosen for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Affinity {
    /// For how long after its last request: whole seconds, from 1 to [`Affinity::TIMEOUT_MAX`].
    pub timeout: Duration,
}

impl Affinity {
    /// Unless something else is said: three hours.
    ///
    /// Source: Kubernetes API v1, `ClientIPConfig.timeoutSeconds`.
    pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10_800);
    /// The longest time: a day. Source: as above.
    pub const TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

    /// The same in seconds.
    pub fn seconds(self) -> u32 {
        u32::try_from(self.timeout.as_secs()).unwrap_or(u32::MAX)
    }
}

impl Default for Affinity {
    fn default() -> Self {
        Self { timeout: Self::TIMEOUT_DEFAULT }
    }
}

/// One process behind a backend, with its address or, where it has one in each IP family, its two.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Endpoint {
    /// Address and port. They name it: balancing, affinity, sessions, health and metrics know it by these.
    pub address: SocketAddr,
    /// The same endpoint in the other IP family: `address` is of the preferred one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<OtherAddress>,
    /// Share among the endpoints of its backend: 0 (none) to 65 535. Endpoints of a Service have 1.
    pub weight: u16,
    /// Whether it takes new requests.
    pub condition: EndpointCondition,
}

impl Endpoint {
    /// Its addresses, in the order in which connections try them.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let (first, second) = match self.other {
            None => (self.address, None),
            Some(other) if other.is_first => (other.address, Some(self.address)),
            Some(other) => (self.address, Some(other.address)),
        };
        std::iter::once(first).chain(second)
    }
}

/// The address of an endpoint in the IP family that is not preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct OtherAddress {
    /// Address and port.
    pub address: SocketAddr,
    /// Whether it is tried first all the same: lately it answered, and the preferred one did not.
    pub is_first: bool,
}

/// Whether an endpoint takes new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointCondition {
    /// It does.
    Ready,
    /// It finishes what it has: serving but terminating, while others are ready.
    Draining,
    /// It does not: its health check failed.
    Unhealthy,
    /// It does not: it failed too many requests of this backend.
    Ejected,
    /// It does although one of these is true: too few others are healthy.
    Panicked,
}

impl EndpointCondition {
    /// Whether the endpoint takes new requests.
    pub const fn takes_requests(self) -> bool {
        matches!(self, Self::Ready | Self::Panicked)
    }
}
