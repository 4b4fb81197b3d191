use model::{HostPattern, ListenerId, ObjectKind, ObjectRef, Protocol, Reason};

use super::frame::{Named, Site};
use super::{Builder, GATEWAY_GROUP};
use crate::objects::Objects;
use crate::report::Report;

/// A parentRef of any route kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParentRef<'a> {
    pub(super) group: &'a str,
    pub(super) kind: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) section: Option<&'a str>,
    pub(super) port: Option<u16>,
}

/// What a parentRef attaches a route to.
struct Attached {
    /// The Gateway or ListenerSet.
    to: ObjectRef,
    open: Vec<ListenerId>,
    closed: Vec<ListenerId>,
}

/// Why nothing is attached; none if that has been said, or the parent is not ours.
type Hindrance = Option<(Reason, String)>;

impl Builder<'_> {
    /// The listeners that a route attaches to by its parentRefs, sorted; what hinders it is reported.
    pub(super) fn attach(
        &mut self,
        route: &ObjectRef,
        hosts: &[HostPattern],
        parents: &[ParentRef<'_>],
    ) -> Vec<ListenerId> {
        let mut attached = Vec::new();
        for (i, parent) in parents.iter().enumerate() {
            match self.attach_to(route, hosts, *parent) {
                Ok(Attached { open, closed, to }) => {
                    if open.is_empty() {
                        let names: Vec<_> = closed.iter().map(|listener| &*listener.section).collect();
                        let message = format!(
                            "{to} does not serve listener {}; its own error says why",
                            names.join(", ")
                        );
                        self.report(route).warning(
                            Reason::NoMatchingParent,
                            format!("spec.parentRefs[{i}]"),
                            message,
                        );
                    }
                    attached.extend(open);
                    closed.into_iter().for_each(|listener| self.part.closed.insert(listener));
                }
                Err(Some((reason, message))) => {
                    self.report(route).error(reason, format!("spec.parentRefs[{i}]"), message);
                }
                Err(None) => {}
            }
        }
        attached.sort();
        attached.dedup();
        attached
    }

    /// The listeners of routes without parents; reported if there is none for HTTP.
    pub(super) fn default_listeners(&mut self, object: &ObjectRef) -> Vec<ListenerId> {
        if self.frame.is_http_blocked {
            let port = self.options.default_listener.port;
            let message = format!(
                "cannot be served on the default listener: a Gateway uses port {port} for HTTPS; set another port \
                 for one of them"
            );
            Report::new(object, &mut self.part.diagnostics).error(Reason::Conflicted, "", message);
        }
        let lets_in = |id: &&ListenerId| self.frame.lets_in(id, &object.namespace, self.objects);
        let listeners: Vec<_> = self.frame.default_listeners.iter().filter(lets_in).cloned().collect();
        let takers = || self.frame.takers.iter().filter(|(_, taker)| taker.protocol == Protocol::Http);
        let is_served =
            listeners.contains(&ListenerId::default_http()) || takers().any(|(id, _)| listeners.contains(id));
        if let (false, Some((taker, _))) = (is_served, takers().next()) {
            let message = format!(
                "listener {taker} has port {} for all hosts and does not let objects of namespace {} attach, so it is \
                 not served over HTTP: let them in (allowedRoutes.namespaces), or set another port for one of them",
                self.options.default_listener.port, object.namespace
            );
            let mut report = Report::new(object, &mut self.part.diagnostics);
            report.error(Reason::NotAllowedByListeners, "", message);
        }
        listeners
    }

    /// All listeners of the Gateways of a namespace that let `route` attach.
    pub(super) fn listeners_of_namespace(
        &mut self,
        route: &ObjectRef,
        hosts: &[HostPattern],
    ) -> Vec<ListenerId> {
        let fits = |site: &&Site| {
            site.record.id.namespace == route.namespace
                && !site.is_of_set
                && site.lets_in(route, self.objects)
                && site.serves_any(hosts)
        };
        let found: Vec<_> =
            self.frame.listeners.iter().filter(fits).map(|site| site.record.id.clone()).collect();
        if found.is_empty() {
            let message = "no listener of a Gateway in its namespace takes it: add spec.parentRefs";
            self.report(route).error(Reason::NoMatchingParent, "spec.parentRefs", message);
        }
        found
    }

    fn attach_to(
        &self,
        route: &ObjectRef,
        hosts: &[HostPattern],
        parent: ParentRef<'_>,
    ) -> Result<Attached, Hindrance> {
        let fail = |reason, message: String| Err(Some((reason, message)));
        let (key, listeners) = match (parent.group, parent.kind) {
            (GATEWAY_GROUP, "Gateway") => self.of_gateway(&parent)?,
            (GATEWAY_GROUP, "ListenerSet") => self.of_set(&parent)?,
            (_, kind) => {
                let message = format!("{kind:?} can be no parent: name a Gateway or ListenerSet");
                return fail(Reason::Unsupported, message);
            }
        };
        let is_meant = |listener: &&Named| {
            parent.section.is_none_or(|section| section == listener.name)
                && parent.port.is_none_or(|wanted| i32::from(wanted) == listener.port)
        };
        let meant: Vec<_> = listeners.iter().filter(is_meant).collect();
        if meant.is_empty() {
            let names: Vec<_> = listeners
                .iter()
                .map(|listener| format!("{} (port {})", listener.name, listener.port))
                .collect();
            let wanted = match (parent.section, parent.port) {
                (Some(section), None) => format!("named {section:?}"),
                (None, Some(port)) => format!("with port {port}"),
                (section, port) => {
                    format!("named {:?} with port {}", section.unwrap_or(""), port.unwrap_or(0))
                }
            };
            let message = format!("{key} has no listener {wanted}; it has {}", names.join(", "));
            return fail(Reason::NoMatchingParent, message);
        }
        let is_meant = |site: &&Site| meant.iter().any(|listener| listener.id == site.record.id);
        let open = self.frame.listeners.iter().filter(is_meant);
        let closed: Vec<_> =
            meant.iter().filter_map(|listener| self.frame.refused.get(&listener.id)?.as_ref()).collect();
        let sites: Vec<_> = open.chain(closed.iter().copied()).collect();
        if sites.is_empty() {
            let names: Vec<_> = meant.iter().map(|listener| listener.name.as_str()).collect();
            let message =
                format!("{key} does not serve listener {}; its own error says why", names.join(", "));
            return fail(Reason::NoMatchingParent, message);
        }
        let allowing: Vec<_> =
            sites.iter().copied().filter(|site| site.lets_in(route, self.objects)).collect();
        if allowing.is_empty() {
            let mut message = format!(
                "no listener of {key} lets an object of kind {} in namespace {} attach: see its protocol and \
                 allowedRoutes",
                route.kind, route.namespace
            );
            if sites.iter().any(|site| site.from.misses(&route.namespace, self.objects)) {
                message += &format!(" (there is no Namespace {} to have labels from)", route.namespace);
            }
            return fail(Reason::NotAllowedByListeners, message);
        }
        let serving: Vec<_> = allowing.iter().filter(|site| site.serves_any(hosts)).collect();
        if serving.is_empty() {
            let names: Vec<_> = allowing
                .iter()
                .filter_map(|site| site.record.hostname.as_ref())
                .map(ToString::to_string)
                .collect();
            let message = format!("none of its hosts can reach {key}, which serves {}", names.join(", "));
            return fail(Reason::NoMatchingListenerHostname, message);
        }
        let is_closed = |site: &&Site| self.frame.refused.contains_key(&site.record.id);
        let (closed, open): (Vec<_>, Vec<_>) = serving.into_iter().partition(|site| is_closed(site));
        let ids = |sites: Vec<&Site>| sites.into_iter().map(|site| site.record.id.clone()).collect();
        Ok(Attached { open: ids(open), closed: ids(closed), to: key })
    }

    /// A Gateway of ours, and its listeners.
    fn of_gateway(&self, parent: &ParentRef<'_>) -> Result<(ObjectRef, Vec<Named>), Hindrance> {
        let key = ObjectRef::new(ObjectKind::Gateway, parent.namespace, parent.name);
        let Some(gateway) = self.objects.gateways.get(&key) else {
            return Err(Some((Reason::NoMatchingParent, format!("there is no {key}"))));
        };
        if !self.classes.owns_gateway(&gateway.spec.gateway_class_name, &mut Report::muted(&key)) {
            return Err(None);
        }
        let named = |name: &String, port: i32| {
            let id = ListenerId::new(&key.namespace, &key.name, name);
            Named { name: name.clone(), port, id }
        };
        let listeners = gateway.spec.listeners.iter();
        let listeners = listeners.map(|listener| named(&listener.name, listener.port)).collect();
        Ok((key, listeners))
    }

    /// A ListenerSet of a Gateway of ours, and its listeners.
    fn of_set(&self, parent: &ParentRef<'_>) -> Result<(ObjectRef, Vec<Named>), Hindrance> {
        let key = ObjectRef::new(ObjectKind::ListenerSet, parent.namespace, parent.name);
        match self.frame.sets.get(&key) {
            Some(listeners) => Ok((key, listeners.clone())),
            // It said so itself, or is not ours.
            None if self.objects.listener_sets.contains_key(&key) => Err(None),
            None => Err(Some((Reason::NoMatchingParent, format!("there is no {key}")))),
        }
    }
}

impl Site {
    /// Whether the listener's protocol and `allowedRoutes` take this route.
    fn lets_in(&self, route: &ObjectRef, objects: &Objects) -> bool {
        let kind_fits = match route.kind {
            ObjectKind::Ingress | ObjectKind::RoutingRule => self.record.protocol.is_http(),
            kind => self.kinds.contains(&kind),
        };
        kind_fits && self.from.takes(&route.namespace, objects)
    }

    /// Whether any of these hosts (none: every name) can reach the listener.
    fn serves_any(&self, hosts: &[HostPattern]) -> bool {
        let Some(hostname) = &self.record.hostname else { return true };
        hosts.is_empty() || hosts.iter().any(|host| host.intersects(hostname))
    }
}
