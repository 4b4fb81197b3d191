use model::{Diagnostic, ObjectRef, Reason};
use serde_json::{Value, json};

use super::condition::{condition, message};
use super::facts::Facts;

/// The status of a route: an entry for each parent that is ours.
pub(super) fn status(key: &ObjectRef, route: &Value, facts: &Facts<'_>) -> Option<Value> {
    let references = route["spec"]["parentRefs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |(i, parent): (usize, &Value)| {
        facts.gateway_of(key, parent)?;
        Some(json!({
            "parentRef": parent, "controllerName": facts.controller, "conditions": conditions(key, route, i, facts),
        }))
    };
    let parents: Vec<_> = references.iter().enumerate().filter_map(of).collect();
    Some(json!({"parents": parents}))
}

/// What is to be said of a route and its parent `i`.
fn conditions(key: &ObjectRef, route: &Value, i: usize, facts: &Facts<'_>) -> Vec<Value> {
    let generation = &route["metadata"]["generation"];
    let errors = facts.errors_of(key);
    let parent = format!("spec.parentRefs[{i}]");
    let hindrance = errors.iter().find(|found| found.field == parent);
    let invalid: Vec<_> = errors.iter().copied().filter(|found| is_refused(found)).collect();
    let (accepted, why) = match (invalid.is_empty(), hindrance) {
        (false, _) => ((false, "UnsupportedValue"), message(invalid)),
        (true, Some(found)) => ((false, found.reason.as_str()), found.message.clone()),
        (true, None) => ((true, "Accepted"), String::new()),
    };
    let broken: Vec<_> = errors.iter().copied().filter(|found| is_about_backend(found)).collect();
    let resolved = match broken.first() {
        None => (true, "ResolvedRefs"),
        Some(found) => (false, found.reason.as_str()),
    };
    let mut conditions = vec![
        condition("Accepted", accepted, &why, generation),
        condition("ResolvedRefs", resolved, &message(broken), generation),
    ];
    let unsupported =
        |found: &&Diagnostic| found.reason == Reason::Unsupported && found.field.starts_with("spec.rules");
    let partly: Vec<_> = errors.iter().copied().filter(unsupported).collect();
    if accepted.0 && !partly.is_empty() {
        let why = format!("Dropped Rule: {}", message(partly));
        conditions.push(condition("PartiallyInvalid", (true, "UnsupportedValue"), &why, generation));
    }
    conditions
}

/// Whether for this the object is not served at all, or but in an earlier version.
fn is_refused(found: &Diagnostic) -> bool {
    found.reason == Reason::InvalidField
}

fn is_about_backend(found: &Diagnostic) -> bool {
    let is_reference =
        matches!(found.reason, Reason::BackendNotFound | Reason::InvalidKind | Reason::RefNotPermitted);
    is_reference && found.field.contains("ackendRef")
}
