//! What routes came to in the state before, where it still holds: a change costs the routes that it reaches.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use model::{Action, BackendId, BackendSecurity, BackendTarget, Route};

use crate::backend::BackendState;
use crate::connector::{ConnectorId, Connectors};
use crate::state::{CompiledAction, CompiledRoute, ForwardAction, Target};

/// For each of `routes` where the same record stood `before`.
pub(crate) fn places(before: &[Arc<Route>], routes: &[Arc<Route>]) -> Vec<Option<usize>> {
    let is_same = |(a, b): &(&Arc<Route>, &Arc<Route>)| Arc::ptr_eq(a, b);
    // A change is in one place, mostly.
    let head = before.iter().zip(routes).take_while(is_same).count();
    let tail = before[head..].iter().rev().zip(routes[head..].iter().rev()).take_while(is_same).count();
    let (end, end_before) = (routes.len() - tail, before.len() - tail);
    let others: HashMap<*const Route, usize> =
        (head..end_before).map(|at| (Arc::as_ptr(&before[at]), at)).collect();
    let place = |at: usize| match at {
        at if at < head => Some(at),
        at if at >= end => Some(end_before + (at - end)),
        at => others.get(&Arc::as_ptr(&routes[at])).copied(),
    };
    (0..routes.len()).map(place).collect()
}

/// The backends whose routes are to be planned again: another record, one that came or went; and those that are spoken to over TLS, of
/// which more counts than their records.
pub(crate) fn changed(
    before: &BTreeMap<BackendId, BackendState>,
    backends: &BTreeMap<BackendId, BackendState>,
) -> HashSet<BackendId> {
    let is_same = |(id, now): &(&BackendId, &BackendState)| {
        now.source.security == BackendSecurity::Cleartext
            && before.get(*id).is_some_and(|before| Arc::ptr_eq(&before.source, &now.source))
    };
    let others = backends.iter().filter(|one| !is_same(one)).map(|(id, _)| id);
    let gone = before.keys().filter(|id| !backends.contains_key(*id));
    others.chain(gone).cloned().collect()
}

/// Whether what the same record came to before is what it would come to now.
pub(crate) fn holds(
    known: &CompiledRoute,
    route: &Route,
    changed: &HashSet<BackendId>,
    connectors: &mut Connectors,
) -> bool {
    if let (Some(only), true) = (known.only, changed.is_empty()) {
        connectors.keep(only);
        return true;
    }
    let Action::Forward(references) = &route.action else { return true };
    let CompiledAction::Forward(action) = &*known.action else { return false };
    let is_same = |id: &BackendId| !changed.contains(id);
    let has_same_fallback = || route.fallback.as_ref().is_none_or(|said| is_same(&said.backend));
    let are_same = changed.is_empty()
        || has_same_fallback()
            && references.iter().all(|reference| {
                let target = match &reference.target {
                    BackendTarget::Backend(id) => is_same(id),
                    _ => true,
                };
                let mut mirrors = route.filters.mirrors.iter().chain(&reference.filters.mirrors);
                target && mirrors.all(|mirror| is_same(&mirror.backend))
            });
    if are_same {
        used(action).for_each(|id| connectors.keep(id));
    }
    are_same
}

/// The connector of an action, where it has exactly one.
pub(crate) fn only(action: &CompiledAction) -> Option<ConnectorId> {
    let CompiledAction::Forward(action) = action else { return None };
    let mut used = used(action);
    let first = used.next()?;
    used.all(|id| id == first).then_some(first)
}

/// The connectors of an action.
fn used(action: &ForwardAction) -> impl Iterator<Item = ConnectorId> {
    let targets = action.targets.iter().flatten();
    let copies = |target: &Target| {
        let copies = target.mirrors.actions().flat_map(|action| action.targets.iter().flatten());
        copies.flat_map(Target::connectors).map(|connector| connector.id).collect::<Vec<_>>()
    };
    let fallback = action.fallback.iter().flat_map(|fallback| fallback.actions());
    let fallback = fallback.flat_map(|action| action.targets.iter().flatten());
    let fallback = fallback.flat_map(Target::connectors).map(|connector| connector.id);
    let targets = targets
        .flat_map(move |target| target.connectors().map(|connector| connector.id).chain(copies(target)));
    targets.chain(fallback)
}

#[cfg(test)]
mod tests {
    use model::{
        AppProtocol, Backend, BackendRef, Endpoint, EndpointCondition, Fallback, ObjectKind, ObjectRef,
        RouteId, Snapshot,
    };

    use super::*;
    use crate::connector::Way;
    use crate::health::Health;
    use crate::session_key::SessionKey;
    use crate::state::State;

    #[test]
    fn records_are_found_again_wherever_they_went() {
        let route = |name: &str| {
            let id = RouteId { object: ObjectRef::new(ObjectKind::HttpRoute, "test", name), rule: 0 };
            Arc::new(Route::new(id, Action::Respond { status: 200, reason: "test".into() }))
        };
        let all: Vec<_> = ["a", "b", "c", "d", "e"].map(route).into();
        let of = |places: &[usize]| places.iter().map(|&at| all[at].clone()).collect::<Vec<_>>();
        let again = route("b");
        for (before, now, expected) in [
            (of(&[0, 1, 2]), of(&[0, 1, 2]), vec![Some(0), Some(1), Some(2)]),
            (of(&[0, 1, 2]), of(&[0, 2]), vec![Some(0), Some(2)]),
            (of(&[0, 2]), of(&[0, 1, 2]), vec![Some(0), None, Some(1)]),
            (of(&[0, 1, 2, 3]), of(&[2, 4, 1, 3]), vec![Some(2), None, Some(1), Some(3)]),
            (of(&[0, 1]), vec![all[0].clone(), again], vec![Some(0), None]),
            (of(&[]), of(&[0]), vec![None]),
            (of(&[0]), of(&[]), vec![]),
            // Twice the same: what it came to is the same, too.
            (of(&[0, 0, 1]), of(&[0, 1]), vec![Some(0), Some(2)]),
        ] {
            assert_eq!(places(&before, &now), expected);
        }
    }

    fn backend(name: &str, protocol: AppProtocol, port: u16) -> Arc<Backend> {
        let address = ([127, 0, 0, 1], port).into();
        let endpoint = Endpoint { address, other: None, weight: 1, condition: EndpointCondition::Ready };
        Arc::new(Backend {
            id: BackendId::service("test", name, 80),
            protocol,
            endpoints: vec![endpoint],
            affinity: None,
            policy: None,
            security: BackendSecurity::Cleartext,
            proxy_protocol: None,
        })
    }

    /// The default backend is spoken to in a way of its own.
    #[test]
    fn a_default_backend_counts_as_what_stands_behind_a_route() {
        let [web, other] = [("web", 1), ("other", 2)].map(|(name, at)| backend(name, AppProtocol::Http1, at));
        let [pages, moved] = [3, 4].map(|port| backend("pages", AppProtocol::Http2, port));
        let id = RouteId { object: ObjectRef::new(ObjectKind::HttpRoute, "test", "a"), rule: 0 };
        let target = BackendRef::new(1, BackendTarget::Backend(web.id.clone()));
        let said = Fallback {
            backend: pages.id.clone(),
            statuses: vec![404],
            keeps_answers: false,
            lines: [].into(),
        };
        let route = Arc::new(Route {
            fallback: Some(Box::new(said)),
            ..Route::new(id, Action::Forward(vec![target]))
        });
        let (metrics, key) = (telemetry::Metrics::new(1), SessionKey::new(None).unwrap());
        let config = crate::Config::default();
        let health = Health::new(metrics.clone(), config.limits, config.on_thread);
        let build = |before: &State, backends: &[&Arc<Backend>]| {
            let backends = backends.iter().map(|backend| Arc::clone(backend));
            let snapshot = Arc::new(Snapshot::new(1, [], [route.clone()], backends, []));
            State::build(snapshot, before, 1, &metrics, &key, health.board())
        };
        let first = build(&State::empty(), &[&web, &pages]);
        let CompiledAction::Forward(action) = &*first.route(0).action else { panic!("it forwards") };
        let asked = action.fallback.as_ref().unwrap().actions()[0].targets[0].as_ref().unwrap();
        let connector = asked.connectors().next().unwrap().id;
        let way = Way { addresses: (&pages.endpoints[0]).into(), connector, told: None };
        assert!(first.has_way(&way));
        let same = build(&first, &[&web, &pages]);
        let beside = build(&same, &[&web, &pages, &other]);
        for state in [&same, &beside] {
            assert!(Arc::ptr_eq(&state.route(0).action, &first.route(0).action));
            assert!(state.has_way(&way), "its connections are still good");
        }
        let changed = build(&beside, &[&web, &moved, &other]);
        assert!(!Arc::ptr_eq(&changed.route(0).action, &first.route(0).action));
    }
}
