use model::{
    Action, BackendId, BackendRef, BackendTarget, Filters, InvalidBackend, ListenerId, Mirror, ObjectRef,
    Reason, Route, RouteId,
};
use resources::gateway::{HttpRoute, HttpRouteRules, HttpRouteRulesBackendRefs, HttpRouteRulesFilters};

use super::attach::ParentRef;
use super::backends::{PortRef, SHARE_GETS_500};
use super::{Builder, GATEWAY_GROUP, created_unix_s};
use crate::annotations::{self, Settings};
use crate::own;
use crate::own::filters::FilterList;
use crate::report::Report;

impl Builder<'_> {
    /// One record a rule of an HTTPRoute that attaches to a listener of ours.
    pub(super) fn http_route(&mut self, key: &ObjectRef, route: &HttpRoute) {
        let hosts = own::http_route::hosts(route, &mut Report::muted(key));
        let parents: Vec<_> = route.spec.parent_refs.iter().flatten().collect();
        if parents.is_empty() && self.options.standalone {
            let message = "is empty, so nothing of it is served: name a Gateway";
            self.report(key).error(Reason::NoMatchingParent, "spec.parentRefs", message);
        }
        let parents: Vec<_> = parents
            .iter()
            .map(|parent| ParentRef {
                group: parent.group.as_deref().unwrap_or(GATEWAY_GROUP),
                kind: parent.kind.as_deref().unwrap_or("Gateway"),
                namespace: parent.namespace.as_deref().unwrap_or(&key.namespace),
                name: &parent.name,
                section: parent.section_name.as_deref(),
                port: parent.port.and_then(|port| u16::try_from(port).ok()),
            })
            .collect();
        let listeners = self.attach(key, &hosts, &parents);
        if listeners.is_empty() && self.part.closed.is_empty() {
            return;
        }
        let settings = annotations::read(&route.metadata, false, &mut Report::muted(key));
        // The CRD's default: one rule for every path.
        let default_rule = [HttpRouteRules {
            backend_refs: None,
            filters: None,
            matches: None,
            name: None,
            retry: None,
            session_persistence: None,
            timeouts: None,
        }];
        let rules = route.spec.rules.as_deref().unwrap_or(&default_rule);
        for (rule, i) in rules.iter().zip(0_u32..) {
            let record = self.http_rule(key, route, rule, i, &listeners, settings);
            self.part.routes.push(Route { hosts: hosts.clone(), ..record });
        }
    }

    fn http_rule(
        &mut self,
        key: &ObjectRef,
        route: &HttpRoute,
        rule: &HttpRouteRules,
        index: u32,
        listeners: &[ListenerId],
        settings: Settings,
    ) -> Route {
        let field = format!("spec.rules[{index}]");
        let mut muted = Report::muted(key);
        let matches = own::http_route::matches(rule, &field, &mut muted);
        let timeouts = own::http_route::timeouts(rule, &field, &mut muted);
        let read = own::http_route::filters(rule, None, &field, &mut muted);
        let mirrors = self.mirrors(key, rule.filters.as_deref(), &read, &field);
        let scope = own::session::scope(key, rule, index);
        let session = own::session::read(rule, &scope, &field, &mut muted);
        if session.is_some() && read.redirect.is_some() {
            let message = "has no effect beside RequestRedirect: no endpoint gets the request";
            self.report(key).warning(Reason::Unsupported, format!("{field}.sessionPersistence"), message);
        }
        Route {
            id: RouteId { object: key.clone(), rule: index },
            listeners: listeners.to_vec(),
            hosts: Vec::new(),
            matches,
            action: self.http_action(key, rule, &field),
            filters: Filters { mirrors, ..read.filters },
            balancing: self.options.balancing(settings.load_balancer, None),
            affinity: settings.affinity,
            timeouts,
            retry: own::http_route::retry(rule, &field, &mut muted),
            policies: Vec::new(),
            session,
            fallback: None,
            is_unlogged: false,
            created_unix_s: created_unix_s(&route.metadata),
            tier: settings.tier,
            forwarded_headers: settings.forwarded_headers,
        }
    }

    fn http_action(&mut self, key: &ObjectRef, rule: &HttpRouteRules, field: &str) -> Action {
        let read = own::http_route::filters(rule, None, field, &mut Report::muted(key));
        let list = rule.filters.as_deref().unwrap_or_default();
        if self.has_unsupported(key, list, &read, field, "the rule answers 500") {
            return respond_500("the rule has a filter that this version does not serve");
        }
        if let Some(redirect) = read.redirect {
            for (i, ..) in &read.mirrors {
                let message =
                    "has no effect beside RequestRedirect: no endpoint gets the request, so none gets a copy";
                self.report(key).warning(Reason::Unsupported, format!("{field}.filters[{i}]"), message);
            }
            return Action::Redirect(redirect);
        }
        let references = rule.backend_refs.as_deref().unwrap_or_default();
        if references.is_empty() {
            let message = "is empty, so the rule answers 500: name a Service";
            self.report(key).warning(Reason::BackendNotFound, format!("{field}.backendRefs"), message);
            return respond_500("the rule names no backend");
        }
        let mut backends = Vec::with_capacity(references.len());
        for (i, reference) in references.iter().enumerate() {
            let field = format!("{field}.backendRefs[{i}]");
            let read = own::http_route::filters(rule, Some(reference), &field, &mut Report::muted(key));
            let target = self.http_backend(key, reference, &read, &field);
            let weight = reference.weight.and_then(|weight| u32::try_from(weight).ok()).unwrap_or(1);
            let mirrors = self.mirrors(key, reference.filters.as_deref(), &read, &field);
            backends.push(BackendRef { weight, target, filters: Filters { mirrors, ..read.filters } });
        }
        forward(backends)
    }

    /// Whether a list of filters has one that this version does not serve, which is reported.
    fn has_unsupported(
        &mut self,
        key: &ObjectRef,
        list: &[HttpRouteRulesFilters],
        read: &FilterList,
        field: &str,
        outcome: &str,
    ) -> bool {
        for (i, filter) in read.unsupported.iter().filter_map(|i| Some((i, list.get(*i)?))) {
            let name = own::filters::name(&filter.r#type);
            let message =
                format!("{name} is not served here in this version: {outcome} rather than without it");
            self.report(key).error(Reason::Unsupported, format!("{field}.filters[{i}]"), message);
        }
        !read.unsupported.is_empty()
    }

    fn http_backend(
        &mut self,
        key: &ObjectRef,
        reference: &HttpRouteRulesBackendRefs,
        read: &FilterList,
        field: &str,
    ) -> BackendTarget {
        let list = reference.filters.as_deref().unwrap_or_default();
        if self.has_unsupported(key, list, read, field, "its share gets 500") {
            return BackendTarget::Invalid(InvalidBackend::Unsupported);
        }
        let named = ServiceRef {
            group: reference.group.as_deref(),
            kind: reference.kind.as_deref(),
            namespace: reference.namespace.as_deref(),
            name: &reference.name,
            port: reference.port,
        };
        match self.http_service(key, &named, (field, SHARE_GETS_500)) {
            Ok(id) => BackendTarget::Backend(id),
            Err(reason) => BackendTarget::Invalid(reason),
        }
    }

    /// The backends that get copies of requests. One that cannot be is reported and gets none.
    fn mirrors(
        &mut self,
        key: &ObjectRef,
        list: Option<&[HttpRouteRulesFilters]>,
        read: &FilterList,
        field: &str,
    ) -> Vec<Mirror> {
        let mut mirrors = Vec::with_capacity(read.mirrors.len());
        for (i, numerator, denominator) in &read.mirrors {
            let filter = list.unwrap_or_default().get(*i);
            let Some(one) = filter.and_then(|filter| filter.request_mirror.as_ref()) else { continue };
            let named = ServiceRef {
                group: one.backend_ref.group.as_deref(),
                kind: one.backend_ref.kind.as_deref(),
                namespace: one.backend_ref.namespace.as_deref(),
                name: &one.backend_ref.name,
                port: one.backend_ref.port,
            };
            let field = format!("{field}.filters[{i}].requestMirror.backendRef");
            if let Ok(backend) = self.http_service(key, &named, (&field, "nothing is mirrored there")) {
                mirrors.push(Mirror {
                    backend,
                    numerator: *numerator,
                    denominator: *denominator,
                    form: None,
                });
            }
        }
        mirrors
    }

    /// The backend that a reference of an HTTPRoute names; why it cannot be is reported.
    fn http_service(
        &mut self,
        key: &ObjectRef,
        named: &ServiceRef<'_>,
        (field, outcome): (&str, &str),
    ) -> Result<BackendId, InvalidBackend> {
        let mut report = Report::new(key, &mut self.part.diagnostics);
        let kind = named.kind.unwrap_or("Service");
        if (named.group.unwrap_or(""), kind) != ("", "Service") {
            let message = format!("{kind:?} can be no backend, so {outcome}: name a Service");
            report.error(Reason::InvalidKind, format!("{field}.kind"), message);
            return Err(InvalidBackend::Kind);
        }
        let namespace = named.namespace.unwrap_or(&key.namespace);
        self.permitted(key, namespace, named.name, (field, outcome))?;
        let Some(port) = named.port else {
            let message = format!("is missing, so {outcome}: a Service needs a port");
            self.report(key).error(Reason::BackendNotFound, format!("{field}.port"), message);
            return Err(InvalidBackend::NotFound);
        };
        self.service_backend(namespace, named.name, PortRef::Number(port), key, (field, outcome))
    }
}

/// How an HTTPRoute names a backend.
struct ServiceRef<'a> {
    group: Option<&'a str>,
    kind: Option<&'a str>,
    namespace: Option<&'a str>,
    name: &'a str,
    port: Option<i32>,
}

/// Forwards by weight; 500 if nothing can get a share ("traffic … MUST receive a 500 status code", HTTPRouteRule).
pub(super) fn forward(backends: Vec<BackendRef>) -> Action {
    if backends.iter().all(|backend| backend.weight == 0) {
        return respond_500("every backend of the rule has weight 0");
    }
    Action::Forward(backends)
}

pub(super) fn respond_500(reason: &str) -> Action {
    Action::Respond { status: 500, reason: reason.into() }
}
