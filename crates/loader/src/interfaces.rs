//! The network interfaces of this network namespace.

use std::{collections::BTreeMap, io};

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};

use crate::StartError;

/// An interface, as far as attaching cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) up: bool,
    pub(crate) loopback: bool,
    pub(crate) ethernet: bool,
    /// A card of a bond. Its packets are the bond's too, and which card they come by changes under a connection.
    pub(crate) bonded: bool,
    /// Its link address, if it has one.
    pub(crate) address: Option<[u8; 6]>,
}

impl Interface {
    const fn is_candidate(&self) -> bool {
        self.up && !self.loopback && self.ethernet && !self.bonded
    }
}

/// Every interface, by name. Asked over netlink: /sys/class/net shows the namespace it was mounted in, not ours.
pub(crate) fn list() -> io::Result<Vec<Interface>> {
    let mut found = BTreeMap::new();
    for entry in getifaddrs()? {
        let Some(link) = entry.address.as_ref().and_then(|address| address.as_link_addr()) else { continue };
        let loopback = entry.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let interface = Interface {
            index: u32::try_from(link.ifindex()).unwrap_or(0),
            up: entry.flags.contains(InterfaceFlags::IFF_UP),
            loopback,
            // Loopback frames carry an Ethernet header too.
            ethernet: link.hatype() == libc::ARPHRD_ETHER || link.hatype() == libc::ARPHRD_LOOPBACK,
            bonded: entry.flags.contains(InterfaceFlags::IFF_SLAVE),
            address: link.addr(),
            name: entry.interface_name,
        };
        found.insert(interface.name.clone(), interface);
    }
    Ok(found.into_values().collect())
}

/// The link address of an interface, if it is there and has one.
pub(crate) fn link_address(index: u32) -> Option<[u8; 6]> {
    let links = getifaddrs().ok()?.filter_map(|entry| entry.address?.as_link_addr().copied());
    links.filter(|link| u32::try_from(link.ifindex()) == Ok(index)).find_map(|link| link.addr())
}

/// Chooses the interfaces to attach to: the named ones, or every candidate.
///
/// # Errors
///
/// A named interface that is missing or carries no Ethernet, or nothing to choose from.
pub(crate) fn choose(named: &[String]) -> Result<Vec<Interface>, StartError> {
    choose_from(list().map_err(StartError::Interfaces)?, named)
}

/// What of `all` to be attached to as things are: the named ones that are there, or every candidate.
pub(crate) fn wanted(all: Vec<Interface>, named: &[String]) -> Vec<Interface> {
    let is_wanted = |interface: &Interface| match named {
        [] => interface.is_candidate(),
        _ => interface.ethernet && named.contains(&interface.name),
    };
    all.into_iter().filter(is_wanted).collect()
}

fn choose_from(all: Vec<Interface>, named: &[String]) -> Result<Vec<Interface>, StartError> {
    if named.is_empty() {
        let chosen: Vec<_> = all.into_iter().filter(Interface::is_candidate).collect();
        return if chosen.is_empty() { Err(StartError::NoInterfaces) } else { Ok(chosen) };
    }
    let mut chosen: Vec<Interface> = Vec::with_capacity(named.len());
    for name in named {
        let Some(interface) = all.iter().find(|interface| interface.name == *name) else {
            return Err(StartError::UnknownInterface { interface: name.clone() });
        };
        if !interface.ethernet {
            return Err(StartError::NotEthernet { interface: name.clone() });
        }
        if !chosen.contains(interface) {
            chosen.push(interface.clone());
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, up: bool, loopback: bool, ethernet: bool) -> Interface {
        Interface { name: name.into(), index: 1, up, loopback, ethernet, bonded: false, address: None }
    }

    fn machine() -> Vec<Interface> {
        vec![
            interface("eth0", true, false, true),
            interface("eth1", false, false, true),
            interface("lo", true, true, true),
            interface("tun0", true, false, false),
            Interface { bonded: true, ..interface("eth2", true, false, true) },
        ]
    }

    #[test]
    fn takes_what_is_up_and_ethernet_and_neither_loopback_nor_a_card_of_a_bond() {
        let chosen = choose_from(machine(), &[]).unwrap();
        assert_eq!(chosen.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["eth0"]);
        assert!(matches!(choose_from(Vec::new(), &[]), Err(StartError::NoInterfaces)));
    }

    #[test]
    fn named_interfaces_are_taken_as_named_once_or_refused() {
        let names = ["lo".to_owned(), "eth1".to_owned(), "lo".to_owned()];
        let chosen = choose_from(machine(), &names).unwrap();
        assert_eq!(chosen.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["lo", "eth1"]);
        assert!(matches!(choose_from(machine(), &["eth9".into()]), Err(StartError::UnknownInterface { .. })));
        assert!(matches!(choose_from(machine(), &["tun0".into()]), Err(StartError::NotEthernet { .. })));
    }
}
