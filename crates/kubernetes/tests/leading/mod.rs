//! What an agent watches while it writes statuses, and while another one does.

use kubernetes::AddressMode;
use serde_json::{Value, json};

use super::api::Api;
use super::{Followed, GATEWAYS, PATIENCE, ROUTES, route, with_gateway};

const LEASES: &str = "/apis/coordination.k8s.io/v1/leases";
const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/namespaces/net/pods";
const WEB: &str = "/gateways/web";

/// The Lease is this agent's; of nobody's everybody may take it.
fn give_lease(api: &Api, to: &str) {
    let spec = json!({"holderIdentity": to, "leaseDurationSeconds": 3600});
    api.apply(LEASES, json!({"metadata": {"name": "rauta-status", "namespace": "default"}, "spec": spec}));
}

fn put_node(api: &Api, address: &str) {
    let conditions = json!([{"type": "Ready", "status": "True"}]);
    let addresses = json!([{"type": "InternalIP", "address": address}]);
    let status = json!({"conditions": conditions, "addresses": addresses});
    api.apply(NODES, json!({"metadata": {"name": "n"}, "status": status}));
}

fn put_pod(api: &Api) {
    let status = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    let metadata = json!({"name": "agent", "namespace": "net"});
    api.apply("/api/v1/pods", json!({"metadata": metadata, "spec": {"nodeName": "n"}, "status": status}));
}

/// How often a collection was asked for.
fn asked(api: &Api, path: &str) -> usize {
    api.asked().iter().filter(|target| target.split('?').next() == Some(path)).count()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let poll = async {
        while !is_so() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, poll).await.is_ok(), "{what}: not seen");
}

/// The addresses that the Gateway was said to have, one after the other.
fn said(api: &Api) -> Vec<Value> {
    let mut said: Vec<_> = api.patches(WEB).iter().map(|status| status["addresses"].clone()).collect();
    said.dedup();
    said
}

#[tokio::test]
async fn nodes_and_pods_are_watched_by_the_one_that_writes_and_nothing_is_written_before_they_are_read() {
    let api = with_gateway();
    api.apply(ROUTES, route("a.test"));
    put_node(&api, "192.0.2.1");
    put_pod(&api);
    give_lease(&api, "b");
    let mode = AddressMode::Nodes { namespace: "net".to_owned(), pod: "agent".to_owned() };
    let mut followed = Followed::start_with(&api, mode).await;
    followed.until_hosts(&["a.test"]).await;
    api.apply(ROUTES, route("b.test"));
    followed.until_hosts(&["a.test", "b.test"]).await;
    assert_eq!((asked(&api, NODES), asked(&api, PODS)), (0, 0));

    // Pods can be read and Nodes cannot: changes are served, and no status is written.
    api.refuse(NODES, Some(503));
    give_lease(&api, "");
    until("the nodes and Pods", || asked(&api, NODES) >= 3 && asked(&api, PODS) >= 2).await;
    api.apply(ROUTES, route("c.test"));
    followed.until_hosts(&["a.test", "b.test", "c.test"]).await;
    assert_eq!(said(&api), Vec::<Value>::new());
    api.refuse(NODES, None);
    let first = json!([{"type": "IPAddress", "value": "192.0.2.1"}]);
    until("the node's address", || said(&api) == std::slice::from_ref(&first)).await;

    // Another one writes: nodes are let go of, and what they were is not known any more.
    let mut quiet = 0;
    while quiet < 4 {
        give_lease(&api, "b");
        let before = (asked(&api, NODES), asked(&api, GATEWAYS));
        api.cut();
        // What is followed is asked for again within a quarter of a second of a cut.
        until("the Gateways again", || asked(&api, GATEWAYS) > before.1).await;
        quiet = if asked(&api, NODES) == before.0 { quiet + 1 } else { 0 };
    }
    put_node(&api, "192.0.2.2");
    api.refuse(NODES, Some(503));
    let before = asked(&api, NODES);
    give_lease(&api, "");
    until("the nodes", || asked(&api, NODES) >= before + 3).await;
    assert_eq!(said(&api), std::slice::from_ref(&first));
    api.refuse(NODES, None);
    let second = json!([{"type": "IPAddress", "value": "192.0.2.2"}]);
    until("the node's other address", || said(&api) == [first.clone(), second.clone()]).await;
}
