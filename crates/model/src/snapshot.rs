use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::{Backend, BackendId, Certificate, CertificateId, L4Route, Listener, ListenerId, Route, RouteId};

/// So many routes are put in their places one by one; more are sorted.
const FEW: usize = 64;

/// Everything the gateway serves at one moment. Immutable: a change is a new snapshot that shares what did not change.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Snapshot {
    /// Grows by one with every published change.
    pub version: u64,
    /// By id.
    #[serde(serialize_with = "values")]
    pub listeners: BTreeMap<ListenerId, Arc<Listener>>,
    /// In the order that breaks ties between equal matches: oldest object, then namespace and name, then rule.
    pub routes: Vec<Arc<Route>>,
    /// The routes of connections and datagrams, in the same order.
    pub l4_routes: Vec<Arc<L4Route>>,
    /// By id; every backend that a route names.
    #[serde(serialize_with = "values")]
    pub backends: BTreeMap<BackendId, Arc<Backend>>,
    /// By id; every certificate that a listener names.
    #[serde(serialize_with = "values")]
    pub certificates: BTreeMap<CertificateId, Arc<Certificate>>,
}

impl Snapshot {
    /// Builds a snapshot from records in any order.
    ///
    /// Routes are sorted by age, namespace, name and rule. Of records with equal ids the last one stays.
    pub fn new(
        version: u64,
        listeners: impl IntoIterator<Item = Arc<Listener>>,
        routes: impl IntoIterator<Item = Arc<Route>>,
        backends: impl IntoIterator<Item = Arc<Backend>>,
        certificates: impl IntoIterator<Item = Arc<Certificate>>,
    ) -> Self {
        let mut routes: Vec<_> = routes.into_iter().collect();
        routes.sort_by(|a, b| a.precedence().cmp(&b.precedence()));
        Self {
            version,
            listeners: listeners.into_iter().map(|l| (l.id.clone(), l)).collect(),
            routes,
            l4_routes: Vec::new(),
            backends: backends.into_iter().map(|b| (b.id.clone(), b)).collect(),
            certificates: certificates.into_iter().map(|c| (c.id.clone(), c)).collect(),
        }
    }

    /// Its routes without those in `gone` and with those in `new`, in order. Routes are told apart by their ids.
    pub fn routes_with(&self, gone: &[Arc<Route>], new: Vec<Arc<Route>>) -> Vec<Arc<Route>> {
        let mut routes = self.routes.clone();
        if gone.len() + new.len() > FEW {
            let gone: BTreeSet<&RouteId> = gone.iter().map(|route| &route.id).collect();
            routes.retain(|route| !gone.contains(&route.id));
            routes.extend(new);
            routes.sort_by(|a, b| a.precedence().cmp(&b.precedence()));
            return routes;
        }
        for route in gone {
            if let Ok(at) = routes.binary_search_by(|other| other.precedence().cmp(&route.precedence())) {
                routes.remove(at);
            }
        }
        for route in new {
            let (Ok(at) | Err(at)) =
                routes.binary_search_by(|other| other.precedence().cmp(&route.precedence()));
            routes.insert(at, route);
        }
        routes
    }

    /// The same with these routes of connections and datagrams, in any order.
    pub fn with_l4_routes(mut self, routes: impl IntoIterator<Item = Arc<L4Route>>) -> Self {
        self.l4_routes = routes.into_iter().collect();
        self.l4_routes.sort_by_cached_key(|route| route.precedence());
        self
    }

    /// Whether both serve the same, whatever their versions.
    pub fn serves_the_same_as(&self, other: &Self) -> bool {
        self.listeners == other.listeners
            && self.routes == other.routes
            && self.l4_routes == other.l4_routes
            && self.backends == other.backends
            && self.certificates == other.certificates
    }
}

fn values<K, V: Serialize, S: serde::Serializer>(
    map: &BTreeMap<K, V>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(map.values())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, ObjectKind, ObjectRef, RouteId};

    fn route(namespace: &str, name: &str, rule: u32, created_unix_s: Option<i64>) -> Arc<Route> {
        Arc::new(Route {
            listeners: vec![ListenerId::default_http()],
            hosts: vec![],
            matches: vec![],
            created_unix_s,
            ..Route::new(
                RouteId { object: ObjectRef::new(ObjectKind::HttpRoute, namespace, name), rule },
                Action::Respond { status: 404, reason: "test".into() },
            )
        })
    }

    #[test]
    fn routes_are_ordered_by_age_then_name_then_rule() {
        let routes = [
            route("b", "a", 0, None),
            route("a", "z", 1, None),
            route("a", "z", 0, None),
            route("z", "new", 0, Some(20)),
            route("z", "old", 0, Some(10)),
        ];
        let snapshot = Snapshot::new(1, [], routes, [], []);
        let order: Vec<_> = snapshot.routes.iter().map(|r| r.id.to_string()).collect();
        assert_eq!(
            order,
            [
                "HTTPRoute z/old rule 0",
                "HTTPRoute z/new rule 0",
                "HTTPRoute a/z rule 0",
                "HTTPRoute a/z rule 1",
                "HTTPRoute b/a rule 0"
            ]
        );
    }

    #[test]
    fn versions_do_not_count_as_a_difference() {
        let one = Snapshot::new(1, [], [route("a", "a", 0, None)], [], []);
        let two = Snapshot::new(2, [], [route("a", "a", 0, None)], [], []);
        let other = Snapshot::new(2, [], [route("a", "b", 0, None)], [], []);
        assert!(one.serves_the_same_as(&two));
        assert!(!one.serves_the_same_as(&other));
    }

    #[test]
    fn a_snapshot_prints_as_json() {
        let snapshot = Snapshot::new(3, [], [route("a", "a", 0, None)], [], []);
        let json: serde_json::Value = serde_json::to_value(&snapshot).unwrap();
        assert_eq!(json["version"], 3);
        assert_eq!(json["routes"][0]["id"]["object"]["kind"], "HTTPRoute");
    }
}
