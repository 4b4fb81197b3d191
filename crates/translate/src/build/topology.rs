//! Which endpoints of a Service are near enough.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use model::EndpointCondition;
use resources::core::{Endpoint as SliceEndpoint, Service};

use super::families::Found;
use crate::Place;

/// Takes out what is too far from `place`, as kube-proxy on that node does (`pkg/proxy/topology.go`, Kubernetes 1.36).
///
/// With `internalTrafficPolicy: Local` all on other nodes, even if none is left. Else by the hints that a Service's
/// `trafficDistribution` has put into its slices, if all ready endpoints have some: those for this node, or, where there is
/// none, those for this zone, or, where there is none either, all.
pub(super) fn narrow(found: &mut BTreeMap<SocketAddr, Found<'_>>, service: &Service, place: &Place) {
    let policy = service.spec.as_ref().and_then(|spec| spec.internal_traffic_policy.as_deref());
    if let (Some("Local"), Some(node)) = (policy, &place.node) {
        return found.retain(|_, found| found.entry.node_name.as_ref() == Some(node));
    }
    for (here, hints) in [(&place.node, nodes as Hints), (&place.zone, zones)] {
        let Some(here) = here.as_deref() else { continue };
        let ready = || found.values().filter(|found| is_ready(found)).map(|found| hints(found.entry));
        if ready().all(|hints| !hints.is_empty()) && ready().any(|hints| hints.contains(&here)) {
            return found.retain(|_, found| !is_ready(found) || hints(found.entry).contains(&here));
        }
    }
}

/// The names of where an endpoint should be used.
type Hints = fn(&SliceEndpoint) -> Vec<&str>;

fn is_ready(found: &Found<'_>) -> bool {
    found.condition == EndpointCondition::Ready
}

/// The nodes that should use an endpoint.
fn nodes(endpoint: &SliceEndpoint) -> Vec<&str> {
    let hints = endpoint.hints.as_ref().and_then(|hints| hints.for_nodes.as_ref());
    hints.into_iter().flatten().map(|node| node.name.as_str()).collect()
}

/// The zones that should.
fn zones(endpoint: &SliceEndpoint) -> Vec<&str> {
    let hints = endpoint.hints.as_ref().and_then(|hints| hints.for_zones.as_ref());
    hints.into_iter().flatten().map(|zone| zone.name.as_str()).collect()
}
