//! The status of a Pod, from its containers.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::cluster::time::whole_seconds;

/// What is known of a Pod.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Its addresses, once it has them.
    pub(super) addresses: Vec<String>,
    /// Its node's.
    pub(super) host: Vec<String>,
    /// When it was first seen.
    pub(super) started: String,
    /// All containers before the others have succeeded.
    pub(super) initialized: bool,
    /// The status of these containers.
    pub(super) init: Vec<Value>,
    /// And of the others.
    pub(super) containers: Vec<Value>,
    /// Containers are started again after a failure, and after a success.
    pub(super) restart: (bool, bool),
}

/// The status to be written; `before` is the one written last, for the times of its conditions.
pub(super) fn status(known: &Known, before: &Value) -> Value {
    let ready = known.initialized && known.containers.iter().all(|container| container["ready"] == true);
    let finished = matches!(phase(known), "Succeeded" | "Failed");
    let reason = match (ready, finished) {
        (true, _) => "",
        (false, true) => "PodCompleted",
        (false, false) => "ContainersNotReady",
    };
    let conditions = [
        ("PodReadyToStartContainers", !known.addresses.is_empty() && !finished, ""),
        ("Initialized", known.initialized, if known.initialized { "" } else { "ContainersNotInitialized" }),
        ("ContainersReady", ready, reason),
        ("Ready", ready, reason),
    ];
    let conditions = conditions.map(|(kind, value, reason)| {
        let value = if value { "True" } else { "False" };
        json!({"type": kind, "status": value, "reason": reason, "lastTransitionTime": since(before, kind, value)})
    });
    let ips = |addresses: &[String]| -> Vec<Value> {
        addresses.iter().map(|address| json!({"ip": address})).collect()
    };
    json!({
        "phase": phase(known), "conditions": conditions, "startTime": known.started,
        "hostIP": known.host.first(), "hostIPs": ips(&known.host),
        "podIP": known.addresses.first(), "podIPs": ips(&known.addresses),
        "initContainerStatuses": known.init, "containerStatuses": known.containers,
    })
}

fn phase(known: &Known) -> &'static str {
    let code = |container: &Value| container["state"]["terminated"]["exitCode"].as_i64();
    let has_failed = |container: &Value| code(container).is_some_and(|code| code != 0);
    let (after_failure, after_success) = known.restart;
    if known.init.iter().any(has_failed) && !after_failure {
        return "Failed";
    }
    let is_over = |container: &Value| match code(container) {
        None => false,
        Some(0) => !after_success,
        Some(_) => !after_failure,
    };
    let has_run = |container: &Value| {
        container["restartCount"].as_u64() > Some(0) || container["state"].get("waiting").is_none()
    };
    if known.containers.iter().all(is_over) {
        return if known.containers.iter().any(has_failed) { "Failed" } else { "Succeeded" };
    }
    if known.containers.iter().all(has_run) { "Running" } else { "Pending" }
}

fn since(before: &Value, kind: &str, value: &str) -> String {
    let conditions = before["conditions"].as_array();
    let same = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == kind && condition["status"] == value);
    let moment = same.and_then(|condition| condition["lastTransitionTime"].as_str()).map(str::to_owned);
    moment.unwrap_or_else(|| whole_seconds(SystemTime::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(ready: bool, state: &Value) -> Value {
        json!({"ready": ready, "restartCount": 0, "state": state})
    }

    fn condition(status: &Value, kind: &str) -> String {
        let conditions = status["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|condition| condition["type"] == kind).unwrap();
        found["status"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_pod_is_ready_when_all_its_containers_are() {
        let running = json!({"running": {}});
        let mut known = Known {
            initialized: true,
            addresses: vec!["10.91.0.2".into(), "fd00::2".into()],
            containers: vec![container(true, &running), container(false, &running)],
            restart: (true, true),
            ..Known::default()
        };
        let before = status(&known, &Value::Null);
        assert_eq!(
            (before["phase"].as_str(), condition(&before, "Ready")),
            (Some("Running"), "False".into())
        );
        assert_eq!(before["podIPs"], json!([{"ip": "10.91.0.2"}, {"ip": "fd00::2"}]));
        known.containers[1]["ready"] = json!(true);
        let mut old = before.clone();
        old["conditions"][1]["lastTransitionTime"] = json!("then");
        let after = status(&known, &old);
        assert_eq!(condition(&after, "Ready"), "True");
        // What did not change keeps its time.
        assert_eq!(after["conditions"][1]["lastTransitionTime"], "then");
    }

    #[test]
    fn phases_follow_ends_and_the_restart_policy() {
        let (good, bad) = (json!({"terminated": {"exitCode": 0}}), json!({"terminated": {"exitCode": 3}}));
        let waiting = json!({"waiting": {"reason": "ContainerCreating"}});
        let (always, on_failure, never) = ((true, true), (true, false), (false, false));
        for (state, restart, expected) in [
            (&waiting, always, "Pending"),
            (&good, always, "Running"),
            (&good, on_failure, "Succeeded"),
            (&bad, on_failure, "Running"),
            (&bad, never, "Failed"),
            (&good, never, "Succeeded"),
        ] {
            let containers = vec![container(false, state)];
            let known = Known { initialized: true, containers, restart, ..Known::default() };
            assert_eq!(phase(&known), expected, "{state} {restart:?}");
        }
    }
}
