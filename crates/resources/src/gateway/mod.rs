//! Gateway API v1.6.1, standard channel: generated from the pinned CRDs by `generate.sh`; and `retry` and
//! `sessionPersistence` of the experimental channel.
//!
//! The fields' documentation is the CRDs' own: <https://gateway-api.sigs.k8s.io/reference/spec/>.

mod backend_tls_policy;
mod experimental;
mod gateway;
mod gateway_class;
mod grpc_route;
mod http_route;
mod listener_set;
mod reference_grant;
mod tcp_route;
mod tls_route;
mod udp_route;

pub use backend_tls_policy::*;
pub use experimental::*;
pub use gateway::*;
pub use gateway_class::*;
pub use grpc_route::*;
pub use http_route::*;
pub use listener_set::*;
pub use reference_grant::*;
pub use tcp_route::*;
pub use tls_route::*;
pub use udp_route::*;

/// The API's version that the types were generated from (annotation `gateway.networking.k8s.io/bundle-version`).
pub const BUNDLE_VERSION: &str = "v1.6.1";
