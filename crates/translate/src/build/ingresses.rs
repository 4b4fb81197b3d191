use std::sync::Arc;

use model::{
    Action, BackendRef, BackendTarget, HostPattern, InvalidBackend, ListenerId, ObjectRef, PathMatch, Reason,
    Redirect, RegexAnchor, RegexPattern, Route, RouteId, RouteMatch, Timeouts,
};
use resources::core::{Ingress, IngressBackend};

use super::backends::{PortRef, SHARE_GETS_500};
use super::http_routes::respond_500;
use super::{Builder, created_unix_s};
use crate::annotations::{self, Settings};
use crate::class::Classes;
use crate::nginx::{self, Instead};
use crate::own;
use crate::report::Report;

/// What a record is for, unless annotations say otherwise.
enum Way<'a> {
    /// And the field that names it.
    Backend(&'a IngressBackend, &'a str),
    Redirect(Redirect),
}

impl Builder<'_> {
    /// One record a path of an Ingress of ours, and one for its default backend. `some_regex_takes_all_hosts`: an Ingress of
    /// ours is one of [`is_regex_for_all_hosts`].
    pub(super) fn ingress(
        &mut self,
        key: &ObjectRef,
        ingress: &Arc<Ingress>,
        some_regex_takes_all_hosts: bool,
    ) {
        if !self.owns_ingress(key, ingress) {
            return;
        }
        let settings = annotations::read(&ingress.metadata, true, &mut Report::muted(key));
        let listeners = self.default_listeners(key);
        let Some(spec) = ingress.spec.as_ref().filter(|_| !listeners.is_empty()) else { return };
        let has_tls = spec.tls.as_ref().is_some_and(|tls| !tls.is_empty());
        let said = nginx::read(&ingress.metadata, has_tls, &mut Report::new(key, &mut self.part.diagnostics));
        if said.is_canary {
            let message = "makes it part of another Ingress, which this version cannot do: it is not served; write an HTTPRoute with \
                           weights or matches of headers";
            self.report(key).error(Reason::Unsupported, nginx::field("canary"), message);
            return;
        }
        let settings = said.over(settings, &ingress.metadata);
        self.part.rules = self.annotated_rules(key, &said).map(Box::new);
        let custom = self.custom_headers(key, &said);
        let is_balanced =
            ingress.metadata.annotations.iter().flatten().any(|(name, _)| name == "rauta.io/load-balancer");
        let mut report = Report::new(key, &mut self.part.diagnostics);
        if has_tls {
            let port = self.options.default_listener.port;
            let message = format!(
                "HTTPS for Ingress is not served in this version: it is served as HTTP on port {port}; for HTTPS \
                 write a Gateway with an HTTPS listener"
            );
            report.warning(Reason::Unsupported, "spec.tls", message);
        }
        // Other names are for what has one.
        let named = |host: &Option<HostPattern>| -> Vec<HostPattern> {
            let aliases = said.aliases.iter().filter(|_| host.is_some());
            host.iter().chain(aliases).cloned().collect()
        };
        let mut index = 0;
        let mut push = |builder: &mut Self, hosts: Vec<HostPattern>, path, way: Way<'_>| {
            let action = match (&said.instead, way) {
                (Some(Instead::Refuse(why)), _) => respond_500(why),
                (Some(Instead::Respond(status)), _) => {
                    let reason = "a snippet of the Ingress says so".into();
                    Action::Respond { status: *status, reason }
                }
                (_, Way::Redirect(redirect)) => Action::Redirect(redirect),
                (Some(Instead::Redirect(redirect)), _) => Action::Redirect(redirect.clone()),
                (None, Way::Backend(backend, field)) => builder.ingress_action(key, backend, field),
            };
            let one = RouteMatch { path, method: None, headers: Vec::new(), queries: Vec::new() };
            let route = builder.record(key, ingress, index, &listeners, hosts, one, action, settings);
            let route = said.on(route, &custom, is_balanced);
            builder.part.routes.push(route);
            index += 1;
        };
        for (i, rule) in spec.rules.iter().flatten().enumerate() {
            let field = format!("spec.rules[{i}]");
            let host = own::ingress::host(rule, &field, &mut Report::muted(key));
            if let Some(to) = &said.app_root {
                push(self, named(&host), PathMatch::Exact("/".into()), Way::Redirect(to.clone()));
            }
            let name = rule.host.as_deref().filter(|_| said.joins_www && host.is_some());
            if let Some((other, to)) = name.and_then(|name| nginx::other_name(name, &mut Report::muted(key)))
            {
                push(self, vec![other], PathMatch::Prefix("".into()), Way::Redirect(to));
            }
            let paths = rule.http.as_ref().map(|http| http.paths.as_slice()).unwrap_or_default();
            for (j, path) in paths.iter().enumerate() {
                let field = format!("{field}.http.paths[{j}]");
                let matched = own::ingress::path(path, settings, &field, &mut Report::muted(key));
                let hosts = named(&host);
                push(self, hosts, matched, Way::Backend(&path.backend, &format!("{field}.backend")));
            }
            // "A host with no paths": all of its traffic goes to the default backend (HTTPIngressRuleValue).
            if let (true, Some(host), Some(backend)) = (paths.is_empty(), host, &spec.default_backend) {
                push(
                    self,
                    named(&Some(host)),
                    PathMatch::Prefix("".into()),
                    Way::Backend(backend, "spec.defaultBackend"),
                );
            }
        }
        if let Some(backend) = &spec.default_backend {
            // It comes after every path of every host, so it has no host. A prefix would come before regular
            // expressions; then it is the shortest of these, which comes last.
            let path = if some_regex_takes_all_hosts {
                let anchor = RegexAnchor::Start;
                PathMatch::Regex(RegexPattern { pattern: "".into(), anchor, case_insensitive: false })
            } else {
                PathMatch::Prefix("".into())
            };
            push(self, Vec::new(), path, Way::Backend(backend, "spec.defaultBackend"));
        }
    }

    fn owns_ingress(&mut self, key: &ObjectRef, ingress: &Ingress) -> bool {
        self.classes.owns_ingress(ingress, &mut Report::new(key, &mut self.part.diagnostics))
    }

    fn ingress_action(&mut self, key: &ObjectRef, backend: &IngressBackend, field: &str) -> Action {
        let target = match &backend.service {
            None => {
                let message = "the gateway serves no resource backends, so requests get 500: name a service";
                self.report(key).error(Reason::InvalidKind, format!("{field}.resource"), message);
                BackendTarget::Invalid(InvalidBackend::Kind)
            }
            Some(service) => {
                let field = format!("{field}.service");
                let port = service.port.as_ref();
                let name = port.and_then(|port| port.name.as_deref()).filter(|name| !name.is_empty());
                let number = port.and_then(|port| port.number).unwrap_or(0);
                let port = name.map_or(PortRef::Number(number), PortRef::Name);
                match self.service_backend(&key.namespace, &service.name, port, key, (&field, SHARE_GETS_500))
                {
                    Ok(id) => BackendTarget::Backend(id),
                    Err(reason) => BackendTarget::Invalid(reason),
                }
            }
        };
        Action::Forward(vec![BackendRef::new(1, target)])
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one record")]
    fn record(
        &self,
        key: &ObjectRef,
        ingress: &Ingress,
        rule: u32,
        listeners: &[ListenerId],
        hosts: Vec<HostPattern>,
        one: RouteMatch,
        action: Action,
        settings: Settings,
    ) -> Route {
        Route {
            id: RouteId { object: key.clone(), rule },
            listeners: listeners.to_vec(),
            hosts,
            matches: vec![one],
            action,
            filters: Default::default(),
            balancing: self.options.balancing(settings.load_balancer, None),
            affinity: settings.affinity,
            timeouts: Timeouts::default(),
            retry: None,
            policies: Vec::new(),
            session: None,
            created_unix_s: created_unix_s(&ingress.metadata),
            tier: settings.tier,
            forwarded_headers: settings.forwarded_headers,
        }
    }
}

/// Whether an Ingress of ours matches paths of every host by regular expressions.
pub(super) fn is_regex_for_all_hosts(classes: &Classes<'_>, key: &ObjectRef, ingress: &Ingress) -> bool {
    let mut muted = Report::muted(key);
    has_hostless_rule(ingress)
        && annotations::read(&ingress.metadata, true, &mut muted).use_regex
        && classes.owns_ingress(ingress, &mut muted)
}

fn has_hostless_rule(ingress: &Ingress) -> bool {
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    rules.into_iter().any(|rule| rule.host.as_deref().is_none_or(str::is_empty))
}
