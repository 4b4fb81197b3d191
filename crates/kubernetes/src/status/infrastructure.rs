//! Services for Gateways with `spec.infrastructure`: what its labels and annotations are put on (GEP-1762, GEP-1867).

use model::{ObjectKind, ObjectRef};
use serde_json::{Map, Value, json};

use super::facts::{Facts, GROUP};

const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
const CLASS_NAME: &str = "gateway.networking.k8s.io/gateway-class-name";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const OURS: &str = "rauta";
/// Characters of a Service's name and of a label's value.
const NAME_MAX: usize = 63;

/// The Services that should be others than they are, each as a whole.
pub(crate) fn services(facts: &Facts<'_>) -> Vec<(ObjectRef, Value)> {
    let of = |(key, gateway): (&ObjectRef, &Value)| {
        let is_it = key.kind == ObjectKind::Gateway && facts.is_ours(gateway);
        let (name, service) = is_it.then(|| service(key, gateway)).flatten()?;
        let service_key = ObjectRef::new(ObjectKind::Service, &key.namespace, &name);
        let is_due = match facts.object(&service_key) {
            // It is made for labels and annotations; without any it stays as it is, once it is there.
            None => has_metadata(gateway),
            Some(there) => there["metadata"]["labels"][MANAGED_BY] == OURS && !contains(there, &service),
        };
        is_due.then_some((service_key, service))
    };
    facts.objects().filter_map(of).collect()
}

/// The Service of a Gateway and its name; none: no Service can be called so.
fn service(key: &ObjectRef, gateway: &Value) -> Option<(String, Value)> {
    let spec = &gateway["spec"];
    let class = spec["gatewayClassName"].as_str().unwrap_or_default();
    let name = format!("{}-{class}", key.name);
    let uid = gateway["metadata"]["uid"].as_str()?;
    if name.len() > NAME_MAX || name.contains('.') {
        return None;
    }
    let given = |field: &str| spec["infrastructure"][field].as_object().cloned().unwrap_or_default();
    let mut labels = given("labels");
    for (label, value) in [(GATEWAY_NAME, &*key.name), (CLASS_NAME, class), (MANAGED_BY, OURS)] {
        labels.insert(label.to_owned(), json!(value));
    }
    let owner = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "Gateway", "name": key.name, "uid": uid,
    });
    let metadata = json!({
        "name": name, "namespace": key.namespace, "labels": labels, "annotations": given("annotations"),
        "ownerReferences": [owner],
    });
    let spec = json!({"clusterIP": "None", "ports": ports(spec)});
    Some((name, json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})))
}

/// The ports of the Gateway's own listeners, each once.
fn ports(spec: &Value) -> Vec<Value> {
    let mut ports = Map::new();
    for listener in spec["listeners"].as_array().into_iter().flatten() {
        let protocol = if listener["protocol"] == "UDP" { "UDP" } else { "TCP" };
        let name = format!("{}-{}", protocol.to_ascii_lowercase(), listener["port"]);
        let port = json!({"name": name, "port": listener["port"], "protocol": protocol});
        ports.insert(name, port);
    }
    ports.into_iter().map(|(_, port)| port).collect()
}

fn has_metadata(gateway: &Value) -> bool {
    let infrastructure = &gateway["spec"]["infrastructure"];
    let is_there = |field: &str| infrastructure[field].as_object().is_some_and(|all| !all.is_empty());
    is_there("labels") || is_there("annotations")
}

/// Whether everything that is wanted is there; what the API server adds, and others, is no matter.
fn contains(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| match there.get(name) {
                Some(there) => contains(there, wanted),
                None => wanted.as_object().is_some_and(Map::is_empty),
            })
        }
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len()
                && there.iter().zip(wanted).all(|(there, wanted)| contains(there, wanted))
        }
        _ => there == wanted,
    }
}
