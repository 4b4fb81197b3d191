use addresses::{Address, ProblemReason, Share};
use model::{Diagnostic, ListenerId, ObjectRef};
use serde_json::{Value, json};

use super::condition::{condition, message};
use super::facts::Facts;
use super::listener;

/// The status of a Gateway of ours.
pub(super) fn of_gateway(key: &ObjectRef, gateway: &Value, facts: &Facts<'_>) -> Option<Value> {
    if !facts.is_ours(gateway) {
        return None;
    }
    let generation = &gateway["metadata"]["generation"];
    let spec = &gateway["spec"];
    let id = |name: &str| ListenerId::new(&key.namespace, &key.name, name);
    let (listeners, valid) = listeners((key, gateway), id, (key, gateway), facts);

    let errors = facts.errors_of(key);
    let about = |prefix: &'static str| -> Vec<&Diagnostic> {
        errors.iter().copied().filter(|found| found.field.starts_with(prefix)).collect()
    };
    let Share { addresses, problems } = facts.reach.of(key, spec, &about("spec.addresses"));
    let for_reason = |reason: ProblemReason| {
        let found: Vec<_> =
            problems.iter().filter(|problem| problem.reason == reason).map(ToString::to_string).collect();
        (!found.is_empty()).then(|| ((false, reason.as_str()), found.join("; ")))
    };
    let unsupported = for_reason(ProblemReason::UnsupportedAddress);
    let elsewhere = |found: &&&Diagnostic| {
        let known = ["spec.listeners", "spec.addresses", "spec.tls."];
        !known.iter().any(|prefix| found.field.starts_with(prefix))
    };
    let (accepted, why) = if !spec["infrastructure"]["parametersRef"].is_null() {
        let why = "spec.infrastructure.parametersRef: no parameters are known: leave it out";
        ((false, "InvalidParameters"), why.to_owned())
    } else if let Some(unsupported) = &unsupported {
        unsupported.clone()
    } else if errors.iter().any(|found| elsewhere(&found)) {
        ((false, "Invalid"), message(errors.iter().copied()))
    } else {
        of_listeners(valid, listeners.len())
    };
    let served = listeners.iter().any(is_programmed);
    let silent: Vec<_> = facts.reach.silent(&addresses).map(ToString::to_string).collect();
    let unusable = || for_reason(ProblemReason::AddressNotUsable);
    let unassigned = || for_reason(ProblemReason::AddressNotAssigned);
    let (programmed, why_not) = if let Some(found) = unsupported.or_else(unusable).or_else(unassigned) {
        let ((holds, reason), why) = found;
        // An address of a type that is not served is not usable either: the API has no other word for it here.
        ((holds, if reason == "UnsupportedAddress" { "AddressNotUsable" } else { reason }), why)
    } else if addresses.is_empty() {
        ((false, "AddressNotAssigned"), "no address is known: see the setting addresses.nodes".to_owned())
    } else if !served && valid == listeners.len() {
        ((false, "Pending"), "no listener is open yet".to_owned())
    } else if !served {
        ((false, "Invalid"), "no listener is served".to_owned())
    } else if !silent.is_empty() {
        ((false, "Pending"), format!("no node announces {}", silent.join(", ")))
    } else {
        ((true, "Programmed"), String::new())
    };
    let entry = |address: &Address| json!({"type": address.kind(), "value": address.to_string()});
    let reached: Vec<_> = addresses.iter().map(entry).collect();
    let mut conditions = vec![
        condition("Accepted", accepted, &why, generation),
        condition("Programmed", programmed, &why_not, generation),
    ];
    if !spec["tls"]["backend"].is_null() {
        let found = about("spec.tls.backend");
        let resolved = found.first().map_or((true, "ResolvedRefs"), |found| (false, found.reason.as_str()));
        conditions.push(condition("ResolvedRefs", resolved, &message(found), generation));
    }
    if falls_back(&spec["tls"]["frontend"]) {
        let why = "clients without a valid certificate are served, too: spec.tls.frontend says AllowInsecureFallback";
        let holds = (true, "ConfigurationChanged");
        conditions.push(condition("InsecureFrontendValidationMode", holds, why, generation));
    }
    Some(json!({
        "addresses": reached, "attachedListenerSets": sets_of((key, gateway), facts), "conditions": conditions,
        "listeners": listeners,
    }))
}

/// The status of a ListenerSet of a Gateway of ours.
pub(super) fn of_set(key: &ObjectRef, set: &Value, facts: &Facts<'_>) -> Option<Value> {
    let (gateway_key, gateway) = facts.gateway_of(key, &set["spec"]["parentRef"])?;
    let generation = &set["metadata"]["generation"];
    let hindered: Vec<_> = refusals(key, facts);
    if !hindered.is_empty() {
        let why = message(hindered);
        return Some(json!({"conditions": [
            condition("Accepted", (false, "NotAllowed"), &why, generation),
            condition("Programmed", (false, "NotAllowed"), &why, generation),
        ]}));
    }
    let (listeners, valid) = listeners_of_set((key, set), (&gateway_key, gateway), facts);
    let (accepted, why) = of_listeners(valid, listeners.len());
    let programmed = match listeners.iter().any(is_programmed) {
        true => ((true, "Programmed"), ""),
        false => ((false, "ListenersNotValid"), "no listener is served"),
    };
    Some(json!({
        "conditions": [
            condition("Accepted", accepted, &why, generation),
            condition("Programmed", programmed.0, programmed.1, generation),
        ],
        "listeners": listeners,
    }))
}

fn listeners_of_set(
    (key, set): (&ObjectRef, &Value),
    gateway: (&ObjectRef, &Value),
    facts: &Facts<'_>,
) -> (Vec<Value>, usize) {
    let id = |name: &str| {
        let section = format!("{}/{}/{name}", key.namespace, key.name);
        ListenerId::new(&gateway.0.namespace, &gateway.0.name, &section)
    };
    listeners((key, set), id, gateway, facts)
}

/// The statuses of an object's listeners, and how many of them have nothing wrong.
fn listeners(
    owner: (&ObjectRef, &Value),
    id: impl Fn(&str) -> ListenerId,
    gateway: (&ObjectRef, &Value),
    facts: &Facts<'_>,
) -> (Vec<Value>, usize) {
    let all = owner.1["spec"]["listeners"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |(i, one): (usize, &Value)| {
        let id = id(one["name"].as_str().unwrap_or_default());
        listener::status(owner, (i, one), &id, gateway, facts)
    };
    let (statuses, valid): (Vec<_>, Vec<_>) = all.iter().enumerate().map(of).unzip();
    (statuses, valid.into_iter().filter(|is_valid| *is_valid).count())
}

/// What an object's listeners make of it: one that is good is enough.
fn of_listeners(valid: usize, all: usize) -> ((bool, &'static str), String) {
    match valid {
        _ if valid == all => ((true, "Accepted"), String::new()),
        0 => ((false, "ListenersNotValid"), "no listener is valid: see their conditions".to_owned()),
        _ => {
            let why = format!("{} of {all} listeners are not valid: see their conditions", all - valid);
            ((true, "ListenersNotValid"), why)
        }
    }
}

/// Whether the status of a Gateway or of a listener says that it is served.
pub(crate) fn is_programmed(status: &Value) -> bool {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == "Programmed" && one["status"] == "True")
}

/// Whether somewhere clients may do without the certificate that is asked for.
fn falls_back(frontend: &Value) -> bool {
    let per_port = frontend["perPort"].as_array().into_iter().flatten().map(|one| &one["tls"]);
    let mut all = per_port.chain([&frontend["default"]]);
    all.any(|tls| tls["validation"]["mode"] == "AllowInsecureFallback")
}

/// How many ListenerSets are attached to a Gateway: those that it takes, and of which a listener is good.
fn sets_of(gateway: (&ObjectRef, &Value), facts: &Facts<'_>) -> usize {
    let is_attached = |(key, set): &(&ObjectRef, &Value)| {
        facts.gateway_of(key, &set["spec"]["parentRef"]).is_some_and(|(parent, _)| parent == *gateway.0)
            && refusals(key, facts).is_empty()
            && listeners_of_set((key, set), gateway, facts).1 > 0
    };
    facts.sets().filter(is_attached).count()
}

/// Why a Gateway does not take a ListenerSet.
fn refusals<'a>(set: &ObjectRef, facts: &Facts<'a>) -> Vec<&'a Diagnostic> {
    facts.errors_of(set).iter().copied().filter(|found| found.field.starts_with("spec.parentRef")).collect()
}
