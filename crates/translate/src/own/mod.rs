//! What one object says by itself, read into model records; what cannot be is reported.
//!
//! The same functions check an object when it comes in (with a [`Report`] that collects) and read it when a snapshot is
//! built (muted): there is no second reading that could differ.

pub(crate) mod backend_policy;
mod compression;
mod cors;
mod error_responses;
pub(crate) mod ext_auth;
mod faults;
pub(crate) mod filters;
pub(crate) mod gateway;
pub(crate) mod grpc_route;
pub(crate) mod http_route;
pub(crate) mod ingress;
pub(crate) mod jwt;
pub(crate) mod l4_route;
mod rewrite;
pub(crate) mod route_policy;
pub(crate) mod routing_rule;
pub(crate) mod service;
pub(crate) mod session;

use model::{Diagnostic, ObjectRef};

use self::l4_route::L4Source;
use crate::Object;
use crate::report::Report;

/// Everything that is wrong with `object` by itself.
pub(crate) fn check(key: &ObjectRef, object: &Object) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut report = Report::new(key, &mut found);
    if key.name.is_empty() {
        report.invalid("metadata.name", "is missing: give the object a name");
    }
    match object {
        Object::GatewayClass(_)
        | Object::IngressClass(_)
        | Object::Secret(_)
        | Object::Namespace(_)
        | Object::ConfigMap(_)
        | Object::ReferenceGrant(_) => {}
        // What is wrong with it must not leave its Services in cleartext: it counts, and they get nothing.
        Object::BackendTlsPolicy(_) => {}
        Object::Gateway(object) => gateway::check(object, &mut report),
        Object::HttpRoute(object) => http_route::check(object, &mut report),
        Object::GrpcRoute(object) => grpc_route::check(object, &mut report),
        Object::TcpRoute(object) => l4_route::check(&L4Source::tcp(key, object), &mut report),
        Object::TlsRoute(object) => l4_route::check(&L4Source::tls(key, object), &mut report),
        Object::UdpRoute(object) => l4_route::check(&L4Source::udp(key, object), &mut report),
        Object::ListenerSet(object) => gateway::check_set(object, &mut report),
        Object::Ingress(object) => ingress::check(object, &mut report),
        Object::BackendPolicy(object) => backend_policy::check(object, &mut report),
        Object::RoutePolicy(object) => route_policy::check(object, &mut report),
        Object::RoutingRule(object) => routing_rule::check(object, &mut report),
        Object::Service(object) => service::check(object, &mut report),
        Object::EndpointSlice(object) => service::check_slice(object, &mut report),
    }
    found
}
