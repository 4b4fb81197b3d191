//! Policies that the API server refuses when they are applied, by the rules in their definitions, and those beside them that it takes.

use serde_json::{Value, json};
use testkit::Lab;
use testkit::cluster::ControlPlane;

use super::named;

/// Parts of a RoutePolicy, and the words that refuse them; none: it is taken.
const ROUTE_POLICIES: &[(&str, Option<&str>)] = &[
    (r#"{"extAuth": {}}"#, Some("exactly one of http and grpc must be set")),
    (
        r#"{"extAuth": {"http": {"backendRefs": [{"name": "a", "port": 1}]}, "grpc": {"backendRefs": [{"name": "a", "port": 1}]}}}"#,
        Some("exactly one of http and grpc must be set"),
    ),
    (r#"{"extAuth": {"grpc": {"backendRefs": [{"name": "a", "port": 1}]}}}"#, None),
    (r#"{"ipRules": {}}"#, Some("allow or deny must name somebody")),
    (r#"{"ipRules": {"allow": [], "deny": []}}"#, Some("allow or deny must name somebody")),
    (r#"{"ipRules": {"allow": [], "deny": ["10.0.0.0/8"]}}"#, None),
    (
        r#"{"jwt": {"providers": [{"name": "a", "localJWKS": {"inline": "x"}}, {"name": "a", "localJWKS": {"inline": "x"}}]}}"#,
        Some("two providers have the same name"),
    ),
    (
        r#"{"jwt": {"providers": [{"name": "a", "localJWKS": {"inline": "x"}}, {"name": "b", "localJWKS": {"inline": "x"}}]}}"#,
        None,
    ),
    (r#"{"jwt": {"providers": [{"name": "a"}]}}"#, Some("localJWKS must be set")),
    (
        r#"{"jwt": {"providers": [{"name": "a", "localJWKS": {}}]}}"#,
        Some("exactly one of inline and valueRef must be set"),
    ),
    (
        r#"{"jwt": {"providers": [{"name": "a", "localJWKS": {"type": "ValueRef", "inline": "x"}}]}}"#,
        Some("inline goes with type Inline"),
    ),
    (
        r#"{"jwt": {"providers": [{"name": "a", "localJWKS": {"type": "ValueRef", "valueRef": {"kind": "Secret", "name": "a"}}}]}}"#,
        None,
    ),
    (
        r#"{"rateLimit": {"requests": 1, "unit": "Second", "key": {"type": "Header"}}}"#,
        Some("header goes with type Header"),
    ),
    (
        r#"{"rateLimit": {"requests": 1, "unit": "Second", "key": {"type": "Address", "header": "a"}}}"#,
        Some("header goes with type Header"),
    ),
    (r#"{"rateLimit": {"requests": 1, "unit": "Second", "key": {"type": "Header", "header": "a"}}}"#, None),
    (r#"{"faultInjection": {}}"#, Some("delay or abort must be set")),
    (r#"{"faultInjection": {"abort": {"httpStatus": 503}}}"#, None),
    (
        r#"{"directResponse": {"statusCode": 204, "body": "a"}}"#,
        Some("a body cannot go with status 204 or 304"),
    ),
    (r#"{"directResponse": {"statusCode": 204, "body": ""}}"#, None),
    (r#"{"directResponse": {"statusCode": 200, "body": "a"}}"#, None),
    (r#"{"compression": [{"type": "Gzip"}, {"type": "Gzip"}]}"#, Some("a coding stands there twice")),
    (r#"{"compression": [{"type": "Gzip"}, {"type": "Zstd"}]}"#, None),
];

/// The same of a BackendPolicy.
const BACKEND_POLICIES: &[(&str, Option<&str>)] = &[
    (r#"{"loadBalancer": {"type": "ConsistentHash"}}"#, Some("consistentHash goes with type ConsistentHash")),
    (
        r#"{"loadBalancer": {"type": "Random", "consistentHash": {"type": "SourceIP"}}}"#,
        Some("consistentHash goes with type ConsistentHash"),
    ),
    (
        r#"{"loadBalancer": {"type": "ConsistentHash", "consistentHash": {"type": "Header"}}}"#,
        Some("header goes with type Header"),
    ),
    (
        r#"{"loadBalancer": {"type": "ConsistentHash", "consistentHash": {"type": "SourceIP", "cookie": {"name": "a"}}}}"#,
        Some("cookie goes with type Cookie"),
    ),
    (
        r#"{"loadBalancer": {"type": "ConsistentHash", "consistentHash": {"type": "Cookie", "cookie": {"name": "a"}}}}"#,
        None,
    ),
    (r#"{"loadBalancer": {"type": "LeastRequest"}}"#, None),
    (r#"{"healthCheck": {"type": "TCP", "http": {"path": "/a"}}}"#, Some("http is for type HTTP only")),
    (r#"{"healthCheck": {"grpc": {}}}"#, Some("grpc is for type GRPC only")),
    (r#"{"healthCheck": {"http": {"path": "/a"}}}"#, None),
    (r#"{"healthCheck": {"type": "GRPC", "grpc": {}}}"#, None),
    (r#"{"circuitBreaker": {}}"#, Some("at least one limit must be set")),
    (r#"{"circuitBreaker": {"maxParallelRetries": 0}}"#, None),
    (r#"{"outlierDetection": {"consecutive5xxErrors": 0}}"#, Some("must count something")),
    (r#"{"outlierDetection": {"consecutive5xxErrors": 0, "consecutiveGatewayErrors": 1}}"#, None),
    (r#"{"outlierDetection": {}}"#, None),
    (
        r#"{"outlierDetection": {"maxEjectionTime": "29s"}}"#,
        Some("maxEjectionTime must not be shorter than baseEjectionTime"),
    ),
    (r#"{"outlierDetection": {"baseEjectionTime": "1h30m", "maxEjectionTime": "90m"}}"#, None),
];

#[test]
fn policies_that_cannot_be_are_refused_when_they_are_applied() {
    let lab = Lab::builder().build().unwrap();
    let control = ControlPlane::start_in(lab.gateway()).unwrap();
    let target = |group: &str, kind: &str| json!([{"group": group, "kind": kind, "name": "a"}]);
    let gateway = target("gateway.networking.k8s.io", "Gateway");
    for (kind, plural, targets, specs) in [
        ("RoutePolicy", "routepolicies", gateway, ROUTE_POLICIES),
        ("BackendPolicy", "backendpolicies", target("", "Service"), BACKEND_POLICIES),
    ] {
        for (number, (text, refusal)) in specs.iter().enumerate() {
            let mut spec: Value = serde_json::from_str(text).unwrap();
            spec["targetRefs"] = targets.clone();
            let mut policy = named(&format!("p{number}"), json!({"spec": spec}));
            (policy["apiVersion"], policy["kind"]) = (json!("rauta.io/v1"), json!(kind));
            let path = format!("/apis/rauta.io/v1/namespaces/default/{plural}");
            let answer = control.client().create(&path, &policy);
            match (answer, refusal) {
                (Ok(_), None) => {}
                (Err(error), Some(why)) => {
                    let error = error.to_string();
                    assert!(error.contains(why), "{kind} {text}: {error}");
                }
                (answer, _) => panic!("{kind} {text}: {answer:?}, not {refusal:?}"),
            }
        }
    }
}
