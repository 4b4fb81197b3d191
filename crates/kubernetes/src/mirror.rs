//! What is known of the API server's objects, and what it amounts to; no I/O.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use addresses::{Announced, Claim};
use model::{Diagnostic, ObjectKind, ObjectRef, Reason, Snapshot};
use resources::strict::{FieldError, Problem};
use serde_json::{Value, json};
use translate::{Object, Options, Store};

use crate::addressing::Addressing;
use crate::bundle::Bundle;
use crate::event::{Event, News};
use crate::plan::Plan;
use crate::recorder::Saying;
use crate::scope::Scope;
use crate::status::{self, Facts, Ingresses, Wanted};
use crate::trouble::{self, Trouble};
use crate::writer::{Change, MANAGER, Write};
use crate::{AddressMode, IngressReach};

/// The objects as they were heard of last.
#[derive(Debug)]
pub(crate) struct Mirror {
    url: String,
    store: Store,
    /// The objects of each scope.
    known: BTreeMap<Scope, BTreeSet<ObjectRef>>,
    /// Of each object the version that was last offered to the store: changes of status or of who manages what are none.
    offered: HashMap<ObjectRef, Value>,
    /// Of each object that has a status of the gateway's.
    current: HashMap<ObjectRef, Current>,
    /// What is to be written.
    plan: Plan,
    /// What the objects amounted to last.
    snapshot: Arc<Snapshot>,
    /// GatewayClasses with this `controllerName` are ours.
    controller: String,
    addressing: Addressing,
    ingresses: IngressReach,
    /// The release of the Gateway API that is installed.
    bundle: Bundle,
    /// The node that this agent runs on, if it knows.
    node: Option<Scope>,
    /// What is to be said of objects on their own.
    said: BTreeMap<ObjectRef, Vec<Diagnostic>>,
    /// Scopes that cannot be read.
    troubles: BTreeMap<Scope, Trouble>,
}

/// An object as far as its status goes.
#[derive(Debug, PartialEq)]
struct Current {
    version: String,
    /// As text, a fifth of what it takes as a value: of most objects nobody asks for it for a long time.
    status: Box<str>,
    /// Of an Ingress: whether the addresses in there are this gateway's.
    is_written: bool,
}

impl Current {
    fn status(&self) -> Value {
        serde_json::from_str(&self.status).unwrap_or_default()
    }
}

/// What the objects amount to.
#[derive(Debug)]
pub(crate) struct Amount {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) objects: usize,
    /// The single objects that have to be watched.
    pub(crate) wanted: BTreeSet<ObjectRef>,
}

impl Mirror {
    /// Knows nothing yet of the API server at `url`.
    pub(crate) fn new(url: String, options: Options, mode: AddressMode, ingresses: IngressReach) -> Self {
        let addressing = Addressing::new(mode);
        Self {
            url,
            controller: options.controller_name.clone(),
            node: options.place.node.as_deref().map(|name| Scope::OwnNode(name.into())),
            store: Store::new(Options { assigns_addresses: addressing.assigns(), ..options }),
            addressing,
            ingresses,
            bundle: Bundle::default(),
            current: HashMap::new(),
            plan: Plan::new(),
            snapshot: Arc::default(),
            known: BTreeMap::new(),
            offered: HashMap::new(),
            said: BTreeMap::new(),
            troubles: BTreeMap::new(),
        }
    }

    /// What every agent has to watch.
    pub(crate) fn standing(&self) -> impl Iterator<Item = Scope> + use<> {
        Scope::standing().chain(self.node.clone())
    }

    /// What has to be watched by the agent that writes.
    pub(crate) fn leading(&self) -> Vec<Scope> {
        let mut scopes = self.addressing.scopes();
        scopes.push(Scope::Definition);
        scopes
    }

    /// Takes in what nodes announce.
    pub(crate) fn take_announced(&mut self, announced: Announced) {
        if self.addressing.take_announced(announced) {
            self.plan.touch_all();
        }
    }

    /// Takes in what was heard.
    pub(crate) fn take(&mut self, event: Event) {
        let Event { scope, mut news, .. } = event;
        let Some(kind) = scope.kind() else {
            let is_new = match scope {
                Scope::Definition => self.bundle.take(&news),
                Scope::OwnNode(_) => {
                    if let Some(node) = news.of_one() {
                        self.store.set_zone(node.and_then(zone));
                    }
                    // Whoever writes, statuses are the same.
                    false
                }
                _ => self.addressing.take(&scope, &news),
            };
            if is_new {
                self.plan.touch_all();
            }
            // There is nothing of it to be served.
            if let News::Listed(objects) = &mut news {
                objects.clear();
                self.known.insert(scope.clone(), BTreeSet::new());
            }
            return self.take_trouble(scope, news);
        };
        match news {
            News::Listed(objects) => {
                let before = self.known.remove(&scope).unwrap_or_default();
                let now: BTreeSet<_> = objects.into_iter().filter_map(|one| self.apply(kind, one)).collect();
                for gone in before.difference(&now) {
                    self.remove(gone);
                }
                self.known.insert(scope, now);
            }
            News::Applied(object) => {
                if let Some(key) = self.apply(kind, object) {
                    self.known.entry(scope).or_default().insert(key);
                }
            }
            News::Written { over, object } => {
                // Unless the watch was faster: then this may be older than what is known.
                let key = key(kind, &object);
                let known = key.and_then(|key| self.current.get(&key));
                if known.is_some_and(|known| known.version == over) {
                    self.apply(kind, object);
                }
            }
            News::Deleted(object) => {
                if let Some(key) = key(kind, &object) {
                    self.remove(&key);
                    self.known.entry(scope).or_default().remove(&key);
                }
            }
            News::Failed(ref trouble) => {
                // A kind that is gone has no objects any more; one that may not be read, or whose server is silent, may.
                if trouble.is_deleted(&scope) {
                    for gone in self.known.remove(&scope).unwrap_or_default() {
                        self.remove(&gone);
                    }
                }
                self.take_trouble(scope, news);
            }
            News::Resumed => self.take_trouble(scope, news),
        }
    }

    fn take_trouble(&mut self, scope: Scope, news: News) {
        match news {
            News::Failed(trouble) => drop(self.troubles.insert(scope, trouble)),
            News::Resumed => drop(self.troubles.remove(&scope)),
            _ => {}
        }
    }

    /// Forgets a scope that is no longer watched.
    pub(crate) fn forget(&mut self, scope: &Scope) {
        self.troubles.remove(scope);
        if matches!(scope, Scope::Nodes | Scope::Pods(_)) {
            self.addressing.forget(scope);
        }
        for gone in self.known.remove(scope).unwrap_or_default() {
            self.remove(&gone);
        }
    }

    /// Whether it is known of a scope what there is, or that it cannot be read.
    pub(crate) fn is_settled(&self, scope: &Scope) -> bool {
        let has_read = !self.known.is_empty();
        let trouble = self.troubles.get(scope);
        self.known.contains_key(scope) || trouble.is_some_and(|trouble| trouble.is_settled(scope, has_read))
    }

    /// The first of what cannot be read.
    pub(crate) fn worst(&self) -> Option<Diagnostic> {
        trouble::diagnostics(&self.troubles, &self.url).into_iter().max_by_key(|found| found.severity)
    }

    /// Builds what the objects amount to.
    pub(crate) fn build(&mut self) -> Amount {
        if self.plan.is_stale() && self.addressing.assigns() {
            for (gateway, addresses) in self.addressing.listen(&self.claims()) {
                self.store.assign(&gateway, addresses);
            }
        }
        let built = self.store.build();
        let mut diagnostics = trouble::diagnostics(&self.troubles, &self.url);
        diagnostics.extend(self.said.values().flatten().cloned());
        diagnostics.extend(built.diagnostics);
        self.plan.say(&diagnostics);
        self.snapshot = Arc::clone(&built.snapshot);
        Amount {
            snapshot: built.snapshot,
            diagnostics,
            objects: self.known.values().map(BTreeSet::len).sum(),
            wanted: self.store.looked_for(),
        }
    }

    /// Whether statuses may have to be others than planned.
    pub(crate) fn is_stale(&self) -> bool {
        self.plan.is_stale()
    }

    /// Lets everything be planned anew.
    pub(crate) fn touch_all(&mut self) {
        self.plan.touch_all();
    }

    /// The statuses, and the objects of ours, that should be others than they are, by what [`Mirror::build`] built last.
    /// `now`: RFC 3339.
    pub(crate) fn plan(&mut self, now: &str) -> Vec<Arc<Write>> {
        let claims = self.claims();
        let is_programmed =
            |key: &ObjectRef| self.current.get(key).is_some_and(|one| status::is_programmed(&one.status()));
        let reach = self.addressing.reach(claims, &is_programmed);
        let said = (&*self.snapshot, self.plan.said());
        let written = self.current.iter().filter(|(_, one)| one.is_written).map(|(key, _)| key);
        let ingresses = Ingresses {
            ours: self.store.own_ingresses().collect(),
            written: written.collect(),
            listeners: self.store.default_listeners(),
            reach: &self.ingresses,
            entries: OnceCell::new(),
        };
        let closed = self.store.attached_to_closed();
        let class = (self.controller.as_str(), self.bundle.support());
        let facts = Facts::new(&self.offered, said, closed, class, (&reach, ingresses));
        let change = |wanted: Wanted| {
            let current = self.current.get(&wanted.object)?;
            let status = status::merged(&current.status(), &wanted.status, &self.controller, now)?;
            Some(Write::Status(Change { object: wanted.object, version: current.version.clone(), status }))
        };
        let services = status::services(&facts).into_iter().map(|(key, value)| Write::Object(key, value));
        let wanted = status::wanted(&facts, |object| self.plan.is_due(object));
        let writes = wanted.into_iter().filter_map(change).chain(services).collect();
        self.plan.update(writes)
    }

    /// What is to be said of Ingresses of ours, which have no conditions: one for each reason.
    pub(crate) fn sayings(&self) -> Vec<Saying> {
        let mut lines: BTreeMap<(&ObjectRef, &'static str), Vec<String>> = BTreeMap::new();
        for found in self.plan.said() {
            let object = found.object.as_ref().filter(|object| object.kind == ObjectKind::Ingress);
            if let Some(object) = object {
                let line = match found.field.as_str() {
                    "" => found.message.clone(),
                    field => format!("{field}: {}", found.message),
                };
                lines.entry((object, found.reason.as_str())).or_default().push(line);
            }
        }
        let of = |((object, reason), lines): ((&ObjectRef, &'static str), Vec<String>)| {
            let ingress = self.offered.get(object)?;
            let uid = ingress["metadata"]["uid"].as_str()?.to_owned();
            let note = lines.join("; ");
            self.owns(ingress).then(|| Saying { object: object.clone(), uid, reason, note })
        };
        lines.into_iter().filter_map(of).collect()
    }

    /// Whether an Ingress is of a class of ours, whatever else it says.
    fn owns(&self, ingress: &Value) -> bool {
        let metadata = &ingress["metadata"];
        let of_class = json!({
            "metadata": {
                "name": metadata["name"], "namespace": metadata["namespace"], "annotations": metadata["annotations"],
            },
            "spec": {"ingressClassName": ingress["spec"]["ingressClassName"]},
        });
        let decoded = Object::decode_known(ObjectKind::Ingress, &of_class);
        decoded.is_ok_and(|(object, _)| self.store.owns(&object))
    }

    /// Another agent writes and gives addresses now.
    pub(crate) fn yield_writing(&mut self) {
        self.addressing.forget_given();
        self.plan.clear();
    }

    /// What our Gateways ask for.
    fn claims(&self) -> Vec<Claim> {
        let of = |(key, gateway): (&ObjectRef, &Value)| {
            let is_it =
                key.kind == ObjectKind::Gateway && status::is_ours(gateway, &self.offered, &self.controller);
            let status = || self.current.get(key).map(Current::status).unwrap_or_default();
            is_it.then(|| status::claim(key, gateway, &status()))
        };
        self.offered.iter().filter_map(of).collect()
    }

    /// Offers an object to the store; its name, if it has one.
    fn apply(&mut self, kind: ObjectKind, mut value: Value) -> Option<ObjectRef> {
        let key = key(kind, &value)?;
        if status::has_status(kind) {
            let version = value["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
            let is_written = kind == ObjectKind::Ingress && status::has_written(&value, MANAGER);
            let now = Current { version, status: value["status"].take().to_string().into(), is_written };
            if self.current.get(&key) != Some(&now) {
                self.plan.touch(&key);
                self.current.insert(key.clone(), now);
            }
        }
        if self.addressing.take_object(&key, Some(&value["status"])) {
            self.plan.touch_all();
        }
        strip(&mut value);
        if self.offered.get(&key) == Some(&value) {
            return Some(key);
        }
        let mut said = Vec::new();
        let decoded = Object::decode_known(kind, &value).and_then(|(object, unknown)| {
            // What is not understood of a RoutePolicy may be what protects.
            match kind == ObjectKind::RoutePolicy && !unknown.is_empty() {
                true => Err(unknown),
                false => Ok((object, unknown)),
            }
        });
        match decoded {
            Ok((object, unknown)) => {
                if !is_of_kubernetes(kind) {
                    said.extend(unknown.iter().map(|error| unknown_field(&key, error)));
                }
                said.extend(self.store.apply(object).err().into_iter().flatten());
            }
            Err(errors) => {
                let outcome = if self.store.contains(&key) {
                    "the version before it stays in force"
                } else {
                    if let Some(object) = Object::stand_in(kind, &value) {
                        // It closes what it is for; that it is not good is said here.
                        let _ = self.store.apply(object);
                    }
                    "nothing of it is served"
                };
                said.extend(errors.iter().map(|error| {
                    let message = format!("{}; {outcome}", error.problem);
                    Diagnostic::error(Reason::InvalidField, &key, &error.path, message)
                }));
            }
        }
        if said.is_empty() {
            self.said.remove(&key);
        } else {
            self.said.insert(key.clone(), said);
        }
        self.plan.respecify(&key);
        // Of what is secret there is one copy, the store's.
        if kind != ObjectKind::Secret {
            self.offered.insert(key.clone(), value);
        }
        Some(key)
    }

    fn remove(&mut self, key: &ObjectRef) {
        if self.addressing.take_object(key, None) {
            self.plan.touch_all();
        }
        self.plan.respecify(key);
        self.current.remove(key);
        self.offered.remove(key);
        self.said.remove(key);
        self.store.remove(key);
    }
}

/// The name of an object of an API server; none: it has none, so it is no object.
fn key(kind: ObjectKind, value: &Value) -> Option<ObjectRef> {
    let text = |name: &str| value["metadata"][name].as_str();
    Some(ObjectRef::new(kind, text("namespace").unwrap_or_default(), text("name")?))
}

/// The zone of a Node.
fn zone(node: &Value) -> Option<String> {
    node["metadata"]["labels"]["topology.kubernetes.io/zone"].as_str().map(str::to_owned)
}

/// Takes out what changes without a change of what is wanted.
fn strip(value: &mut Value) {
    if let Value::Object(object) = value {
        object.remove("status");
        if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
            metadata.remove("managedFields");
            metadata.remove("resourceVersion");
        }
    }
}

/// Whether a kind comes with Kubernetes itself, which may be newer and knows what its fields are for.
fn is_of_kubernetes(kind: ObjectKind) -> bool {
    let version = Object::api_version(kind);
    !version.starts_with("gateway.networking.k8s.io/") && !version.starts_with("rauta.io/")
}

fn unknown_field(key: &ObjectRef, error: &FieldError) -> Diagnostic {
    let message = match &error.problem {
        Problem::Unknown { .. } => {
            "this version of the gateway does not know the field: it has no effect".to_owned()
        }
        Problem::Invalid(text) => text.clone(),
    };
    Diagnostic::warning(Reason::Unsupported, key, &error.path, message)
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
