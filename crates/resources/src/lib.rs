//! Kubernetes object types: core (k8s-openapi), Gateway API v1.6.1 (generated) and our own, RoutingRule and policies.
//!
//! [`strict::decode`] reads one object from JSON as `kubectl apply` would with strict validation: a field that the
//! type does not have is an error with its path, never silence.

#[allow(unreachable_pub, reason = "the derives of kube make public items in this private module")]
mod backend_policy;
#[allow(unreachable_pub, reason = "the derives of kube make public items in this private module")]
mod ext_auth;
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated; the CRDs document the fields")]
pub mod gateway;
#[allow(unreachable_pub, reason = "the derives of kube make public items in this private module")]
mod jwt;
mod path;
mod policy_target;
mod quantity;
#[allow(unreachable_pub, reason = "the derives of kube make public items in this private module")]
mod route_policy;
#[allow(unreachable_pub, reason = "the derives of kube make public items in this private module")]
mod routing_rule;
mod status;
pub mod strict;

pub use backend_policy::{
    BackendHealthCheck, BackendLoadBalancer, BackendLoadBalancerType, BackendOutlierDetection, BackendPolicy,
    BackendPolicySpec, CircuitBreaker, ConsistentHash, ConsistentHashType, GrpcHealthCheck, HashName,
    HealthCheckType, HttpHealthCheck, SlowStart,
};
pub use ext_auth::{ExtAuth, GrpcExtAuth, HttpExtAuth, PolicyBackendRef};
pub use jwt::{
    ClaimToHeader, Jwt, JwtExtractor, JwtHeader, JwtProvider, LocalJwks, LocalJwksType, LocalObjectRef,
    RequiredClaim,
};
pub use path::FieldPath;
pub use policy_target::PolicyTargetRef;
pub use quantity::ByteQuantity;
pub use route_policy::{
    BasicAuth, Compression, CompressionType, DirectResponse, ErrorResponse, FaultAbort, FaultDelay,
    FaultInjection, IpRules, RateLimit, RateLimitKey, RateLimitKeyType, RateLimitUnit, RoutePolicy,
    RoutePolicySpec, SecretRef,
};
pub use routing_rule::{
    AffinityType, LoadBalancer, LoadBalancerType, Maglev, ParentRef, RoutingRule, RoutingRuleSpec,
    RuleAffinity, RuleBackend, RuleMatch, RulePath, RulePathType, RuleService, RuleValue, RuleValueType,
};
pub use status::{AncestorRef, Condition, PolicyAncestorStatus, PolicyStatus, RoutingRuleStatus};

/// The core types as k8s-openapi has them.
pub mod core {
    pub use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service, ServicePort, ServiceSpec};
    pub use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
    pub use k8s_openapi::api::networking::v1::{
        HTTPIngressPath, Ingress, IngressBackend, IngressClass, IngressRule, IngressServiceBackend,
        IngressSpec, IngressTLS,
    };
    pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
    pub use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
}
