use model::{InvalidBackend, ObjectKind, ObjectRef, Reason};

use super::{Builder, GATEWAY_GROUP};
use crate::objects::Objects;

impl Builder<'_> {
    /// Whether `object` may name a Service in `namespace`: in its own, or where a ReferenceGrant says so.
    ///
    /// # Errors
    /// It may not; that has been reported.
    pub(super) fn permitted(
        &mut self,
        object: &ObjectRef,
        namespace: &str,
        name: &str,
        (field, outcome): (&str, &str),
    ) -> Result<(), InvalidBackend> {
        if namespace == &*object.namespace || permits(self.objects, object, "Service", namespace, name) {
            return Ok(());
        }
        let message = format!(
            "Service {namespace}/{name} is in another namespace without a ReferenceGrant there for {} of namespace {}, \
             so {outcome}: add one, or move either",
            object.kind, object.namespace
        );
        self.report(object).error(Reason::RefNotPermitted, format!("{field}.namespace"), message);
        Err(InvalidBackend::NotPermitted)
    }
}

/// Whether a ReferenceGrant in `namespace` lets `from` name `kind` `name` of the core group there.
///
/// Source: Gateway API v1.6.1, ReferenceGrantSpec: any entry of `from` and any of `to` of one grant; a `to` without a name
/// stands for all.
pub(super) fn permits(objects: &Objects, from: &ObjectRef, kind: &str, namespace: &str, name: &str) -> bool {
    let group = match from.kind {
        ObjectKind::RoutingRule | ObjectKind::RoutePolicy => "rauta.io",
        ObjectKind::Ingress => "networking.k8s.io",
        _ => GATEWAY_GROUP,
    };
    let grants = objects.reference_grants.iter().filter(|(key, _)| &*key.namespace == namespace);
    grants.map(|(_, grant)| &grant.spec).any(|spec| {
        let comes = spec.from.iter().any(|one| {
            one.group == group && one.kind == from.kind.as_str() && one.namespace == *from.namespace
        });
        let goes = || {
            spec.to.iter().any(|one| {
                one.group.is_empty() && one.kind == kind && one.name.as_deref().is_none_or(|n| n == name)
            })
        };
        comes && goes()
    })
}
