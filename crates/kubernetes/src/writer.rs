//! Writes statuses, one after the other, the latest plan only.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::discriminant;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use kube::core::Request;
use kube::core::params::{ListParams, Patch, PatchParams};
use model::{ObjectKind, ObjectRef};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::event::{Event, News};
use crate::pauses::Pauses;
use crate::scope::{Scope, plural};
use crate::source::at;
use crate::trouble::{code, is_terminating, words};

/// As what the gateway writes: `managedFields` name it.
pub(crate) const MANAGER: &str = "rauta";
/// An answer that takes longer is none.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long to wait before a kind is written again of which one failed.
const RETRY: Duration = Duration::from_secs(2);
/// The same where it may not be written, or cannot: somebody has to change that.
const REFUSED_RETRY: Duration = Duration::from_secs(30);

/// One status to write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) object: ObjectRef,
    /// The version of the object that this follows from: any other is not touched.
    pub(crate) version: String,
    pub(crate) status: Value,
}

/// One thing to write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Write {
    Status(Change),
    /// A whole object of ours, by server-side apply.
    Object(ObjectRef, Value),
}

impl Write {
    pub(crate) fn object(&self) -> &ObjectRef {
        match self {
            Self::Status(change) => &change.object,
            Self::Object(object, _) => object,
        }
    }

    /// What tells this from what was written before.
    fn mark(&self) -> Mark {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::Status(Change { version, status, .. }) => {
                hash_untimed(status, &mut hasher);
                Mark { over: version.clone(), hash: hasher.finish() }
            }
            Self::Object(_, value) => {
                value.hash(&mut hasher);
                Mark { over: String::new(), hash: hasher.finish() }
            }
        }
    }

    /// What must be allowed for it.
    fn right(&self) -> String {
        match self {
            Self::Status(change) => format!("patch of {}/status", plural(change.object.kind)),
            Self::Object(object, _) => format!("create and patch of {}", plural(object.kind)),
        }
    }

    fn request(&self) -> Result<http::Request<Vec<u8>>, kube::core::request::Error> {
        let manager = Some(MANAGER.to_owned());
        let request = Request::new(Scope::One(self.object().clone()).path());
        let name = &self.object().name;
        match self {
            Self::Status(Change { version, status, .. }) => {
                let patch = json!({"metadata": {"resourceVersion": version}, "status": status});
                let parameters = PatchParams { field_manager: manager, ..PatchParams::default() };
                request.patch_subresource("status", name, &parameters, &Patch::Merge(patch))
            }
            Self::Object(_, value) => {
                let parameters =
                    PatchParams { field_manager: manager, force: true, ..PatchParams::default() };
                request.patch(name, &parameters, &Patch::Apply(value))
            }
        }
    }
}

/// What was written, and over which version. The version alone does not tell: an API server that keeps nothing of what it is given, as a field
/// that its definitions lack, keeps the version, too, and one that refuses a status does.
#[derive(Debug, PartialEq)]
struct Mark {
    over: String,
    hash: u64,
}

/// Hashes a status but for the times of its conditions: each plan has others until one is written.
fn hash_untimed(value: &Value, hasher: &mut DefaultHasher) {
    discriminant(value).hash(hasher);
    match value {
        Value::Array(items) => {
            items.len().hash(hasher);
            items.iter().for_each(|item| hash_untimed(item, hasher));
        }
        Value::Object(fields) => {
            fields.len().hash(hasher);
            for (name, value) in fields.iter().filter(|(name, _)| *name != "lastTransitionTime") {
                name.hash(hasher);
                hash_untimed(value, hasher);
            }
        }
        plain => plain.hash(hasher),
    }
}

impl std::fmt::Display for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(change) => write!(f, "the status of {}", change.object),
            Self::Object(object, _) => object.fmt(f),
        }
    }
}

/// Writes what the latest plan says and is not written yet, for ever. What the API server answers goes to `events`, since
/// it may be there before the watch.
pub(crate) async fn write(
    client: Client,
    mut plans: watch::Receiver<Vec<Arc<Write>>>,
    events: mpsc::Sender<Event>,
) {
    let (done, pauses, said) = (HashMap::new(), Pauses::default(), BTreeSet::new());
    let mut writer = Writer { client, events, done, pauses, said };
    let mut due = None;
    loop {
        let is_alive = tokio::select! {
            changed = plans.changed() => changed.is_ok(),
            () = at(due) => true,
        };
        if !is_alive {
            return;
        }
        let plan = plans.borrow_and_update().clone();
        let planned: HashSet<_> = plan.iter().map(|write| write.object()).collect();
        writer.done.retain(|object, _| planned.contains(object));
        writer.pauses.retain(|object| planned.contains(object));
        due = None;
        for write in writer.pauses.order(&plan, |write| write.object()) {
            let again = writer.put(write).await;
            due = due.into_iter().chain(again).min();
            if plans.has_changed().unwrap_or(false) {
                break;
            }
        }
    }
}

struct Writer {
    client: Client,
    events: mpsc::Sender<Event>,
    /// Of objects in the plan what was written last.
    done: HashMap<ObjectRef, Mark>,
    pauses: Pauses,
    /// What was complained of: a kind, and the code of the answer (0: there was none).
    said: BTreeSet<(ObjectKind, u16)>,
}

impl Writer {
    /// Writes one thing; when it is to be tried again, if it is.
    async fn put(&mut self, write: &Write) -> Option<Instant> {
        let (object, mark) = (write.object(), write.mark());
        if self.done.get(object) == Some(&mark) {
            return None;
        }
        let paused = self.pauses.until(object.kind, Instant::now());
        if paused.is_some() {
            return paused;
        }
        match self.answer(write.request()).await {
            Ok(value) => {
                tracing::debug!("written: {write}");
                self.pauses.succeed(object);
                self.done.insert(object.clone(), mark);
                if let Write::Status(Change { version, .. }) = write {
                    let (scope, heard) = (Scope::All(object.kind), Instant::now());
                    let news = News::Written { over: version.clone(), object: value };
                    // Fails only when everything ends.
                    let _ = self.events.send(Event { scope, heard, news }).await;
                }
                None
            }
            // It has changed meanwhile, or goes with its namespace; its watch says so, and another plan follows.
            Err(kube::Error::Api(status)) if status.code == 409 || is_terminating(&status) => None,
            Err(kube::Error::Api(status)) if status.code == 404 => self.miss(write).await,
            // Not like this, however often.
            Err(kube::Error::Api(status)) if status.code == 422 => {
                tracing::warn!("cannot write {write}: {}", status.message);
                self.done.insert(object.clone(), mark);
                None
            }
            Err(error) => Some(self.fail(write, &error)),
        }
    }

    /// Nothing is there to be written; when it is to be tried again, if it is.
    async fn miss(&mut self, write: &Write) -> Option<Instant> {
        let Write::Status(Change { object, version, .. }) = write else { return None };
        // By a list, as everything is read: to get it takes another right.
        let by_name = ListParams::default().fields(&format!("metadata.name={}", object.name));
        let there = Request::new(Scope::One(object.clone()).path()).list(&by_name);
        match self.answer(there).await {
            // The object is as it was, so it is its status that cannot be written.
            Ok(found) if found["items"][0]["metadata"]["resourceVersion"] == **version => {
                if self.said.insert((object.kind, 404)) {
                    tracing::warn!(
                        "cannot write {write}: the cluster's definition of {} has no status subresource; it is tried again; install the \
                         definitions of this version of the gateway",
                        object.kind
                    );
                }
                Some(self.pause(object, REFUSED_RETRY))
            }
            // It has changed or gone meanwhile; its watch says so, and another plan follows.
            Ok(_) => None,
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => {
                let why = words(&error);
                if self.said.insert((object.kind, code(&error))) {
                    tracing::warn!(
                        "cannot write {write}: it is not found, and cannot be looked for: {why}; it is tried again"
                    );
                }
                Some(self.pause(object, RETRY))
            }
        }
    }

    /// Something could not be written; when it is to be tried again.
    fn fail(&mut self, write: &Write, error: &kube::Error) -> Instant {
        let (object, code) = (write.object(), code(error));
        if self.said.insert((object.kind, code)) {
            tracing::warn!(
                "cannot write {write}: {}; it is tried again; {} must be allowed",
                words(error),
                write.right()
            );
        }
        self.pause(object, if code == 403 { REFUSED_RETRY } else { RETRY })
    }

    fn pause(&mut self, object: &ObjectRef, time: Duration) -> Instant {
        let until = Instant::now() + time;
        self.pauses.fail(object, until);
        until
    }

    async fn answer(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> kube::Result<Value> {
        let request = request.map_err(kube::Error::BuildRequest)?;
        let late = || kube::Error::Service("no answer in time".into());
        timeout(ANSWER_MAX, self.client.request(request)).await.unwrap_or_else(|_| Err(late()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(version: &str, status: Value) -> Mark {
        let object = ObjectRef::new(ObjectKind::Gateway, "shop", "web");
        Write::Status(Change { object, version: version.to_owned(), status }).mark()
    }

    fn conditions(status: &str, time: &str) -> Value {
        json!({"conditions": [{"type": "Accepted", "status": status, "lastTransitionTime": time}]})
    }

    #[test]
    fn a_status_is_another_over_another_version_or_with_other_content_but_not_at_another_time() {
        let first = mark("1", conditions("True", "2026-01-01T00:00:00Z"));
        assert_eq!(first, mark("1", conditions("True", "2026-01-02T00:00:00Z")));
        assert_ne!(first, mark("2", conditions("True", "2026-01-01T00:00:00Z")));
        assert_ne!(first, mark("1", conditions("False", "2026-01-01T00:00:00Z")));
        assert_ne!(mark("1", json!({"a": []})), mark("1", json!({"a": {}})));
        assert_ne!(mark("1", json!({"a": [["b"], "c"]})), mark("1", json!({"a": [["b", "c"]]})));
    }
}
