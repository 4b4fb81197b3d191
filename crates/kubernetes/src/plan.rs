//! What is to be written, kept from one plan to the next: a change of one route costs no look at the statuses of all.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use model::{Diagnostic, ObjectKind, ObjectRef, Severity};

use crate::status::is_route;
use crate::writer::Write;

/// The writes that are to be made, as of the last plan, and what has changed since.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Those of routes last: whoever waits for a Gateway should not wait for a thousand routes.
    writes: BTreeMap<(bool, ObjectRef), Arc<Write>>,
    /// Routes whose status may have to be another.
    routes: HashSet<ObjectRef>,
    /// Those of all routes may.
    is_all: bool,
    /// Those of other objects may.
    is_stale: bool,
    /// What was said of the objects.
    said: Vec<Diagnostic>,
}

impl Plan {
    /// Nothing was planned yet.
    pub(crate) fn new() -> Self {
        let (writes, routes, said) = (BTreeMap::new(), HashSet::new(), Vec::new());
        Self { writes, routes, is_all: true, is_stale: true, said }
    }

    /// An object, or its status, is another than before, or gone.
    pub(crate) fn touch(&mut self, object: &ObjectRef) {
        self.is_stale = true;
        if is_route(object.kind) {
            self.routes.insert(object.clone());
        }
    }

    /// The spec of an object is another than before, or it is gone.
    pub(crate) fn respecify(&mut self, object: &ObjectRef) {
        use ObjectKind::{EndpointSlice, Gateway, GatewayClass, ListenerSet};
        match object.kind {
            EndpointSlice => {}
            // What routes attach to.
            Gateway | GatewayClass | ListenerSet => self.touch_all(),
            _ => self.touch(object),
        }
    }

    /// Every status may have to be another.
    pub(crate) fn touch_all(&mut self) {
        (self.is_all, self.is_stale) = (true, true);
        self.routes.clear();
    }

    /// Takes in what is said of the objects now.
    pub(crate) fn say(&mut self, now: &[Diagnostic]) {
        if self.said == now {
            return;
        }
        self.is_stale = true;
        if !self.is_all {
            let (before, after) = (errors(&self.said), errors(now));
            let differs = |object: &&&ObjectRef| before.get(**object) != after.get(**object);
            let objects: HashSet<_> = before.keys().chain(after.keys()).filter(differs).collect();
            self.routes
                .extend(objects.into_iter().filter(|one| is_route(one.kind)).map(|one| (*one).clone()));
        }
        self.said = now.to_vec();
    }

    /// Whether something may have to be written that is not planned.
    pub(crate) fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// Another agent writes: nothing is planned here, and what changes is not kept.
    pub(crate) fn clear(&mut self) {
        self.writes.clear();
        self.touch_all();
    }

    /// What was said of the objects last.
    pub(crate) fn said(&self) -> &[Diagnostic] {
        &self.said
    }

    /// Whether the status of this object has to be looked at.
    pub(crate) fn is_due(&self, object: &ObjectRef) -> bool {
        self.is_all || !is_route(object.kind) || self.routes.contains(object)
    }

    /// Takes in what is to be written of all that is due; what is to be written in all.
    pub(crate) fn update(&mut self, writes: Vec<Write>) -> Vec<Arc<Write>> {
        let (is_all, routes) = (self.is_all, &self.routes);
        self.writes.retain(|(is_route, object), _| *is_route && !is_all && !routes.contains(object));
        let keyed = writes.into_iter().map(|write| {
            let object = write.object().clone();
            ((is_route(object.kind), object), Arc::new(write))
        });
        self.writes.extend(keyed);
        (self.is_all, self.is_stale) = (false, false);
        self.routes.clear();
        self.writes.values().cloned().collect()
    }
}

/// What keeps each object from being served as it is written.
fn errors(said: &[Diagnostic]) -> HashMap<&ObjectRef, Vec<&Diagnostic>> {
    let mut errors: HashMap<_, Vec<_>> = HashMap::new();
    for found in said.iter().filter(|found| found.severity == Severity::Error) {
        if let Some(object) = &found.object {
            errors.entry(object).or_default().push(found);
        }
    }
    errors
}
