//! What the gateway says of objects in their status: pure. What is wanted follows from the objects, the snapshot and the
//! diagnostics; what is written, from that and the status that is there.
//!
//! Source: Gateway API v1.6.1, conditions and reasons of `apis/v1/*_types.go`.

mod class;
mod condition;
mod facts;
mod gateway;
mod infrastructure;
mod ingress;
mod listener;
mod merge;
mod own;
mod policy;
mod reach;
mod route;

use model::{ObjectKind, ObjectRef};
use serde_json::Value;

pub(crate) use facts::{Facts, is_ours};
pub(crate) use gateway::is_programmed;
pub(crate) use infrastructure::services;
pub(crate) use ingress::{Ingresses, has_written};
pub(crate) use merge::merged;
pub(crate) use reach::{Reach, claim};

/// What the status of one object should be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) object: ObjectRef,
    /// Fields of the status, without times.
    pub(crate) status: Value,
}

/// What should stand in the status of every object that is due and the gateway's to speak of.
pub(crate) fn wanted(facts: &Facts<'_>, is_due: impl Fn(&ObjectRef) -> bool) -> Vec<Wanted> {
    let has_policies = facts.objects().any(|(object, _)| object.kind == ObjectKind::BackendTlsPolicy);
    let uses = if has_policies { policy::Uses::new(facts) } else { policy::Uses::default() };
    let of = |(object, value): (&ObjectRef, &Value)| {
        let status = match object.kind {
            ObjectKind::GatewayClass => class::status(object, value, facts),
            ObjectKind::Gateway => gateway::of_gateway(object, value, facts),
            ObjectKind::ListenerSet => gateway::of_set(object, value, facts),
            ObjectKind::Ingress => ingress::status(object, facts),
            ObjectKind::RoutingRule => Some(own::of_rule(object, value, facts)),
            ObjectKind::RoutePolicy | ObjectKind::BackendPolicy => Some(own::of_policy(object, value, facts)),
            ObjectKind::BackendTlsPolicy => Some(policy::status(object, value, facts, &uses)),
            kind if is_route(kind) => route::status(object, value, facts),
            _ => None,
        };
        status.map(|status| Wanted { object: object.clone(), status })
    };
    facts.objects().filter(|(object, _)| is_due(object)).filter_map(of).collect()
}

/// Whether the gateway writes the status of objects of this kind.
pub(crate) fn has_status(kind: ObjectKind) -> bool {
    use ObjectKind::{
        BackendPolicy, BackendTlsPolicy, Gateway, GatewayClass, Ingress, ListenerSet, RoutePolicy,
        RoutingRule,
    };
    let is_policy = matches!(kind, BackendTlsPolicy | RoutePolicy | BackendPolicy);
    let is_served = matches!(kind, GatewayClass | Gateway | ListenerSet | Ingress | RoutingRule);
    is_policy || is_served || is_route(kind)
}

/// Whether objects of this kind attach to listeners.
pub(crate) fn is_route(kind: ObjectKind) -> bool {
    use ObjectKind::{GrpcRoute, HttpRoute, TcpRoute, TlsRoute, UdpRoute};
    matches!(kind, HttpRoute | GrpcRoute | TcpRoute | TlsRoute | UdpRoute)
}

#[cfg(test)]
mod tests;
