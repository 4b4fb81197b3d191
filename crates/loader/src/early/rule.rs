//! Whether an interface gets the XDP program, and why not.

use std::fmt;

use super::card::{Card, Slot};
use crate::{Hook, XdpMode};

/// Drivers that `auto` takes: of network cards on which the kernel cases have passed, for a driver decides whether a note reaches TC at
/// all. None has yet: none was at hand.
///
/// Virtual devices are not for this list: what comes from the same machine comes in large pieces and with checksums that are still to
/// be made, and TC takes it as it is.
const CARDS: [&str; 0] = [];

/// Drivers that hand a program on to the cards below. It would know the card that a connection came by, and that changes.
const JOINT: [&str; 2] = ["bonding", "team"];

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
    /// The kernel does not say what the rule asks for.
    Unknown(&'static str),
    /// Above [`MTU_MAX`].
    Mtu(u32),
    /// A device joins segments.
    Joins(&'static str),
    /// Tags of VLANs are taken off before XDP.
    Vlans,
    /// The same, and those of any VLAN arrive.
    Unfiltered,
    /// The same of one that sees every frame, whatever the driver filters.
    Promiscuous,
    /// One of [`JOINT`].
    Joint,
    /// Somebody else's program.
    Busy,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("asked for by dataplane.hook"),
            Self::ByNameOnly => f.write_str("generic mode is for dataplane.hook: xdp only"),
            Self::NotACard => f.write_str("no network card has passed the tests of XDP yet"),
            Self::NotNative => f.write_str("the driver runs no XDP programs"),
            Self::Unknown(what) => write!(f, "the kernel does not say {what}"),
            Self::Mtu(mtu) => write!(f, "MTU {mtu} is above {MTU_MAX}"),
            Self::Joins(feature) => write!(f, "{feature} is on, which joins segments before XDP"),
            Self::Vlans => {
                f.write_str("it carries VLANs, and rx-vlan-hw-parse is on, which hides their tags from XDP")
            }
            Self::Unfiltered => f.write_str(
                "rx-vlan-hw-parse is on without rx-vlan-filter: frames of VLANs would look untagged in XDP",
            ),
            Self::Promiscuous => f.write_str(
                "it is promiscuous or has a master, and rx-vlan-hw-parse is on: frames of VLANs would look untagged in XDP",
            ),
            Self::Joint => f.write_str("XDP runs on the cards of a bond or team, which change under a connection"),
            Self::Busy => f.write_str("another XDP program is attached"),
        }
    }
}

/// The rule. What was asked for by name is had wherever it works; `auto` wants to gain by it. What is not known speaks against it.
pub(crate) fn choose(hook: Hook, mode: XdpMode, card: &Card) -> Choice {
    choose_among(&CARDS, hook, mode, card)
}

/// Whether `auto` has to look at more of an interface than its driver.
pub(crate) fn is_card(driver: Option<&str>) -> bool {
    is_among(&CARDS, driver)
}

fn choose_among(cards: &[&str], hook: Hook, mode: XdpMode, card: &Card) -> Choice {
    let why = match hook {
        Hook::Tc | Hook::Off => Some(Why::Asked),
        Hook::Xdp => obstacle(mode, card),
        Hook::Auto if mode == XdpMode::Skb => Some(Why::ByNameOnly),
        Hook::Auto if !is_among(cards, card.driver.as_deref()) => Some(Why::NotACard),
        Hook::Auto => loss(card).or_else(|| obstacle(mode, card)),
    };
    match why {
        Some(why) => Choice::Tc(why),
        None if mode == XdpMode::Skb => Choice::Generic,
        None => Choice::Native,
    }
}

fn is_among(cards: &[&str], driver: Option<&str>) -> bool {
    driver.is_some_and(|driver| cards.contains(&driver))
}

fn obstacle(mode: XdpMode, card: &Card) -> Option<Why> {
    let Some(link) = card.link else { return Some(Why::Unknown(WHOSE)) };
    if link.slot == Slot::Busy {
        return Some(Why::Busy);
    }
    if is_among(&JOINT, card.driver.as_deref()) {
        return Some(Why::Joint);
    }
    let hides_tags = card.features.is_none_or(|features| features.hides_tags);
    if hides_tags && card.carries_vlans.unwrap_or(true) {
        return Some(Why::Vlans);
    }
    if hides_tags && link.sees_all {
        return Some(Why::Promiscuous);
    }
    // Before Linux 6.3 nobody says whether the driver runs programs. It answers to being asked to.
    (mode != XdpMode::Skb && card.native == Some(false)).then_some(Why::NotNative)
}

/// Why nothing would be gained.
fn loss(card: &Card) -> Option<Why> {
    let (Some(_), Some(features), Some(link)) = (card.native, card.features, card.link) else {
        return Some(Why::Unknown(ABLE));
    };
    if link.mtu > MTU_MAX {
        return Some(Why::Mtu(link.mtu));
    }
    if let Some(feature) = features.joins {
        return Some(Why::Joins(feature));
    }
    (features.hides_tags && !features.filters_vlans).then_some(Why::Unfiltered)
}

const WHOSE: &str = "whether another XDP program is attached";
const ABLE: &str = "what the driver does and can do (Linux 6.3 does)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::early::card::{Features, Link};

    const FEATURES: Features = Features { joins: None, hides_tags: true, filters_vlans: true };
    const LINK: Link = Link { mtu: 1500, slot: Slot::Free, sees_all: false };

    fn card() -> Card {
        Card {
            driver: Some("ice".into()),
            native: Some(true),
            features: Some(FEATURES),
            link: Some(LINK),
            carries_vlans: Some(false),
        }
    }

    fn with(features: Features) -> Card {
        Card { features: Some(features), ..card() }
    }

    fn linked(link: Link) -> Card {
        Card { link: Some(link), ..card() }
    }

    #[test]
    fn auto_takes_xdp_on_a_card_of_the_list_where_nothing_is_in_the_way() {
        let auto = |card: &Card| choose_among(&["ice"], Hook::Auto, XdpMode::Auto, card);
        assert_eq!(auto(&card()), Choice::Native);
        assert_eq!(auto(&linked(Link { slot: Slot::Ours, ..LINK })), Choice::Native);
        let seen = with(Features { hides_tags: false, filters_vlans: false, ..FEATURES });
        assert_eq!(auto(&Card { carries_vlans: Some(true), ..seen }), Choice::Native);
        assert_eq!(choose_among(&["ice"], Hook::Auto, XdpMode::Native, &card()), Choice::Native);
        for (card, why) in [
            (Card { driver: Some("veth".into()), ..card() }, Why::NotACard),
            (Card { driver: Some("ice2".into()), ..card() }, Why::NotACard),
            (Card { driver: None, ..card() }, Why::NotACard),
            (Card { native: Some(false), ..card() }, Why::NotNative),
            (Card { native: None, ..card() }, Why::Unknown(ABLE)),
            (Card { features: None, ..card() }, Why::Unknown(ABLE)),
            (Card { link: None, ..card() }, Why::Unknown(ABLE)),
            (Card { carries_vlans: None, ..card() }, Why::Vlans),
            (Card { carries_vlans: Some(true), ..card() }, Why::Vlans),
            (linked(Link { mtu: 9000, ..LINK }), Why::Mtu(9000)),
            (linked(Link { sees_all: true, ..LINK }), Why::Promiscuous),
            (linked(Link { slot: Slot::Busy, ..LINK }), Why::Busy),
            (with(Features { joins: Some("rx-lro"), ..FEATURES }), Why::Joins("rx-lro")),
            (with(Features { filters_vlans: false, ..FEATURES }), Why::Unfiltered),
        ] {
            assert_eq!(auto(&card), Choice::Tc(why), "{card:?}");
        }
        assert_eq!(choose_among(&["ice"], Hook::Auto, XdpMode::Skb, &card()), Choice::Tc(Why::ByNameOnly));
    }

    #[test]
    fn auto_is_tc_on_every_card_so_far() {
        for driver in ["ice", "mlx5_core", "virtio_net", "veth", ""] {
            let card = Card { driver: Some(driver.into()), ..card() };
            assert_eq!(choose(Hook::Auto, XdpMode::Auto, &card), Choice::Tc(Why::NotACard), "{driver}");
        }
    }

    #[test]
    fn by_name_it_is_had_wherever_it_works() {
        let veth = || Card { driver: Some("veth".into()), link: Some(Link { mtu: 9000, ..LINK }), ..card() };
        let busy = || linked(Link { slot: Slot::Busy, ..LINK });
        for (mode, card, choice) in [
            (XdpMode::Auto, veth(), Choice::Native),
            (XdpMode::Native, veth(), Choice::Native),
            (XdpMode::Skb, veth(), Choice::Generic),
            (XdpMode::Skb, Card { native: Some(false), ..veth() }, Choice::Generic),
            (XdpMode::Auto, Card { native: None, ..veth() }, Choice::Native),
            (XdpMode::Auto, Card { native: Some(false), ..veth() }, Choice::Tc(Why::NotNative)),
            (XdpMode::Auto, Card { driver: Some("bonding".into()), ..card() }, Choice::Tc(Why::Joint)),
            (XdpMode::Skb, Card { driver: Some("team".into()), ..card() }, Choice::Tc(Why::Joint)),
            (XdpMode::Auto, linked(Link { sees_all: true, ..LINK }), Choice::Tc(Why::Promiscuous)),
            (
                XdpMode::Auto,
                Card {
                    features: Some(Features { hides_tags: false, ..FEATURES }),
                    ..linked(Link { sees_all: true, ..LINK })
                },
                Choice::Native,
            ),
            (XdpMode::Auto, busy(), Choice::Tc(Why::Busy)),
            (XdpMode::Skb, busy(), Choice::Tc(Why::Busy)),
            (XdpMode::Auto, Card { link: None, ..veth() }, Choice::Tc(Why::Unknown(WHOSE))),
            (XdpMode::Auto, with(Features { filters_vlans: false, ..FEATURES }), Choice::Native),
            (XdpMode::Skb, Card { carries_vlans: Some(true), ..veth() }, Choice::Tc(Why::Vlans)),
            (XdpMode::Auto, Card { carries_vlans: None, ..veth() }, Choice::Tc(Why::Vlans)),
            (XdpMode::Auto, Card { features: None, ..veth() }, Choice::Native),
            (
                XdpMode::Auto,
                Card { features: None, carries_vlans: Some(true), ..veth() },
                Choice::Tc(Why::Vlans),
            ),
        ] {
            assert_eq!(choose(Hook::Xdp, mode, &card), choice, "{mode} {card:?}");
        }
        assert_eq!(choose(Hook::Tc, XdpMode::Native, &card()), Choice::Tc(Why::Asked));
    }
}
