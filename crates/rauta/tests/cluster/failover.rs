//! Two nodes with an agent each, and a client on their segment: an address of the pool goes on answering when the node that has it
//! dies, and when its agent is stopped; it stays when another agent takes over on the same node.

use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use testkit::cluster::ControlPlane;
use testkit::{Addresses, GATEWAY_PORT, Lab, Netns, Nginx, Process, exec, until};

use super::{GATEWAY_API, LIMIT, account, create, named};

/// The only address of the pool, on the segment of the nodes.
const ADDRESS: &str = "10.77.1.100";
const NODES: [&str; 2] = ["node-0", "node-1"];

struct World {
    lab: Lab,
    control: ControlPlane,
    _nginx: Nginx,
    nodes: [Process; 2],
}

impl World {
    /// The API server and the client are in the lab's gateway, the nodes its first two endpoints, the third an endpoint.
    fn new() -> Self {
        let lab = Lab::builder().backends(3).build().unwrap();
        let control = ControlPlane::start_in(lab.gateway()).unwrap();
        let nginx = Nginx::start(&lab, 2).unwrap();
        let client = control.client();
        account(&control);
        client.create("/api/v1/namespaces", &named("shop", json!({}))).unwrap();
        let class = json!({"spec": {"controllerName": "rauta.io/gateway-controller"}});
        create(client, "gatewayclasses", "GatewayClass", named("rauta", class));
        let listener = json!({"name": "http", "port": GATEWAY_PORT, "protocol": "HTTP"});
        let spec = json!({"spec": {"gatewayClassName": "rauta", "listeners": [listener]}});
        create(client, "namespaces/shop/gateways", "Gateway", named("web", spec));
        let port = nginx.address().port();
        let spec = json!({"spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80, "targetPort": port}]}});
        client.create("/api/v1/namespaces/shop/services", &named("web", spec)).unwrap();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": [nginx.address().ip().to_string()]}], "ports": [{"name": "http", "port": port}],
        });
        client.create("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices", &slice).unwrap();
        let rule = json!({"backendRefs": [{"name": "web", "port": 80}]});
        let spec = json!({"spec": {"parentRefs": [{"name": "web"}], "rules": [rule]}});
        create(client, "namespaces/shop/httproutes", "HTTPRoute", named("web", spec));
        let nodes = [0, 1].map(|node| start(&lab, &control, node));
        let world = Self { lab, control, _nginx: nginx, nodes };
        world.until_answered("the first node to announce");
        world
    }

    fn start(&mut self, node: usize) {
        self.nodes[node] = start(&self.lab, &self.control, node);
    }

    /// Another agent takes over from that of `node`. Until it has decided what it announces, the Leases never say anything else than before.
    fn upgrade(&mut self, node: usize) {
        let name = format!("{}-upgraded", NODES[node]);
        let mut command = agent(&self.lab, &self.control, node);
        command.arg("--upgrade");
        let next = self.lab.spawn(self.lab.backend(node), &name, command).unwrap();
        let mut before = std::mem::replace(&mut self.nodes[node], next);
        until(LIMIT, "the next agent to announce", || {
            assert!(self.announces(node), "given up on the way: {}", self.nodes[node].log());
            assert!(!self.announces(1 - node), "taken over by the other node");
            self.nodes[node].log().contains("announced by this node").then_some(())
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}\n----\n{}", before.log(), self.nodes[node].log()));
        until(LIMIT, "the agent before it to end", || before.ended().map(drop)).unwrap();
    }

    fn is_answered(&self) -> bool {
        let mut curl = Command::new("curl");
        let url = format!("http://{ADDRESS}:{GATEWAY_PORT}/");
        curl.args(["-s", "-o", "/dev/null", "--max-time", "1", "-w", "%{http_code}", &url]);
        exec(Some(self.lab.gateway()), curl, LIMIT).unwrap().stdout == b"200"
    }

    fn until_answered(&self, what: &str) {
        let logs = || self.nodes.iter().map(Process::log).collect::<Vec<_>>().join("\n----\n");
        until(LIMIT, what, || self.is_answered().then_some(()))
            .unwrap_or_else(|error| panic!("{error:#}\n{}", logs()));
    }

    /// Since when the Gateway is programmed; nothing: it is not.
    fn programmed_since(&self) -> Option<String> {
        let path = format!("{GATEWAY_API}/namespaces/shop/gateways/web");
        let conditions = self.control.client().get(&path).ok()?["status"]["conditions"].clone();
        let is_it = |one: &&Value| one["type"] == "Programmed" && one["status"] == "True";
        Some(conditions.as_array()?.iter().find(is_it)?["lastTransitionTime"].as_str()?.to_owned())
    }

    fn lease(&self, node: usize) -> Option<Value> {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/rauta/leases/rauta-node-{}", NODES[node]);
        self.control.client().get(&path).ok()
    }

    /// Whether a node's Lease says that it announces the address.
    fn announces(&self, node: usize) -> bool {
        self.lease(node).is_some_and(|lease| announces(&lease))
    }

    /// Waits until `node` announces the address as far as Leases say, and the client knows it there.
    fn until_at(&self, node: usize) {
        let what = format!("the address to be at {}", NODES[node]);
        until(LIMIT, &what, || {
            // Who does not use what it knows of a neighbour does not learn that it is wrong, either.
            self.is_answered();
            (self.announces(node) && self.neighbour() == self.hardware(node)).then_some(())
        })
        .unwrap();
    }

    /// The hardware address that the client knows the address by.
    fn neighbour(&self) -> String {
        word_behind(self.lab.gateway(), &["neigh", "show", ADDRESS, "dev", "back0"], "lladdr")
    }

    fn hardware(&self, node: usize) -> String {
        word_behind(self.lab.backend(node), &["link", "show", "eth0"], "link/ether")
    }
}

fn start(lab: &Lab, control: &ControlPlane, node: usize) -> Process {
    lab.spawn(lab.backend(node), NODES[node], agent(lab, control, node)).unwrap()
}

fn agent(lab: &Lab, control: &ControlPlane, node: usize) -> Command {
    // The server's certificate has its other names.
    let inside = std::fs::read_to_string(control.kubeconfig_for("rauta", "agent", true).unwrap()).unwrap();
    let server = "server: https://127.0.0.1:";
    assert!(inside.contains(server), "{inside}");
    let outside = format!("tls-server-name: localhost\n    server: https://{}:", Addresses::GATEWAY_BACK);
    let kubeconfig = lab.folder().join(format!("kubeconfig-{node}"));
    std::fs::write(&kubeconfig, inside.replace(server, &outside)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rauta"));
    command.args(["run", "--kubernetes", "--hook", "off", "--admin", "off", "--metrics", "off", "--set"]);
    command.arg(format!("addresses.pool={ADDRESS}")).arg("--kubeconfig").arg(kubeconfig);
    command.env("POD_NAMESPACE", "rauta").env("NODE_NAME", NODES[node]);
    command.arg("--socket").arg(lab.folder().join(format!("{node}.sock")));
    command
}

fn announces(lease: &Value) -> bool {
    lease["metadata"]["annotations"]["rauta.io/announces"] == ADDRESS
}

/// Of what `ip` says, the word behind another.
fn word_behind(netns: &Netns, arguments: &[&str], word: &str) -> String {
    let mut command = Command::new("ip");
    command.args(arguments);
    let output = exec(Some(netns), command, LIMIT).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().skip_while(|one| *one != word).nth(1).unwrap_or_default().to_owned()
}

#[test]
fn an_address_stays_with_its_node_and_leaves_when_it_dies_or_its_agent_stops() {
    let mut world = World::new();
    let path = format!("{GATEWAY_API}/namespaces/shop/gateways/web");
    let status = world.control.client().get(&path).unwrap()["status"].clone();
    assert_eq!(status["addresses"][0]["value"], ADDRESS, "{status}");
    // Both live, and one of them announces.
    let first = until(LIMIT, "one node that announces", || {
        let announcing = [0, 1].map(|node| world.lease(node).map(|lease| announces(&lease)));
        match announcing {
            [Some(true), Some(false)] => Some(0),
            [Some(false), Some(true)] => Some(1),
            _ => None,
        }
    })
    .unwrap();
    let second = 1 - first;
    world.until_at(first);
    let since = until(LIMIT, "the Gateway to be programmed", || world.programmed_since()).unwrap();

    // A newer agent of the same node goes on with it.
    world.upgrade(first);
    world.until_answered("the upgraded node");
    world.until_at(first);

    let killed = Instant::now();
    world.nodes[first].kill().unwrap();
    world.until_answered("the other node to take over");
    println!("answered again {} ms after the death", killed.elapsed().as_millis());
    world.until_at(second);

    // The dead one comes back: nothing moves, and its Lease no longer says what it did before.
    world.start(first);
    until(LIMIT, "the first node to live again", || (!world.announces(first)).then_some(())).unwrap();
    assert!(world.announces(second));
    world.until_answered("the second node");

    // The second one is stopped in order: it hands over.
    world.nodes[second].stop(LIMIT).unwrap();
    world.until_answered("the first node to take over again");
    world.until_at(first);
    let log = world.nodes[second].log();
    assert!(log.contains("addresses are given up"), "{log}");
    assert_eq!(world.programmed_since(), Some(since), "it was not programmed in between");
}
