use std::net::IpAddr;

use model::ObjectRef;

/// A Gateway that is to have addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The Gateway.
    pub gateway: ObjectRef,
    /// When it was created, in seconds since 1970; none: after all others.
    pub created_unix_s: Option<i64>,
    /// What its `spec.addresses` asks for, in that order; empty: one address of each family that the pool has.
    pub wanted: Vec<Wanted>,
    /// What its `status.addresses` says it has.
    pub held: Vec<IpAddr>,
}

/// One entry of `spec.addresses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// This address.
    Address(IpAddr),
    /// Any address.
    Any,
    /// This name of a load balancer.
    Hostname(String),
    /// An address that is none, as it was written.
    Unreadable(String),
    /// An address of another type, or a name that is missing.
    OtherType(String),
}

impl Wanted {
    /// Reads the `type` and the `value` of an entry.
    pub fn read(kind: Option<&str>, value: Option<&str>) -> Self {
        match (kind.unwrap_or("IPAddress"), value.filter(|value| !value.is_empty())) {
            ("IPAddress", None) => Self::Any,
            ("IPAddress", Some(value)) => match value.parse::<IpAddr>() {
                Ok(address) => Self::Address(address.to_canonical()),
                Err(_) => Self::Unreadable(value.to_owned()),
            },
            ("Hostname", Some(value)) => Self::Hostname(value.to_owned()),
            (other, _) => Self::OtherType(other.to_owned()),
        }
    }
}

impl Claim {
    /// Whether an address is asked for by its value.
    pub(crate) fn names(&self, address: IpAddr) -> bool {
        self.wanted.contains(&Wanted::Address(address))
    }

    /// The oldest first, as everywhere in the API; among those of the same second, by name.
    pub(crate) fn rank(&self) -> (i64, &ObjectRef) {
        (self.created_unix_s.unwrap_or(i64::MAX), &self.gateway)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_the_api_means_them() {
        let address = |text: &str| Wanted::Address(text.parse().unwrap());
        for (kind, value, wanted) in [
            (None, Some("10.0.0.1"), address("10.0.0.1")),
            (Some("IPAddress"), Some("FD00:0::1"), address("fd00::1")),
            (None, Some("::ffff:10.0.0.1"), address("10.0.0.1")),
            (None, None, Wanted::Any),
            (Some("IPAddress"), Some(""), Wanted::Any),
            (None, Some("10.0.0.0/8"), Wanted::Unreadable("10.0.0.0/8".to_owned())),
            (Some("Hostname"), Some("a.example"), Wanted::Hostname("a.example".to_owned())),
            (Some("Hostname"), None, Wanted::OtherType("Hostname".to_owned())),
            (Some("test/fake"), Some("10.0.0.1"), Wanted::OtherType("test/fake".to_owned())),
        ] {
            assert_eq!(Wanted::read(kind, value), wanted, "{kind:?} {value:?}");
        }
    }
}
