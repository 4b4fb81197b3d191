use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use model::{Diagnostic, ListenerId, ObjectKind, ObjectRef, Severity, Snapshot};

use crate::class::Classes;
use crate::objects::Objects;
use crate::parts::Parts;
use crate::report::Report;
use crate::{Object, Options, own};

/// The objects in force: of each, the last version that was valid.
#[derive(Debug)]
pub struct Store {
    options: Options,
    objects: Objects,
    parts: Parts,
    /// What came, went or changed since the last snapshot, but for slices.
    changed: BTreeSet<ObjectRef>,
    /// The Services of slices that did.
    moved: BTreeSet<ObjectRef>,
    /// What is to be said of objects in force by themselves.
    warnings: BTreeMap<ObjectRef, Vec<Diagnostic>>,
    last: Arc<Snapshot>,
    /// What was said with it; none: something was applied or removed since.
    said: Option<Vec<Diagnostic>>,
}

/// What the objects in force amount to.
#[derive(Clone, Debug)]
pub struct Built {
    /// What to serve.
    pub snapshot: Arc<Snapshot>,
    /// What is not served as written, or perhaps not as meant, sorted.
    pub diagnostics: Vec<Diagnostic>,
}

impl Store {
    /// An empty store; its first snapshot has version 1.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            objects: Objects::default(),
            parts: Parts::default(),
            changed: BTreeSet::new(),
            moved: BTreeSet::new(),
            warnings: BTreeMap::new(),
            last: Arc::new(Snapshot::default()),
            said: None,
        }
    }

    /// Takes `object` in, replacing the version in force. What is to be said of it that does not keep it out, [`Store::build`] says for as
    /// long as it is in force.
    ///
    /// # Errors
    /// The object on its own is not valid: every reason. The version in force, if any, stays; of a RoutePolicy without one,
    /// this is in force all the same, and closes what it is for.
    pub fn apply(&mut self, object: Object) -> Result<(), Vec<Diagnostic>> {
        self.said = None;
        let key = object.key();
        let mut found = own::check(&key, &object);
        if found.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            // A policy may be what protects a route: without a good version of it the route is closed, not open.
            let closes = key.kind == ObjectKind::RoutePolicy && !self.has_good(&key);
            let outcome = match (closes, self.contains(&key)) {
                (true, _) => None,
                (false, true) => Some("the version before it stays in force"),
                (false, false) => Some("nothing of it is served"),
            };
            if let Some(outcome) = outcome {
                for diagnostic in &mut found {
                    diagnostic.message = format!("{}; {outcome}", diagnostic.message);
                }
            }
            if closes {
                self.put(key, object);
            }
            return Err(found);
        }
        if found.is_empty() {
            self.warnings.remove(&key);
        } else {
            self.warnings.insert(key.clone(), found);
        }
        self.put(key, object);
        Ok(())
    }

    /// Takes an object out; says whether it was there.
    pub fn remove(&mut self, key: &ObjectRef) -> bool {
        self.said = None;
        self.touch(key);
        self.warnings.remove(key);
        self.objects.remove(key)
    }

    /// Gives a Gateway the addresses to listen on, where [`Options::assigns_addresses`]; empty: all, none: it does not listen.
    pub fn assign(&mut self, gateway: &ObjectRef, addresses: Option<Vec<IpAddr>>) {
        if self.objects.assigned.get(gateway) == addresses.as_ref() {
            return;
        }
        self.said = None;
        self.touch(gateway);
        match addresses {
            Some(addresses) => drop(self.objects.assigned.insert(gateway.clone(), addresses)),
            None => drop(self.objects.assigned.remove(gateway)),
        }
    }

    /// Says in which zone the gateway runs; none: in none that is known.
    pub fn set_zone(&mut self, zone: Option<String>) {
        if self.options.place.zone == zone {
            return;
        }
        self.said = None;
        self.options.place.zone = zone;
        self.moved.extend(self.objects.services_with_slices().cloned());
    }

    /// Whether a version of this object is in force.
    pub fn contains(&self, key: &ObjectRef) -> bool {
        self.objects.contains(key)
    }

    /// The ConfigMaps and Secrets that the last [`Store::build`] looked for, whether they are there or not: what objects in
    /// force name and, across namespaces, a ReferenceGrant lets them name. No others are ever needed.
    pub fn looked_for(&self) -> BTreeSet<ObjectRef> {
        self.parts.looked_for()
    }

    /// Whether the class of an Ingress, in force or not, is ours.
    pub fn owns(&self, object: &Object) -> bool {
        let Object::Ingress(ingress) = object else { return false };
        Classes::new(&self.objects, &self.options).owns_ingress(ingress, &mut Report::muted(&object.key()))
    }

    /// The listeners that the last [`Store::build`] found closed, with the routes that would be served there: all of them are attached.
    pub fn attached_to_closed(&self) -> BTreeMap<&ListenerId, BTreeSet<&ObjectRef>> {
        self.parts.attached_to_closed()
    }

    /// The Ingresses in force whose class is ours.
    pub fn own_ingresses(&self) -> impl Iterator<Item = &ObjectRef> {
        let classes = Classes::new(&self.objects, &self.options);
        let is_ours = move |key, ingress| classes.owns_ingress(ingress, &mut Report::muted(key));
        self.objects.ingresses.iter().filter(move |(key, ingress)| is_ours(key, ingress)).map(|(key, _)| key)
    }

    /// The listeners that the last [`Store::build`] found for Ingresses: the default one, or those of Gateways on its port.
    pub fn default_listeners(&self) -> &[ListenerId] {
        self.parts.frame.default_listeners()
    }

    /// Builds the snapshot of the objects in force.
    ///
    /// Records that did not change are shared with the snapshot before; if nothing did, it is that one. The cost follows from
    /// what was applied and removed since, and what refers to it.
    pub fn build(&mut self) -> Built {
        if let Some(said) = &self.said {
            return Built { snapshot: Arc::clone(&self.last), diagnostics: said.clone() };
        }
        let is_first = self.last.version == 0;
        let (changed, moved) = (std::mem::take(&mut self.changed), std::mem::take(&mut self.moved));
        let changes = self.parts.update(&self.objects, &self.options, &changed, &moved, is_first);
        let last = &*self.last;
        let routes = last.routes_with(&changes.gone, changes.new);
        let mut backends = last.backends.clone();
        for (id, backend) in changes.backends {
            match backend {
                Some(backend) => drop(backends.insert(id, backend)),
                None => drop(backends.remove(&id)),
            }
        }
        let default: [_; 2] = [ListenerId::default_http(), ListenerId::default_https()];
        let used = default.map(|id| routes.iter().any(|route| route.listeners.contains(&id)).then_some(id));
        let listeners = self.parts.listeners(|id| used.iter().flatten().any(|used| used == id));
        let listeners = listeners.map(|new| (new.id.clone(), shared(last.listeners.get(&new.id), &new)));
        let certificates = self
            .parts
            .certificates()
            .map(|new| (new.id.clone(), shared(last.certificates.get(&new.id), new)));
        let snapshot = Snapshot {
            version: last.version + 1,
            listeners: listeners.collect(),
            routes,
            l4_routes: if changes.l4 { Vec::new() } else { last.l4_routes.clone() },
            backends,
            certificates: certificates.collect(),
        };
        let snapshot = match changes.l4 {
            true => snapshot.with_l4_routes(self.parts.l4_routes().cloned()),
            false => snapshot,
        };
        if is_first || !snapshot.serves_the_same_as(last) {
            self.last = Arc::new(snapshot);
        }
        let mut diagnostics = self.parts.diagnostics();
        diagnostics.extend(self.warnings.values().flatten().cloned());
        diagnostics.sort();
        diagnostics.dedup();
        self.said = Some(diagnostics.clone());
        Built { snapshot: Arc::clone(&self.last), diagnostics }
    }

    fn put(&mut self, key: ObjectRef, object: Object) {
        self.touch(&key);
        self.objects.insert(key.clone(), object);
        self.touch(&key);
    }

    /// Whether a RoutePolicy is in force that says what can be.
    fn has_good(&self, key: &ObjectRef) -> bool {
        let policy = self.objects.route_policies.get(key);
        let said = policy.map(|policy| own::check(key, &Object::RoutePolicy(Arc::clone(policy))));
        said.is_some_and(|said| said.iter().all(|one| one.severity != Severity::Error))
    }

    fn touch(&mut self, key: &ObjectRef) {
        if key.kind == ObjectKind::EndpointSlice {
            self.moved.extend(self.objects.service_of(key));
        } else {
            self.changed.insert(key.clone());
        }
    }
}

fn shared<T: PartialEq + Clone>(old: Option<&Arc<T>>, new: &T) -> Arc<T> {
    match old {
        Some(old) if **old == *new => Arc::clone(old),
        _ => Arc::new(new.clone()),
    }
}
