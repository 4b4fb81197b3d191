//! Which parts of a snapshot are still true: what is kept from one to the next, by the object that it follows from.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use model::{
    Backend, BackendId, Certificate, Diagnostic, L4Route, Listener, ListenerId, ObjectKind, ObjectRef, Route,
    Tls,
};

use crate::Options;
use crate::build::{self, BackendPolicies, Beside, Frame, Part, Policies, RoutePolicies};
use crate::https::Https;
use crate::objects::Objects;
use crate::pattern::is_object_name;

/// The parts of the last snapshot. A part is built again when an object that it follows from has changed, and otherwise
/// taken as it is; nothing is ever patched.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) frame: Frame,
    policies: Policies,
    route_policies: RoutePolicies,
    backend_policies: BackendPolicies,
    routes: BTreeMap<ObjectRef, Part<Arc<Route>>>,
    l4_routes: BTreeMap<ObjectRef, Vec<Arc<L4Route>>>,
    backends: BTreeMap<BackendId, (Option<Arc<Backend>>, Vec<Diagnostic>)>,
    /// The objects whose parts looked for a Service, a Secret or a ConfigMap.
    users: HashMap<ObjectRef, BTreeSet<ObjectRef>>,
    /// How many parts name a backend.
    named: HashMap<BackendId, usize>,
    /// Ingresses that match paths of every host by regular expressions.
    regex_for_all_hosts: BTreeSet<ObjectRef>,
    /// Ingresses that are canaries.
    canaries: BTreeSet<ObjectRef>,
    /// Ingresses of ours that ask for HTTPS.
    wanting_https: BTreeSet<ObjectRef>,
    pub(crate) https: Https,
    /// What says something.
    noisy: BTreeSet<ObjectRef>,
    noisy_backends: BTreeSet<BackendId>,
}

/// What became different.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Routes that are no more, or not like this.
    pub(crate) gone: Vec<Arc<Route>>,
    /// Routes that are new, or like this now.
    pub(crate) new: Vec<Arc<Route>>,
    /// Whether routes of connections or datagrams are others now.
    pub(crate) l4: bool,
    /// Whether Ingresses bring other names or certificates now.
    https: bool,
    /// Backends as they are now.
    pub(crate) backends: BTreeMap<BackendId, Option<Arc<Backend>>>,
}

impl Parts {
    /// Makes the parts those of the objects in force. `changed`: those that came, went or changed since; `moved`: the
    /// Services of slices that did.
    pub(crate) fn update(
        &mut self,
        objects: &Objects,
        options: &Options,
        changed: &BTreeSet<ObjectRef>,
        moved: &BTreeSet<ObjectRef>,
        is_first: bool,
    ) -> Changes {
        let had_regex = !self.regex_for_all_hosts.is_empty();
        let had_canaries = self.canaries.clone();
        let mut frames =
            is_first || changed.iter().any(|key| is_of_frame(key.kind) || self.frame.bundles.contains(key));
        if frames {
            self.regex_for_all_hosts.clear();
            self.canaries.clear();
            self.wanting_https.clear();
        }
        let ingresses: Vec<_> = match frames {
            true => objects.ingresses.keys().collect(),
            false => changed.iter().filter(|key| key.kind == ObjectKind::Ingress).collect(),
        };
        for key in ingresses {
            if build::is_regex_for_all_hosts(key, objects, options) {
                self.regex_for_all_hosts.insert(key.clone());
            } else {
                self.regex_for_all_hosts.remove(key);
            }
            if build::is_canary(key, objects) {
                self.canaries.insert(key.clone());
            } else {
                self.canaries.remove(key);
            }
            if build::wants_https(key, objects, options) {
                self.wanting_https.insert(key.clone());
            } else {
                self.wanting_https.remove(key);
            }
        }
        let wants_https = options.default_certificate.is_some() || !self.wanting_https.is_empty();
        frames |= wants_https != self.frame.wants_https;
        if frames {
            self.frame = Frame::build(objects, options, wants_https);
        }
        let some_regex = !self.regex_for_all_hosts.is_empty();

        let mut affected: BTreeSet<ObjectRef> = changed.clone();
        affected.extend(changed.iter().filter_map(|key| self.users.get(key)).flatten().cloned());
        if frames {
            affected.extend(self.routes.keys().cloned());
            affected.extend(objects.http_routes.keys().cloned());
            affected.extend(objects.grpc_routes.keys().cloned());
            affected.extend(objects.routing_rules.keys().cloned());
            affected.extend(objects.tcp_routes.keys().cloned());
            affected.extend(objects.tls_routes.keys().cloned());
            affected.extend(objects.udp_routes.keys().cloned());
        }
        if frames || some_regex != had_regex {
            affected.extend(objects.ingresses.keys().cloned());
        }
        let namespaces = build::affected_by_canaries(changed, &had_canaries, &self.canaries);
        let beside = objects.ingresses.keys().filter(|key| namespaces.contains(&*key.namespace));
        affected.extend(beside.cloned());
        affected.extend(self.policed(objects, changed, is_first));
        let mut changes = Changes::default();
        let mut asked: BTreeSet<BackendId> = BTreeSet::new();
        for service in changed.iter().filter(|key| key.kind == ObjectKind::Service).chain(moved) {
            asked.extend(self.backends_of(service));
        }
        if changed.iter().any(|key| key.kind == ObjectKind::Secret) {
            let follows = |id: &&BackendId| {
                let tls = id.speaks.as_ref().and_then(|speaks| speaks.tls.as_ref());
                tls.and_then(|tls| tls.secret.as_ref()).is_some_and(|secret| changed.contains(secret))
            };
            asked.extend(self.backends.keys().filter(follows).cloned());
        }
        for key in affected.iter().filter(|key| makes_routes(key.kind)) {
            let beside = Beside { some_regex, canaries: &self.canaries };
            let part = build::part(key, objects, options, (&self.frame, &self.route_policies), beside);
            self.exchange(key, part, &mut changes, &mut asked);
        }
        if changes.https {
            let parts = self.wanting_https.iter().filter_map(|key| Some((key, self.routes.get(key)?)));
            self.https = Https::build(parts.filter_map(|(key, part)| Some((key, part.secured.as_deref()?))));
        }
        if is_first
            || changed.iter().any(|key| is_of_policies(key.kind) || self.policies.bundles.contains(key))
        {
            let before = std::mem::replace(&mut self.policies, Policies::build(objects));
            for service in self.policies.difference(&before) {
                asked.extend(self.backends_of(&service));
            }
        }
        if is_first || changed.iter().any(|key| self.backend_policies.follows_from(key)) {
            let new = BackendPolicies::build(objects, options);
            let before = std::mem::replace(&mut self.backend_policies, new);
            for service in self.backend_policies.difference(&before) {
                asked.extend(self.backends_of(&service));
            }
        }
        for id in asked {
            self.backend(&id, objects, options, &mut changes);
        }
        changes
    }

    /// The listeners that are served; default ones only if a route wants them.
    pub(crate) fn listeners(
        &self,
        is_used: impl Fn(&ListenerId) -> bool,
    ) -> impl Iterator<Item = Cow<'_, Listener>> {
        self.frame.listeners(is_used).map(|listener| match &listener.tls {
            Some(tls) if listener.id.is_default() => {
                let tls = Some(Tls { names: self.https.names.clone(), ..tls.clone() });
                Cow::Owned(Listener { tls, ..listener.clone() })
            }
            _ => Cow::Borrowed(listener),
        })
    }

    /// What they show.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.https.certificates.values().chain(self.frame.certificates.values())
    }

    /// The routes of connections and datagrams, in no order.
    pub(crate) fn l4_routes(&self) -> impl Iterator<Item = &Arc<L4Route>> {
        self.l4_routes.values().flatten()
    }

    /// The ConfigMaps and Secrets that were looked for, whether they are there or not. What no object can be named is never asked for: names
    /// become parts of paths of the API.
    pub(crate) fn looked_for(&self) -> BTreeSet<ObjectRef> {
        let named =
            self.frame.bundles.iter().chain(&self.policies.bundles).chain(self.route_policies.named());
        // Of annotations of Ingresses.
        let named = named.chain(self.users.keys());
        let named = named.filter(|key| matches!(key.kind, ObjectKind::Secret | ObjectKind::ConfigMap));
        named.filter(|key| is_object_name(&key.namespace) && is_object_name(&key.name)).cloned().collect()
    }

    /// The backends behind a Service.
    fn backends_of(&self, service: &ObjectRef) -> Vec<BackendId> {
        let (namespace, name) = (&service.namespace, &service.name);
        let firsts = [BackendId::service(namespace, name, 0), BackendId::udp_service(namespace, name, 0)];
        let of = |first: BackendId| {
            let is_of = |id: &BackendId| {
                id.kind == first.kind && id.namespace == first.namespace && id.name == first.name
            };
            let ids = self.backends.range(&first..).map(|(id, _)| id);
            ids.take_while(|id| is_of(id)).cloned().collect::<Vec<_>>()
        };
        firsts.into_iter().flat_map(of).collect()
    }

    /// All that is to be said, in no order.
    pub(crate) fn diagnostics(&self) -> Vec<Diagnostic> {
        let of_parts = self.noisy.iter().filter_map(|key| self.routes.get(key)).map(|part| &part.diagnostics);
        let of_backends =
            self.noisy_backends.iter().filter_map(|id| self.backends.get(id)).map(|(_, said)| said);
        let all = of_parts
            .chain(of_backends)
            .flatten()
            .chain(&self.frame.diagnostics)
            .chain(&self.https.diagnostics)
            .chain(&self.policies.diagnostics)
            .chain(&self.route_policies.diagnostics)
            .chain(&self.backend_policies.diagnostics);
        all.cloned().collect()
    }

    /// Makes RoutePolicies those of the objects in force: the objects whose routes have others now.
    fn policed(
        &mut self,
        objects: &Objects,
        changed: &BTreeSet<ObjectRef>,
        is_first: bool,
    ) -> BTreeSet<ObjectRef> {
        if !is_first && !changed.iter().any(|key| self.route_policies.follows_from(key)) {
            return BTreeSet::new();
        }
        let before = std::mem::replace(&mut self.route_policies, RoutePolicies::build(objects));
        let mut targets = self.route_policies.difference(&before);
        let gateways: BTreeSet<_> =
            targets.extract_if(.., |target| target.kind == ObjectKind::Gateway).collect();
        let is_on = |route: &Arc<Route>| {
            let of = |id: &model::ListenerId| ObjectRef::new(ObjectKind::Gateway, &id.namespace, &id.gateway);
            route.listeners.iter().any(|id| gateways.contains(&of(id)))
        };
        if !gateways.is_empty() {
            let parts = self.routes.iter().filter(|(_, part)| part.routes.iter().any(is_on));
            targets.extend(parts.map(|(key, _)| key.clone()));
        }
        targets
    }

    /// Puts a part in the place of the one that the object had.
    fn exchange(
        &mut self,
        key: &ObjectRef,
        part: Option<Part>,
        changes: &mut Changes,
        asked: &mut BTreeSet<BackendId>,
    ) {
        let old = self.routes.remove(key).unwrap_or_default();
        let mut new = part.unwrap_or_default();
        changes.l4 |= self.exchange_l4(key, std::mem::take(&mut new.l4));
        for service in old.services.difference(&new.services) {
            if let Some(users) = self.users.get_mut(service) {
                users.remove(key);
                if users.is_empty() {
                    self.users.remove(service);
                }
            }
        }
        for service in new.services.difference(&old.services) {
            self.users.entry(service.clone()).or_default().insert(key.clone());
        }
        for id in old.backends.difference(&new.backends) {
            if let Some(count) = self.named.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    self.named.remove(id);
                }
            }
            asked.insert(id.clone());
        }
        for id in new.backends.difference(&old.backends) {
            *self.named.entry(id.clone()).or_default() += 1;
            asked.insert(id.clone());
        }
        changes.https |= old.secured != new.secured;
        if old.backend != new.backend {
            let of = |part: &Option<Backend>| part.as_ref().map(|backend| backend.id.clone());
            changes.backends.extend(of(&old.backend).map(|id| (id, None)));
            changes
                .backends
                .extend(new.backend.clone().map(|backend| (backend.id.clone(), Some(Arc::new(backend)))));
        }
        // An object's rules are counted from 0: what stays the same stays in its place.
        let mut before = old.routes.into_iter();
        let mut routes = Vec::with_capacity(new.routes.len());
        for route in new.routes {
            match before.next() {
                Some(same) if *same == route => routes.push(same),
                other => {
                    changes.gone.extend(other);
                    let route = Arc::new(route);
                    changes.new.push(Arc::clone(&route));
                    routes.push(route);
                }
            }
        }
        changes.gone.extend(before);
        if new.diagnostics.is_empty() {
            self.noisy.remove(key);
        } else {
            self.noisy.insert(key.clone());
        }
        // Its rules are in its routes by now.
        let Part { l4, backend, closed, backends, services, rules: _, secured, diagnostics, .. } = new;
        let rules = None;
        if !routes.is_empty() || !diagnostics.is_empty() || !services.is_empty() || !closed.is_empty() {
            let part = Part { routes, l4, backend, closed, backends, services, rules, secured, diagnostics };
            self.routes.insert(key.clone(), part);
        }
    }

    /// The listeners that are not open, with the routes that would be served there.
    pub(crate) fn attached_to_closed(&self) -> BTreeMap<&ListenerId, BTreeSet<&ObjectRef>> {
        let mut attached: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (route, part) in &self.routes {
            for listener in part.closed.iter() {
                attached.entry(listener).or_default().insert(route);
            }
        }
        attached
    }

    /// Puts routes of connections or datagrams in the place of those that the object had; says whether they are others.
    fn exchange_l4(&mut self, key: &ObjectRef, new: Vec<L4Route>) -> bool {
        let old = self.l4_routes.remove(key).unwrap_or_default();
        let is_same = old.len() == new.len() && old.iter().zip(&new).all(|(old, new)| **old == *new);
        let routes = if is_same { old } else { new.into_iter().map(Arc::new).collect() };
        if !routes.is_empty() {
            self.l4_routes.insert(key.clone(), routes);
        }
        !is_same
    }

    /// Builds the backend behind a Service anew, if some part names it.
    fn backend(&mut self, id: &BackendId, objects: &Objects, options: &Options, changes: &mut Changes) {
        let old = self.backends.remove(id).and_then(|(backend, _)| backend);
        self.noisy_backends.remove(id);
        if !self.named.contains_key(id) {
            changes.backends.extend(old.map(|_| (id.clone(), None)));
            return;
        }
        let (mut new, said) = build::backend(id, objects, (&self.policies, &self.backend_policies), options);
        if new == old {
            new = old;
        } else {
            changes.backends.insert(id.clone(), new.clone());
        }
        if !said.is_empty() {
            self.noisy_backends.insert(id.clone());
        }
        self.backends.insert(id.clone(), (new, said));
    }
}

/// Whether objects of this kind say what routes attach to.
fn is_of_frame(kind: ObjectKind) -> bool {
    use ObjectKind::{Gateway, GatewayClass, IngressClass, ListenerSet, Namespace, ReferenceGrant};
    matches!(kind, GatewayClass | Gateway | IngressClass | ListenerSet | Namespace | ReferenceGrant)
}

/// Whether objects of this kind are policies for backends, or what those are for.
fn is_of_policies(kind: ObjectKind) -> bool {
    matches!(kind, ObjectKind::BackendTlsPolicy | ObjectKind::Service)
}

fn makes_routes(kind: ObjectKind) -> bool {
    use ObjectKind::{GrpcRoute, HttpRoute, Ingress, RoutingRule, TcpRoute, TlsRoute, UdpRoute};
    matches!(kind, HttpRoute | GrpcRoute | Ingress | RoutingRule | TcpRoute | TlsRoute | UdpRoute)
}
