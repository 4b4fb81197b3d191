use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use model::{Endpoint, EndpointCondition, OtherAddress};
use resources::core::{Endpoint as SliceEndpoint, Service};

/// What slices say of one address.
pub(super) struct Found<'s> {
    pub(super) condition: EndpointCondition,
    /// The entry that says so.
    pub(super) entry: &'s SliceEndpoint,
    pub(super) target: Target<'s>,
}

/// What stands behind an address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Target<'s> {
    /// No slice says it.
    Unsaid,
    /// Kind, namespace, name and uid of an object, mostly a Pod's.
    One([&'s str; 4]),
    /// Slices disagree.
    Disputed,
}

impl<'s> Target<'s> {
    /// As an entry of a slice says it.
    pub(super) fn of(endpoint: &'s SliceEndpoint) -> Self {
        let Some(target) = &endpoint.target_ref else { return Self::Unsaid };
        let parts = [&target.kind, &target.namespace, &target.name, &target.uid];
        let parts @ [_, _, name, _] = parts.map(|part| part.as_deref().unwrap_or_default());
        if name.is_empty() { Self::Unsaid } else { Self::One(parts) }
    }

    /// What two entries of the same address say together.
    pub(super) fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unsaid, said) | (said, Self::Unsaid) => said,
            (one, same) if one == same => one,
            _ => Self::Disputed,
        }
    }
}

/// The IP family that a Service prefers.
#[derive(Clone, Copy)]
pub(super) enum Preferred {
    V4,
    V6,
    Unsaid,
}

impl Preferred {
    /// The first of its `ipFamilies`, "the primary" of the Service (core/v1 ServiceSpec).
    pub(super) fn of(service: &Service) -> Self {
        let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref());
        match families.and_then(|families| families.first()).map(String::as_str) {
            Some("IPv4") => Self::V4,
            Some("IPv6") => Self::V6,
            _ => Self::Unsaid,
        }
    }

    /// Whether IPv6 comes first. Where nothing is said, RFC 6724 section 2.1 decides: IPv6 (precedence 40) before IPv4 (35) before
    /// unique local addresses (3).
    fn begins_with(self, v6: IpAddr) -> bool {
        match self {
            Self::V4 => false,
            Self::V6 => true,
            Self::Unsaid => !matches!(v6, IpAddr::V6(v6) if v6.is_unique_local()),
        }
    }
}

/// Endpoints of these addresses, sorted. Two addresses are one endpoint if slices say that the same object stands behind them,
/// one is IPv4 and the other IPv6, and both are in the same condition. An object with more addresses of a family leaves open which
/// belong together: each is an endpoint then.
pub(super) fn paired(found: &BTreeMap<SocketAddr, Found<'_>>, preferred: Preferred) -> Vec<Endpoint> {
    let mut of_target: HashMap<_, [Vec<SocketAddr>; 2]> = HashMap::new();
    for (&address, Found { condition, target, .. }) in found {
        if let Target::One(target) = target {
            let families = of_target.entry((target, condition)).or_default();
            families[usize::from(address.is_ipv6())].push(address);
        }
    }
    let endpoint = |(&address, Found { condition, target, .. }): (&SocketAddr, &Found<'_>)| {
        let alone = Endpoint { address, other: None, weight: 1, condition: *condition };
        let Target::One(target) = target else { return Some(alone) };
        match of_target.get(&(target, condition)) {
            Some([v4, v6]) if v4.len() == 1 && v6.len() == 1 => {
                let pair = if preferred.begins_with(v6[0].ip()) { [v6[0], v4[0]] } else { [v4[0], v6[0]] };
                let other = Some(OtherAddress { address: pair[1], is_first: false });
                // The second one is part of the first.
                (pair[0] == address).then_some(Endpoint { other, ..alone })
            }
            _ => Some(alone),
        }
    };
    found.iter().filter_map(endpoint).collect()
}

/// The IP address of an entry, if it has one: "Consumers of this field should only use the first element" (discovery/v1
/// Endpoint.addresses).
pub(super) fn address(endpoint: &SliceEndpoint) -> Option<IpAddr> {
    endpoint.addresses.first()?.parse().ok()
}
