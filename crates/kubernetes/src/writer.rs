//! Writes statuses, one after the other, the latest plan only.

use std::collections::{BTreeSet, HashMap};
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

/// Writes what the latest plan says and is not written yet, for ever. What the API server answers goes to `events`, as if a
/// watch had brought it.
pub(crate) async fn write(
    client: Client,
    mut plans: watch::Receiver<Arc<Vec<Change>>>,
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
        let plan = Arc::clone(&plans.borrow_and_update());
        writer.done.retain(|object, _| plan.iter().any(|change| change.object == *object));
        is_complete = true;
        for change in plan.iter() {
            is_complete &= writer.put(change).await;
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
    /// Writes one status; false: it is to be tried again.
    async fn put(&mut self, change: &Change) -> bool {
        if self.done.get(&change.object) == Some(&change.version) {
            return true;
        }
        let patch = json!({"metadata": {"resourceVersion": change.version}, "status": change.status});
        let parameters = PatchParams { field_manager: Some("rauta".to_owned()), ..PatchParams::default() };
        let path = Scope::One(change.object.clone()).path();
        let name = &change.object.name;
        let request = Request::new(path).patch_subresource("status", name, &parameters, &Patch::Merge(patch));
        let Ok(request) = request else { return true };
        let outcome = match timeout(ANSWER_MAX, self.client.request::<Value>(request)).await {
            Ok(outcome) => outcome,
            Err(_) => return false,
        };
        let kind = change.object.kind;
        match outcome {
            Ok(object) => {
                tracing::debug!(object = %change.object, "status written");
                self.done.insert(change.object.clone(), change.version.clone());
                let (scope, heard) = (Scope::All(kind), Instant::now());
                let event = Event { scope, heard, news: News::Applied(object) };
                // Fails only when everything ends.
                let _ = self.events.send(event).await;
                true
            }
            // It has changed or gone meanwhile; its watch says so, and another plan follows.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => true,
            Err(error) => {
                let why = words(&error);
                if self.said.insert(format!("{kind} {why}")) {
                    let plural = plural(kind);
                    tracing::warn!(
                        "cannot write the status of {}: {why}; it is tried again; patch of {plural}/status must be allowed",
                        change.object
                    );
                }
                false
            }
        }
    }
}
