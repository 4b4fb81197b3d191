//! The pinned CRDs are of the version that they should be, our own CRD is current, and manifests survive a round trip.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

use std::fs;
use std::path::Path;

use kube::CustomResourceExt;
use resources::gateway::{BUNDLE_VERSION, Gateway, GatewayClass, HttpRoute};
use resources::{BackendPolicy, RoutePolicy, RoutingRule, strict};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn crds() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crds")
}

#[test]
fn pinned_crds_are_of_the_standard_channel_of_the_pinned_version() {
    let folder = crds().join(format!("gateway-api-{BUNDLE_VERSION}"));
    let mut kinds = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let crd: Value = serde_saphyr::from_str(&text).unwrap();
        let annotations = &crd["metadata"]["annotations"];
        assert_eq!(annotations["gateway.networking.k8s.io/bundle-version"], BUNDLE_VERSION);
        assert_eq!(annotations["gateway.networking.k8s.io/channel"], "standard");
        kinds.push(crd["spec"]["names"]["kind"].as_str().unwrap().to_owned());
    }
    kinds.sort();
    let expected = [
        "BackendTLSPolicy",
        "GRPCRoute",
        "Gateway",
        "GatewayClass",
        "HTTPRoute",
        "ListenerSet",
        "ReferenceGrant",
        "TCPRoute",
        "TLSRoute",
        "UDPRoute",
    ];
    assert_eq!(kinds, expected);
}

/// The `spec` of the CRD in `file`, which is as its type in `source` has it.
fn current<K: CustomResourceExt>(file: &str, source: &str) -> Value {
    let path = crds().join(file);
    let head = format!("# Generated from crates/resources/src/{source} by crates/resources/generate.sh.\n");
    let crd = format!("{head}{}", serde_saphyr::to_string(&K::crd()).unwrap());
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, &crd).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), crd, "run crates/resources/generate.sh");
    let parsed: Value = serde_saphyr::from_str(&crd).unwrap();
    parsed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

#[test]
fn our_crds_are_current() {
    let spec = current::<RoutingRule>("rauta.io_routingrules.yaml", "routing_rule.rs");
    assert_eq!(spec["properties"]["tier"]["maximum"], 3.0);
    assert_eq!(spec["required"], json!(["backends"]));
    let spec = current::<BackendPolicy>("rauta.io_backendpolicies.yaml", "backend_policy.rs");
    assert_eq!(spec["required"], json!(["targetRefs"]));
    let check = &spec["properties"]["healthCheck"]["properties"];
    assert_eq!(check["type"]["enum"], json!(["HTTP", "TCP", "GRPC"]));
    let spec = current::<RoutePolicy>("rauta.io_routepolicies.yaml", "route_policy.rs");
    assert_eq!(spec["required"], json!(["targetRefs"]));
    assert_eq!(spec["properties"]["requestBodyMax"]["x-kubernetes-int-or-string"], true);
    assert!(spec["properties"].get("isUnreadable").is_none());
}

fn survives<T: DeserializeOwned + Serialize>(manifest: Value) {
    let object: T = strict::decode(&manifest).unwrap();
    assert_eq!(serde_json::to_value(object).unwrap(), manifest);
}

#[test]
fn manifests_survive_a_round_trip() {
    survives::<GatewayClass>(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "rauta"},
        "spec": {"controllerName": "rauta.io/gateway-controller", "description": "d",
                 "parametersRef": {"group": "g", "kind": "k", "name": "n", "namespace": "s"}}}));
    survives::<Gateway>(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "gw", "namespace": "a", "labels": {"x": "y"}},
        "spec": {"gatewayClassName": "rauta", "addresses": [{"type": "IPAddress", "value": "192.0.2.1"}],
                 "listeners": [{"name": "https", "port": 443, "protocol": "HTTPS", "hostname": "*.example.com",
                                "tls": {"mode": "Terminate", "certificateRefs": [{"name": "c"}]},
                                "allowedRoutes": {"namespaces": {"from": "Selector",
                                                  "selector": {"matchLabels": {"a": "b"}}},
                                                  "kinds": [{"kind": "HTTPRoute"}]}}]}}));
    survives::<HttpRoute>(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r"},
        "spec": {"hostnames": ["a.com"], "parentRefs": [{"name": "gw", "sectionName": "https", "port": 443}],
                 "rules": [{"name": "n",
                            "matches": [{"path": {"type": "PathPrefix", "value": "/"}, "method": "GET",
                                         "headers": [{"name": "h", "value": "v", "type": "RegularExpression"}],
                                         "queryParams": [{"name": "q", "value": "v", "type": "Exact"}]}],
                            "filters": [{"type": "RequestRedirect",
                                         "requestRedirect": {"scheme": "https", "statusCode": 301}}],
                            "timeouts": {"request": "10s", "backendRequest": "1s"},
                            "backendRefs": [{"name": "s", "port": 80, "weight": 5}]}]}}));
    survives::<RoutingRule>(json!({
        "apiVersion": "rauta.io/v1", "kind": "RoutingRule", "metadata": {"name": "r"},
        "spec": {"tier": 1, "hosts": ["a.com"],
                 "match": {"method": "GET", "path": {"type": "Exact", "value": "/api/v2/users"},
                           "headers": [{"name": "X-API-Version", "value": "2", "type": "Exact"}]},
                 "backends": [{"endpoint": "10.0.1.1:8080", "weight": 100},
                              {"service": {"name": "s", "port": 80}, "weight": 2}],
                 "maglev": {"tableSize": 4099}, "loadBalancer": {"type": "Maglev"},
                 "affinity": {"type": "ClientIP", "timeout": "30m"}, "forwardedHeaders": false}}));
    survives::<RoutePolicy>(json!({
        "apiVersion": "rauta.io/v1", "kind": "RoutePolicy", "metadata": {"name": "p"},
        "spec": {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gw",
                                 "sectionName": "https"}],
                 "ipRules": {"allow": ["10.0.0.0/8"], "deny": ["10.0.0.1"]},
                 "rateLimit": {"requests": 10, "unit": "Second", "burst": 20,
                               "key": {"type": "Header", "header": "X-Key"}},
                 "basicAuth": {"users": {"name": "u"}, "realm": "r", "forwardUsernameHeader": "X-User"},
                 "jwt": {"optional": true, "providers": [
                     {"name": "a", "issuer": "i", "audiences": ["s"],
                      "localJWKS": {"type": "ValueRef", "valueRef": {"group": "", "kind": "ConfigMap", "name": "k"}},
                      "extractFrom": {"headers": [{"name": "X-T", "valuePrefix": "T "}], "cookies": ["c"], "params": ["p"]},
                      "forward": false, "claimToHeaders": [{"header": "X-User", "claim": "sub"}],
                      "requiredClaims": [{"name": "scope", "values": ["write"]}], "clockSkew": "30s"},
                     {"name": "b", "localJWKS": {"inline": "{}"}}]},
                 "extAuth": {"http": {"backendRefs": [{"group": "", "kind": "Service", "name": "a", "namespace": "n", "port": 80}],
                                      "path": "/check", "headersToBackend": ["X-User"]},
                             "headersToExtAuth": ["Cookie"], "failOpen": true, "timeout": "1s", "statusOnError": 503},
                 "faultInjection": {"delay": {"fixedDelay": "1s", "percentage": 0.5}, "abort": {"httpStatus": 503}},
                 "directResponse": {"statusCode": 503, "contentType": "text/html", "body": "closed"},
                 "errorResponses": [{"statusCodes": ["404", "5xx"], "contentType": "text/html", "body": "sorry"}],
                 "requestBodyMax": "1Mi"}}));
    survives::<BackendPolicy>(json!({
        "apiVersion": "rauta.io/v1", "kind": "BackendPolicy", "metadata": {"name": "p"},
        "spec": {"targetRefs": [{"group": "", "kind": "Service", "name": "shop", "sectionName": "http"}],
                 "loadBalancer": {"type": "ConsistentHash",
                                  "consistentHash": {"type": "Header", "header": {"name": "x-user"}, "tableSize": 4099}},
                 "healthCheck": {"type": "HTTP", "interval": "3s", "timeout": "1s", "unhealthyThreshold": 3,
                                 "healthyThreshold": 1,
                                 "http": {"path": "/health", "hostname": "shop", "expectedStatuses": [200, 204]}},
                 "panicThreshold": 50,
                 "outlierDetection": {"consecutive5xxErrors": 5, "consecutiveGatewayErrors": 3, "baseEjectionTime": "30s",
                                      "maxEjectionTime": "300s", "maxEjectionPercent": 10},
                 "circuitBreaker": {"maxConnections": 1, "maxPendingRequests": 2, "maxParallelRequests": 3,
                                    "maxParallelRetries": 4}}}));
}

#[test]
fn our_own_spec_refuses_unknown_fields_for_other_readers_too() {
    let typo = json!({"apiVersion": "rauta.io/v1", "kind": "RoutingRule", "metadata": {"name": "r"},
                      "spec": {"backends": [{"endpont": "10.0.1.1:8080"}]}});
    assert!(serde_json::from_value::<RoutingRule>(typo).unwrap_err().to_string().contains("endpont"));
}
