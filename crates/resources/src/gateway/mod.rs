//! Gateway API v1.6.1, standard channel: generated from the pinned CRDs by `generate.sh`.
//!
//! The fields' documentation is the CRDs' own: <https://gateway-api.sigs.k8s.io/reference/spec/>.

mod gateway;
mod gateway_class;
mod http_route;

pub use gateway::*;
pub use gateway_class::*;
pub use http_route::*;

/// The API's version that the types were generated from (annotation `gateway.networking.k8s.io/bundle-version`).
pub const BUNDLE_VERSION: &str = "v1.6.1";
