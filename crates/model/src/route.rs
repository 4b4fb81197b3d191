use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::{
    Affinity, AppProtocol, AttachedPolicies, Backend, BackendId, Fallback, Filters, HostPattern, ListenerId,
    ObjectKind, ObjectRef, Policies, Redirect, Session,
};

/// Names a route: an object and which of its rules (an Ingress has one a path, counted in order; its default backend
/// comes last).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RouteId {
    /// The object the rule stands in.
    pub object: ObjectRef,
    /// Which rule, from 0.
    pub rule: u32,
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rule {}", self.object, self.rule)
    }
}

/// One rule: which requests on which listeners, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Which one.
    pub id: RouteId,
    /// Its parents: the listeners it serves on.
    pub listeners: Vec<ListenerId>,
    /// Host names; empty: every name that its listeners serve.
    pub hosts: Vec<HostPattern>,
    /// Any one of them is enough; empty: every request.
    pub matches: Vec<RouteMatch>,
    /// What becomes of the request.
    pub action: Action,
    /// What is done to requests and responses on the way.
    #[serde(skip_serializing_if = "Filters::is_empty")]
    pub filters: Filters,
    /// How an endpoint is chosen within a backend.
    pub balancing: Balancing,
    /// Whether a client keeps what was chosen for it.
    pub affinity: RouteAffinity,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Which answers are worth another try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What policies ask of its requests, by listener; those that are not named here: nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<AttachedPolicies>,
    /// Whether clients keep what was chosen for them by a value that they bring back; goes before `affinity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// Who answers where its endpoints do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Box<Fallback>>,
    /// Whether the access log leaves its requests out, but for those with a status of 400 and above.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_unlogged: bool,
    /// When the object was made, in seconds since 1970; none for objects from files. The older route wins a tie.
    pub created_unix_s: Option<i64>,
    /// The tier that the user asked for.
    pub tier: Option<Tier>,
    /// Whether `X-Forwarded-For` and `X-Forwarded-Proto` are added for endpoints (both this and the listener's).
    pub forwarded_headers: bool,
}

impl Route {
    /// A rule that does `action`, on no listener yet, with every request and all else as it is where nothing is said.
    pub fn new(id: RouteId, action: Action) -> Self {
        Self {
            id,
            listeners: Vec::new(),
            hosts: Vec::new(),
            matches: Vec::new(),
            action,
            filters: Filters::default(),
            balancing: Balancing::default(),
            affinity: RouteAffinity::default(),
            timeouts: Timeouts::default(),
            retry: None,
            policies: Vec::new(),
            session: None,
            fallback: None,
            is_unlogged: false,
            created_unix_s: None,
            tier: None,
            forwarded_headers: true,
        }
    }

    /// What endpoints of `backend` are spoken to in for this route: those of a GRPCRoute take gRPC, which is HTTP/2, whatever
    /// their Service says.
    pub fn protocol(&self, backend: &Backend) -> AppProtocol {
        let is_grpc = self.id.object.kind == ObjectKind::GrpcRoute;
        if is_grpc { AppProtocol::Http2 } else { backend.protocol }
    }

    /// What policies ask of requests that come in by `listener`.
    pub fn policies_on(&self, listener: &ListenerId) -> Option<&Policies> {
        let on = self.policies.iter().find(|attached| attached.listeners.contains(listener));
        on.map(|attached| &attached.policies)
    }

    /// The order of routes with equal matches; the smallest wins.
    ///
    /// Gateway API, HTTPRouteRule.matches: "the oldest Route based on creation timestamp", then "the Route appearing first
    /// in alphabetical order by {namespace}/{name}", then "the first matching rule". An object without an age is younger
    /// than any with one.
    pub fn precedence(&self) -> (i64, &str, &str, ObjectKind, u32) {
        let object = &self.id.object;
        (self.created_unix_s.unwrap_or(i64::MAX), &object.namespace, &object.name, object.kind, self.id.rule)
    }
}

/// Conditions that must all hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct RouteMatch {
    /// The path's condition.
    pub path: PathMatch,
    /// The method, exactly as written (RFC 9110 section 9.1: case-sensitive); none: every method.
    pub method: Option<Arc<str>>,
    /// All must match.
    pub headers: Vec<HeaderMatch>,
    /// All must match.
    pub queries: Vec<QueryMatch>,
}

/// A condition on the path, which is compared as the bytes that came: no decoding, no dot-segment removal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "type", content = "value")]
pub enum PathMatch {
    /// The whole path.
    Exact(Arc<str>),
    /// Path elements: `/api` matches `/api`, `/api/` and `/api/v1`, never `/apix`. Kept without its trailing slash;
    /// empty stands for `/`, every path.
    Prefix(Arc<str>),
    /// The first bytes, wherever they end: Ingress pathType ImplementationSpecific, as in ingress-nginx.
    StringPrefix(Arc<str>),
    /// A regular expression.
    Regex(RegexPattern),
}

/// A regular expression in the syntax of the `regex` crate (linear time, no look-around, no back-references).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RegexPattern {
    /// As the user wrote it.
    pub pattern: Arc<str>,
    /// How much of the text it must cover.
    pub anchor: RegexAnchor,
    /// Upper and lower case are the same.
    pub case_insensitive: bool,
}

/// How much of the text a regular expression must cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RegexAnchor {
    /// All of it (Gateway API).
    Full,
    /// Its start (ingress-nginx `use-regex`).
    Start,
}

/// A condition on a header.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HeaderMatch {
    /// The name in lower case. Several lines of this name count as one value, joined with `,` (RFC 9110 section 5.3).
    pub name: Arc<str>,
    /// The value's condition.
    pub value: ValueMatch,
}

/// A condition on a query parameter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct QueryMatch {
    /// The name, case-sensitive. Of several parameters of this name the first counts.
    pub name: Arc<str>,
    /// The value's condition; the value is percent-decoded and `+` is a space, as in HTML forms.
    pub value: ValueMatch,
}

/// A condition on a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "type", content = "value")]
pub enum ValueMatch {
    /// These bytes, case-sensitive.
    Exact(Arc<str>),
    /// A regular expression over the whole value.
    Regex(RegexPattern),
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Forward to one of these, drawn by weight.
    Forward(Vec<BackendRef>),
    /// Send the client elsewhere.
    Redirect(Redirect),
    /// Answer here.
    Respond {
        /// The HTTP status, 200..=599.
        status: u16,
        /// A few words for the body and the log.
        reason: Arc<str>,
    },
}

/// A share of a route's traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendRef {
    /// The share, relative to the others; 0: none.
    pub weight: u32,
    /// Where it goes.
    pub target: BackendTarget,
    /// What is done to requests that go there, after the rule's own.
    #[serde(skip_serializing_if = "Filters::is_empty")]
    pub filters: Filters,
}

impl BackendRef {
    /// A share without filters.
    pub fn new(weight: u32, target: BackendTarget) -> Self {
        Self { weight, target, filters: Filters::default() }
    }
}

/// Where a share of traffic goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum BackendTarget {
    /// To this backend, which the snapshot holds.
    Backend(BackendId),
    /// The reference cannot be followed: 500 for this share (Gateway API, HTTPRouteRule.backendRefs).
    Invalid(InvalidBackend),
}

/// Why a backend reference cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum InvalidBackend {
    /// No such Service or port.
    NotFound,
    /// Not a kind that can be a backend.
    Kind,
    /// In another namespace, without a ReferenceGrant.
    NotPermitted,
    /// Something that this version cannot do, such as a filter on the reference.
    Unsupported,
}

/// How an endpoint is chosen within a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Balancing {
    /// Consistent hashing over the flow and its request counter.
    Maglev {
        /// Slots; a prime.
        table_size: u32,
    },
    /// In turn.
    RoundRobin,
    /// By chance.
    Random,
    /// Of two drawn by chance the one with fewer requests under way.
    LeastRequest,
    /// Of two drawn by chance the one that is expected to answer sooner.
    PeakEwma,
}

impl Balancing {
    /// Slots of a Maglev table unless a rule says otherwise.
    pub const MAGLEV_TABLE_SIZE_DEFAULT: u32 = 4099;
}

impl Default for Balancing {
    fn default() -> Self {
        Self::Maglev { table_size: Self::MAGLEV_TABLE_SIZE_DEFAULT }
    }
}

/// Whether a client keeps what was chosen for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteAffinity {
    /// Within each backend as that says: [`Backend::affinity`].
    #[default]
    OfBackend,
    /// No.
    Off,
    /// Its endpoint, and its backend for as long as the weights stay.
    Client(Affinity),
}

impl RouteAffinity {
    /// How clients of the route keep their endpoint of `backend`; none: they do not.
    pub fn of(self, backend: &Backend) -> Option<Affinity> {
        self.within(backend.affinity)
    }

    /// The same for a backend that says `of_backend`.
    pub fn within(self, of_backend: Option<Affinity>) -> Option<Affinity> {
        match self {
            Self::OfBackend => of_backend,
            Self::Off => None,
            Self::Client(affinity) => Some(affinity),
        }
    }

    /// Whether a client keeps its backend too.
    pub fn keeps_backend(self) -> bool {
        matches!(self, Self::Client(_))
    }
}

/// Time limits of a route; none: no limit beyond the gateway's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Timeouts {
    /// From the last byte of the request head to the last byte of the response (`timeouts.request`).
    pub request: Option<Duration>,
    /// The same for one try at an endpoint (`timeouts.backendRequest`).
    pub backend_request: Option<Duration>,
    /// Connecting to an endpoint, TLS included; instead of the gateway's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Duration>,
    /// An endpoint that has got the request and sends nothing, or a connection of another protocol on which nothing moves; instead of the
    /// gateway's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Duration>,
    /// An endpoint that takes nothing of what is to be sent to it; instead of the gateway's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<Duration>,
}

impl Timeouts {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// When a request is sent again although an endpoint took it (Gateway API, HTTPRouteRetry).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retry {
    /// Statuses, 400 to 599. None: only where an endpoint does not answer in time.
    pub codes: Vec<u16>,
    /// Retries of one request; at least 1.
    pub attempts: u32,
    /// The shortest wait before one.
    pub backoff: Duration,
}

/// A tier of the data plane: a hook, not a kind of match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Tier {
    /// Tier 1.
    Xdp,
    /// Tier 2.
    Tc,
    /// Tier 3.
    Userspace,
}
