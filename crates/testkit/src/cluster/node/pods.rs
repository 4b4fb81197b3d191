//! Which Pods are on our nodes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use super::place::Node;
use super::pod::{Pod, Shared};
use crate::cluster::client::{ApiError, Client};

/// A watch without news is asked for again after this.
const QUIET: Duration = Duration::from_secs(3600);

/// The Pods of all nodes, by their unique ids.
#[derive(Debug)]
pub(super) struct Pods {
    nodes: Vec<Arc<Node>>,
    running: Mutex<HashMap<String, Running>>,
}

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Pods {
    /// Of these nodes; none yet.
    pub(super) fn new(nodes: Vec<Arc<Node>>) -> Self {
        Self { nodes, running: Mutex::new(HashMap::new()) }
    }

    /// Follows the Pods of the API server until the nodes stop. It may be away for as long as it wants: programs run on.
    pub(super) fn follow(&self, client: &Client) {
        while !self.is_stopping() {
            // An error and the end of a watch are answered alike: by a list.
            if self.list_and_watch(client).is_err() {
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }

    /// The Pod `name` of `namespace` on node `node`.
    pub(super) fn find(&self, node: &str, namespace: &str, name: &str) -> Option<Arc<Shared>> {
        let running = self.running();
        let mut found = running.values().filter(|pod| {
            let object = pod.shared.object();
            let metadata = &object["metadata"];
            object["spec"]["nodeName"] == node
                && metadata["namespace"] == namespace
                && metadata["name"] == name
        });
        found.next().map(|pod| Arc::clone(&pod.shared))
    }

    /// Waits for the Pods to end, once their nodes stop.
    pub(super) fn join(&self) {
        let all: Vec<Running> = self.running().drain().map(|(_, pod)| pod).collect();
        for pod in all {
            // One that panicked has said so.
            let _ = pod.thread.join();
        }
    }

    fn list_and_watch(&self, client: &Client) -> Result<(), ApiError> {
        let list = client.get("/api/v1/pods")?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let known: Vec<&str> = items.iter().filter_map(uid).collect();
        for (id, pod) in self.running().iter() {
            if !known.contains(&id.as_str()) {
                pod.shared.update(deleted(pod.shared.object()));
            }
        }
        items.into_iter().for_each(|pod| self.see(pod));
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("0");
        let path = format!("/api/v1/pods?watch=1&resourceVersion={version}");
        for line in client.lines(&path, QUIET)? {
            let Ok(line) = line else { return Ok(()) };
            let mut event: Value = serde_json::from_str(&line).unwrap_or_default();
            let object = event["object"].take();
            match event["type"].as_str() {
                Some("ADDED" | "MODIFIED") => self.see(object),
                Some("DELETED") => self.see(deleted(object)),
                // 410 Gone, for one.
                _ => return Ok(()),
            }
            if self.is_stopping() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn see(&self, pod: Value) {
        let Some(id) = uid(&pod).map(str::to_owned) else { return };
        let mut running = self.running();
        running.retain(|_, pod| !pod.thread.is_finished());
        if let Some(known) = running.get(&id) {
            return known.shared.update(pod);
        }
        let is_over = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let Some(node) = self.nodes.iter().find(|node| pod["spec"]["nodeName"] == node.name.as_str()) else {
            return;
        };
        // One that is deleted before it was seen still waits for its node to say that it is gone.
        if is_over && pod["metadata"]["deletionTimestamp"].is_null() || pod[DELETED] == true {
            return;
        }
        let shared = Arc::new(Shared::new(pod));
        let life = Pod::new(Arc::clone(node), Arc::clone(&shared));
        running.insert(id, Running { shared, thread: std::thread::spawn(move || life.run()) });
    }

    fn is_stopping(&self) -> bool {
        self.nodes.iter().any(|node| node.is_stopping())
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks what the API server has no more.
const DELETED: &str = "deleted";

/// `pod`, whose deletion nobody waits for.
fn deleted(mut pod: Value) -> Value {
    if pod["metadata"]["deletionTimestamp"].is_null() {
        pod["metadata"]["deletionTimestamp"] = json!("now");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(0);
    }
    pod[DELETED] = json!(true);
    pod
}

fn uid(pod: &Value) -> Option<&str> {
    pod["metadata"]["uid"].as_str()
}
