//! What the agent serves, for people: model records as messages of the control API, and those as tables.

mod backend_policy;
pub(crate) mod dry_run;
pub(crate) mod explain;
mod explain_l4;
mod filters;
pub(crate) mod flow;
pub(crate) mod kernel;
pub(crate) mod placed;
mod policies;
pub(crate) mod question;
pub(crate) mod tables;
pub(crate) mod text;

use std::collections::BTreeMap;

use api::v1::{Backend, Endpoint, Listener, Route};
use model::{BackendTarget, EndpointCondition, ListenerId, Snapshot};

/// Every listener; `problem` says why one does not serve.
pub(crate) fn listeners(snapshot: &Snapshot, problem: impl Fn(&model::Listener) -> String) -> Vec<Listener> {
    let mut routes: BTreeMap<&ListenerId, usize> = BTreeMap::new();
    let of_l4 = snapshot.l4_routes.iter().flat_map(|route| &route.listeners);
    for id in snapshot.routes.iter().flat_map(|route| &route.listeners).chain(of_l4) {
        *routes.entry(id).or_default() += 1;
    }
    let count = |id| routes.get(id).copied().unwrap_or(0);
    snapshot.listeners.values().map(|l| text::listener(l, count(&l.id), problem(l))).collect()
}

/// Every rule, in the order that breaks ties; those of connections and datagrams behind those of requests.
pub(crate) fn routes(snapshot: &Snapshot) -> Vec<Route> {
    let of_l4 = snapshot.l4_routes.iter().map(|route| text::l4_route(route));
    snapshot.routes.iter().map(|route| text::route(route)).chain(of_l4).collect()
}

/// Every backend of a snapshot that nothing has been sent to.
pub(crate) fn backends(snapshot: &Snapshot) -> Vec<Backend> {
    let endpoints = snapshot.backends.values().map(|backend| {
        let endpoint = |endpoint: &model::Endpoint| Endpoint {
            address: endpoint.address.to_string(),
            other_address: other(endpoint.other),
            weight: endpoint.weight.into(),
            condition: condition(endpoint.condition).to_owned(),
            ..Endpoint::default()
        };
        (&backend.id, backend.endpoints.iter().map(endpoint).collect())
    });
    with_endpoints(snapshot, endpoints)
}

/// Every backend that a gateway serves, with what its endpoints have done.
pub(crate) fn live_backends(state: &proxy::State) -> Vec<Backend> {
    let endpoints = state.backends().map(|(id, views)| {
        let endpoint = |view: proxy::EndpointView| Endpoint {
            address: view.address.to_string(),
            other_address: other(view.other),
            weight: view.weight.into(),
            condition: if view.stats.is_passed_over {
                "passed over".to_owned()
            } else {
                condition(view.condition).to_owned()
            },
            active: view.stats.active,
            requests: view.stats.requests,
            failures: view.stats.failures + view.stats.connect_failures,
        };
        (id, views.into_iter().map(endpoint).collect())
    });
    with_endpoints(&state.snapshot, endpoints)
}

fn with_endpoints<'s>(
    snapshot: &'s Snapshot,
    endpoints: impl Iterator<Item = (&'s model::BackendId, Vec<Endpoint>)>,
) -> Vec<Backend> {
    let mut routes: BTreeMap<&model::BackendId, usize> = BTreeMap::new();
    for route in &snapshot.routes {
        let model::Action::Forward(references) = &route.action else { continue };
        for reference in references {
            if let BackendTarget::Backend(id) = &reference.target {
                *routes.entry(id).or_default() += 1;
            }
        }
    }
    for reference in snapshot.l4_routes.iter().flat_map(|route| &route.backends) {
        if let BackendTarget::Backend(id) = &reference.target {
            *routes.entry(id).or_default() += 1;
        }
    }
    let backend = |(id, endpoints): (&model::BackendId, Vec<Endpoint>)| Backend {
        id: id.to_string(),
        protocol: snapshot.backends.get(id).map(|backend| text::protocol(backend)).unwrap_or_default(),
        affinity: snapshot
            .backends
            .get(id)
            .and_then(|backend| backend.affinity)
            .map(text::affinity)
            .unwrap_or_default(),
        routes: text::small(routes.get(id).copied().unwrap_or(0)),
        endpoints,
        policy: snapshot.backends.get(id).map(|backend| backend_policy::clauses(backend)).unwrap_or_default(),
    };
    endpoints.map(backend).collect()
}

fn other(other: Option<model::OtherAddress>) -> String {
    other.map(|other| other.address.to_string()).unwrap_or_default()
}

fn condition(condition: EndpointCondition) -> &'static str {
    match condition {
        EndpointCondition::Ready => "ready",
        EndpointCondition::Draining => "draining",
        EndpointCondition::Unhealthy => "unhealthy",
        EndpointCondition::Ejected => "ejected",
        EndpointCondition::Panicked => "unhealthy, used",
    }
}
