use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use addresses::{Address, Assignment, Claim, Problem, ProblemReason, Share, Wanted};
use model::{Diagnostic, ObjectRef, Reason};
use serde_json::Value;

use crate::clock;

/// As many addresses as a Gateway's status takes (`maxItems` of its definition).
const ADDRESSES_MAX: usize = 16;

/// Where Gateways can be reached.
#[derive(Debug)]
pub(crate) enum Reach {
    /// At these addresses, unless they name addresses.
    Fixed(Vec<IpAddr>),
    /// At what they have of addresses that all have together; `all` of them has who asks for none. `is_unknown`: which there are cannot
    /// be said, and what statuses say stays.
    Shared { all: Vec<Address>, gateways: BTreeMap<ObjectRef, Share>, is_unknown: bool },
    /// Each at its own; no node announces those that are `silent`. What is no Gateway is reached at the `others`.
    Assigned { all: BTreeMap<ObjectRef, Assignment>, silent: BTreeSet<IpAddr>, others: Box<Self> },
}

impl Reach {
    /// What has whoever asks for no address, and gets none of its own.
    pub(super) fn of_all(&self) -> Vec<Address> {
        match self {
            Self::Fixed(fixed) => fixed.iter().copied().map(Address::Ip).collect(),
            Self::Shared { all, .. } => all.clone(),
            Self::Assigned { others, .. } => others.of_all(),
        }
    }

    /// Whether what statuses say is better than what is known of these.
    pub(super) fn is_unknown(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Shared { is_unknown, .. } => *is_unknown,
            Self::Assigned { others, .. } => others.is_unknown(),
        }
    }

    /// The addresses of a Gateway, and what is wrong with those that it asks for. `found`: what the translation says of them.
    pub(super) fn of(&self, gateway: &ObjectRef, spec: &Value, found: &[&Diagnostic]) -> Share {
        let mut share = match self {
            Self::Shared { gateways, .. } => gateways.get(gateway).cloned().unwrap_or_default(),
            Self::Assigned { all, .. } => all.get(gateway).cloned().map(Share::from).unwrap_or_default(),
            Self::Fixed(fixed) => {
                let asked = spec["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
                let named = asked.iter().filter_map(|one| one["value"].as_str()?.parse().ok());
                let addresses = if asked.is_empty() { fixed.clone() } else { named.collect() };
                let problems = found.iter().map(|found| problem(found)).collect();
                Assignment { addresses, problems }.into()
            }
        };
        share.addresses.truncate(ADDRESSES_MAX);
        share
    }

    /// Those of a Gateway's addresses that no node announces.
    pub(super) fn silent<'a>(&'a self, of: &'a [Address]) -> impl Iterator<Item = &'a Address> {
        of.iter().filter(move |address| match (self, address) {
            (Self::Assigned { silent, .. }, Address::Ip(address)) => silent.contains(address),
            _ => false,
        })
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
        let wanted =
            [Wanted::Address("10.0.0.7".parse().unwrap()), Wanted::Any, Wanted::Hostname("a".to_owned())];
        assert_eq!(claim.wanted, wanted);
        assert_eq!(claim.held, ["10.0.0.8".parse::<IpAddr>().unwrap()]);
    }
}
