use std::fmt;
use std::net::IpAddr;

use crate::allocate::Assignment;
use crate::claim::Wanted;
use crate::problem::{Problem, ProblemReason};

/// Where a Gateway can be reached, as its status says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// Type `IPAddress`.
    Ip(IpAddr),
    /// Type `Hostname`: what load balancers have that change their addresses.
    Hostname(String),
}

impl Address {
    /// The `type` of the API.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ip(_) => "IPAddress",
            Self::Hostname(_) => "Hostname",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Hostname(name) => f.write_str(name),
        }
    }
}

/// Addresses that all Gateways have together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Those of a Gateway that asks for none by its value.
    pub addresses: Vec<Address>,
    /// Those that it may ask for besides.
    pub others: Vec<Address>,
    /// Whose they are, as it stands in a sentence: `a node that runs a ready agent`.
    pub owner: String,
    /// Why there are none, if there are none, and what to do.
    pub lack: String,
}

/// What a Gateway has of an [`Offer`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Its addresses, each once.
    pub addresses: Vec<Address>,
    /// What it asks for and does not get.
    pub problems: Vec<Problem>,
}

impl From<Assignment> for Share {
    fn from(assignment: Assignment) -> Self {
        let Assignment { addresses, problems } = assignment;
        Self { addresses: addresses.into_iter().map(Address::Ip).collect(), problems }
    }
}

/// What a Gateway has that asks for `wanted`: all that is offered, or of that what it names.
pub fn share(offer: &Offer, wanted: &[Wanted]) -> Share {
    let mut share = Share::default();
    let lacking = |field: String| Problem {
        field,
        reason: ProblemReason::AddressNotAssigned,
        message: offer.lack.clone(),
    };
    let mut give = |addresses: &[Address]| {
        for address in addresses {
            if !share.addresses.contains(address) {
                share.addresses.push(address.clone());
            }
        }
    };
    if wanted.is_empty() {
        give(&offer.addresses);
        if offer.addresses.is_empty() {
            share.problems.push(lacking("spec.addresses".to_owned()));
        }
        return share;
    }
    for (i, one) in wanted.iter().enumerate() {
        let named = match one {
            Wanted::Any if offer.addresses.is_empty() => {
                share.problems.push(lacking(format!("spec.addresses[{i}]")));
                continue;
            }
            Wanted::Any => {
                give(&offer.addresses);
                continue;
            }
            Wanted::Address(address) => Address::Ip(*address),
            Wanted::Hostname(name) => Address::Hostname(name.clone()),
            Wanted::Unreadable(text) => {
                share.problems.push(Problem::unreadable(i, text));
                continue;
            }
            Wanted::OtherType(kind) => {
                share.problems.push(Problem::other_type(i, kind, "IPAddress or Hostname"));
                continue;
            }
        };
        if offer.addresses.contains(&named) || offer.others.contains(&named) {
            give(&[named]);
        } else {
            share.problems.push(Problem {
                field: format!("spec.addresses[{i}].value"),
                reason: ProblemReason::AddressNotUsable,
                message: format!(
                    "{named} is no address of {}: ask for one of those, or leave spec.addresses out",
                    offer.owner
                ),
            });
        }
    }
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Address {
        Address::Ip(text.parse().unwrap())
    }

    fn offer() -> Offer {
        Offer {
            addresses: vec![ip("192.0.2.1"), ip("2001:db8::1"), Address::Hostname("lb.test".to_owned())],
            others: vec![ip("10.0.0.1")],
            owner: "the balancer".to_owned(),
            lack: "it has none".to_owned(),
        }
    }

    fn read(entries: &[(&str, &str)]) -> Vec<Wanted> {
        entries.iter().map(|(kind, value)| Wanted::read(Some(kind), Some(value))).collect()
    }

    fn shown(share: &Share) -> (Vec<String>, Vec<String>) {
        let problems = share.problems.iter().map(|one| format!("{} {one}", one.reason.as_str()));
        (share.addresses.iter().map(ToString::to_string).collect(), problems.collect())
    }

    #[test]
    fn who_names_none_has_all_and_who_names_some_has_those() {
        let of = |entries: &[(&str, &str)]| shown(&share(&offer(), &read(entries)));
        let all = ["192.0.2.1", "2001:db8::1", "lb.test"].map(str::to_owned).to_vec();
        assert_eq!(of(&[]), (all.clone(), vec![]));
        assert_eq!(of(&[("IPAddress", "")]), (all, vec![]));
        let named = of(&[("IPAddress", "10.0.0.1"), ("Hostname", "lb.test"), ("IPAddress", "10.0.0.1")]);
        assert_eq!(named, (vec!["10.0.0.1".to_owned(), "lb.test".to_owned()], vec![]));
    }

    #[test]
    fn what_is_not_offered_is_said_and_the_rest_is_had() {
        let entries = read(&[
            ("IPAddress", "10.0.0.9"),
            ("IPAddress", "192.0.2.1"),
            ("Hostname", "other.test"),
            ("IPAddress", "ten"),
            ("example.com/kind", "x"),
        ]);
        let (addresses, problems) = shown(&share(&offer(), &entries));
        assert_eq!(addresses, ["192.0.2.1"]);
        let wanted = [
            "AddressNotUsable spec.addresses[0].value: 10.0.0.9 is no address of the balancer",
            "AddressNotUsable spec.addresses[2].value: other.test is no address of the balancer",
            "AddressNotUsable spec.addresses[3].value: \"ten\" is no IP address",
            "UnsupportedAddress spec.addresses[4].type: \"example.com/kind\" is not served",
        ];
        assert_eq!(problems.len(), wanted.len(), "{problems:?}");
        for (problem, wanted) in problems.iter().zip(wanted) {
            assert!(problem.starts_with(wanted), "{problem}");
        }
    }

    #[test]
    fn of_nothing_nobody_has_anything_and_hears_why() {
        let none = Offer { addresses: vec![], others: vec![], ..offer() };
        for entries in [&[][..], &[("IPAddress", "")]] {
            let (addresses, problems) = shown(&share(&none, &read(entries)));
            assert!(addresses.is_empty());
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].starts_with("AddressNotAssigned spec.addresses"), "{problems:?}");
            assert!(problems[0].ends_with(": it has none"), "{problems:?}");
        }
    }
}
