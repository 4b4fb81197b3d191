use model::{
    AppProtocol, Backend, BackendId, BackendRef, BackendSecurity, BackendTarget, Endpoint, EndpointCondition,
    ObjectRef, Route, RouteId, Timeouts,
};
use resources::{RoutingRule, RuleService};

use super::attach::ParentRef;
use super::backends::{PortRef, SHARE_GETS_500};
use super::http_routes::forward;
use super::{Builder, created_unix_s};
use crate::report::Report;
use crate::{annotations, own};

impl Builder<'_> {
    /// The record of a RoutingRule.
    pub(super) fn routing_rule(&mut self, key: &ObjectRef, rule: &RoutingRule) {
        let mut muted = Report::muted(key);
        let hosts = own::routing_rule::hosts(rule, &mut muted);
        let parents: Vec<_> = rule
            .spec
            .parent_refs
            .iter()
            .map(|parent| ParentRef {
                group: "gateway.networking.k8s.io",
                kind: "Gateway",
                namespace: parent.namespace.as_deref().unwrap_or(&key.namespace),
                name: &parent.name,
                section: parent.section_name.as_deref(),
                port: parent.port,
            })
            .collect();
        let listeners = if !parents.is_empty() {
            self.attach(key, &hosts, &parents)
        } else if self.options.standalone {
            self.default_listeners(key)
        } else {
            self.listeners_of_namespace(key, &hosts)
        };
        if listeners.is_empty() {
            return;
        }
        let route = Route {
            id: RouteId { object: key.clone(), rule: 0 },
            listeners,
            hosts,
            matches: own::routing_rule::matches(rule, &mut muted),
            action: forward(self.rule_backends(key, rule)),
            filters: Default::default(),
            balancing: self
                .options
                .balancing(own::routing_rule::load_balancer(rule), own::routing_rule::table_size(rule)),
            affinity: own::routing_rule::affinity(rule, &mut muted),
            timeouts: Timeouts::default(),
            retry: None,
            policies: Vec::new(),
            session: None,
            fallback: None,
            is_unlogged: false,
            created_unix_s: created_unix_s(&rule.metadata),
            tier: rule.spec.tier.and_then(annotations::tier),
            forwarded_headers: rule.spec.forwarded_headers.unwrap_or(true),
        };
        self.part.routes.push(route);
    }

    /// The literal endpoints together as one backend, with the sum of their weights, and each Service.
    fn rule_backends(&mut self, key: &ObjectRef, rule: &RoutingRule) -> Vec<BackendRef> {
        let mut literals = Vec::new();
        let mut backends = Vec::new();
        for (i, backend) in rule.spec.backends.iter().enumerate() {
            let field = format!("spec.backends[{i}]");
            if let Some(text) = &backend.endpoint {
                let field = format!("{field}.endpoint");
                if let Some(address) = own::routing_rule::endpoint(text, &field, &mut Report::muted(key)) {
                    let weight = u16::try_from(backend.weight).unwrap_or(u16::MAX);
                    let condition = EndpointCondition::Ready;
                    literals.push((Endpoint { address, other: None, weight, condition }, field));
                }
            } else if let Some(service) = &backend.service {
                let target = self.rule_service(key, service, &format!("{field}.service"));
                backends.push(BackendRef::new(backend.weight, target));
            }
        }
        if !literals.is_empty() {
            // A share that is not allowed still counts: its requests must not silently go to the others.
            let weight = literals.iter().map(|(endpoint, _)| u32::from(endpoint.weight)).sum();
            let mut endpoints = self.allowed(key, literals);
            endpoints.sort();
            endpoints.dedup_by(|later, first| {
                let is_same = later.address == first.address;
                if is_same {
                    first.weight = first.weight.saturating_add(later.weight);
                }
                is_same
            });
            let id = BackendId::routing_rule(&key.namespace, &key.name);
            self.part.backend = Some(Backend {
                id: id.clone(),
                protocol: AppProtocol::Http1,
                endpoints,
                affinity: None,
                policy: None,
                security: BackendSecurity::Cleartext,
                proxy_protocol: None,
            });
            backends.insert(0, BackendRef::new(weight, BackendTarget::Backend(id)));
        }
        backends
    }

    fn rule_service(&mut self, key: &ObjectRef, service: &RuleService, field: &str) -> BackendTarget {
        let namespace = service.namespace.as_deref().unwrap_or(&key.namespace);
        if let Err(reason) = self.permitted(key, namespace, &service.name, (field, SHARE_GETS_500)) {
            return BackendTarget::Invalid(reason);
        }
        let port = PortRef::Number(i32::from(service.port));
        match self.service_backend(namespace, &service.name, port, key, (field, SHARE_GETS_500)) {
            Ok(id) => BackendTarget::Backend(id),
            Err(reason) => BackendTarget::Invalid(reason),
        }
    }
}
