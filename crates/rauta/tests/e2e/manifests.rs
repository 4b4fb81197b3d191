//! Kubernetes YAML, as short as it can be.

use std::fmt::Write;

use testkit::{Addresses, BACKEND_PORT};

/// A GatewayClass and a Gateway `gw` with one HTTP listener on port 8080.
pub(crate) const GATEWAY: &str = "\
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

/// A Service `name` with port 80 on these endpoints of the lab.
pub(crate) fn service(name: &str, endpoints: &[u8]) -> String {
    let endpoints = endpoints
        .iter()
        .map(|&index| {
            format!("{{addresses: [\"{}\"], conditions: {{ready: true}}}}", Addresses::backend(index))
        })
        .collect::<Vec<_>>()
        .join(", ");
    format!(
        "\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{ports: [{{name: http, port: 80, targetPort: {BACKEND_PORT}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: http, port: {BACKEND_PORT}, protocol: TCP}}]
endpoints: [{endpoints}]
"
    )
}

/// An HTTPRoute on `gw` for these hosts (none: all) with rules as `(matches, backendRefs)`, both as YAML lists.
pub(crate) fn route(name: &str, hosts: &[&str], rules: &[(&str, &str)]) -> String {
    let mut yaml = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: default}}\n\
         spec:\n  parentRefs: [{{name: gw}}]\n"
    );
    if !hosts.is_empty() {
        writeln!(
            yaml,
            "  hostnames: [{}]",
            hosts.iter().map(|host| format!("\"{host}\"")).collect::<Vec<_>>().join(", ")
        )
        .unwrap();
    }
    yaml.push_str("  rules:\n");
    for (matches, backends) in rules {
        writeln!(yaml, "  - backendRefs: {backends}").unwrap();
        if !matches.is_empty() {
            writeln!(yaml, "    matches: {matches}").unwrap();
        }
    }
    yaml
}

/// Documents of one file.
pub(crate) fn documents(parts: &[&str]) -> String {
    parts.join("---\n")
}

/// Every request to Service `web` on these endpoints.
pub(crate) fn all_to(endpoints: &[u8]) -> String {
    documents(&[GATEWAY, &service("web", endpoints), &route("web", &[], &[("", "[{name: web, port: 80}]")])])
}
