use model::{
    BackendTarget, InvalidBackend, L4BackendRef, L4Route, ObjectKind, ObjectRef, Reason, RouteId, Transport,
};

use super::attach::ParentRef;
use super::backends::PortRef;
use super::{Builder, GATEWAY_GROUP, created_unix_s};
use crate::own;
use crate::own::l4_route::{L4Reference, L4Source};
use crate::report::Report;

/// What becomes of connections or datagrams that draw a reference which cannot be followed.
const REFUSED: &str = "this share is refused";

impl Builder<'_> {
    /// One record a rule of a TCPRoute, TLSRoute or UDPRoute that attaches to a listener of ours.
    pub(super) fn l4_route(&mut self, key: &ObjectRef, route: &L4Source<'_>) {
        if route.parents.is_empty() && self.options.standalone {
            let message = "is empty, so nothing of it is served: name a Gateway";
            self.report(key).error(Reason::NoMatchingParent, "spec.parentRefs", message);
        }
        let parents: Vec<_> = route
            .parents
            .iter()
            .map(|parent| ParentRef {
                group: parent.group.unwrap_or(GATEWAY_GROUP),
                kind: parent.kind.unwrap_or("Gateway"),
                namespace: parent.namespace,
                name: parent.name,
                section: parent.section,
                port: parent.port.and_then(|port| u16::try_from(port).ok()),
            })
            .collect();
        let hosts = own::l4_route::hosts(route, &mut Report::muted(key));
        let listeners = self.attach(key, &hosts, &parents);
        if listeners.is_empty() && self.part.closed.is_empty() {
            return;
        }
        for (rule, index) in route.rules.iter().zip(0_u32..) {
            if index > 0 {
                let message = "is never used: every connection of the route is the first rule's";
                self.report(key).warning(Reason::Unsupported, format!("spec.rules[{index}]"), message);
            }
            let backends = rule
                .iter()
                .enumerate()
                .map(|(i, reference)| {
                    let field = format!("spec.rules[{index}].backendRefs[{i}]");
                    let target = match self.l4_backend(key, reference, &field) {
                        Ok(id) => BackendTarget::Backend(id),
                        Err(reason) => BackendTarget::Invalid(reason),
                    };
                    let weight = u32::try_from(reference.weight).unwrap_or(1);
                    L4BackendRef { weight, target }
                })
                .collect();
            self.part.l4.push(L4Route {
                id: RouteId { object: key.clone(), rule: index },
                listeners: listeners.clone(),
                hosts: hosts.clone(),
                backends,
                created_unix_s: created_unix_s(route.meta),
            });
        }
    }

    fn l4_backend(
        &mut self,
        key: &ObjectRef,
        reference: &L4Reference<'_>,
        field: &str,
    ) -> Result<model::BackendId, InvalidBackend> {
        if (reference.group, reference.kind) != ("", "Service") {
            let message = format!("{:?} can be no backend, so {REFUSED}: name a Service", reference.kind);
            self.report(key).error(Reason::InvalidKind, format!("{field}.kind"), message);
            return Err(InvalidBackend::Kind);
        }
        self.permitted(key, reference.namespace, reference.name, (field, REFUSED))?;
        let Some(port) = reference.port else {
            let message = format!("is missing, so {REFUSED}: a Service needs a port");
            self.report(key).error(Reason::BackendNotFound, format!("{field}.port"), message);
            return Err(InvalidBackend::NotFound);
        };
        let is_udp = key.kind == ObjectKind::UdpRoute;
        let transport = if is_udp { Transport::Udp } else { Transport::Tcp };
        let port = PortRef::Number(port);
        self.service_port(reference.namespace, reference.name, port, transport, key, (field, REFUSED))
    }
}
