//! The agent on the objects of a real API server, with the rights that docs/guide/kubernetes.md names and no others:
//! `./x cluster test`.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers, too")]

mod addresses;
mod deploy;
mod deploy_ingress;
mod failover;
mod https;
mod restart;

mod ingress;

mod own_kinds;
mod policies_refused;

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::cluster::{Client, ControlPlane};
use testkit::{Addresses, GATEWAY_PORT, Lab, Load, Nginx, Process, exec, until};

const LIMIT: Duration = Duration::from_secs(60);
const GATEWAY_API: &str = "/apis/gateway.networking.k8s.io/v1";

struct World {
    lab: Lab,
    control: ControlPlane,
    nginx: Nginx,
    rauta: Process,
}

impl World {
    /// An agent that reads from an API server with a GatewayClass, a Gateway and a Service of one endpoint.
    fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// The same, of an agent whose command is shaped so, with more objects.
    fn with(shape: impl FnOnce(&Client, &mut Command)) -> Self {
        let lab = Lab::builder().build().unwrap();
        let control = ControlPlane::start_in(lab.gateway()).unwrap();
        let nginx = Nginx::start(&lab, 0).unwrap();
        let client = control.client();
        account(&control);
        let shop = "/namespaces/shop";
        client.create("/api/v1/namespaces", &named("shop", json!({}))).unwrap();
        let class = json!({"spec": {"controllerName": "rauta.io/gateway-controller"}});
        create(client, "gatewayclasses", "GatewayClass", named("rauta", class));
        let listener = json!({"name": "http", "port": GATEWAY_PORT, "protocol": "HTTP"});
        let spec = json!({"spec": {"gatewayClassName": "rauta", "listeners": [listener]}});
        create(client, "namespaces/shop/gateways", "Gateway", named("web", spec));
        let port = nginx.address().port();
        let spec = json!({"spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80, "targetPort": port}]}});
        client.create(&format!("/api/v1{shop}/services"), &named("web", spec)).unwrap();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": [nginx.address().ip().to_string()]}], "ports": [{"name": "http", "port": port}],
        });
        client.create(&format!("/apis/discovery.k8s.io/v1{shop}/endpointslices"), &slice).unwrap();
        let mut command = agent(&lab, &control);
        shape(client, &mut command);
        let rauta = lab.spawn(lab.gateway(), "rauta", command).unwrap();
        Self { lab, control, nginx, rauta }
    }

    fn client(&self) -> &Client {
        self.control.client()
    }

    fn add_route(&self, host: &str) {
        let spec = json!({"hostnames": [host], "parentRefs": [{"name": "web"}],
            "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]});
        let route = named(host, json!({"spec": spec}));
        create(self.client(), "namespaces/shop/httproutes", "HTTPRoute", route);
    }

    fn delete_route(&self, host: &str) {
        let path = format!("{GATEWAY_API}/namespaces/shop/httproutes/{host}");
        self.client().delete(&path, None).unwrap();
    }

    /// The status code and body of an answer; none: there was none.
    fn ask(&self, host: &str) -> (String, String) {
        let mut curl = Command::new("curl");
        let url = format!("http://{}:{GATEWAY_PORT}/", Addresses::GATEWAY);
        curl.args(["-s", "--max-time", "10", "-w", "\n%{http_code}", "-H", &format!("Host: {host}"), &url]);
        let output = exec(Some(self.lab.client()), curl, LIMIT).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, code) = text.rsplit_once('\n').unwrap_or_default();
        (code.to_owned(), body.to_owned())
    }

    fn until_code(&self, host: &str, code: &str) {
        let what = format!("{code} from {host}; log:\n{}", self.rauta.log());
        until(LIMIT, &what, || (self.ask(host).0 == code).then_some(())).unwrap();
    }

    /// Waits until a condition within the status of an object has this status, reason and generation.
    fn until_condition(&self, path: &str, of: &[&str], wanted: (&str, &str, &str)) -> Value {
        let path = format!("{GATEWAY_API}/{path}");
        let seen = || {
            let object = self.client().get(&path).ok()?;
            let mut status = &object["status"];
            for name in of {
                status = name.parse::<usize>().map_or(&status[*name], |i| &status[i]);
            }
            let conditions = status["conditions"].as_array()?;
            let found = conditions.iter().find(|one| one["type"] == wanted.0)?;
            let is_it = found["status"] == wanted.1
                && found["reason"] == wanted.2
                && found["observedGeneration"] == object["metadata"]["generation"];
            is_it.then(|| object["status"].clone())
        };
        until(LIMIT, &format!("{wanted:?} of {path}; log:\n{}", self.rauta.log()), seen).unwrap()
    }
}

fn start(lab: &Lab, control: &ControlPlane) -> Process {
    start_with(lab, control, &[])
}

/// The same with more arguments.
fn start_with(lab: &Lab, control: &ControlPlane, more: &[&str]) -> Process {
    let mut command = agent(lab, control);
    command.args(more);
    lab.spawn(lab.gateway(), "rauta", command).unwrap()
}

fn agent(lab: &Lab, control: &ControlPlane) -> Command {
    let kubeconfig = control.kubeconfig_for("rauta", "agent", true).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rauta"));
    command.args(["run", "--kubernetes", "--hook", "off", "--admin", "127.0.0.1:9901", "--metrics", "off"]);
    command.env("POD_NAMESPACE", "rauta").arg("--kubeconfig").arg(kubeconfig);
    command.arg("--socket").arg(lab.folder().join("rauta.sock"));
    command
}

fn named(name: &str, mut object: Value) -> Value {
    object["metadata"] = json!({"name": name});
    object
}

fn create(client: &Client, plural: &str, kind: &str, mut object: Value) {
    object["apiVersion"] = json!("gateway.networking.k8s.io/v1");
    object["kind"] = json!(kind);
    client.create(&format!("{GATEWAY_API}/{plural}"), &object).unwrap();
}

/// The account of the agent, with the rights that the guide names.
fn account(control: &ControlPlane) {
    let guide = include_str!("../../../../docs/guide/kubernetes.md");
    let roles = guide.split("```yaml\n").nth(1).and_then(|text| text.split("```").next());
    control.apply(roles.expect("roles in the guide")).unwrap();
}

fn threads_of_traffic_and_of_the_api_have_no_capabilities(pid: u32) {
    let mut confined = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        let name = field("Name:");
        if ["rauta-proxy-", "rauta-control", "rauta-upgrade", "kubernetes"]
            .iter()
            .any(|kind| name.starts_with(kind))
        {
            let none = "0000000000000000";
            assert_eq!((field("CapEff:"), field("CapPrm:")), (none, none), "{name}");
            confined += 1;
        }
    }
    assert!(confined >= 4, "threads by these names");
}

#[test]
fn what_is_applied_is_served_and_its_status_says_so() {
    let mut world = World::new();
    world.add_route("a.test");
    world.until_code("a.test", "200");
    assert!(world.ask("a.test").1.contains(&world.nginx.name()), "{:?}", world.ask("a.test"));
    let class = "gatewayclasses/rauta";
    world.until_condition(class, &[], ("Accepted", "True", "Accepted"));
    world.until_condition(class, &[], ("SupportedVersion", "True", "SupportedVersion"));
    let web = "namespaces/shop/gateways/web";
    let status = world.until_condition(web, &[], ("Programmed", "True", "Programmed"));
    assert!(status["addresses"][0]["value"].is_string(), "{status}");
    until(LIMIT, "one attached route", || {
        let gateway = world.client().get(&format!("{GATEWAY_API}/{web}")).unwrap();
        (gateway["status"]["listeners"][0]["attachedRoutes"] == 1).then_some(())
    })
    .unwrap();
    let route = "namespaces/shop/httproutes/a.test";
    world.until_condition(route, &["parents", "0"], ("Accepted", "True", "Accepted"));
    world.until_condition(route, &["parents", "0"], ("ResolvedRefs", "True", "ResolvedRefs"));
    let missing = json!({"spec": {"rules": [{"backendRefs": [{"name": "missing", "port": 80}]}]}});
    world.client().merge(&format!("{GATEWAY_API}/{route}"), &missing).unwrap();
    world.until_condition(route, &["parents", "0"], ("ResolvedRefs", "False", "BackendNotFound"));
    world.until_code("a.test", "500");
    world.delete_route("a.test");
    world.until_code("a.test", "404");
    // What is not to be read or written would have been complained of.
    let log = world.rauta.log();
    assert!(!log.contains("may not") && !log.contains("cannot write"), "{log}");
    threads_of_traffic_and_of_the_api_have_no_capabilities(world.rauta.pid());
    let lease = "/apis/coordination.k8s.io/v1/namespaces/rauta/leases/rauta-status";
    assert_ne!(world.client().get(lease).unwrap()["spec"]["holderIdentity"], "");
    world.rauta.stop(LIMIT).unwrap();
    // Given up, so that the next one need not wait.
    assert_eq!(world.client().get(lease).unwrap()["spec"]["holderIdentity"], "");
}

/// Longer than a Lease is held and all pauses between tries.
const ABSENCE: Duration = Duration::from_secs(60);

#[test]
fn a_server_that_is_killed_under_load_costs_no_request_and_what_changed_is_seen_when_it_is_back() {
    let mut world = World::new();
    world.add_route("a.test");
    world.add_route("b.test");
    world.until_code("a.test", "200");
    world.until_code("b.test", "200");
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let pause = Duration::from_millis(10);
    let load = Load::paced(world.lab.client(), Addresses::gateway_socket(), 8, pause, request, |answer| {
        answer.status == 200 && answer.endpoint() == Some("b0")
    });
    let gone = Instant::now();
    world.control.stop_api_server().unwrap();
    until(ABSENCE + LIMIT, "the agent to miss the API server", || {
        let is_missed = world.rauta.log().contains("cannot reach the API server");
        (is_missed && gone.elapsed() >= ABSENCE).then_some(())
    })
    .unwrap();
    world.control.start_api_server().unwrap();
    world.delete_route("b.test");
    world.add_route("c.test");
    world.until_code("b.test", "404");
    world.until_code("c.test", "200");
    let route = "namespaces/shop/httproutes/c.test";
    world.until_condition(route, &["parents", "0"], ("Accepted", "True", "Accepted"));
    until(LIMIT, "no trouble any more", || world.rauta.log().contains("no longer: ").then_some(())).unwrap();
    let seen = load.stop();
    assert!(seen.answered > 1000, "{seen:?}");
    assert_eq!(seen.failed(), 0, "{seen:?}");
}
