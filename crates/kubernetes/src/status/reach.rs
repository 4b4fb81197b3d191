use std::collections::BTreeMap;
use std::net::IpAddr;

use addresses::{Assignment, Claim, Problem, ProblemReason, Wanted};
use model::{Diagnostic, ObjectRef, Reason};
use serde_json::Value;

use crate::clock;

/// Where Gateways can be reached.
#[derive(Debug)]
pub(crate) enum Reach {
    /// At these addresses of the nodes, unless they name addresses.
    Nodes(Vec<IpAddr>),
    /// Each at its own.
    Assigned(BTreeMap<ObjectRef, Assignment>),
}

impl Reach {
    /// The addresses of the nodes, where they are known.
    pub(super) fn nodes(&self) -> &[IpAddr] {
        match self {
            Self::Nodes(nodes) => nodes,
            Self::Assigned(_) => &[],
        }
    }

    /// The addresses of a Gateway, and what is wrong with those that it asks for. `found`: what the translation says of them.
    pub(super) fn of(&self, gateway: &ObjectRef, spec: &Value, found: &[&Diagnostic]) -> Assignment {
        match self {
            Self::Assigned(all) => all.get(gateway).cloned().unwrap_or_default(),
            Self::Nodes(nodes) => {
                let asked = spec["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
                let named = asked.iter().filter_map(|one| one["value"].as_str()?.parse().ok());
                let addresses = if asked.is_empty() { nodes.clone() } else { named.collect() };
                Assignment { addresses, problems: found.iter().map(|found| problem(found)).collect() }
            }
        }
    }
}

fn problem(found: &Diagnostic) -> Problem {
    let reason = match found.reason {
        Reason::Unsupported if found.field.ends_with(".type") => ProblemReason::UnsupportedAddress,
        Reason::Unsupported => ProblemReason::AddressNotAssigned,
        _ => ProblemReason::AddressNotUsable,
    };
    Problem { field: found.field.clone(), reason, message: found.message.clone() }
}

/// What a Gateway asks for, and what its status says it has.
pub(crate) fn claim(key: &ObjectRef, gateway: &Value, status: &Value) -> Claim {
    let entries = |of: &Value| of["addresses"].as_array().cloned().unwrap_or_default();
    let read = |one: Value| Wanted::read(one["type"].as_str(), one["value"].as_str());
    Claim {
        gateway: key.clone(),
        created_unix_s: gateway["metadata"]["creationTimestamp"].as_str().and_then(clock::unix_s),
        wanted: entries(&gateway["spec"]).into_iter().map(read).collect(),
        held: entries(status).iter().filter_map(|one| one["value"].as_str()?.parse().ok()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_has_age_wishes_and_what_is_held() {
        let key = ObjectRef::new(model::ObjectKind::Gateway, "shop", "web");
        let gateway = json!({
            "metadata": {"creationTimestamp": "2026-11-22T00:00:00Z"},
            "spec": {"addresses": [{"value": "10.0.0.7"}, {"type": "IPAddress"}, {"type": "Hostname", "value": "a"}]},
        });
        let status = json!({"addresses": [{"type": "IPAddress", "value": "10.0.0.8"}, {"type": "Hostname", "value": "a.b"}]});
        let claim = claim(&key, &gateway, &status);
        assert_eq!(claim.created_unix_s, Some(1_795_305_600));
        let wanted = [
            Wanted::Address("10.0.0.7".parse().unwrap()),
            Wanted::Any,
            Wanted::OtherType("Hostname".to_owned()),
        ];
        assert_eq!(claim.wanted, wanted);
        assert_eq!(claim.held, ["10.0.0.8".parse::<IpAddr>().unwrap()]);
    }
}
