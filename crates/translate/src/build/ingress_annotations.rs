//! What annotations of ingress-nginx say, put into the records of an Ingress.

use std::sync::Arc;
use std::time::Duration;

use kube::core::ObjectMeta;
use model::{
    Action, BackendId, BackendTarget, CaptureRewrite, ExtAuth, ExtAuthProtocol, Fallback, HeaderLine, Mirror,
    ObjectKind, ObjectRef, PathMatch, PathRewrite, Reason, Route, Session, SessionCarrier, Subrequest,
    UrlPiece, UrlRewrite,
};
use resources::core::{ConfigMap, ServicePort};

use super::Builder;
use super::backends::PortRef;
use super::route_policies::annotated_users;
use crate::annotations::Settings;
use crate::nginx::{self, AuthRequest, Copied, NO_COPIES, Nginx};
use crate::own::route_policy::{Rules, Said};
use crate::pattern;

/// How long a service may take: `proxy_read_timeout` of nginx, default.
const AUTH_TIMEOUT: Duration = Duration::from_secs(60);

/// What annotations name that is part of every record of an Ingress.
pub(super) struct Named {
    /// Headers of responses.
    custom: Vec<HeaderLine>,
    /// Who gets copies.
    mirror: Option<Mirror>,
    /// Who answers where endpoints do not.
    substitute: Option<BackendId>,
}

impl Builder<'_> {
    /// What annotations name, looked up.
    pub(super) fn named(&mut self, key: &ObjectRef, said: &Nginx) -> Named {
        Named {
            custom: self.custom_headers(key, said),
            mirror: said.copied.as_ref().and_then(|copied| self.mirror(key, copied)),
            substitute: said.substitute.as_ref().and_then(|said| self.substitute(key, &said.service)),
        }
    }

    /// None: who should get copies cannot, which is reported.
    fn mirror(&mut self, key: &ObjectRef, copied: &Copied) -> Option<Mirror> {
        let Copied { namespace, service, port, form } = copied;
        let field = nginx::field("mirror-target");
        self.permitted(key, namespace, service, (&field, NO_COPIES)).ok()?;
        let port = PortRef::Number(i32::from(*port));
        let backend = self.service_backend(namespace, service, port, key, (&field, NO_COPIES)).ok()?;
        Some(Mirror { backend, numerator: 1, denominator: 1, form: Some(Box::new(form.clone())) })
    }

    /// The first port of the Service that `default-backend` names; none: there is none, which is reported.
    fn substitute(&mut self, key: &ObjectRef, service: &str) -> Option<BackendId> {
        let found = self.objects.services.get(&ObjectRef::new(ObjectKind::Service, &key.namespace, service));
        let ports = found.and_then(|found| found.spec.as_ref()?.ports.as_deref()).unwrap_or_default();
        let is_tcp = |port: &&ServicePort| port.protocol.as_deref().unwrap_or("TCP") == "TCP";
        let port = PortRef::Number(ports.iter().find(is_tcp).map_or(0, |port| port.port));
        let field = nginx::field("default-backend");
        let outcome = "errors stay as they are";
        self.service_backend(&key.namespace, service, port, key, (&field, outcome)).ok()
    }

    /// Who may pass, and how often.
    pub(super) fn annotated_rules(&mut self, key: &ObjectRef, said: &Nginx) -> Option<Rules> {
        let objects = self.objects;
        let basic_auth = said.users.as_ref().map(|users| match users {
            Ok(users) => {
                let (secret, read) = annotated_users(users, key, objects, &mut self.report(key));
                secret.into_iter().for_each(|secret| self.part.services.insert(secret));
                read
            }
            Err(()) => Said::Broken,
        });
        let ext_auth = said.asked.as_ref().map(|asked| match asked {
            Ok(asked) => self.auth_request(key, asked).into(),
            Err(()) => Said::Broken,
        });
        said.has_rules.then(|| Rules { basic_auth, ext_auth, ..said.rules.clone() })
    }

    /// None: who should be asked cannot be, which is reported.
    fn auth_request(&mut self, key: &ObjectRef, asked: &AuthRequest) -> Option<ExtAuth> {
        let AuthRequest { namespace, service, port, said, headers } = asked;
        let headers = headers.as_ref().map(|map| self.headers_for_service(key, map));
        let field = nginx::field("auth-url");
        let outcome = "the Ingress answers 500";
        self.permitted(key, namespace, service, (&field, outcome)).ok()?;
        let port = PortRef::Number(i32::from(*port));
        let backend = self.service_backend(namespace, service, port, key, (&field, outcome)).ok()?;
        let said = Subrequest { headers: headers.unwrap_or_else(|| Some(Vec::new()))?, ..said.clone() };
        Some(ExtAuth {
            backend,
            protocol: ExtAuthProtocol::Subrequest(Arc::new(said)),
            headers_to_ext_auth: Vec::new(),
            fails_open: false,
            timeout: AUTH_TIMEOUT,
            // nginx: an error of the subrequest is one of the request.
            status_on_error: 500,
        })
    }

    /// What the service gets beside the headers of requests; none: something that cannot be, which is reported.
    fn headers_for_service(&mut self, key: &ObjectRef, map: &str) -> Option<Vec<(Arc<str>, Vec<UrlPiece>)>> {
        let (annotation, outcome) = ("auth-proxy-set-headers", "so the Ingress answers 500");
        let found = self.annotated_map(key, map, annotation, outcome)?;
        let mut report = self.report(key);
        let mut told =
            |problem| report.invalid(nginx::field(annotation), format!("{map} {problem}, {outcome}"));
        nginx::check_headers(found.data.iter().flatten().count()).map_err(&mut told).ok()?;
        let lines = found.data.iter().flatten();
        let read = lines.map(|(name, value)| nginx::own_header(name, value).map_err(&mut told).ok());
        read.collect::<Vec<_>>().into_iter().collect()
    }

    /// The ConfigMap that an annotation names. Where it is looked for, so is its coming and going.
    fn annotated_map(
        &mut self,
        key: &ObjectRef,
        name: &str,
        annotation: &str,
        outcome: &str,
    ) -> Option<Arc<ConfigMap>> {
        let (namespace, name) = name.split_once('/').unwrap_or((&key.namespace, name));
        let map = ObjectRef::new(ObjectKind::ConfigMap, namespace, name);
        let field = nginx::field(annotation);
        if namespace != &*key.namespace {
            let message = format!("{map} is in another namespace, {outcome}: copy it into {}", key.namespace);
            self.report(key).error(Reason::RefNotPermitted, field, message);
            return None;
        }
        if !pattern::is_object_name(name) {
            self.report(key).invalid(field, format!("{name:?} is no name of a ConfigMap, {outcome}"));
            return None;
        }
        self.part.services.insert(map.clone());
        let found = self.objects.config_maps.get(&map).cloned();
        if found.is_none() {
            let message = format!("there is no {map}, {outcome}: add it");
            self.report(key).error(Reason::TargetNotFound, field, message);
        }
        found
    }

    /// The headers of `custom-headers`.
    fn custom_headers(&mut self, key: &ObjectRef, said: &Nginx) -> Vec<HeaderLine> {
        let Some(name) = &said.custom_headers else { return Vec::new() };
        let found = self.annotated_map(key, name, "custom-headers", "so no header is set");
        let Some(found) = found else { return Vec::new() };
        let mut report = self.report(key);
        let lines = found.data.iter().flatten();
        lines.filter_map(|(name, value)| nginx::custom_header(name, value, &mut report)).collect()
    }
}

impl Nginx {
    /// Settings with what annotations of ingress-nginx say where those of RAUTA say nothing.
    pub(super) fn over(&self, settings: Settings, meta: &ObjectMeta) -> Settings {
        let is_said = meta.annotations.iter().flatten().any(|(name, _)| name == "rauta.io/affinity");
        Settings { affinity: self.affinity.filter(|_| !is_said).unwrap_or(settings.affinity), ..settings }
    }

    /// A record with what annotations say of it.
    pub(super) fn on(&self, mut route: Route, named: &Named, is_balanced: bool) -> Route {
        route.is_unlogged = self.is_unlogged;
        if !matches!(route.action, Action::Forward(_)) {
            return route;
        }
        route.filters = self.filters.clone();
        route.filters.response_headers.set.extend(named.custom.iter().cloned());
        route.filters.mirrors.extend(named.mirror.clone());
        route.fallback = self.fallback(&route, named).map(Box::new);
        let path = route.matches.first().map(|one| one.path.clone());
        if let Some(target) = &self.target {
            match &path {
                Some(PathMatch::Regex(pattern)) if target.contains('$') => {
                    let (pattern, replacement) = (pattern.clone(), Arc::clone(target));
                    route.filters.captures = Some(CaptureRewrite { pattern, replacement });
                }
                _ => {
                    let rewrite =
                        route.filters.url_rewrite.get_or_insert(UrlRewrite { hostname: None, path: None });
                    rewrite.path = Some(PathRewrite::Full(Arc::clone(target)));
                }
            }
        }
        if let Some(balancing) = self.balancing.filter(|_| !is_balanced) {
            route.balancing = balancing;
        }
        route.retry = self.retry.clone();
        route.timeouts = self.timeouts;
        route.session = self.session.as_ref().map(|cookie| {
            let of_route = match &path {
                Some(PathMatch::Exact(path) | PathMatch::Prefix(path))
                    if !path.is_empty() && !path.contains(';') =>
                {
                    Arc::clone(path)
                }
                _ => "/".into(),
            };
            let carrier = SessionCarrier::Cookie {
                path: cookie.path.clone().unwrap_or(of_route),
                is_permanent: cookie.lifetime.is_some(),
                attributes: cookie.attributes.clone(),
            };
            let scope = session_scope(&route).into();
            Session { name: cookie.name.clone(), scope, carrier, absolute: cookie.lifetime, idle: None }
        });
        route
    }
}

impl Nginx {
    /// Who answers where endpoints of a record do not, and what it is told of it.
    fn fallback(&self, route: &Route, named: &Named) -> Option<Fallback> {
        let (said, backend) = (self.substitute.as_ref()?, named.substitute.clone()?);
        let Action::Forward(references) = &route.action else { return None };
        let service = references.iter().find_map(|reference| match &reference.target {
            BackendTarget::Backend(id) => Some(id),
            BackendTarget::Invalid(_) => None,
        });
        let line = |name: &str, value: &str| HeaderLine { name: name.into(), value: value.into() };
        let object = &route.id.object;
        let of_ingress = [("X-Namespace", &*object.namespace), ("X-Ingress-Name", &*object.name)];
        // Without a Service clients must not be able to name one.
        let (name, port) = service.map(|id| (id.name.to_string(), id.port.to_string())).unwrap_or_default();
        let of_service = [("X-Service-Name", &*name), ("X-Service-Port", &*port)];
        let lines = of_ingress.iter().chain(&of_service).map(|(name, value)| line(name, value));
        Some(Fallback {
            backend,
            statuses: said.statuses.clone(),
            keeps_answers: said.keeps_answers,
            lines: lines.collect(),
        })
    }
}

/// Whose sessions they are: those of a path, the same whatever paths stand before it and whichever way a request of it takes.
fn session_scope(route: &Route) -> String {
    let host = route.hosts.first().map(ToString::to_string).unwrap_or_default();
    let (kind, path) = match route.matches.first().map(|one| &one.path) {
        Some(PathMatch::Exact(path)) => ("Exact", &**path),
        Some(PathMatch::Prefix(path)) => ("Prefix", &**path),
        Some(PathMatch::StringPrefix(path)) => ("StringPrefix", &**path),
        Some(PathMatch::Regex(pattern)) => ("Regex", &*pattern.pattern),
        None => ("", ""),
    };
    format!("{} {host} {kind} {path}", route.id.object)
}
