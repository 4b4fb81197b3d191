use serde_json::{Value, json};

use super::super::tests::{condition, gateway, http, ours, statuses};
use super::*;

fn named(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "generation": 4, "resourceVersion": "1"}, "spec": spec})
}

fn rule(spec: Value) -> (ObjectKind, Value) {
    (ObjectKind::RoutingRule, named("users", spec))
}

/// A RoutePolicy for these targets, with a limit and what else is asked.
fn policy(name: &str, targets: Value, more: Value) -> (ObjectKind, Value) {
    let mut spec = json!({"targetRefs": targets, "rateLimit": {"requests": 1, "unit": "Second"}});
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    (ObjectKind::RoutePolicy, named(name, spec))
}

#[test]
fn a_rule_says_whether_it_is_served_and_its_backends_are_there() {
    let literal = json!([{"endpoint": "10.0.0.1:80"}]);
    let missing = json!([{"service": {"name": "missing", "port": 80}}]);
    let (resolved, accepted) = ("True ResolvedRefs@4", "True Accepted@4");
    for (spec, wanted) in [
        (json!({"backends": literal}), [accepted, resolved]),
        (json!({"backends": missing}), [accepted, "False BackendNotFound@4"]),
        (json!({"backends": [{"endpoint": "127.0.0.1:80"}]}), [accepted, "False AddressNotAllowed@4"]),
        (json!({"backends": [{"endpoint": "nowhere"}]}), ["False UnsupportedValue@4", resolved]),
        (json!({"backends": "none"}), ["False UnsupportedValue@4", resolved]),
        (
            json!({"backends": literal, "parentRefs": [{"name": "web", "sectionName": "none"}]}),
            ["False NoMatchingParent@4", resolved],
        ),
        // One of two is enough.
        (
            json!({"backends": literal, "parentRefs": [{"name": "none"}, {"name": "web"}]}),
            [accepted, resolved],
        ),
    ] {
        let status = &statuses([ours(), gateway(http()), rule(spec.clone())])["RoutingRule shop/users"];
        assert_eq!(["Accepted", "ResolvedRefs"].map(|kind| condition(status, kind)), wanted, "{spec}");
    }
    let status = &statuses([rule(json!({"backends": literal}))])["RoutingRule shop/users"];
    assert_eq!(condition(status, "Accepted"), "False NoMatchingParent@4", "no Gateway at all");
}

#[test]
fn a_policy_says_of_each_target_whether_it_is_in_force() {
    let target = |name: &str| json!({"group": GROUP, "kind": "Gateway", "name": name});
    let mut section = target("web");
    section["sectionName"] = json!("none");
    let targets = json!([target("web"), target("missing"), section]);
    let found = statuses([ours(), gateway(http()), policy("limit", targets, json!({}))]);
    let ancestors = found["RoutePolicy shop/limit"]["ancestors"].as_array().unwrap();
    let web = json!({"group": GROUP, "kind": "Gateway", "namespace": "shop", "name": "web"});
    assert_eq!(ancestors[0]["ancestorRef"], web);
    assert_eq!(ancestors[0]["controllerName"], "rauta.io/gateway-controller");
    assert_eq!(condition(&ancestors[0], "Accepted"), "True Accepted@4");
    assert_eq!(condition(&ancestors[0], "ResolvedRefs"), "True ResolvedRefs@4");
    assert_eq!(condition(&ancestors[0], "Overridden"), "null");
    assert_eq!(condition(&ancestors[1], "Accepted"), "False TargetNotFound@4");
    assert_eq!(ancestors[2]["ancestorRef"]["sectionName"], "none");
    assert_eq!(condition(&ancestors[2], "Accepted"), "False TargetNotFound@4");
}

#[test]
fn a_policy_that_cannot_be_names_nothing_or_is_late_says_so() {
    let targets = json!([{"group": GROUP, "kind": "Gateway", "name": "web"}]);
    let all = [
        ours(),
        gateway(http()),
        policy("a-first", targets.clone(), json!({})),
        policy("b-late", targets.clone(), json!({})),
        policy("c-users", targets.clone(), json!({"basicAuth": {"users": {"name": "missing"}}})),
        policy("d-bad", targets, json!({"ipRules": {"allow": ["nowhere"]}})),
    ];
    let found = statuses(all);
    let of = |name: &str| {
        let ancestor = found[&format!("RoutePolicy shop/{name}")]["ancestors"][0].clone();
        ["Accepted", "ResolvedRefs", "Overridden"].map(|kind| condition(&ancestor, kind))
    };
    let (accepted, resolved, overridden) = ("True Accepted@4", "True ResolvedRefs@4", "True Conflicted@4");
    assert_eq!(of("a-first"), [accepted, resolved, "null"]);
    assert_eq!(of("b-late"), [accepted, resolved, overridden]);
    assert_eq!(of("c-users"), [accepted, "False InvalidSecretRef@4", overridden]);
    assert_eq!(of("d-bad")[0], "False Invalid@4");
}

#[test]
fn policies_for_what_is_another_controllers_are_not_spoken_of() {
    let (_, mut class) = ours();
    class["spec"]["controllerName"] = json!("else/where");
    let targets = json!([{"group": GROUP, "kind": "Gateway", "name": "web"}]);
    let found =
        statuses([(ObjectKind::GatewayClass, class), gateway(http()), policy("limit", targets, json!({}))]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_policy_of_endpoints_speaks_of_its_service() {
    let spec = json!({"targetRefs": [{"group": "", "kind": "Service", "name": "web"}], "panicThreshold": 10});
    let policy = (ObjectKind::BackendPolicy, named("calm", spec));
    let service = (ObjectKind::Service, named("web", json!({"ports": [{"port": 80}]})));
    let found = statuses([policy.clone()]);
    let ancestor = &found["BackendPolicy shop/calm"]["ancestors"][0];
    assert_eq!(condition(ancestor, "Accepted"), "False TargetNotFound@4");
    let found = statuses([service, policy]);
    let ancestor = &found["BackendPolicy shop/calm"]["ancestors"][0];
    assert_eq!(
        ancestor["ancestorRef"],
        json!({"group": "", "kind": "Service", "namespace": "shop", "name": "web"})
    );
    assert_eq!(condition(ancestor, "Accepted"), "True Accepted@4");
}
