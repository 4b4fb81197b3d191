//! The immutable snapshot of what the gateway serves.
//!
//! Sources translate their objects into these records; the matcher, the userspace tier and the kernel tables are
//! compiled from them. The shapes mirror the user's API: one HTTPRoute rule is one [`Route`], and children point at
//! parents (a route names its listeners), so a changed field changes one record.
//!
//! ```text
//!  Listener <── Route ──> Backend ──> Endpoint
//!  (VIP, host)  (match,    (what a     (one address)
//!                action)    route names)
//! ```
//!
//! Invariants: nothing here does I/O, reads a clock or knows where the objects came from; a published
//! [`Snapshot`] never changes.

mod backend;
mod backend_policy;
mod cookie;
mod diagnostic;
mod ext_auth;
mod fallback;
mod filter;
mod host;
mod jwt;
mod l4_route;
mod listener;
mod object;
mod route;
mod route_policy;
mod security;
mod session;
mod snapshot;
mod speaks;

pub use backend::{
    Affinity, AppProtocol, Backend, BackendId, BackendKind, Endpoint, EndpointCondition, OtherAddress,
    ProxyProtocol,
};
pub use backend_policy::{BackendPolicy, CircuitLimits, HashBy, HealthCheck, OutlierDetection, Probe};
pub use cookie::{CookieAttributes, SameSite};
pub use diagnostic::{Diagnostic, Place, Reason, Severity};
pub use ext_auth::{ExtAuth, ExtAuthProtocol, Subrequest, UrlPiece};
pub use fallback::Fallback;
pub use filter::{
    AnswerRewrites, CaptureRewrite, CopyForm, Cors, Filters, HeaderLine, HeaderModifier, Mirror, PathRewrite,
    Redirect, Replacement, Scheme, UrlRewrite,
};
pub use host::{HostError, HostPattern, WildcardLabels};
pub use jwt::{ClaimHeader, Jwks, Jwt, JwtKeys, JwtProvider, RequiredClaim, TokenPlaces};
pub use l4_route::{L4BackendRef, L4Route};
pub use listener::{
    Certificate, CertificateId, Listener, ListenerId, NamedCertificate, Protocol, SecretBytes, Tls,
    TlsVersion, Transport,
};
pub use object::{ObjectKind, ObjectRef};
pub use route::{
    Action, BackendRef, BackendTarget, Balancing, HeaderMatch, InvalidBackend, PathMatch, QueryMatch,
    RegexAnchor, RegexPattern, Retry, Route, RouteAffinity, RouteId, RouteMatch, Tier, Timeouts, ValueMatch,
};
pub use route_policy::{
    AttachedPolicies, BasicAuth, Compression, ConcurrencyLimit, ContentCoding, DirectResponse, ErrorResponse,
    FaultInjection, IpRules, Policies, RateLimit, RateLimitKey, Share,
};
pub use security::{Authorities, BackendSecurity, BackendTls, ClientValidation, PeerName, PemBundle};
pub use session::{Session, SessionCarrier};
pub use snapshot::Snapshot;
pub use speaks::{Speaks, SpokenTls};
