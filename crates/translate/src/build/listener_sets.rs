use model::{ListenerId, ObjectKind, ObjectRef, Reason};
use resources::gateway::ListenerSet;

use super::allowed::allowed_listeners;
use super::frame::{Framing, Named};
use super::listeners::addresses;
use super::{GATEWAY_GROUP, created_unix_s};
use crate::own;
use crate::report::Report;

impl Framing<'_> {
    /// Opens the listeners of ListenerSets behind those of all Gateways, the oldest set first, then by name: where two
    /// conflict, the first one wins (GEP-1713, listener precedence).
    pub(super) fn listener_sets(&mut self) {
        let mut sets: Vec<_> = self.objects.listener_sets.iter().collect();
        sets.sort_by_key(|(_, set)| created_unix_s(&set.metadata).unwrap_or(i64::MAX));
        for (key, set) in sets {
            self.listener_set(key, set);
        }
    }

    fn listener_set(&mut self, key: &ObjectRef, set: &ListenerSet) {
        let parent = &set.spec.parent_ref;
        let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
        let kind = parent.kind.as_deref().unwrap_or("Gateway");
        if (group, kind) != (GATEWAY_GROUP, "Gateway") {
            let message = format!("{kind:?} can be no parent of a ListenerSet: name a Gateway");
            return self.report(key).error(Reason::InvalidKind, "spec.parentRef.kind", message);
        }
        let namespace = parent.namespace.as_deref().unwrap_or(&key.namespace);
        let gateway_key = ObjectRef::new(ObjectKind::Gateway, namespace, &parent.name);
        let Some(gateway) = self.objects.gateways.get(&gateway_key) else {
            let message = format!("there is no {gateway_key}, so nothing of it is served");
            return self.report(key).error(Reason::NoMatchingParent, "spec.parentRef", message);
        };
        if !self.classes.owns_gateway(&gateway.spec.gateway_class_name, &mut Report::muted(&gateway_key)) {
            return;
        }
        let from = allowed_listeners(&gateway_key, gateway, &mut Report::muted(&gateway_key));
        if !from.takes(&key.namespace, self.objects) {
            let message = format!(
                "{gateway_key} takes no ListenerSets of namespace {}, so nothing of it is served: see its \
                 allowedListeners",
                key.namespace
            );
            return self.report(key).error(Reason::NotAllowedByListeners, "spec.parentRef", message);
        }
        let assigned = self.objects.assigned_to(&gateway_key, self.options);
        let addresses = addresses(assigned, gateway, &mut Report::muted(&gateway_key));
        let listeners = own::gateway::listeners_of(set);
        let mut named = Vec::with_capacity(listeners.len());
        for (i, listener) in listeners.iter().enumerate() {
            // No listener of a Gateway has such a name.
            let section = format!("{}/{}/{}", key.namespace, key.name, listener.name);
            let id = ListenerId::new(&gateway_key.namespace, &gateway_key.name, &section);
            named.push(Named { name: listener.name.clone(), port: listener.port, id: id.clone() });
            let field = format!("spec.listeners[{i}]");
            self.listener((key, gateway), listener, id, addresses.as_deref(), &field);
        }
        self.frame.sets.insert(key.clone(), named);
    }
}
