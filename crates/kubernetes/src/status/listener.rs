use model::{Diagnostic, ListenerId, ObjectRef, Reason};
use serde_json::{Value, json};

use super::condition::{condition, message};
use super::facts::{Facts, GROUP};

/// The status of listener `i` of `owner`, a Gateway or ListenerSet, and whether nothing is wrong with it.
pub(super) fn status(
    (owner, object): (&ObjectRef, &Value),
    (i, listener): (usize, &Value),
    id: &ListenerId,
    gateway: (&ObjectRef, &Value),
    facts: &Facts<'_>,
) -> (Value, bool) {
    let generation = &object["metadata"]["generation"];
    let field = format!("spec.listeners[{i}]");
    let of_listener = |found: &&Diagnostic| {
        found.field.strip_prefix(&field).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let mut found: Vec<&Diagnostic> = facts.errors_of(owner).iter().copied().filter(of_listener).collect();
    found.extend(of_clients(listener, gateway, facts));
    let first = |is_it: &dyn Fn(&Diagnostic) -> bool| -> Option<&Diagnostic> {
        found.iter().copied().find(|found| is_it(found))
    };

    let conflict = first(&|found| found.reason == Reason::Conflicted);
    let kind_of_conflict = |found: &Diagnostic| {
        if found.field.ends_with(".protocol") { "ProtocolConflict" } else { "HostnameConflict" }
    };
    let reference = first(&is_about_references);
    let refused = first(&|found| !is_about_references(found) && found.reason != Reason::Conflicted);
    let is_served = facts.is_served(id);
    let all = message(found.iter().copied());

    let accepted = match (conflict, refused) {
        (Some(found), _) => (false, kind_of_conflict(found)),
        (None, Some(found)) if found.field == format!("{field}.protocol") => (false, "UnsupportedProtocol"),
        (None, Some(found)) if found.reason == Reason::NoValidCaCertificate => {
            (false, "NoValidCACertificate")
        }
        (None, Some(_)) => (false, "UnsupportedValue"),
        (None, None) => (true, "Accepted"),
    };
    let resolved = match reference {
        None => (true, "ResolvedRefs"),
        Some(found) if found.field.contains(".allowedRoutes.kinds") => (false, "InvalidRouteKinds"),
        Some(found) => (false, found.reason.as_str()),
    };
    let programmed = match (is_served, conflict) {
        (true, _) => (true, "Programmed"),
        (false, Some(found)) => (false, kind_of_conflict(found)),
        // It waits for an address.
        (false, None) if found.is_empty() => (false, "Pending"),
        (false, None) => (false, "Invalid"),
    };
    let conflicted = match conflict {
        Some(found) => (true, kind_of_conflict(found)),
        None => (false, "NoConflicts"),
    };
    let say = |(holds, reason): (bool, &'static str), kind: &str, text: &str| {
        condition(kind, (holds, reason), text, generation)
    };
    let bad = |holds: bool| if holds { "" } else { all.as_str() };
    let conditions = vec![
        say(accepted, "Accepted", bad(accepted.0)),
        say(programmed, "Programmed", bad(programmed.0)),
        say(resolved, "ResolvedRefs", bad(resolved.0)),
        say(conflicted, "Conflicted", bad(!conflicted.0)),
    ];
    let status = json!({
        "name": listener["name"], "supportedKinds": supported_kinds(listener),
        "attachedRoutes": facts.attached(id), "conditions": conditions,
    });
    (status, (is_served || found.is_empty()) && accepted.0 && resolved.0)
}

/// Errors about what a listener refers to: certificates, kinds of routes.
fn is_about_references(found: &Diagnostic) -> bool {
    let is_reference = matches!(
        found.reason,
        Reason::InvalidCertificateRef
            | Reason::RefNotPermitted
            | Reason::InvalidCaCertificateRef
            | Reason::InvalidCaCertificateKind
    );
    is_reference || found.field.contains(".allowedRoutes.kinds")
}

/// Errors about the authorities that a Gateway names for the clients of this listener.
fn of_clients<'a>(
    listener: &Value,
    (key, gateway): (&ObjectRef, &Value),
    facts: &Facts<'a>,
) -> Vec<&'a Diagnostic> {
    if listener["protocol"] != "HTTPS" {
        return Vec::new();
    }
    let ports = gateway["spec"]["tls"]["frontend"]["perPort"].as_array();
    let own = ports.and_then(|ports| ports.iter().position(|one| one["port"] == listener["port"]));
    let field = match own {
        Some(i) => format!("spec.tls.frontend.perPort[{i}]."),
        None => "spec.tls.frontend.default.".to_owned(),
    };
    facts.errors_of(key).iter().copied().filter(|found| found.field.starts_with(&field)).collect()
}

/// The kinds of routes that may attach: what the protocol carries, of that what the listener lets in.
fn supported_kinds(listener: &Value) -> Vec<Value> {
    let passes = listener["tls"]["mode"] == "Passthrough";
    let served: &[&str] = match listener["protocol"].as_str().unwrap_or_default() {
        "HTTP" | "HTTPS" => &["HTTPRoute", "GRPCRoute"],
        "TLS" if passes => &["TLSRoute"],
        "TLS" => &["TLSRoute", "TCPRoute"],
        "TCP" => &["TCPRoute"],
        "UDP" => &["UDPRoute"],
        _ => &[],
    };
    let wanted = listener["allowedRoutes"]["kinds"].as_array().filter(|kinds| !kinds.is_empty());
    let is_wanted = |kind: &&&str| {
        wanted.is_none_or(|wanted| {
            let is_it =
                |one: &Value| one["kind"] == ***kind && one["group"].as_str().unwrap_or(GROUP) == GROUP;
            wanted.iter().any(is_it)
        })
    };
    served.iter().filter(is_wanted).map(|kind| json!({"group": GROUP, "kind": kind})).collect()
}
