use std::collections::BTreeMap;
use std::net::SocketAddr;

use model::{Endpoint, EndpointCondition};
use resources::core::{EndpointSlice, IntOrString, Service, ServicePort};

use super::families::{Found, Preferred, Target, address, paired};
use super::topology;
use crate::Place;

/// The endpoints behind one port of a Service that may get traffic, sorted, each address once: those of two IP families that belong
/// to one Pod are one endpoint.
///
/// `protocol` is `TCP` or `UDP`. Ready ones; those that only serve while they terminate are draining, or, where none is ready, get the traffic
/// (`pkg/proxy/topology.go`, KEP-1669). An endpoint may stand in two slices at once: the better condition counts. Those that are too far from
/// `place` are left out.
pub(super) fn of_port(
    service: &Service,
    slices: &[&EndpointSlice],
    port: &ServicePort,
    protocol: &str,
    place: &Place,
) -> Vec<Endpoint> {
    let mut found: BTreeMap<SocketAddr, Found<'_>> = BTreeMap::new();
    for slice in slices {
        let Some(number) = port_in_slice(slice, port, protocol) else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let conditions = endpoint.conditions.as_ref();
            // A condition that is not there: ready and serving, not terminating (discovery/v1 EndpointConditions).
            let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
            let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(true);
            let terminating = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
            let condition = match (ready, serving && terminating) {
                (true, _) => EndpointCondition::Ready,
                (false, true) => EndpointCondition::Draining,
                (false, false) => continue,
            };
            let Some(address) = address(endpoint) else { continue };
            let target = Target::of(endpoint);
            let new = Found { condition, entry: endpoint, target };
            let known = found.entry(SocketAddr::new(address, number)).or_insert(new);
            if condition < known.condition {
                (known.condition, known.entry) = (condition, endpoint);
            }
            known.target = known.target.with(target);
        }
    }
    topology::narrow(&mut found, service, place);
    if !found.values().any(|found| found.condition == EndpointCondition::Ready) {
        found.values_mut().for_each(|found| found.condition = EndpointCondition::Ready);
    }
    paired(&found, Preferred::of(service))
}

/// Whether any slice offers this port at all.
pub(super) fn offers_port(slices: &[&EndpointSlice], port: &ServicePort, protocol: &str) -> bool {
    slices.iter().any(|slice| port_in_slice(slice, port, protocol).is_some())
}

/// The number of a Service's port in one slice, where names match; it may differ from slice to slice, as named target
/// ports may from pod to pod. A port without a number stands for every number: then the target port is meant.
fn port_in_slice(slice: &EndpointSlice, port: &ServicePort, protocol: &str) -> Option<u16> {
    if slice.address_type == "FQDN" {
        return None;
    }
    let name = port.name.as_deref().unwrap_or("");
    let is_meant = |written: &Option<String>| written.as_deref().unwrap_or("TCP") == protocol;
    let in_slice =
        slice.ports.iter().flatten().find(|candidate| {
            candidate.name.as_deref().unwrap_or("") == name && is_meant(&candidate.protocol)
        })?;
    let number = match (in_slice.port, &port.target_port) {
        (Some(number), _) => number,
        (None, Some(IntOrString::Int(number))) => *number,
        (None, Some(IntOrString::String(_))) => return None,
        (None, None) => port.port,
    };
    u16::try_from(number).ok().filter(|number| *number > 0)
}
