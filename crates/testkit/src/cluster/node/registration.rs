//! The Node object of a node, its status and its lease.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::network::node_addresses;
use crate::cluster::client::{ApiError, Client};
use crate::cluster::time::{now_micro, whole_seconds};

/// Where a node serves logs and exec.
pub(super) const KUBELET_PORT: u16 = 10_250;

/// Seconds after which a node that has not renewed its lease is believed dead (`--node-monitor-grace-period`).
const LEASE_SECONDS: u32 = 40;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// Makes the Node object `name` and says that it is ready.
pub(super) fn register(client: &Client, node: u8, name: &str) -> Result<(), ApiError> {
    let object = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": architecture(),
        }},
    });
    client.apply(&format!("/api/v1/nodes/{name}"), &object.to_string())?;
    client.merge(&format!("/api/v1/nodes/{name}/status"), &json!({"status": status(node, name)}))?;
    renew(client, name)
}

/// Renews the lease of node `name`, or makes it.
pub(super) fn renew(client: &Client, name: &str) -> Result<(), ApiError> {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now_micro()},
    });
    client.apply(&format!("{LEASES}/{name}"), &lease.to_string()).map(drop)
}

fn status(node: u8, name: &str) -> Value {
    let (v4, v6) = node_addresses(node);
    let now = whole_seconds(SystemTime::now());
    let size = json!({"cpu": "8", "memory": "32Gi", "pods": "240", "ephemeral-storage": "100Gi"});
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({
        "capacity": size, "allocatable": size,
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "programs run without containers",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }],
        "addresses": [
            {"type": "InternalIP", "address": v4.to_string()},
            {"type": "InternalIP", "address": v6.to_string()},
            {"type": "Hostname", "address": name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
        // The API server passes WebSockets on instead of speaking SPDY to us.
        "declaredFeatures": ["ExtendWebSocketsToKubelet"],
        "nodeInfo": {
            "architecture": architecture(), "operatingSystem": "linux", "osImage": "cluster lab",
            "kernelVersion": kernel.trim(), "kubeletVersion": "v1.36.4", "kubeProxyVersion": "",
            "containerRuntimeVersion": "processes://1", "machineID": "", "systemUUID": "", "bootID": "",
        },
    })
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
