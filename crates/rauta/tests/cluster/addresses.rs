//! Where Gateways can be reached, as their status says it: at the nodes that run an agent, at a Service's load balancer, and of a pool
//! not before a node announces it; and Ingresses beside a pool. Nodes and Pods are objects alone: what kubelets and controllers write is written here.

use std::process::Command;

use serde_json::{Value, json};
use testkit::cluster::Client;
use testkit::exec;

use super::*;

const PODS: &str = "/api/v1/namespaces/rauta/pods";
const SERVICES: &str = "/api/v1/namespaces/rauta/services";

fn set_ready(client: &Client, path: &str, is_ready: bool) {
    let status = if is_ready { "True" } else { "Unknown" };
    let condition = json!({"type": "Ready", "status": status, "reason": "Test",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "lastHeartbeatTime": "2026-01-01T00:00:00Z"});
    let mut conditions = json!([condition]);
    if path.contains("/pods/") {
        conditions[0].as_object_mut().unwrap().remove("lastHeartbeatTime");
    }
    client.merge(&format!("{path}/status"), &json!({"status": {"conditions": conditions}})).unwrap();
}

fn add_node(client: &Client, name: &str, addresses: &[(&str, &str)]) {
    client.create("/api/v1/nodes", &named(name, json!({"apiVersion": "v1", "kind": "Node"}))).unwrap();
    let path = format!("/api/v1/nodes/{name}");
    let addresses: Vec<Value> =
        addresses.iter().map(|(kind, address)| json!({"type": kind, "address": address})).collect();
    client.merge(&format!("{path}/status"), &json!({"status": {"addresses": addresses}})).unwrap();
    set_ready(client, &path, true);
}

/// A Pod of the DaemonSet that the agents are of, ready.
fn add_agent(client: &Client, name: &str, node: &str) {
    let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "rauta", "controller": true,
        "uid": "11111111-2222-3333-4444-555555555555"});
    let container = json!({"name": "rauta", "image": "rauta"});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "ownerReferences": [owner]},
        "spec": {"nodeName": node, "serviceAccountName": "agent", "containers": [container],
            "automountServiceAccountToken": false},
    });
    client.create(PODS, &pod).unwrap();
    set_ready(client, &format!("{PODS}/{name}"), true);
}

impl World {
    fn add_gateway_at(&self, name: &str, address: &Value) {
        self.add_gateway(name, &json!([address]));
    }

    fn add_gateway(&self, name: &str, addresses: &Value) {
        let listener = json!({"name": "http", "port": 9999, "protocol": "HTTP"});
        let spec = json!({"gatewayClassName": "rauta", "listeners": [listener], "addresses": addresses});
        create(self.client(), "namespaces/shop/gateways", "Gateway", named(name, json!({"spec": spec})));
    }

    /// Waits until a Gateway's status has these addresses, and `Programmed` with this status and reason.
    fn until_reached(&self, gateway: &str, wanted: &[&str], programmed: (&str, &str)) -> Value {
        let path = format!("{GATEWAY_API}/namespaces/shop/gateways/{gateway}");
        let seen = || {
            let status = self.client().get(&path).ok()?["status"].clone();
            let has = values(&status);
            let of_it = |one: &&Value| one["type"] == "Programmed";
            let found = status["conditions"].as_array()?.iter().find(of_it)?.clone();
            let is_so = found["status"] == programmed.0 && found["reason"] == programmed.1;
            (has == wanted && is_so).then_some(found)
        };
        until(LIMIT, &format!("{gateway} at {wanted:?}, {programmed:?}"), seen).unwrap_or_else(|error| {
            panic!("{error:#}\n{}\n{}", self.client().get(&path).unwrap()["status"], self.rauta.log())
        })
    }
}

fn values(status: &Value) -> Vec<&str> {
    let all = status["addresses"].as_array().into_iter().flatten();
    all.filter_map(|one| one["value"].as_str()).collect()
}

const SERVED: (&str, &str) = ("True", "Programmed");

#[test]
fn without_a_pool_gateways_have_the_addresses_of_ready_nodes_with_a_ready_agent_whoever_writes() {
    let mut world = World::with(|client, command| {
        let addresses = [("InternalIP", "10.0.0.1"), ("ExternalIP", "192.0.2.1"), ("InternalIP", "fd00::1")];
        add_node(client, "one", &addresses);
        add_node(client, "two", &[("InternalIP", "10.0.0.2")]);
        add_node(client, "idle", &[("InternalIP", "10.0.0.3")]);
        add_agent(client, "rauta-a", "one");
        add_agent(client, "rauta-b", "two");
        command.env("POD_NAME", "rauta-a");
    });
    let both = ["10.0.0.2", "192.0.2.1", "fd00::1"];
    world.until_reached("web", &both, SERVED);
    world.add_route("a.test");
    world.until_code("a.test", "200");

    // Of the nodes, and of nobody else.
    world.add_gateway_at("internal", &json!({"value": "10.0.0.1"}));
    world.until_reached("internal", &["10.0.0.1"], SERVED);
    world.add_gateway_at("elsewhere", &json!({"value": "10.0.0.3"}));
    world.until_reached("elsewhere", &[], ("False", "AddressNotUsable"));

    let (node, agent) = ("/api/v1/nodes/two", format!("{PODS}/rauta-b"));
    set_ready(world.client(), node, false);
    world.until_reached("web", &both[1..], SERVED);
    set_ready(world.client(), node, true);
    world.until_reached("web", &both, SERVED);
    set_ready(world.client(), &agent, false);
    world.until_reached("web", &both[1..], SERVED);
    set_ready(world.client(), &agent, true);
    world.until_reached("web", &both, SERVED);

    // Another one writes: nothing is different, and what follows is the same.
    world.rauta.stop(LIMIT).unwrap();
    let mut command = super::agent(&world.lab, &world.control);
    command.env("POD_NAME", "rauta-b");
    world.rauta = world.lab.spawn(world.lab.gateway(), "rauta-b", command).unwrap();
    let lease = "/apis/coordination.k8s.io/v1/namespaces/rauta/leases/rauta-status";
    until(LIMIT, "the other agent to write", || {
        (world.client().get(lease).unwrap()["spec"]["holderIdentity"] == "rauta-b").then_some(())
    })
    .unwrap();
    world.until_reached("web", &both, SERVED);
    world.client().delete("/api/v1/nodes/one", None).unwrap();
    world.until_reached("web", &both[..1], SERVED);
    // Who is left writes, so it is somewhere: what is said stays, and only who comes new learns nothing.
    world.client().delete(&agent, Some(0)).unwrap();
    world.add_gateway("late", &json!([]));
    world.until_reached("late", &[], ("False", "AddressNotAssigned"));
    world.until_reached("web", &both[..1], SERVED);
    let log = world.rauta.log();
    assert!(!log.contains("may not") && !log.contains("cannot write"), "{log}");
}

#[test]
fn gateways_have_the_addresses_of_the_service_that_brings_their_traffic() {
    let world = World::with(|_, command| {
        command.args(["--set", "addresses.service=rauta/edge"]).env("POD_NAME", "rauta-a");
    });
    let unassigned = ("False", "AddressNotAssigned");
    let found = world.until_reached("web", &[], unassigned);
    assert!(found["message"].as_str().unwrap().contains("there is no Service rauta/edge"), "{found}");
    let spec = json!({"spec": {"type": "LoadBalancer", "ports": [{"name": "http", "port": 80}]}});
    world.client().create(SERVICES, &named("edge", spec)).unwrap();
    until(LIMIT, "the Service to be seen", || {
        let found = world.until_reached("web", &[], unassigned);
        found["message"].as_str().unwrap().contains("has no address").then_some(())
    })
    .unwrap();

    let entries = json!([{"ip": "203.0.113.7", "ipMode": "VIP"}, {"hostname": "lb.test"}]);
    let status = json!({"status": {"loadBalancer": {"ingress": entries}}});
    world.client().merge(&format!("{SERVICES}/edge/status"), &status).unwrap();
    world.until_reached("web", &["203.0.113.7", "lb.test"], SERVED);
    let path = format!("{GATEWAY_API}/namespaces/shop/gateways/web");
    let status = world.client().get(&path).unwrap()["status"].clone();
    assert_eq!(status["addresses"][1], json!({"type": "Hostname", "value": "lb.test"}));
    world.add_route("a.test");
    world.until_code("a.test", "200");

    // Its name may be asked for; who asks for what it has not is open nowhere.
    world.add_gateway_at("named", &json!({"type": "Hostname", "value": "lb.test"}));
    world.until_reached("named", &["lb.test"], SERVED);
    world.add_gateway_at("elsewhere", &json!({"value": "203.0.113.8"}));
    world.until_reached("elsewhere", &[], ("False", "AddressNotUsable"));

    world.client().delete(&format!("{SERVICES}/edge"), None).unwrap();
    world.until_reached("web", &[], unassigned);
    assert_eq!(world.ask("a.test").0, "200", "what is served does not depend on it");
}

#[test]
fn a_gateway_of_a_pool_is_programmed_when_a_node_announces_its_address_and_ingresses_are_at_the_nodes() {
    let world = World::with(|client, command| {
        add_node(client, "one", &[("InternalIP", "10.0.0.1")]);
        add_agent(client, "rauta-a", "one");
        command.env("NODE_NAME", "one").env("POD_NAME", "rauta-a");
        command.args(["--set", "addresses.pool=10.77.9.1", "--set", "addresses.interface=late0"]);
        command.args(["--listen", ":80"]);
    });
    until(LIMIT, "the Gateway to wait for a node", || {
        let found = world.until_reached("web", &["10.77.9.1"], ("False", "Pending"));
        // Before that it waits for its own listener.
        (found["message"] == "no node announces 10.77.9.1").then_some(())
    })
    .unwrap();
    for words in ["link add late0 type veth peer name late1", "link set late1 up", "link set late0 up"] {
        let mut command = Command::new("ip");
        command.args(words.split(' '));
        assert!(exec(Some(world.lab.gateway()), command, LIMIT).unwrap().status.success(), "{words}");
    }
    world.until_reached("web", &["10.77.9.1"], SERVED);

    // Ingresses are not of the Gateway, nor at its address.
    let class = json!({"spec": {"controller": "rauta.io/ingress-controller"}});
    world.client().create("/apis/networking.k8s.io/v1/ingressclasses", &named("rauta", class)).unwrap();
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let spec = json!({"spec": {"ingressClassName": "rauta", "defaultBackend": backend}});
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/shop/ingresses";
    world.client().create(ingresses, &named("web", spec)).unwrap();
    let reached = || {
        world.client().get(&format!("{ingresses}/web")).unwrap()["status"]["loadBalancer"]["ingress"].clone()
    };
    let what = format!("the Ingress at the node; log:\n{}", world.rauta.log());
    until(LIMIT, &what, || (reached() == json!([{"ip": "10.0.0.1"}])).then_some(())).unwrap();
    let log = world.rauta.log();
    assert!(!log.contains("may not read") && !log.contains("cannot write"), "{log}");
}

#[test]
fn endpoints_of_other_nodes_get_nothing_where_a_service_says_so() {
    let world = World::with(|client, command| {
        command.env("NODE_NAME", "one");
        let node = json!({"metadata": {"name": "one", "labels": {"topology.kubernetes.io/zone": "west"}}});
        client.create("/api/v1/nodes", &node).unwrap();
    });
    world.add_route("a.test");
    world.until_code("a.test", "200");
    let local = json!({"spec": {"internalTrafficPolicy": "Local"}});
    world.client().merge("/api/v1/namespaces/shop/services/web", &local).unwrap();
    world.until_code("a.test", "503");
    let slice = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/web-1";
    let endpoint = |node: &str| {
        let address = world.nginx.address().ip().to_string();
        json!({"endpoints": [{"addresses": [address], "nodeName": node}]})
    };
    world.client().merge(slice, &endpoint("one")).unwrap();
    world.until_code("a.test", "200");
    // What the writer says does not depend on where it is.
    world.client().merge(slice, &endpoint("two")).unwrap();
    world.until_code("a.test", "503");
    let route = "namespaces/shop/httproutes/a.test";
    world.until_condition(route, &["parents", "0"], ("ResolvedRefs", "True", "ResolvedRefs"));
    let log = world.rauta.log();
    assert!(!log.contains("may not"), "{log}");
}
