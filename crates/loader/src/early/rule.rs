//! Whether an interface gets the XDP program, and why not.

use std::fmt;

use super::card::{Card, Slot};
use crate::{Hook, XdpMode};

/// Drivers of cards that hand whole frames to XDP. Virtual devices are not among them: what comes from the same machine comes in
/// large pieces and with checksums that are still to be made, and TC takes it as it is.
const CARDS: [&str; 26] = [
    "atlantic",
    "bnxt_en",
    "cpsw",
    "dpaa2-eth",
    "ena",
    "fec",
    "fsl_dpaa2_eth",
    "fsl_enetc",
    "gve",
    "i40e",
    "ice",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "mana",
    "mlx4_en",
    "mlx5_core",
    "mvneta",
    "mvpp2",
    "nfp",
    "qede",
    "rvu_nicpf",
    "sfc",
    "st_gmac",
    "tsnep",
];

/// The longest MTU with which all segments are short enough for the programs.
const MTU_MAX: u32 = 2048;

/// What an interface gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The program in the driver, before that of TC.
    Native,
    /// The program in front of the stack, before that of TC.
    Generic,
    /// TC alone.
    Tc(Why),
}

/// Why there is no XDP program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// `dataplane.hook: tc`.
    Asked,
    /// Generic mode under `auto`.
    ByNameOnly,
    /// Not one of [`CARDS`].
    NotACard,
    /// The driver runs no programs.
    NotNative,
    /// The kernel does not say what the driver can do.
    Unknown,
    /// Above [`MTU_MAX`].
    Mtu(u32),
    /// A device joins segments.
    Joins(&'static str),
    /// Tags of VLANs are taken off before XDP.
    Vlans,
    /// The same, and those of any VLAN arrive.
    Unfiltered,
    /// Somebody else's program.
    Busy,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("asked for by dataplane.hook"),
            Self::ByNameOnly => f.write_str("generic mode is for dataplane.hook: xdp only"),
            Self::NotACard => f.write_str("the driver is not on the list of network cards"),
            Self::NotNative => f.write_str("the driver runs no XDP programs"),
            Self::Unknown => f.write_str("the kernel does not say what the driver can do (Linux 6.3 does)"),
            Self::Mtu(mtu) => write!(f, "MTU {mtu} is above {MTU_MAX}"),
            Self::Joins(feature) => write!(f, "{feature} is on, which joins segments before XDP"),
            Self::Vlans => {
                f.write_str("it carries VLANs, and rx-vlan-hw-parse is on, which hides their tags from XDP")
            }
            Self::Unfiltered => f.write_str(
                "rx-vlan-hw-parse is on without rx-vlan-filter: frames of VLANs would look untagged in XDP",
            ),
            Self::Busy => f.write_str("another XDP program is attached"),
        }
    }
}

/// The rule. What was asked for by name is had wherever it works; `auto` wants to gain by it.
pub(crate) fn choose(hook: Hook, mode: XdpMode, card: &Card) -> Choice {
    let why = match hook {
        Hook::Tc | Hook::Off => Some(Why::Asked),
        Hook::Xdp => obstacle(mode, card),
        Hook::Auto if mode == XdpMode::Skb => Some(Why::ByNameOnly),
        Hook::Auto => loss(card).or_else(|| obstacle(mode, card)),
    };
    match why {
        Some(why) => Choice::Tc(why),
        None if mode == XdpMode::Skb => Choice::Generic,
        None => Choice::Native,
    }
}

/// Whether `auto` has to look at more of an interface than its driver.
pub(crate) fn is_card(driver: Option<&str>) -> bool {
    driver.is_some_and(|driver| CARDS.contains(&driver))
}

fn obstacle(mode: XdpMode, card: &Card) -> Option<Why> {
    if card.slot == Slot::Busy {
        return Some(Why::Busy);
    }
    if card.hides_tags && card.carries_vlans {
        return Some(Why::Vlans);
    }
    (mode != XdpMode::Skb && card.native == Some(false)).then_some(Why::NotNative)
}

/// Why nothing would be gained.
fn loss(card: &Card) -> Option<Why> {
    if !is_card(card.driver.as_deref()) {
        return Some(Why::NotACard);
    }
    if card.native.is_none() {
        return Some(Why::Unknown);
    }
    if card.mtu > MTU_MAX {
        return Some(Why::Mtu(card.mtu));
    }
    if let Some(feature) = card.joins {
        return Some(Why::Joins(feature));
    }
    (card.hides_tags && !card.filters_vlans).then_some(Why::Unfiltered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> Card {
        Card {
            driver: Some("ice".into()),
            mtu: 1500,
            native: Some(true),
            slot: Slot::Free,
            joins: None,
            hides_tags: true,
            carries_vlans: false,
            filters_vlans: true,
        }
    }

    #[test]
    fn auto_takes_xdp_on_a_card_where_nothing_is_in_the_way() {
        let auto = |card: &Card| choose(Hook::Auto, XdpMode::Auto, card);
        assert_eq!(auto(&card()), Choice::Native);
        assert_eq!(auto(&Card { slot: Slot::Ours, ..card() }), Choice::Native);
        assert_eq!(
            auto(&Card { carries_vlans: true, hides_tags: false, filters_vlans: false, ..card() }),
            Choice::Native
        );
        assert_eq!(choose(Hook::Auto, XdpMode::Native, &card()), Choice::Native);
        for (card, why) in [
            (Card { driver: Some("veth".into()), ..card() }, Why::NotACard),
            (Card { driver: Some("virtio_net".into()), ..card() }, Why::NotACard),
            (Card { driver: None, ..card() }, Why::NotACard),
            (Card { native: Some(false), ..card() }, Why::NotNative),
            (Card { native: None, ..card() }, Why::Unknown),
            (Card { mtu: 9000, ..card() }, Why::Mtu(9000)),
            (Card { joins: Some("rx-lro"), ..card() }, Why::Joins("rx-lro")),
            (Card { carries_vlans: true, ..card() }, Why::Vlans),
            (Card { filters_vlans: false, ..card() }, Why::Unfiltered),
            (Card { slot: Slot::Busy, ..card() }, Why::Busy),
        ] {
            assert_eq!(auto(&card), Choice::Tc(why), "{card:?}");
        }
        assert_eq!(choose(Hook::Auto, XdpMode::Skb, &card()), Choice::Tc(Why::ByNameOnly));
    }

    #[test]
    fn by_name_it_is_had_wherever_it_works() {
        let veth = || Card { driver: Some("veth".into()), mtu: 9000, ..card() };
        for (mode, card, choice) in [
            (XdpMode::Auto, veth(), Choice::Native),
            (XdpMode::Native, veth(), Choice::Native),
            (XdpMode::Skb, veth(), Choice::Generic),
            (XdpMode::Skb, Card { native: Some(false), ..veth() }, Choice::Generic),
            (XdpMode::Auto, Card { native: None, ..veth() }, Choice::Native),
            (XdpMode::Auto, Card { native: Some(false), ..veth() }, Choice::Tc(Why::NotNative)),
            (XdpMode::Auto, Card { slot: Slot::Busy, ..veth() }, Choice::Tc(Why::Busy)),
            (XdpMode::Skb, Card { slot: Slot::Busy, ..veth() }, Choice::Tc(Why::Busy)),
            (XdpMode::Auto, Card { filters_vlans: false, ..veth() }, Choice::Native),
            (XdpMode::Skb, Card { carries_vlans: true, ..veth() }, Choice::Tc(Why::Vlans)),
        ] {
            assert_eq!(choose(Hook::Xdp, mode, &card), choice, "{mode} {card:?}");
        }
        assert_eq!(choose(Hook::Tc, XdpMode::Native, &card()), Choice::Tc(Why::Asked));
    }

    #[test]
    fn drivers_are_listed_in_order() {
        assert!(CARDS.is_sorted());
    }
}
