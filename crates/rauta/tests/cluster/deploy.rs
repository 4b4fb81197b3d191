//! The Helm chart on the nodes of a cluster: installed, looked at, upgraded under load.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testkit::cluster::{Cluster, Images, Program};
use testkit::{Connection, Load, exec, until};

pub(super) const LIMIT: Duration = Duration::from_secs(240);

/// The first node's address, where its Pod of the chart serves.
pub(super) const NODE: Ipv4Addr = Ipv4Addr::new(10, 90, 0, 10);

/// An address of the nodes' segment that no node has.
const ANNOUNCED: Ipv4Addr = Ipv4Addr::new(10, 90, 0, 100);

/// A Service with two endpoints.
const ECHO: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo}
spec:
  replicas: 2
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: echo
        image: echo-basic
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        readinessProbe: {httpGet: {path: /, port: 3000}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  selector: {app: echo}
  ports: [{port: 80, targetPort: 3000}]
"#;

/// The Gateway that serves it.
const GATEWAY: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: rauta
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: echo}
spec:
  parentRefs: [{name: web}]
  hostnames: [a.test]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
"#;

/// Rules that the definitions of the chart refuse, and the words that say why.
const REFUSED: &[(&str, &str)] = &[
    (r#"{"hosts": ["a_b"], "backends": [{"endpoint": "10.0.0.1:80"}]}"#, "spec.hosts[0]"),
    (r#"{"backends": [{"endpoint": "shop:80"}]}"#, "spec.backends[0].endpoint"),
    (r#"{"backends": [{"endpoint": "10.0.0.1:80", "weight": 70000}]}"#, "spec.backends[0].weight"),
    (r#"{"backends": [{"service": {"name": "a", "port": 0}}]}"#, "spec.backends[0].service.port"),
    (r#"{"backends": [{}]}"#, "exactly one of endpoint and service must be set"),
    (
        r#"{"match": {"path": {"value": "a"}}, "backends": [{"endpoint": "10.0.0.1:80"}]}"#,
        "a path begins with /",
    ),
];

pub(super) struct World {
    // Dropped in this order: the agent before what it has pinned.
    pub(super) cluster: Cluster,
    pins: Pins,
}

/// A folder for pins of this test alone: nodes of the lab share the machine's bpf file system.
struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        // A test that fails has not uninstalled the chart.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl World {
    pub(super) fn new() -> Self {
        let images = Images::default()
            .with("rauta", env!("CARGO_BIN_EXE_rauta"))
            .with("echo-basic", Program::EchoBasic.path().unwrap());
        let cluster = Cluster::start(1, &images).unwrap();
        let pins = PathBuf::from(format!("/sys/fs/bpf/{}", cluster.prefix()));
        Self { cluster, pins: Pins(pins) }
    }

    /// What a program says of the API server; its errors where it fails.
    fn ask(&self, mut command: Command, words: &[&str]) -> Result<String, String> {
        let control = self.cluster.control_plane();
        command.args(words).env("KUBECONFIG", control.kubeconfig()).env("HOME", control.folder());
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
        let output = exec(None, command, LIMIT).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    pub(super) fn kubectl(&self, words: &[&str]) -> Result<String, String> {
        self.ask(self.cluster.control_plane().kubectl().unwrap(), words)
    }

    pub(super) fn helm(&self, verb: &str, more: &[&str]) {
        let mut words = vec![verb, "rauta", "deploy/helm/rauta", "--namespace", "rauta"];
        words.extend(more);
        self.ask(Command::new(Program::Helm.path().unwrap()), &words).unwrap();
    }

    /// Waits until the Pods of the chart are those of its last revision, and ready; their names.
    pub(super) fn rolled_out(&self) -> String {
        let wait = ["--namespace", "rauta", "rollout", "status", "daemonset/rauta", "--timeout=200s"];
        if let Err(error) = self.kubectl(&wait) {
            let of = |words: &[&str]| self.kubectl(words).unwrap_or_else(|error| error);
            let pods = of(&["--namespace", "rauta", "describe", "pods"]);
            let log = of(&["--namespace", "rauta", "logs", "--prefix", "-l", "app.kubernetes.io/name=rauta"]);
            panic!("{error}\n{pods}\n{log}");
        }
        let names = ["--namespace", "rauta", "get", "pods", "-o", "jsonpath={.items[*].metadata.name}"];
        until(LIMIT, "one Pod", || Some(self.kubectl(&names).unwrap()).filter(|names| !names.contains(' ')))
            .unwrap()
    }

    /// Where its programs are pinned.
    pub(super) fn pins(&self) -> std::path::Display<'_> {
        self.pins.0.display()
    }

    /// Applies objects, by a file of this name.
    pub(super) fn apply(&self, name: &str, objects: &str) {
        let file = self.cluster.control_plane().folder().join(name);
        std::fs::write(&file, objects).unwrap();
        self.kubectl(&["apply", "-f", file.to_str().unwrap()]).unwrap();
    }

    /// Applies a Service with two endpoints.
    pub(super) fn apply_echo(&self) {
        self.apply("echo.yaml", ECHO);
    }

    /// Waits until a request to `address` is answered.
    pub(super) fn until_answered(&self, address: SocketAddr) {
        until(LIMIT, "an answer", || {
            let mut connection = Connection::open(self.cluster.control_plane().netns(), address).ok()?;
            connection.get("a.test", "/").ok().filter(|answer| answer.status == 200)
        })
        .unwrap();
    }

    /// Requests to `address` on connections that are kept, and on new ones.
    fn load(&self, address: SocketAddr) -> [Load; 2] {
        ["", "Connection: close\r\n"].map(|end| {
            let text = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{end}\r\n");
            let pause = Duration::from_millis(20);
            Load::paced(self.cluster.control_plane().netns(), address, 4, pause, &text, |answer| {
                answer.status == 200 && String::from_utf8_lossy(&answer.body).contains("\"pod\": \"echo-")
            })
        })
    }

    /// Upgrades the chart twice under load, from the Pod `first`, and ends the load: no request has failed.
    fn upgrade_under(&self, load: [Load; 2], first: String) {
        let mut pods = vec![first];
        for change in [r#"settings.timeouts={"drain": "5s"}"#, r#"image={"tag": "next"}"#] {
            load.iter().for_each(|load| load.wait_for_more(50, LIMIT).unwrap());
            self.helm("upgrade", &["--reuse-values", "--set-json", change]);
            let pod = self.rolled_out();
            assert!(!pods.contains(&pod), "{pod} is not new");
            pods.push(pod);
            load.iter().for_each(|load| load.wait_for_more(50, LIMIT).unwrap());
        }
        for report in load.map(Load::stop) {
            assert_eq!(report.failed(), 0, "{report:?}");
        }
        // What was taken over was not begun anew.
        let log = self.kubectl(&["--namespace", "rauta", "logs", "daemonset/rauta"]).unwrap();
        assert!(log.contains("taking over from the agent at work"), "{log}");
        for word in ["may not", "cannot write", "cannot have"] {
            assert!(!log.contains(word), "{log}");
        }
    }

    /// A field of the Gateway, as kubectl's JSONPath has it.
    fn of_gateway(&self, path: &str) -> String {
        self.kubectl(&["get", "gateway", "web", "-o", &format!("jsonpath={{{path}}}")]).unwrap()
    }

    /// Requests that the kernel has decided.
    fn in_kernel(&self) -> u64 {
        let status: Value = serde_json::from_str(&self.rauta(&["status", "-o", "json"])).unwrap();
        status["dataplane"]["tier"]["requests"].as_u64().unwrap_or_else(|| panic!("{status}"))
    }

    pub(super) fn uninstall(&self) {
        let mut helm = Command::new(Program::Helm.path().unwrap());
        helm.args(["uninstall", "rauta", "--namespace", "rauta"]);
        self.ask(helm, &[]).unwrap();
        until(LIMIT, "the Pods to be gone, and their pins", || {
            let left = self.kubectl(&["--namespace", "rauta", "get", "pods", "-o", "name"]).unwrap();
            (left.is_empty() && std::fs::read_dir(&self.pins.0).unwrap().next().is_none()).then_some(())
        })
        .unwrap();
    }

    pub(super) fn rauta(&self, words: &[&str]) -> String {
        let mut all = vec!["--namespace", "rauta", "exec", "daemonset/rauta", "--", "rauta"];
        all.extend(words);
        self.kubectl(&all).unwrap()
    }

    /// Compares the rights of the chart's account with those of a file.
    fn has_rights(&self, file: &str) {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster").join(file);
        let rights = self.rights();
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&golden, &rights).unwrap();
        }
        assert_eq!(rights, std::fs::read_to_string(golden).unwrap());
    }

    /// The rights of the chart's account, as the API server lists them.
    fn rights(&self) -> String {
        let account = self.cluster.control_plane().kubeconfig_for("rauta", "rauta", false).unwrap();
        let mut command = self.cluster.control_plane().kubectl().unwrap();
        command.args(["auth", "can-i", "--list", "--namespace", "rauta", "--kubeconfig"]).arg(account);
        let output = exec(None, command, LIMIT).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut lines: Vec<String> = text.lines().skip(1).map(words).collect();
        lines.sort();
        lines.join("\n") + "\n"
    }
}

#[test]
fn the_chart_is_installed_and_upgraded_under_load_without_a_failed_request() {
    let world = World::new();
    // The lab has applied them; here they are the chart's.
    let definitions =
        ["routingrules", "routepolicies", "backendpolicies"].map(|name| format!("{name}.rauta.io"));
    for definition in &definitions {
        world.kubectl(&["delete", "crd", "--wait=false", definition]).unwrap();
    }
    until(LIMIT, "the definitions to be gone", || {
        let crds = world.kubectl(&["get", "crd", "-o", "name"]).unwrap();
        (!crds.contains(".rauta.io")).then_some(())
    })
    .unwrap();
    world.apply_echo();
    world.apply("gateway.yaml", GATEWAY);

    let folder = format!("host.pinFolder={}", world.pins());
    world.helm("install", &["--create-namespace", "--set", &folder]);
    let first = world.rolled_out();
    world.kubectl(&["rollout", "status", "deployment/echo", "--timeout=200s"]).unwrap();
    let status = world.rauta(&["status"]);
    assert!(status.contains("eth0 (tcx)"), "no kernel programs with the chart's capabilities: {status}");
    assert!(status.contains("serving"), "{status}");

    world.has_rights("rights.txt");
    refuses_what_cannot_be(&world);
    lets_agents_write_services_of_gateways_alone(&world);

    let address = SocketAddr::from((NODE, 80));
    world.until_answered(address);
    // The node has no external address.
    assert_eq!(world.of_gateway(".status.addresses[0].value"), NODE.to_string());
    world.upgrade_under(world.load(address), first);
    assert!(world.rauta(&["status"]).contains("eth0 (tcx)"));
    world.uninstall();
    world.kubectl(&["get", "crd", "routingrules.rauta.io"]).unwrap();
}

#[test]
fn an_announced_address_is_served_in_the_kernel_and_stays_through_upgrades() {
    let world = World::new();
    world.apply_echo();
    world.apply("gateway.yaml", GATEWAY);
    let folder = format!("host.pinFolder={}", world.pins());
    let pool = format!("settings.addresses.pool={{{ANNOUNCED}}}");
    let values = [&*folder, "crds.install=false", &pool, "settings.addresses.interface=eth0"];
    let set: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
    world.helm("install", &[&["--create-namespace"][..], &set].concat());
    let first = world.rolled_out();
    world.has_rights("rights_of_pools.txt");
    let address = SocketAddr::from((ANNOUNCED, 80));
    world.until_answered(address);
    assert_eq!(world.of_gateway(".status.addresses[*].value"), ANNOUNCED.to_string());
    let since = r#".status.conditions[?(@.type=="Programmed")]['status','lastTransitionTime']"#;
    let programmed = until(LIMIT, "the Gateway to be programmed", || {
        Some(world.of_gateway(since)).filter(|found| found.starts_with("True"))
    })
    .unwrap();
    // The node's own address is not the Gateway's.
    assert!(Connection::open(world.cluster.control_plane().netns(), SocketAddr::from((NODE, 80))).is_err());

    let before = world.in_kernel();
    let load = world.load(address);
    load.iter().for_each(|load| load.wait_for_more(50, LIMIT).unwrap());
    assert!(world.in_kernel() >= before + 100, "{before}");
    world.upgrade_under(load, first);
    let before = world.in_kernel();
    world.until_answered(address);
    assert!(world.in_kernel() > before, "{before}");
    assert_eq!(world.of_gateway(since), programmed, "it was programmed all the time");
    world.uninstall();
}

/// With the rights of the chart's account, whoever has taken it over.
fn lets_agents_write_services_of_gateways_alone(world: &World) {
    let account = world.cluster.control_plane().kubeconfig_for("rauta", "rauta", false).unwrap();
    let file = world.cluster.control_plane().folder().join("service.yaml");
    let apply = |name: &str, label: &str, spec: &str| {
        let metadata = format!(
            "{{name: {name}, namespace: default, labels: {{app.kubernetes.io/managed-by: {label}}}}}"
        );
        let service = format!("apiVersion: v1\nkind: Service\nmetadata: {metadata}\nspec: {spec}\n");
        std::fs::write(&file, service).unwrap();
        let (file, account) = (file.to_str().unwrap(), account.to_str().unwrap());
        let words = ["apply", "--server-side", "--force-conflicts", "-f", file, "--kubeconfig", account];
        world.kubectl(&words)
    };
    let headless = "{clusterIP: None, ports: [{port: 80}]}";
    let refused = [
        ("echo", "rauta", "{externalIPs: [192.0.2.1]}", "change Services of Gateways alone"),
        ("web-rauta", "me", headless, "make Services of Gateways alone"),
        ("web-rauta", "rauta", "{ports: [{port: 80}]}", "make headless Services"),
        (
            "web-rauta",
            "rauta",
            "{clusterIP: None, selector: {app: a}, ports: [{port: 80}]}",
            "make headless Services",
        ),
    ];
    for (name, label, spec, why) in refused {
        // The API server takes a moment to know a policy.
        let mut said = None;
        let refused = until(LIMIT, why, || {
            said = apply(name, label, spec).err();
            said.as_ref().is_some_and(|error| error.contains(why)).then_some(())
        });
        refused.unwrap_or_else(|error| panic!("{error:#}: {said:?}"));
    }
    // Made, and changed.
    for ports in ["{name: a, port: 80}", "{name: a, port: 80}, {name: b, port: 81}"] {
        apply("web-rauta", "rauta", &format!("{{clusterIP: None, ports: [{ports}]}}")).unwrap();
    }
    let selected = "{clusterIP: None, selector: {app: a}, ports: [{name: a, port: 80}, {name: b, port: 81}]}";
    assert!(apply("web-rauta", "rauta", selected).unwrap_err().contains("make headless Services"));
}

fn refuses_what_cannot_be(world: &World) {
    for (spec, why) in REFUSED {
        let rule = format!(
            r#"{{"apiVersion": "rauta.io/v1", "kind": "RoutingRule", "metadata": {{"name": "bad"}}, "spec": {spec}}}"#
        );
        let file = world.cluster.control_plane().folder().join("bad.json");
        std::fs::write(&file, rule).unwrap();
        let error = world.kubectl(&["apply", "-f", file.to_str().unwrap()]).expect_err(spec);
        assert!(error.contains(why), "{spec}: {error}");
    }
}
