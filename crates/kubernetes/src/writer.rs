//! Writes statuses, one after the other, the latest plan only.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use kube::core::Request;
use kube::core::params::{Patch, PatchParams};
use model::ObjectRef;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::event::{Event, News};
use crate::scope::{Scope, plural};
use crate::trouble::words;

/// As what the gateway writes: `managedFields` name it.
pub(crate) const MANAGER: &str = "rauta";
/// An answer that takes longer is none.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long to wait before what failed is written again.
const RETRY: Duration = Duration::from_secs(2);

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
    fn version(&self) -> String {
        match self {
            Self::Status(change) => change.version.clone(),
            Self::Object(_, value) => value.to_string(),
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
    let mut writer = Writer { client, events, done: HashMap::new(), said: BTreeSet::new() };
    let mut is_complete = true;
    loop {
        let is_alive = match is_complete {
            true => plans.changed().await.is_ok(),
            false => !matches!(timeout(RETRY, plans.changed()).await, Ok(Err(_))),
        };
        if !is_alive {
            return;
        }
        let plan = plans.borrow_and_update().clone();
        let planned: HashSet<_> = plan.iter().map(|write| write.object()).collect();
        writer.done.retain(|object, _| planned.contains(object));
        is_complete = true;
        for write in &plan {
            is_complete &= writer.put(write).await;
            if plans.has_changed().unwrap_or(false) {
                break;
            }
        }
    }
}

struct Writer {
    client: Client,
    events: mpsc::Sender<Event>,
    /// Of objects in the plan the version that was written over.
    done: HashMap<ObjectRef, String>,
    /// What was complained of.
    said: BTreeSet<String>,
}

impl Writer {
    /// Writes one thing; false: it is to be tried again.
    async fn put(&mut self, write: &Write) -> bool {
        let (object, version) = (write.object(), write.version());
        if self.done.get(object) == Some(&version) {
            return true;
        }
        let Ok(request) = write.request() else { return true };
        let outcome = match timeout(ANSWER_MAX, self.client.request::<Value>(request)).await {
            Ok(outcome) => outcome,
            Err(_) => return false,
        };
        match outcome {
            Ok(value) => {
                tracing::debug!("written: {write}");
                self.done.insert(object.clone(), version);
                if let Write::Status(Change { version, .. }) = write {
                    let (scope, heard) = (Scope::All(object.kind), Instant::now());
                    let news = News::Written { over: version.clone(), object: value };
                    // Fails only when everything ends.
                    let _ = self.events.send(Event { scope, heard, news }).await;
                }
                true
            }
            // It has changed or gone meanwhile; its watch says so, and another plan follows.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => true,
            // Not like this, however often.
            Err(kube::Error::Api(status)) if status.code == 422 => {
                tracing::warn!("cannot write {write}: {}", status.message);
                self.done.insert(object.clone(), version);
                true
            }
            Err(error) => {
                let why = words(&error);
                if self.said.insert(format!("{} {why}", object.kind)) {
                    tracing::warn!(
                        "cannot write {write}: {why}; it is tried again; {} must be allowed",
                        write.right()
                    );
                }
                false
            }
        }
    }
}
