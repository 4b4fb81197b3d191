//! From objects to records, object by object.

mod allowed;
mod attach;
mod attached;
mod authorities;
mod backend_policies;
mod backends;
mod canaries;
mod certificates;
mod clients;
mod default_listeners;
mod endpoints;
mod ext_auth;
mod families;
mod frame;
mod grants;
mod http_routes;
mod ingress_annotations;
mod ingress_tls;
mod ingresses;
mod jwt_keys;
mod l4_routes;
mod listener_sets;
mod listeners;
mod namespaces;
mod policies;
mod route_policies;
mod routing_rules;
mod spoken;
mod topology;

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::core::ObjectMeta;
use model::{Backend, BackendId, Diagnostic, L4Route, ListenerId, ObjectKind, ObjectRef, Route};
use resources::core::Ingress;

use crate::Options;
use crate::class::Classes;
use crate::few::Few;
use crate::nginx;
use crate::objects::Objects;
use crate::own;
use crate::own::l4_route::L4Source;
use crate::own::route_policy::Rules;
use crate::report::Report;

pub(crate) use backend_policies::BackendPolicies;
pub(crate) use canaries::affected as affected_by_canaries;
pub(crate) use frame::Frame;
pub(crate) use ingress_tls::Secured;
pub(crate) use policies::Policies;
pub(crate) use route_policies::RoutePolicies;

/// The group of the Gateway API.
const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// What one route of any kind, Ingress or RoutingRule amounts to.
#[derive(Debug)]
pub(crate) struct Part<R = Route> {
    pub(crate) routes: Vec<R>,
    /// Of connections and datagrams.
    pub(crate) l4: Vec<L4Route>,
    /// Its own backend: the literal endpoints of a RoutingRule.
    pub(crate) backend: Option<Backend>,
    /// Listeners that it attaches to and that are not open.
    pub(crate) closed: Few<ListenerId>,
    /// The backends behind Services that it names.
    pub(crate) backends: Few<BackendId>,
    /// The Services, Secrets and ConfigMaps that it looked for, whether they are there or not.
    pub(crate) services: Few<ObjectRef>,
    /// What it says itself of who may pass and how often.
    pub(crate) rules: Option<Box<Rules>>,
    /// What an Ingress brings for HTTPS.
    pub(crate) secured: Option<Box<Secured>>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl<R> Default for Part<R> {
    fn default() -> Self {
        let (routes, l4, backend, diagnostics) = (Vec::new(), Vec::new(), None, Vec::new());
        let (closed, backends, services) = (Few::default(), Few::default(), Few::default());
        let (rules, secured) = (None, None);
        Self { routes, l4, backend, closed, backends, services, rules, secured, diagnostics }
    }
}

/// Builds the part of an object; none if it is not there, or of a kind that makes no routes.
///
/// It follows from the object, the frame, the policies for it, the objects that it names, and what is `beside` it alone.
pub(crate) fn part(
    key: &ObjectRef,
    objects: &Objects,
    options: &Options,
    (frame, policies): (&Frame, &RoutePolicies),
    beside: Beside<'_>,
) -> Option<Part> {
    let classes = Classes::new(objects, options);
    let mut builder = Builder { objects, options, classes, frame, beside, part: Part::default() };
    match key.kind {
        ObjectKind::HttpRoute => builder.http_route(key, objects.http_routes.get(key)?),
        ObjectKind::GrpcRoute => {
            builder.http_route(key, &own::grpc_route::as_http(objects.grpc_routes.get(key)?)?);
        }
        ObjectKind::TcpRoute => builder.l4_route(key, &L4Source::tcp(key, objects.tcp_routes.get(key)?)),
        ObjectKind::TlsRoute => builder.l4_route(key, &L4Source::tls(key, objects.tls_routes.get(key)?)),
        ObjectKind::UdpRoute => builder.l4_route(key, &L4Source::udp(key, objects.udp_routes.get(key)?)),
        ObjectKind::Ingress => builder.ingress(key, objects.ingresses.get(key)?),
        ObjectKind::RoutingRule => builder.routing_rule(key, objects.routing_rules.get(key)?),
        _ => return None,
    }
    let mut part = builder.part;
    // Where all listeners are closed nothing is served; what is wrong with the route is said all the same.
    part.routes.retain(|route| !route.listeners.is_empty());
    part.l4.retain(|route| !route.listeners.is_empty());
    if part.routes.is_empty() && part.l4.is_empty() {
        part.backends = Few::default();
    }
    let names = rule_names(key, objects);
    for (route, i) in part.routes.iter_mut().zip(0..) {
        let name = names.get::<usize>(i).copied().flatten();
        route.policies = policies.of(key, name, &route.listeners, part.rules.as_deref());
        for asked in route.policies.iter().filter_map(|attached| attached.policies.ext_auth.as_ref()) {
            let BackendId { namespace, name, .. } = &asked.backend;
            part.services.insert(ObjectRef::new(ObjectKind::Service, namespace, name));
            part.backends.insert(asked.backend.clone());
        }
    }
    Some(part)
}

/// What the rules of a route are called, one by one.
fn rule_names<'o>(key: &ObjectRef, objects: &'o Objects) -> Vec<Option<&'o str>> {
    match key.kind {
        ObjectKind::HttpRoute => objects.http_routes.get(key).map_or_else(Vec::new, |route| {
            route.spec.rules.iter().flatten().map(|rule| rule.name.as_deref()).collect()
        }),
        ObjectKind::GrpcRoute => objects.grpc_routes.get(key).map_or_else(Vec::new, |route| {
            route.spec.rules.iter().flatten().map(|rule| rule.name.as_deref()).collect()
        }),
        _ => Vec::new(),
    }
}

/// Builds the backend behind a port of a Service, and says what is to be said of it. It follows from the Service, its
/// slices and the policies for it alone.
pub(crate) fn backend(
    id: &BackendId,
    objects: &Objects,
    policies: (&Policies, &BackendPolicies),
    options: &Options,
) -> (Option<Arc<Backend>>, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let backend = backends::backend(id, objects, policies, options, &mut diagnostics);
    (backend.map(Arc::new), diagnostics)
}

/// Whether an Ingress of ours matches paths of every host by regular expressions: then default backends come after those.
pub(crate) fn is_regex_for_all_hosts(key: &ObjectRef, objects: &Objects, options: &Options) -> bool {
    let classes = Classes::new(objects, options);
    let ingress = objects.ingresses.get(key);
    ingress.is_some_and(|ingress| ingresses::is_regex_for_all_hosts(&classes, key, ingress))
}

/// Whether an Ingress of ours asks for HTTPS.
pub(crate) fn wants_https(key: &ObjectRef, objects: &Objects, options: &Options) -> bool {
    let asks = |ingress: &&Arc<Ingress>| {
        !nginx::is_canary(&ingress.metadata) && ingress.spec.as_ref().is_some_and(ingress_tls::has_tls)
    };
    let classes = Classes::new(objects, options);
    let ingress = objects.ingresses.get(key).filter(asks);
    ingress.is_some_and(|ingress| classes.owns_ingress(ingress, &mut Report::muted(key)))
}

/// Whether an Ingress is a canary.
pub(crate) fn is_canary(key: &ObjectRef, objects: &Objects) -> bool {
    objects.ingresses.get(key).is_some_and(|ingress| nginx::is_canary(&ingress.metadata))
}

/// One object while it is built.
struct Builder<'a> {
    objects: &'a Objects,
    options: &'a Options,
    classes: Classes<'a>,
    frame: &'a Frame,
    beside: Beside<'a>,
    part: Part,
}

/// What else Ingresses follow from than what they say themselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beside<'a> {
    /// Whether some Ingress is one of [`is_regex_for_all_hosts`].
    pub(crate) some_regex: bool,
    /// Ingresses that are canaries, of any class. A part follows from those of its namespace, and theirs from all Ingresses of it.
    pub(crate) canaries: &'a BTreeSet<ObjectRef>,
}

impl Builder<'_> {
    fn report<'r>(&'r mut self, object: &'r ObjectRef) -> Report<'r> {
        Report::new(object, &mut self.part.diagnostics)
    }
}

/// When an object was made, in seconds since 1970.
fn created_unix_s(meta: &ObjectMeta) -> Option<i64> {
    meta.creation_timestamp.as_ref().map(|time| time.0.as_second())
}
