//! Which endpoints get traffic follows from the agent's own node, as the API server has it.

use kubernetes::AddressMode;
use serde_json::{Value, json};
use translate::{Loaded, Options, Place};

use super::api::Api;
use super::{Followed, ROUTES, says, with_gateway};

const NODES: &str = "/api/v1/nodes";

fn node(name: &str, zone: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}}})
}

/// With a Service that has an endpoint for each of two zones.
fn with_zones() -> Api {
    let api = with_gateway();
    let service =
        json!({"spec": {"ports": [{"port": 80}]}, "metadata": {"name": "web", "namespace": "shop"}});
    api.apply("/api/v1/services", service);
    let endpoint = |number: u8| {
        let zones = json!([{"name": format!("zone-{number}")}]);
        json!({"addresses": [format!("10.0.0.{number}")], "hints": {"forZones": zones}})
    };
    let labels = json!({"kubernetes.io/service-name": "web"});
    api.apply(
        "/apis/discovery.k8s.io/v1/endpointslices",
        json!({"metadata": {"name": "web-1", "namespace": "shop", "labels": labels}, "addressType": "IPv4",
            "ports": [{"port": 8080}], "endpoints": [endpoint(1), endpoint(2)]}),
    );
    let rule = json!({"backendRefs": [{"name": "web", "port": 80}]});
    api.apply(
        ROUTES,
        json!({"metadata": {"name": "web", "namespace": "shop"},
            "spec": {"parentRefs": [{"name": "web"}], "rules": [rule]}}),
    );
    api
}

async fn start(api: &Api) -> Followed {
    let place = Place { node: Some("a".to_owned()), zone: None };
    let options = Options { place, ..Options::for_cluster() };
    Followed::start_as(api, AddressMode::Fixed(Vec::new()), options).await
}

fn endpoints(loaded: &Loaded) -> Vec<String> {
    let backends = loaded.snapshot.backends.values();
    backends.flat_map(|one| &one.endpoints).map(|one| one.address.ip().to_string()).collect()
}

#[tokio::test]
async fn the_zone_of_the_own_node_decides_from_the_first_on_and_when_it_changes() {
    let api = with_zones();
    api.apply(NODES, node("a", "zone-1"));
    api.apply(NODES, node("b", "zone-2"));
    let mut followed = start(&api).await;
    let first = followed.until("anything", |_| true).await;
    assert_eq!(endpoints(&first), ["10.0.0.1"]);
    api.apply(NODES, node("a", "zone-2"));
    followed.until("the other zone", |loaded| endpoints(loaded) == ["10.0.0.2"]).await;
    let nodes: Vec<_> = api.asked().into_iter().filter(|one| one.starts_with(NODES)).collect();
    assert!(nodes.iter().all(|one| one.contains("metadata.name%3Da")), "{nodes:?}");
}

#[tokio::test]
async fn nobody_waits_for_a_node_that_may_not_be_read() {
    let api = with_zones();
    api.apply(NODES, node("a", "zone-1"));
    api.refuse(NODES, Some(403));
    let mut followed = start(&api).await;
    let loaded = followed.until("both endpoints", |loaded| endpoints(loaded).len() == 2).await;
    assert!(says(&loaded, "warning: may not read Node a"), "{:?}", loaded.diagnostics);
    api.refuse(NODES, None);
    followed.until("the zone", |loaded| endpoints(loaded) == ["10.0.0.1"]).await;
}
