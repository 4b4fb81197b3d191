use std::collections::BTreeSet;

use model::{BackendId, ObjectKind, ObjectRef, Reason, Transport};
use resources::PolicyBackendRef;

use super::backends::{PortRef, find_port, list_ports};
use super::grants::permits;
use crate::objects::Objects;
use crate::own::route_policy::CLOSES;
use crate::report::Report;

/// The backend that a policy names; none: it cannot be asked, which is reported. What it looked for goes into `looked_for`.
pub(super) fn backend(
    reference: &PolicyBackendRef,
    policy: &ObjectRef,
    objects: &Objects,
    looked_for: &mut BTreeSet<ObjectRef>,
    field: &str,
    report: &mut Report<'_>,
) -> Option<BackendId> {
    let kind = reference.kind.as_deref().unwrap_or("Service");
    if (reference.group.as_deref().unwrap_or_default(), kind) != ("", "Service") {
        report.error(
            Reason::InvalidKind,
            field,
            format!("{kind} can be no backend, {CLOSES}: name a Service"),
        );
        return None;
    }
    let namespace = reference.namespace.as_deref().unwrap_or(&policy.namespace);
    if namespace != &*policy.namespace && !permits(objects, policy, "Service", namespace, &reference.name) {
        let message = format!(
            "Service {namespace}/{} is in another namespace without a ReferenceGrant there for RoutePolicy (group \
             \"rauta.io\") of namespace {}, {CLOSES}: add one, or move either",
            reference.name, policy.namespace
        );
        report.error(Reason::RefNotPermitted, format!("{field}.namespace"), message);
        return None;
    }
    let service = ObjectRef::new(ObjectKind::Service, namespace, &reference.name);
    looked_for.insert(service.clone());
    let Some(found) = objects.services.get(&service) else {
        report.error(Reason::BackendNotFound, field, format!("there is no {service}, {CLOSES}: add it"));
        return None;
    };
    let spec = found.spec.as_ref();
    if spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
        let message = format!("{service} is an ExternalName, which can be no backend, {CLOSES}");
        report.error(Reason::InvalidKind, field, message);
        return None;
    }
    let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    if find_port(ports, PortRef::Number(i32::from(reference.port)), Transport::Tcp).is_none() {
        let message =
            format!("{service} has no TCP port {}, {CLOSES}; it has {}", reference.port, list_ports(ports));
        report.error(Reason::BackendNotFound, format!("{field}.port"), message);
        return None;
    }
    Some(BackendId::service(namespace, &reference.name, reference.port))
}
