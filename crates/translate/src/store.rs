use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Diagnostic, ObjectRef, Severity, Snapshot};

use crate::objects::Objects;
use crate::{Object, Options, build, own};

/// The objects in force: of each, the last version that was valid.
#[derive(Debug)]
pub struct Store {
    options: Options,
    objects: Objects,
    last: Arc<Snapshot>,
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
        Self { options, objects: Objects::default(), last: Arc::new(Snapshot::default()) }
    }

    /// Takes `object` in, replacing the version in force.
    ///
    /// # Errors
    /// The object on its own is not valid: every reason. The version in force, if any, stays.
    pub fn apply(&mut self, object: Object) -> Result<(), Vec<Diagnostic>> {
        let key = object.key();
        let mut found = own::check(&key, &object);
        if found.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            let outcome = if self.contains(&key) {
                "the version before it stays in force"
            } else {
                "nothing of it is served"
            };
            for diagnostic in &mut found {
                diagnostic.message = format!("{}; {outcome}", diagnostic.message);
            }
            return Err(found);
        }
        self.objects.insert(key, object);
        Ok(())
    }

    /// Takes an object out; says whether it was there.
    pub fn remove(&mut self, key: &ObjectRef) -> bool {
        self.objects.remove(key)
    }

    /// Whether a version of this object is in force.
    pub fn contains(&self, key: &ObjectRef) -> bool {
        self.objects.contains(key)
    }

    /// Builds the snapshot of the objects in force.
    ///
    /// Records that did not change are shared with the snapshot before; if nothing did, it is that one.
    pub fn build(&mut self) -> Built {
        let records = build::build(&self.objects, &self.options);
        let last = &*self.last;
        let last_routes: BTreeMap<_, _> = last.routes.iter().map(|route| (&route.id, route)).collect();
        let snapshot = Snapshot::new(
            last.version + 1,
            records.listeners.into_iter().map(|new| shared(last.listeners.get(&new.id), new)),
            records.routes.into_iter().map(|new| shared(last_routes.get(&new.id).copied(), new)),
            records.backends.into_iter().map(|new| shared(last.backends.get(&new.id), new)),
            records.certificates.into_iter().map(|new| shared(last.certificates.get(&new.id), new)),
        );
        if last.version == 0 || !snapshot.serves_the_same_as(last) {
            self.last = Arc::new(snapshot);
        }
        let mut diagnostics = records.diagnostics;
        diagnostics.sort();
        diagnostics.dedup();
        Built { snapshot: Arc::clone(&self.last), diagnostics }
    }
}

fn shared<T: PartialEq>(old: Option<&Arc<T>>, new: T) -> Arc<T> {
    match old {
        Some(old) if **old == new => Arc::clone(old),
        _ => Arc::new(new),
    }
}
