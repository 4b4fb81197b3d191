//! The status of our own kinds.

use model::{Diagnostic, ObjectKind, ObjectRef, Reason};
use serde_json::{Value, json};

use super::condition::{condition, message};
use super::facts::{Facts, GROUP};

/// The status of a RoutingRule: all of them are ours.
pub(super) fn of_rule(key: &ObjectRef, rule: &Value, facts: &Facts<'_>) -> Value {
    let generation = &rule["metadata"]["generation"];
    let errors = facts.errors_of(key);
    let of = |is_it: &dyn Fn(&Diagnostic) -> bool| -> Vec<&Diagnostic> {
        errors.iter().copied().filter(|found| is_it(found)).collect()
    };
    let invalid = of(&|found| found.reason == Reason::InvalidField);
    let elsewhere = of(&|found| found.field.starts_with("spec.parentRefs"));
    let broken =
        of(&|found| found.field.starts_with("spec.backends") && found.reason != Reason::InvalidField);
    let (accepted, why) = match (invalid.is_empty(), facts.is_attached(key), elsewhere.first()) {
        (false, ..) => ((false, "UnsupportedValue"), message(invalid)),
        // Of several parents one is enough.
        (true, true, _) => ((true, "Accepted"), message(elsewhere)),
        (true, false, Some(found)) => ((false, found.reason.as_str()), message(elsewhere)),
        (true, false, None) => ((false, "Pending"), "no listener serves it yet".to_owned()),
    };
    let resolved = broken.first().map_or((true, "ResolvedRefs"), |found| (false, found.reason.as_str()));
    json!({"conditions": [
        condition("Accepted", accepted, &why, generation),
        condition("ResolvedRefs", resolved, &message(broken), generation),
    ]})
}

/// The status of a RoutePolicy or BackendPolicy: an entry for each target that is ours or that there is not.
pub(super) fn of_policy(key: &ObjectRef, policy: &Value, facts: &Facts<'_>) -> Value {
    let targets = policy["spec"]["targetRefs"].as_array().into_iter().flatten().enumerate();
    let of = |(i, target): (usize, &Value)| {
        if !is_our_business(key, target, facts) {
            return None;
        }
        let mut reference = json!({
            "group": target["group"], "kind": target["kind"], "namespace": key.namespace, "name": target["name"],
        });
        if let Some(section) = target["sectionName"].as_str() {
            reference["sectionName"] = json!(section);
        }
        let conditions = conditions(key, policy, i, facts);
        Some(json!({"ancestorRef": reference, "controllerName": facts.controller, "conditions": conditions}))
    };
    json!({"ancestors": targets.filter_map(of).collect::<Vec<_>>()})
}

/// Whether a target is ours, or nobody's as it is not there or of a kind that cannot be one.
fn is_our_business(key: &ObjectRef, target: &Value, facts: &Facts<'_>) -> bool {
    let kind = match (target["group"].as_str(), target["kind"].as_str()) {
        (Some(GROUP), Some("Gateway")) => ObjectKind::Gateway,
        (Some(GROUP), Some("HTTPRoute")) => ObjectKind::HttpRoute,
        (Some(GROUP), Some("GRPCRoute")) => ObjectKind::GrpcRoute,
        (Some("networking.k8s.io"), Some("Ingress")) => ObjectKind::Ingress,
        _ => return true,
    };
    let object = ObjectRef::new(kind, &key.namespace, target["name"].as_str().unwrap_or_default());
    let Some(value) = facts.object(&object) else { return true };
    match kind {
        ObjectKind::Gateway => facts.is_ours(value),
        ObjectKind::Ingress => facts.ingresses.ours.contains(&object),
        _ => {
            let parents = value["spec"]["parentRefs"].as_array();
            parents.into_iter().flatten().any(|parent| facts.gateway_of(&object, parent).is_some())
        }
    }
}

/// What is to be said of a policy and its target `i`.
fn conditions(key: &ObjectRef, policy: &Value, i: usize, facts: &Facts<'_>) -> Vec<Value> {
    let generation = &policy["metadata"]["generation"];
    let this = format!("spec.targetRefs[{i}]");
    let is_of_this =
        |field: &str| field.strip_prefix(&this).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let is_of_target = |found: &&Diagnostic| found.field.starts_with("spec.targetRefs[");
    let (of_targets, of_policy): (Vec<&Diagnostic>, Vec<_>) =
        facts.errors_of(key).iter().partition(|found| is_of_target(found));
    let with = |is_it: &dyn Fn(Reason) -> bool| -> Vec<&Diagnostic> {
        of_policy.iter().copied().filter(|found| is_it(found.reason)).collect()
    };
    let refused: Vec<_> = with(&|reason| reason == Reason::InvalidField)
        .into_iter()
        .chain(of_targets.into_iter().filter(|found| is_of_this(&found.field)))
        .collect();
    let accepted = match refused.first().map(|found| found.reason) {
        None => (true, "Accepted"),
        Some(Reason::TargetNotFound) => (false, "TargetNotFound"),
        Some(_) => (false, "Invalid"),
    };
    let overridden = with(&|reason| reason == Reason::Conflicted);
    let broken = with(&|reason| !matches!(reason, Reason::InvalidField | Reason::Conflicted));
    let resolved = broken.first().map_or((true, "ResolvedRefs"), |found| (false, found.reason.as_str()));
    let mut all = vec![
        condition("Accepted", accepted, &message(refused), generation),
        condition("ResolvedRefs", resolved, &message(broken), generation),
    ];
    if !overridden.is_empty() {
        all.push(condition("Overridden", (true, "Conflicted"), &message(overridden), generation));
    }
    all
}

#[cfg(test)]
#[path = "own_tests.rs"]
mod tests;
