//! Which tier serves a route.

use std::collections::HashMap;
use std::time::Duration;

use api::v1::Route;
use kernel::{Compiler, Facts, Reach, RoutePlacement, Sizes, Why};
use model::{RouteId, Snapshot};

use super::text;

/// The tier that decides a route, and why it is not another. One that the kernel does not know is userspace's.
pub(crate) fn served(placed: Option<&RoutePlacement>) -> (Option<u32>, String) {
    let reason = placed.and_then(|placed| placed.reason).map(|why| why.to_string()).unwrap_or_default();
    (Some(placed.map_or(3, |placed| text::tier(placed.tier))), reason)
}

/// The tier of each route on a host that forwards, and whose programs reach every endpoint elsewhere. `userspace`: why the
/// settings leave nothing to it; `sizes`: how large they let its tables become.
pub(crate) fn at_best(
    snapshot: &Snapshot,
    userspace: Option<Why>,
    sizes: Sizes,
) -> HashMap<RouteId, RoutePlacement> {
    let here = std::net::Ipv4Addr::new(192, 0, 2, 1).into();
    let reach = |address: std::net::IpAddr| {
        if address.is_loopback() { Reach::HostLocal } else { Reach::From { source: here, device: 1 } }
    };
    let endpoints = snapshot.backends.values().flat_map(|backend| &backend.endpoints);
    let facts = Facts {
        forwarding: true,
        userspace,
        names_at_once: true,
        addresses: vec![here],
        closed: [].into(),
        endpoints: endpoints
            .flat_map(|endpoint| endpoint.addresses())
            .map(|address| address.ip().to_canonical())
            .map(|address| (address, reach(address)))
            .collect(),
    };
    let mut compiler = Compiler::with_sizes(sizes);
    compiler.update(snapshot, &facts, Duration::ZERO);
    let placements = compiler.placements(snapshot, &facts);
    placements.into_iter().map(|placed| (placed.route.clone(), placed)).collect()
}

/// Of each route that gets another tier than it asked for, what and why.
pub(crate) fn not_as_asked(routes: &[Route]) -> Vec<String> {
    let told = |route: &Route| match (route.tier, route.served_tier) {
        (Some(asked), Some(served)) if asked != served => Some(format!(
            "{} rule {}: asked for tier {asked}, gets tier {served}: {}",
            route.object, route.rule, route.tier_reason
        )),
        _ => None,
    };
    routes.iter().filter_map(told).collect()
}
