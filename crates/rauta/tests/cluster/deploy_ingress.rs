//! Ingresses of the Helm chart's agents: served on the nodes' ports 80 and 443, where clients look for them.

use std::net::SocketAddr;

use testkit::{Connection, Netns, Recorder, until};

use super::deploy::{LIMIT, NODE, World};
use super::https;

const INGRESSES: &str = r#"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: plain}
spec:
  ingressClassName: rauta
  rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: echo, port: {number: 80}}}}]}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: secure}
spec:
  ingressClassName: rauta
  tls: [{hosts: [secure.test], secretName: secure}]
  rules: [{host: secure.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: echo, port: {number: 80}}}}]}}]
"#;

/// Asks for `https://secure.test/` at the node's port 443, and verifies who answers.
fn get_secure(world: &World) -> Option<String> {
    let control = world.cluster.control_plane();
    let trusted = control.folder().join("secure.test.pem");
    https::ask(control.netns(), SocketAddr::from((NODE, 443)), "secure.test", &trusted).ok()
}

fn apply_ingresses(world: &World) {
    world.apply_echo();
    world.apply("ingresses.yaml", INGRESSES);
    let secret = https::secret("secure", "secure.test", world.cluster.control_plane().folder());
    world.apply("secret.json", &secret.to_string());
}

#[test]
fn ingresses_are_served_on_the_ports_of_the_web_even_beside_another_program_and_after_an_upgrade() {
    let world = World::new();
    apply_ingresses(&world);
    let control = world.cluster.control_plane().netns();
    let (http, before) = (SocketAddr::from((NODE, 80)), SocketAddr::from((NODE, 8080)));
    // As it was while the chart chose no ports.
    let folder = format!("host.pinFolder={}", world.pins());
    let set = ["--set", "crds.install=false", "--set", &folder];
    let old = ["--set", "ports.http=0,ports.https=0", "--create-namespace"];
    world.helm("install", &[&set[..], &old].concat());
    world.rolled_out();
    world.until_answered(before);
    let response = Connection::open(control, before).unwrap().get("secure.test", "/").unwrap();
    assert_eq!(response.status, 200, "who chose no port sends nobody there");

    // Something else has port 80 of the node: the rest is served, and it keeps what it has.
    let node = Netns::open(&format!("{}-node0", world.cluster.prefix())).unwrap();
    let other = Recorder::start(&node, "0.0.0.0:80".parse().unwrap(), |peer| {
        peer.request()?;
        peer.send("HTTP/1.1 418 Other\r\nContent-Length: 0\r\n\r\n")
    })
    .unwrap();
    world.helm("upgrade", &[&set[..], &["--reset-values"]].concat());
    world.rolled_out();
    let secure = until(LIMIT, "HTTPS on port 443", || get_secure(&world)).unwrap();
    assert!(secure.starts_with("HTTP/1.1 200") && secure.contains("\"pod\": \"echo-"), "{secure}");
    let status = world.rauta(&["status"]);
    assert!(status.contains(":80") && status.contains("in use"), "{status}");
    let response = Connection::open(control, http).unwrap().get("a.test", "/").unwrap();
    assert_eq!(response.status, 418, "the kernel programs leave it the port");
    drop(other);
    world.until_answered(http);

    let redirect = Connection::open(control, http).unwrap().get("secure.test", "/a?b").unwrap();
    assert_eq!((redirect.status, redirect.header("location")), (308, Some("https://secure.test/a?b")));
    assert!(Connection::open(control, before).is_err(), "nobody listens where it was before");
    for name in ["plain", "secure"] {
        let path = "jsonpath={.status.loadBalancer.ingress[0].ip}";
        let reached = || world.kubectl(&["get", "ingress", name, "-o", path]).unwrap();
        until(LIMIT, name, || (reached() == NODE.to_string()).then_some(())).unwrap();
    }
    world.uninstall();
}

#[test]
fn without_a_bpf_file_system_userspace_serves_and_says_why() {
    let world = World::new();
    apply_ingresses(&world);
    // A folder of the node that is on no such file system, as nodes have that are containers.
    let set = ["--set", "crds.install=false", "--set", "host.pinFolder=/opt/rauta", "--create-namespace"];
    world.helm("install", &set);
    world.rolled_out();
    world.until_answered(SocketAddr::from((NODE, 80)));
    let status = world.rauta(&["status"]);
    assert!(status.contains("kernel programs") && status.contains("not on a bpf file system"), "{status}");
    let log = world.kubectl(&["--namespace", "rauta", "logs", "daemonset/rauta"]).unwrap();
    let said: Vec<&str> = log.lines().filter(|line| line.contains("not on a bpf file system")).collect();
    assert_eq!(said.len(), 1, "{log}");
}
