use std::collections::{BTreeSet, HashMap};

use model::{Diagnostic, ObjectKind, ObjectRef, Reason};
use serde_json::{Value, json};

use super::condition::{condition, message};
use super::facts::{Facts, GROUP};

/// As many as the API takes (PolicyStatus.ancestors).
const ANCESTORS_MAX: usize = 16;

/// Of Services the Gateways whose routes lead to them.
#[derive(Debug, Default)]
pub(super) struct Uses(HashMap<ObjectRef, BTreeSet<ObjectRef>>);

impl Uses {
    /// Of all routes that are attached.
    pub(super) fn new(facts: &Facts<'_>) -> Self {
        let mut uses = Self::default();
        for (listener, routes) in facts.attachments() {
            let gateway = ObjectRef::new(ObjectKind::Gateway, &listener.namespace, &listener.gateway);
            for route in routes {
                for service in facts.object(route).into_iter().flat_map(|value| services(route, value)) {
                    uses.0.entry(service).or_default().insert(gateway.clone());
                }
            }
        }
        uses
    }
}

/// The Services that a route names.
fn services<'v>(route: &'v ObjectRef, value: &'v Value) -> impl Iterator<Item = ObjectRef> {
    let rules = value["spec"]["rules"].as_array().into_iter().flatten();
    let references = rules.flat_map(|rule| rule["backendRefs"].as_array().into_iter().flatten());
    references.filter(|one| one["kind"].as_str().is_none_or(|kind| kind == "Service")).map(|one| {
        let namespace = one["namespace"].as_str().unwrap_or(&route.namespace);
        ObjectRef::new(ObjectKind::Service, namespace, one["name"].as_str().unwrap_or_default())
    })
}

/// The status of a BackendTLSPolicy: an entry for each Gateway that it has an effect on (GEP-713, ancestors).
pub(super) fn status(key: &ObjectRef, policy: &Value, facts: &Facts<'_>, uses: &Uses) -> Value {
    let targets = policy["spec"]["targetRefs"].as_array().into_iter().flatten();
    let targets = targets.filter_map(|one| one["name"].as_str());
    let services = targets.map(|name| ObjectRef::new(ObjectKind::Service, &key.namespace, name));
    let gateways: BTreeSet<_> = services.filter_map(|service| uses.0.get(&service)).flatten().collect();
    let conditions = conditions(key, policy, facts);
    let ancestor = |gateway: &&ObjectRef| {
        let reference = json!({
            "group": GROUP, "kind": "Gateway", "namespace": gateway.namespace, "name": gateway.name,
        });
        json!({"ancestorRef": reference, "controllerName": facts.controller, "conditions": conditions})
    };
    json!({"ancestors": gateways.iter().take(ANCESTORS_MAX).map(ancestor).collect::<Vec<_>>()})
}

fn conditions(key: &ObjectRef, policy: &Value, facts: &Facts<'_>) -> Vec<Value> {
    let generation = &policy["metadata"]["generation"];
    let errors = facts.errors_of(key);
    let (references, others): (Vec<&Diagnostic>, Vec<_>) =
        errors.iter().partition(|found| found.field.starts_with("spec.validation.caCertificateRefs["));
    let accepted = match others.first() {
        None => (true, "Accepted"),
        Some(found) => (false, reason(found)),
    };
    let resolved = match references.first() {
        None => (true, "ResolvedRefs"),
        Some(found) if matches!(found.reason, Reason::InvalidKind | Reason::InvalidCaCertificateKind) => {
            (false, "InvalidKind")
        }
        Some(_) => (false, "InvalidCACertificateRef"),
    };
    vec![
        condition("Accepted", accepted, &message(others), generation),
        condition("ResolvedRefs", resolved, &message(references), generation),
    ]
}

fn reason(found: &Diagnostic) -> &'static str {
    match found.reason {
        Reason::Conflicted => "Conflicted",
        Reason::NoValidCaCertificate => "NoValidCACertificate",
        _ => "Invalid",
    }
}
