//! The routes of every case.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::world::Network;

/// A port that nobody listens on.
const CLOSED_PORT: u16 = 9;

/// | request | goes to |
/// |---|---|
/// | host `b.test` | `b1` |
/// | `/b` and below | `b1` |
/// | `/both` | both, evenly |
/// | `/mixed` | `b0` 80, `b1` 20 by weights of backends |
/// | `/user` and below | `b1`, by a regular expression for a field: userspace's |
/// | `/refuse` | a port of `b0` that nobody listens on |
/// | `/far` and below | an address of `b0` behind another router |
/// | `/dead` | an address that nobody has |
/// | host `kept.test` | the same as `/both`, and each client keeps its endpoint |
/// | anything else | `b0` |
pub(crate) fn routes(network: Network) -> String {
    routes_with(network, &[0, 1])
}

/// The same with `/both` on these endpoints.
pub(crate) fn routes_with(network: Network, both: &[u8]) -> String {
    let (b0, b1) = (network.endpoint(0), network.endpoint(1));
    let refusing = SocketAddr::new(b0.ip(), CLOSED_PORT);
    let dead = network.endpoint(88);
    let far: std::net::IpAddr =
        if network.is_v6 { "fd78::2".parse().unwrap() } else { "10.78.0.2".parse().unwrap() };
    let mut yaml = String::from(GATEWAY);
    for (name, endpoints) in [
        ("a", vec![b0]),
        ("b", vec![b1]),
        ("both", both.iter().map(|&index| network.endpoint(index)).collect()),
        ("refusing", vec![refusing]),
        ("dead", vec![dead]),
        ("far", vec![SocketAddr::new(far, b0.port())]),
    ] {
        yaml.push_str(&service(name, &endpoints));
    }
    yaml.push_str(&route("by-host", Some("b.test"), &[("PathPrefix", "/", "[{name: b, port: 80}]")]));
    let kept = route("kept", Some("kept.test"), &[("PathPrefix", "/", "[{name: both, port: 80}]")]);
    yaml.push_str(&kept.replace("{name: kept,", "{name: kept, annotations: {rauta.io/affinity: client-ip},"));
    yaml.push_str(&route(
        "by-path",
        None,
        &[
            ("PathPrefix", "/", "[{name: a, port: 80}]"),
            ("PathPrefix", "/b", "[{name: b, port: 80}]"),
            ("PathPrefix", "/far", "[{name: far, port: 80}]"),
            ("PathPrefix", "/both", "[{name: both, port: 80}]"),
            ("PathPrefix", "/mixed", "[{name: a, port: 80, weight: 80}, {name: b, port: 80, weight: 20}]"),
            ("Exact", "/refuse", "[{name: refusing, port: 80}]"),
            ("Exact", "/dead", "[{name: dead, port: 80}]"),
        ],
    ));
    yaml.push_str(
        "  - backendRefs: [{name: b, port: 80}]\n    matches:\n    - path: {type: PathPrefix, value: /user}\n      \
         headers: [{type: RegularExpression, name: Host, value: \".+\"}]\n",
    );
    yaml
}

/// `routes` with endpoint `index` on its way out, wherever it is one.
pub(crate) fn draining(network: Network, routes: &str, index: u8) -> String {
    let ip = network.endpoint(index).ip();
    let ready = format!("{{addresses: [\"{ip}\"], conditions: {{ready: true}}}}");
    assert!(routes.contains(&ready), "{routes}");
    routes.replace(
        &ready,
        &format!("{{addresses: [\"{ip}\"], conditions: {{ready: false, serving: true, terminating: true}}}}"),
    )
}

const GATEWAY: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: rauta}
spec: {controllerName: rauta.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  gatewayClassName: rauta
  listeners: [{name: http, protocol: HTTP, port: 8080}]
";

/// A Service and its endpoints, all on one port.
pub(crate) fn service(name: &str, endpoints: &[SocketAddr]) -> String {
    let port = endpoints[0].port();
    let family = if endpoints[0].is_ipv4() { "IPv4" } else { "IPv6" };
    let addresses: Vec<String> = endpoints
        .iter()
        .map(|endpoint| format!("{{addresses: [\"{}\"], conditions: {{ready: true}}}}", endpoint.ip()))
        .collect();
    format!(
        "\
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{ports: [{{name: http, port: 80, targetPort: {port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: {family}
ports: [{{name: http, port: {port}, protocol: TCP}}]
endpoints: [{}]
",
        addresses.join(", ")
    )
}

/// An HTTPRoute with rules as (type of match, path, backendRefs).
/// A Service of one Pod with both addresses, `first` of the family that it prefers.
pub(crate) fn dual_stack_service(name: &str, first: SocketAddr, other: SocketAddr) -> String {
    let family = |address: SocketAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let mut yaml = format!(
        "\
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{ipFamilies: [{}, {}], ports: [{{name: http, port: 80, targetPort: {}}}]}}
",
        family(first),
        family(other),
        first.port()
    );
    for address in [first, other] {
        write!(
            yaml,
            "\
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-{lower}, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: {family}
ports: [{{name: http, port: {}, protocol: TCP}}]
endpoints: [{{addresses: [\"{}\"], targetRef: {{kind: Pod, namespace: default, name: {name}, uid: {name}}}}}]
",
            address.port(),
            address.ip(),
            family = family(address),
            lower = family(address).to_ascii_lowercase()
        )
        .unwrap();
    }
    yaml
}

pub(crate) fn route(name: &str, host: Option<&str>, rules: &[(&str, &str, &str)]) -> String {
    let mut yaml = format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
         metadata: {{name: {name}, namespace: default}}\nspec:\n  parentRefs: [{{name: gw}}]\n"
    );
    if let Some(host) = host {
        writeln!(yaml, "  hostnames: [\"{host}\"]").unwrap();
    }
    yaml.push_str("  rules:\n");
    for (kind, path, backends) in rules {
        writeln!(yaml, "  - backendRefs: {backends}").unwrap();
        writeln!(yaml, "    matches: [{{path: {{type: {kind}, value: \"{path}\"}}}}]").unwrap();
    }
    yaml
}
