use std::sync::Arc;

use model::{
    Action, BackendRef, BackendTarget, HeaderMatch, HostPattern, InvalidBackend, ListenerId, ObjectRef,
    PathMatch, Reason, Redirect, RegexAnchor, RegexPattern, Route, RouteId, RouteMatch, Speaks, Timeouts,
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

/// Why nobody is asked.
const UNSPOKEN: &str = "an annotation of the Ingress says of its endpoints what cannot be";

impl Builder<'_> {
    /// One record a path of an Ingress of ours, more where a canary is beside it, and one for its default backend.
    pub(super) fn ingress(&mut self, key: &ObjectRef, ingress: &Arc<Ingress>) {
        if !self.owns_ingress(key, ingress) {
            return;
        }
        let settings = annotations::read(&ingress.metadata, true, &mut Report::muted(key));
        let listeners = self.default_listeners(key);
        let Some(spec) = ingress.spec.as_ref().filter(|_| !listeners.is_empty()) else { return };
        let said = nginx::read(&ingress.metadata, &mut Report::new(key, &mut self.part.diagnostics));
        if nginx::is_canary(&ingress.metadata) {
            let canary = nginx::canary(&ingress.metadata, &mut self.report(key));
            // What cannot be read may be one.
            if canary.is_some() {
                self.report_canary(key, ingress);
            }
            return;
        }
        nginx::report_wildcards(&said, ingress, &mut self.report(key));
        let settings = said.over(settings, &ingress.metadata);
        self.part.rules = self.annotated_rules(key, &said).map(Box::new);
        let names = self.named(key, &said);
        let is_balanced =
            ingress.metadata.annotations.iter().flatten().any(|(name, _)| name == "rauta.io/load-balancer");
        let secured = self.ingress_tls(key, spec, &said, created_unix_s(&ingress.metadata));
        let https_port = self.options.https_port.unwrap_or(self.options.default_https.port);
        let https_port = Some(https_port).filter(|port| *port != 443);
        let redirects_by_default = self.options.redirects_by_default;
        // Other names are for what has one.
        let named = |host: &Option<HostPattern>| -> Vec<HostPattern> {
            let aliases = said.aliases.iter().filter(|_| host.is_some());
            host.iter().chain(aliases).cloned().collect()
        };
        let instead = said.instead.as_ref().map(instead);
        let spoken = said.spoken.as_ref().map(|spoken| match spoken {
            Ok(spoken) => self.spoken(key, spoken),
            Err(()) => Err(()),
        });
        let (speaks, instead) = match spoken.transpose() {
            Ok(speaks) => (speaks, instead),
            Err(()) => (None, instead.or_else(|| Some(respond_500(UNSPOKEN)))),
        };
        let speaks = speaks.as_ref();
        let mut index = 0;
        let mut push = |builder: &mut Self,
                        hosts: Vec<HostPattern>,
                        path: PathMatch,
                        headers: Vec<HeaderMatch>,
                        action: Action| {
            let action = match (&said.instead, action) {
                // Who goes elsewhere in any case is sent there at once.
                (Some(Instead::Redirect(_)), action @ Action::Redirect(_)) => action,
                (_, action) => instead.clone().unwrap_or(action),
            };
            let sent = |host: Option<&HostPattern>| {
                let is_served = secured.serves(host);
                let by_default = is_served && redirects_by_default;
                let is_sent = instead.is_none() && said.https.redirects(secured.names(host), by_default);
                // Whoever ends TLS before us for what has none here has the usual port.
                is_sent.then(|| nginx::to_https(https_port.filter(|_| is_served)))
            };
            for (sent, hosts) in by_redirect(hosts, sent) {
                let one = RouteMatch {
                    path: path.clone(),
                    method: None,
                    headers: headers.clone(),
                    queries: Vec::new(),
                };
                let route =
                    builder.record(key, ingress, index, &listeners, hosts, one, action.clone(), settings);
                let mut route = said.on(route, &names, is_balanced);
                route.filters.https_redirect = sent.map(Box::new);
                builder.part.routes.push(route);
                index += 1;
            }
        };
        for (i, rule) in spec.rules.iter().flatten().enumerate() {
            let field = format!("spec.rules[{i}]");
            let host = own::ingress::host(rule, &field, &mut Report::muted(key));
            if let Some(to) = &said.app_root {
                push(
                    self,
                    named(&host),
                    PathMatch::Exact("/".into()),
                    Vec::new(),
                    Action::Redirect(to.clone()),
                );
            }
            let name = rule.host.as_deref().filter(|_| said.joins_www && host.is_some());
            if let Some((other, to)) = name.and_then(|name| nginx::other_name(name, &mut Report::muted(key)))
            {
                push(self, vec![other], PathMatch::Prefix("".into()), Vec::new(), Action::Redirect(to));
            }
            let paths = rule.http.as_ref().map(|http| http.paths.as_slice()).unwrap_or_default();
            for (j, path) in paths.iter().enumerate() {
                let field = format!("{field}.http.paths[{j}]");
                let matched = own::ingress::path(path, settings, &field, &mut Report::muted(key));
                let hosts = named(&host);
                let action = self.ingress_action(key, &path.backend, &format!("{field}.backend"), speaks);
                let ways = match self.canary_of(key, rule, path) {
                    Some(taken) if instead.is_none() => self.shared(action, taken, speaks),
                    _ => vec![(None, action)],
                };
                for (header, action) in ways {
                    push(self, hosts.clone(), matched.clone(), header.into_iter().collect(), action);
                }
            }
            // "A host with no paths": all of its traffic goes to the default backend (HTTPIngressRuleValue).
            if let (true, Some(host), Some(backend)) = (paths.is_empty(), host, &spec.default_backend) {
                let action = self.ingress_action(key, backend, "spec.defaultBackend", speaks);
                push(self, named(&Some(host)), PathMatch::Prefix("".into()), Vec::new(), action);
            }
        }
        if let Some(backend) = &spec.default_backend {
            // It comes after every path of every host, so it has no host. A prefix would come before regular
            // expressions; then it is the shortest of these, which comes last.
            let path = if self.beside.some_regex {
                let anchor = RegexAnchor::Start;
                PathMatch::Regex(RegexPattern { pattern: "".into(), anchor, case_insensitive: false })
            } else {
                PathMatch::Prefix("".into())
            };
            let action = self.ingress_action(key, backend, "spec.defaultBackend", speaks);
            push(self, Vec::new(), path, Vec::new(), action);
        }
    }

    fn owns_ingress(&mut self, key: &ObjectRef, ingress: &Ingress) -> bool {
        self.classes.owns_ingress(ingress, &mut Report::new(key, &mut self.part.diagnostics))
    }

    pub(super) fn ingress_action(
        &mut self,
        key: &ObjectRef,
        backend: &IngressBackend,
        field: &str,
        speaks: Option<&Arc<Speaks>>,
    ) -> Action {
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
                let of = (&*key.namespace, &*service.name);
                match self.service_speaking(of, port, speaks, key, (&field, SHARE_GETS_500)) {
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
            fallback: None,
            is_unlogged: false,
            created_unix_s: created_unix_s(&ingress.metadata),
            tier: settings.tier,
            forwarded_headers: settings.forwarded_headers,
        }
    }
}

/// The hosts of a path by where their requests over HTTP are sent: one record each; no hosts: all.
fn by_redirect(
    hosts: Vec<HostPattern>,
    sent: impl Fn(Option<&HostPattern>) -> Option<Redirect>,
) -> Vec<(Option<Redirect>, Vec<HostPattern>)> {
    if hosts.is_empty() {
        return vec![(sent(None), hosts)];
    }
    let mut records: Vec<(_, Vec<_>)> = Vec::new();
    for host in hosts {
        let to = sent(Some(&host));
        match records.iter_mut().find(|(other, _)| *other == to) {
            Some((_, hosts)) => hosts.push(host),
            None => records.push((to, vec![host])),
        }
    }
    records
}

/// What requests get that no endpoint gets.
fn instead(said: &Instead) -> Action {
    match said {
        Instead::Redirect(redirect) => Action::Redirect(redirect.clone()),
        Instead::Respond(status) => {
            Action::Respond { status: *status, reason: "a snippet of the Ingress says so".into() }
        }
        Instead::Refuse(why) => respond_500(why),
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
