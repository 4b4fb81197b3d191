use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use model::{Diagnostic, ListenerId, ObjectKind, ObjectRef, Severity, Snapshot};
use serde_json::Value;

use super::{Ingresses, Reach};
use crate::bundle::Support;

/// The group of the Gateway API.
pub(super) const GROUP: &str = "gateway.networking.k8s.io";

/// What statuses follow from.
pub(crate) struct Facts<'a> {
    objects: &'a HashMap<ObjectRef, Value>,
    snapshot: &'a Snapshot,
    /// GatewayClasses with this `controllerName` are ours.
    pub(super) controller: &'a str,
    /// Whether the Gateway API that is installed is one that the gateway is made for.
    pub(super) support: Support,
    pub(super) reach: &'a Reach,
    pub(super) ingresses: Ingresses<'a>,
    /// The ListenerSets.
    sets: Vec<(&'a ObjectRef, &'a Value)>,
    errors: HashMap<&'a ObjectRef, Vec<&'a Diagnostic>>,
    routes: HashMap<&'a ListenerId, BTreeSet<&'a ObjectRef>>,
    /// The RoutingRules that are attached to listeners.
    rules: HashSet<&'a ObjectRef>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(
        objects: &'a HashMap<ObjectRef, Value>,
        (snapshot, diagnostics): (&'a Snapshot, &'a [Diagnostic]),
        closed: BTreeMap<&'a ListenerId, BTreeSet<&'a ObjectRef>>,
        (controller, support): (&'a str, Support),
        (reach, ingresses): (&'a Reach, Ingresses<'a>),
    ) -> Self {
        let mut errors: HashMap<_, Vec<_>> = HashMap::new();
        for found in diagnostics.iter().filter(|found| found.severity == Severity::Error) {
            if let Some(object) = &found.object {
                errors.entry(object).or_default().push(found);
            }
        }
        let mut routes: HashMap<_, BTreeSet<_>> = closed.into_iter().collect();
        let served = snapshot.routes.iter().map(|route| &route.id.object);
        let rules = served.chain(routes.values().flatten().copied());
        let rules = rules.filter(|object| object.kind == ObjectKind::RoutingRule).collect();
        let l7 = snapshot.routes.iter().map(|route| (&route.id.object, &route.listeners));
        let l4 = snapshot.l4_routes.iter().map(|route| (&route.id.object, &route.listeners));
        for (object, listeners) in l7.chain(l4).filter(|(object, _)| super::is_route(object.kind)) {
            for listener in listeners {
                routes.entry(listener).or_default().insert(object);
            }
        }
        let sets = objects.iter().filter(|(key, _)| key.kind == ObjectKind::ListenerSet).collect();
        Self { objects, sets, snapshot, controller, support, reach, ingresses, errors, routes, rules }
    }

    pub(super) fn objects(&self) -> impl Iterator<Item = (&'a ObjectRef, &'a Value)> {
        self.objects.iter()
    }

    pub(super) fn sets(&self) -> impl Iterator<Item = (&'a ObjectRef, &'a Value)> {
        self.sets.iter().copied()
    }

    pub(super) fn object(&self, key: &ObjectRef) -> Option<&'a Value> {
        self.objects.get(key)
    }

    /// What keeps an object from being served as it is written.
    pub(super) fn errors_of(&self, object: &ObjectRef) -> &[&'a Diagnostic] {
        self.errors.get(object).map_or(&[], Vec::as_slice)
    }

    pub(super) fn is_served(&self, listener: &ListenerId) -> bool {
        self.snapshot.listeners.contains_key(listener)
    }

    /// The listeners with the routes that are attached to them.
    pub(super) fn attachments(&self) -> impl Iterator<Item = (&'a ListenerId, &BTreeSet<&'a ObjectRef>)> {
        self.routes.iter().map(|(listener, routes)| (*listener, routes))
    }

    /// How many routes are attached to a listener.
    pub(super) fn attached(&self, listener: &ListenerId) -> usize {
        self.routes.get(listener).map_or(0, BTreeSet::len)
    }

    /// Whether a RoutingRule is attached to a listener.
    pub(super) fn is_attached(&self, rule: &ObjectRef) -> bool {
        self.rules.contains(rule)
    }

    /// Whether a Gateway's class is ours.
    pub(super) fn is_ours(&self, gateway: &Value) -> bool {
        is_ours(gateway, self.objects, self.controller)
    }

    /// The Gateway of ours that a parentRef of `object` means, be it by a ListenerSet.
    pub(super) fn gateway_of(&self, object: &ObjectRef, parent: &Value) -> Option<(ObjectRef, &'a Value)> {
        let text = |name: &str, default: &str| parent[name].as_str().unwrap_or(default).to_owned();
        if text("group", GROUP) != GROUP {
            return None;
        }
        let (namespace, name) = (text("namespace", &object.namespace), text("name", ""));
        match text("kind", "Gateway").as_str() {
            "Gateway" => {
                let key = ObjectRef::new(ObjectKind::Gateway, &namespace, &name);
                let gateway = self.object(&key).filter(|gateway| self.is_ours(gateway))?;
                Some((key, gateway))
            }
            "ListenerSet" if object.kind != ObjectKind::ListenerSet => {
                let key = ObjectRef::new(ObjectKind::ListenerSet, &namespace, &name);
                let set = self.object(&key)?;
                self.gateway_of(&key, &set["spec"]["parentRef"])
            }
            _ => None,
        }
    }
}

/// Whether the class of a Gateway has this `controllerName`.
pub(crate) fn is_ours(gateway: &Value, objects: &HashMap<ObjectRef, Value>, controller: &str) -> bool {
    let class = gateway["spec"]["gatewayClassName"].as_str().unwrap_or_default();
    let class = objects.get(&ObjectRef::new(ObjectKind::GatewayClass, "", class));
    class.is_some_and(|class| class["spec"]["controllerName"] == *controller)
}
