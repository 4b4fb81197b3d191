//! What is known of an interface before a program is attached to it.

use std::{collections::BTreeSet, io::ErrorKind, path::Path};

use super::rule::is_card;
use crate::{
    Hook,
    bpf::pinned_xdp_link,
    ethtool,
    links::{self, XdpAttached},
};

/// An interface, as far as XDP cares. `None` is what the kernel did not say: nothing can be built upon it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Card {
    pub(crate) driver: Option<String>,
    /// Whether the driver runs programs.
    pub(crate) native: Option<bool>,
    pub(crate) features: Option<Features>,
    pub(crate) link: Option<Link>,
    /// Whether a VLAN's device stands on it.
    pub(crate) carries_vlans: Option<bool>,
}

/// What its driver does to frames before XDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Features {
    /// The feature that joins segments, if one is on.
    pub(crate) joins: Option<&'static str>,
    /// Whether tags of VLANs are taken off.
    pub(crate) hides_tags: bool,
    /// Whether frames of VLANs that have no device never arrive.
    pub(crate) filters_vlans: bool,
}

/// What the kernel's record of it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) mtu: u32,
    pub(crate) slot: Slot,
    /// It is a port of another device, or promiscuous: frames of VLANs that have no device arrive, whatever the driver filters.
    pub(crate) sees_all: bool,
}

/// Who has the hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Free,
    /// A link of ours, by the pin.
    Ours,
    Busy,
}

/// Features that join segments of a connection, so that their bounds are not seen any more.
const JOINING: [&str; 2] = ["rx-lro", "rx-gro-hw"];

impl Card {
    /// Looks at the interface; `below_vlans` says on which VLANs stand. `auto` asks no more than the driver of one that it leaves to TC
    /// anyway.
    pub(crate) fn of(
        name: &str,
        index: u32,
        pin: &Path,
        hook: Hook,
        below_vlans: impl FnOnce() -> Option<BTreeSet<u32>>,
    ) -> Self {
        let driver = ethtool::driver(name);
        if hook == Hook::Auto && !is_card(driver.as_deref()) {
            return Self { driver, native: None, features: None, link: None, carries_vlans: None };
        }
        let features = ethtool::features(name).map(|on| Features {
            joins: JOINING.into_iter().find(|feature| on.contains(*feature)),
            hides_tags: on.contains("rx-vlan-hw-parse"),
            filters_vlans: on.contains("rx-vlan-filter"),
        });
        let link = links::link(index).and_then(|link| {
            Some(Link { mtu: link.mtu, slot: slot(&link, index, pin)?, sees_all: link.sees_all })
        });
        let native = links::has_native_xdp(index);
        let carries_vlans = below_vlans().map(|below| below.contains(&index));
        Self { driver, native, features, link, carries_vlans }
    }

    /// Whether all is known that obstacles come of.
    pub(crate) const fn is_known(&self) -> bool {
        self.features.is_some() && self.link.is_some() && self.carries_vlans.is_some()
    }

    /// Whether the program on its hook is a link of ours.
    pub(crate) fn is_ours(&self) -> bool {
        self.link.is_some_and(|link| link.slot == Slot::Ours)
    }
}

/// `None` where the pin may not be read.
fn slot(link: &links::Link, index: u32, pin: &Path) -> Option<Slot> {
    if link.xdp == XdpAttached::None {
        return Some(Slot::Free);
    }
    let ours = match pinned_xdp_link(pin) {
        Ok(ours) => ours,
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(_) => return None,
    };
    // The same index exists in every network namespace, the number of a program once.
    let is_ours = ours.is_some_and(|(at, program)| at == index && program == link.xdp_program);
    Some(if is_ours { Slot::Ours } else { Slot::Busy })
}
