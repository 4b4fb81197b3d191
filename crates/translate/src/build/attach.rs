use model::{HostPattern, ListenerId, ObjectKind, ObjectRef, Reason};

use super::Builder;
use super::frame::{From, Site};
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
                Ok(listeners) => attached.extend(listeners),
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

    /// The listeners of routes without parents; reported if there is none.
    pub(super) fn default_listeners(&mut self, object: &ObjectRef) -> Vec<ListenerId> {
        if self.frame.default_listeners.is_empty() {
            let port = self.options.default_listener.port;
            let message = format!(
                "cannot be served on the default listener: a Gateway uses port {port} for HTTPS; set another port \
                 for one of them"
            );
            Report::new(object, &mut self.part.diagnostics).error(Reason::Conflicted, "", message);
        }
        self.frame.default_listeners.clone()
    }

    /// All listeners of the Gateways of a namespace that let `route` attach.
    pub(super) fn listeners_of_namespace(
        &mut self,
        route: &ObjectRef,
        hosts: &[HostPattern],
    ) -> Vec<ListenerId> {
        let fits = |site: &&Site| {
            site.record.id.namespace == route.namespace && site.lets_in(route) && site.serves_any(hosts)
        };
        let found: Vec<_> =
            self.frame.listeners.iter().filter(fits).map(|site| site.record.id.clone()).collect();
        if found.is_empty() {
            let message = "no listener of a Gateway in its namespace takes it: add spec.parentRefs";
            self.report(route).error(Reason::NoMatchingParent, "spec.parentRefs", message);
        }
        found
    }

    /// # Errors
    /// Why nothing is attached; none if the Gateway is not ours or said so itself.
    fn attach_to(
        &self,
        route: &ObjectRef,
        hosts: &[HostPattern],
        parent: ParentRef<'_>,
    ) -> Result<Vec<ListenerId>, Option<(Reason, String)>> {
        let fail = |reason, message: String| Err(Some((reason, message)));
        if (parent.group, parent.kind) != ("gateway.networking.k8s.io", "Gateway") {
            let message = format!("{:?} can be no parent in this version: name a Gateway", parent.kind);
            return fail(Reason::Unsupported, message);
        }
        let key = ObjectRef::new(ObjectKind::Gateway, parent.namespace, parent.name);
        let Some(gateway) = self.objects.gateways.get(&key) else {
            return fail(Reason::NoMatchingParent, format!("there is no {key}"));
        };
        if !self.classes.owns_gateway(&gateway.spec.gateway_class_name, &mut Report::muted(&key)) {
            return Err(None);
        }
        let is_meant = |name: &str, port: i32| {
            parent.section.is_none_or(|section| section == name)
                && parent.port.is_none_or(|wanted| i32::from(wanted) == port)
        };
        let listeners = &gateway.spec.listeners;
        let meant: Vec<_> =
            listeners.iter().filter(|listener| is_meant(&listener.name, listener.port)).collect();
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
        let ids: Vec<_> =
            meant.iter().map(|listener| ListenerId::new(&key.namespace, &key.name, &listener.name)).collect();
        let open: Vec<_> = self.frame.listeners.iter().filter(|site| ids.contains(&site.record.id)).collect();
        if open.is_empty() {
            let refused: Vec<_> =
                ids.iter().filter(|id| self.frame.refused.contains(id)).map(|id| &*id.section).collect();
            let message =
                format!("{key} does not serve listener {}; its own error says why", refused.join(", "));
            return fail(Reason::NoMatchingParent, message);
        }
        let allowing: Vec<_> = open.into_iter().filter(|site| site.lets_in(route)).collect();
        if allowing.is_empty() {
            let message = format!(
                "no listener of {key} lets an object of kind {} in namespace {} attach: see its allowedRoutes",
                route.kind, route.namespace
            );
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
        Ok(serving.into_iter().map(|site| site.record.id.clone()).collect())
    }
}

impl Site {
    /// Whether the listener's `allowedRoutes` take this route.
    fn lets_in(&self, route: &ObjectRef) -> bool {
        let kind_fits = route.kind != ObjectKind::HttpRoute || self.takes_http_routes;
        let namespace_fits = match &self.from {
            From::All => true,
            From::Only(namespaces) => namespaces.iter().any(|namespace| **namespace == *route.namespace),
        };
        kind_fits && namespace_fits
    }

    /// Whether any of these hosts (none: every name) can reach the listener.
    fn serves_any(&self, hosts: &[HostPattern]) -> bool {
        let Some(hostname) = &self.record.hostname else { return true };
        hosts.is_empty() || hosts.iter().any(|host| host.intersects(hostname))
    }
}
