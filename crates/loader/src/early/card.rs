//! What is known of an interface before a program is attached to it.

use std::path::Path;

use super::rule::is_card;
use crate::{
    Hook,
    bpf::pinned_xdp_link,
    ethtool,
    links::{self, XdpAttached},
};

/// An interface, as far as XDP cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Card {
    pub(crate) driver: Option<String>,
    pub(crate) mtu: u32,
    /// Whether the driver runs programs; `None` if the kernel does not say.
    pub(crate) native: Option<bool>,
    pub(crate) slot: Slot,
    /// The feature that joins segments before XDP, if one is on.
    pub(crate) joins: Option<&'static str>,
    /// Whether tags of VLANs are taken off before XDP.
    pub(crate) hides_tags: bool,
    pub(crate) carries_vlans: bool,
    /// Whether frames of VLANs that have no device never arrive.
    pub(crate) filters_vlans: bool,
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
    /// Looks at the interface. `auto` asks no more than the driver of one that it leaves to TC anyway.
    pub(crate) fn of(name: &str, index: u32, pin: &Path, hook: Hook) -> Self {
        let driver = ethtool::driver(name);
        let mut card = Self {
            driver,
            mtu: 0,
            native: None,
            slot: Slot::Free,
            joins: None,
            hides_tags: false,
            carries_vlans: false,
            filters_vlans: false,
        };
        if hook == Hook::Auto && !is_card(card.driver.as_deref()) {
            return card;
        }
        let features = ethtool::features(name).unwrap_or_default();
        card.native = links::has_native_xdp(index);
        card.joins = JOINING.into_iter().find(|feature| features.contains(*feature));
        card.hides_tags = features.contains("rx-vlan-hw-parse");
        card.filters_vlans = features.contains("rx-vlan-filter");
        card.carries_vlans = links::carries_vlans(index);
        if let Some(link) = links::link(index) {
            card.mtu = link.mtu;
            card.slot = slot(&link, index, pin);
        }
        card
    }
}

fn slot(link: &links::Link, index: u32, pin: &Path) -> Slot {
    if link.xdp == XdpAttached::None {
        return Slot::Free;
    }
    // The same index exists in every network namespace, the number of a program once.
    let ours = pinned_xdp_link(pin).ok().flatten();
    let is_ours = ours.is_some_and(|(at, program)| at == index && program == link.xdp_program);
    if is_ours { Slot::Ours } else { Slot::Busy }
}
