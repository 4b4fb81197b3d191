//! Routes that change all the time, and mean the same to those who ask.

use testkit::{Addresses, BACKEND_PORT};

/// The configuration of step `step`: the endpoints that are ready, and a route more now and then.
pub(super) fn routes(step: usize, ready: [bool; 2]) -> String {
    let endpoints: Vec<String> = (0u8..)
        .zip(ready)
        .filter(|(_, is_ready)| *is_ready)
        .map(|(n, _)| format!("{{addresses: [\"{}\"], conditions: {{ready: true}}}}", Addresses::backend(n)))
        .collect();
    let endpoints = endpoints.join(", ");
    let more = if step.is_multiple_of(2) {
        String::new()
    } else {
        format!(
            "  - matches: [{{path: {{type: PathPrefix, value: /more/{}}}}}]\n    backendRefs: [{{name: all, port: 80}}]\n",
            step % 50
        )
    };
    format!(
        r#"apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: rauta}}
spec: {{controllerName: rauta.io/gateway-controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: gw, namespace: default}}
spec:
  gatewayClassName: rauta
  listeners: [{{name: http, protocol: HTTP, port: 8080}}]
---
apiVersion: v1
kind: Service
metadata: {{name: all, namespace: default}}
spec: {{ports: [{{name: http, port: 80, targetPort: {BACKEND_PORT}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: all-1, namespace: default, labels: {{kubernetes.io/service-name: all}}}}
addressType: IPv4
ports: [{{name: http, port: {BACKEND_PORT}, protocol: TCP}}]
endpoints: [{endpoints}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: all, namespace: default}}
spec:
  parentRefs: [{{name: gw}}]
  rules:
  - matches: [{{path: {{type: PathPrefix, value: /}}}}]
    backendRefs: [{{name: all, port: 80}}]
{more}"#
    )
}
