//! The status of our own kinds, through the definitions that a cluster has of them.

use serde_json::{Value, json};
use testkit::until;

use super::{LIMIT, World, named};

const SHOP: &str = "/apis/rauta.io/v1/namespaces/shop";

fn create(world: &World, plural: &str, kind: &str, name: &str, spec: Value) {
    let mut object = named(name, json!({"spec": spec}));
    object["apiVersion"] = json!("rauta.io/v1");
    object["kind"] = json!(kind);
    world.client().create(&format!("{SHOP}/{plural}"), &object).unwrap();
}

/// Waits until a condition in the status of an object, below `at`, has this status and reason, for its present generation.
fn until_condition(world: &World, path: &str, at: &str, wanted: (&str, &str, &str)) {
    let path = format!("{SHOP}/{path}");
    let seen = || {
        let object = world.client().get(&path).unwrap();
        let conditions = object["status"].pointer(&format!("{at}/conditions"))?.as_array()?;
        let found = conditions.iter().find(|one| one["type"] == wanted.0)?;
        let is_it = found["status"] == wanted.1
            && found["reason"] == wanted.2
            && found["observedGeneration"] == object["metadata"]["generation"]
            && found["lastTransitionTime"].is_string();
        is_it.then_some(())
    };
    let log = || format!("{:?}\n{}", world.client().get(&path), world.rauta.log());
    until(LIMIT, &format!("{wanted:?} of {path}"), seen)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", log()));
}

#[test]
fn rules_and_policies_of_ours_say_what_becomes_of_them() {
    let world = World::new();
    let backend =
        |name: &str| json!({"hosts": ["rule.test"], "backends": [{"service": {"name": name, "port": 80}}]});
    create(&world, "routingrules", "RoutingRule", "rule", backend("web"));
    let rule = "routingrules/rule";
    until_condition(&world, rule, "", ("Accepted", "True", "Accepted"));
    until_condition(&world, rule, "", ("ResolvedRefs", "True", "ResolvedRefs"));
    world.until_code("rule.test", "200");
    world.client().merge(&format!("{SHOP}/{rule}"), &json!({"spec": backend("missing")})).unwrap();
    until_condition(&world, rule, "", ("ResolvedRefs", "False", "BackendNotFound"));

    let target =
        |kind: &str, name: &str| json!({"group": "gateway.networking.k8s.io", "kind": kind, "name": name});
    let targets = json!([target("Gateway", "web"), target("HTTPRoute", "late.test")]);
    let answer = json!({"targetRefs": targets, "directResponse": {"statusCode": 418}});
    create(&world, "routepolicies", "RoutePolicy", "closed", answer);
    let policy = "routepolicies/closed";
    until_condition(&world, policy, "/ancestors/0", ("Accepted", "True", "Accepted"));
    until_condition(&world, policy, "/ancestors/1", ("Accepted", "False", "TargetNotFound"));
    world.until_code("rule.test", "418");
    world.add_route("late.test");
    until_condition(&world, policy, "/ancestors/1", ("Accepted", "True", "Accepted"));

    let targets = json!([{"group": "", "kind": "Service", "name": "web"}]);
    create(
        &world,
        "backendpolicies",
        "BackendPolicy",
        "calm",
        json!({"targetRefs": targets, "panicThreshold": 10}),
    );
    until_condition(&world, "backendpolicies/calm", "/ancestors/0", ("Accepted", "True", "Accepted"));
    let log = world.rauta.log();
    assert!(!log.contains("may not") && !log.contains("cannot write"), "{log}");
}
