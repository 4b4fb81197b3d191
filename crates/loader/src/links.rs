//! What sysfs does not answer for our network namespace: an interface's link record
//! (rtnetlink(7)) and what XDP its driver can do (family `netdev`, Documentation/netlink/specs/netdev.yaml).

use std::collections::{BTreeMap, BTreeSet};

use nix::sys::socket::SockProtocol;

use netlink::{Socket, attribute, push_attribute};

const RTM_GETLINK: u16 = 18;
const IFINFOMSG_LENGTH: usize = 16;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_PROMISCUITY: u16 = 30;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;

const GENERIC_HEADER: usize = 4;
const GENERIC_CONTROL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;

/// The driver runs XDP programs itself (`NETDEV_XDP_ACT_BASIC`).
const RUNS_PROGRAMS: u64 = 1;

/// The device takes frames from the programs of others (`NETDEV_XDP_ACT_NDO_XMIT`).
pub(crate) const TAKES_FRAMES: u64 = 4;

/// An interface's link record, as far as the doctor cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) mtu: u32,
    pub(crate) xdp: XdpAttached,
    /// The number of the program on the XDP hook; 0: none, or several.
    pub(crate) xdp_program: u32,
    /// It is a port of another device, or somebody wants to see every frame.
    pub(crate) sees_all: bool,
}

/// Whose programs sit on an interface's XDP hook (`IFLA_XDP_ATTACHED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum XdpAttached {
    None,
    Native,
    Generic,
    Offloaded,
    Several,
}

/// The link record of the interface with that index.
pub(crate) fn link(index: u32) -> Option<Link> {
    let mut body = [0; IFINFOMSG_LENGTH];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    let reply = Socket::open(SockProtocol::NetlinkRoute).ok()?.ask(RTM_GETLINK, &body).ok()?;
    parse_link(reply.get(IFINFOMSG_LENGTH..)?)
}

/// Whether the driver of the interface runs XDP programs itself; `None` where the kernel cannot say (before Linux 6.3).
pub(crate) fn has_native_xdp(index: u32) -> Option<bool> {
    let mut request = vec![NETDEV_CMD_DEV_GET, 1, 0, 0];
    push_attribute(&mut request, NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes());
    let (socket, family) = netdev()?;
    let (_, features) = parse_features(&socket.ask(family, &request).ok()?)?;
    Some(features & RUNS_PROGRAMS != 0)
}

/// What each device can do in XDP (`enum netdev_xdp_act`), by index; empty where the kernel cannot say.
pub(crate) fn xdp_features() -> BTreeMap<u32, u64> {
    let devices = || {
        let (socket, family) = netdev()?;
        socket.dump(family, &[NETDEV_CMD_DEV_GET, 1, 0, 0]).ok()
    };
    devices().unwrap_or_default().iter().filter_map(|reply| parse_features(reply)).collect()
}

/// The interfaces on which devices of VLANs stand in this network namespace; `None` where the kernel does not say.
pub(crate) fn below_vlans() -> Option<BTreeSet<u32>> {
    let socket = Socket::open(SockProtocol::NetlinkRoute).ok()?;
    let links = socket.dump(RTM_GETLINK, &[0; IFINFOMSG_LENGTH]).ok()?;
    Some(links.iter().filter_map(|link| below_vlan(link)).collect())
}

/// What the device stands on, if it is a VLAN's.
fn below_vlan(link: &[u8]) -> Option<u32> {
    let attributes = link.get(IFINFOMSG_LENGTH..)?;
    let kind = attribute(attribute(attributes, IFLA_LINKINFO)?, IFLA_INFO_KIND)?;
    kind.starts_with(b"vlan").then(|| number(attributes, IFLA_LINK)).flatten()
}

fn number(attributes: &[u8], kind: u16) -> Option<u32> {
    Some(u32::from_ne_bytes(attribute(attributes, kind)?.try_into().ok()?))
}

/// A socket for questions to the family `netdev`, and its number.
fn netdev() -> Option<(Socket, u16)> {
    let socket = Socket::open(SockProtocol::NetlinkGeneric).ok()?;
    let mut request = vec![CTRL_CMD_GETFAMILY, 1, 0, 0];
    push_attribute(&mut request, CTRL_ATTR_FAMILY_NAME, b"netdev\0");
    let reply = socket.ask(GENERIC_CONTROL, &request).ok()?;
    let family = attribute(reply.get(GENERIC_HEADER..)?, CTRL_ATTR_FAMILY_ID)?;
    let family = u16::from_ne_bytes(family.try_into().ok()?);
    Some((socket, family))
}

fn parse_features(reply: &[u8]) -> Option<(u32, u64)> {
    let attributes = reply.get(GENERIC_HEADER..)?;
    let index = attribute(attributes, NETDEV_A_DEV_IFINDEX)?;
    let features = attribute(attributes, NETDEV_A_DEV_XDP_FEATURES)?;
    Some((u32::from_ne_bytes(index.try_into().ok()?), u64::from_ne_bytes(features.try_into().ok()?)))
}

fn parse_link(attributes: &[u8]) -> Option<Link> {
    let mtu = number(attributes, IFLA_MTU)?;
    let sees_all = number(attributes, IFLA_MASTER).is_some()
        || number(attributes, IFLA_PROMISCUITY).is_some_and(|times| times > 0);
    let hook = attribute(attributes, IFLA_XDP);
    let xdp_program = hook.and_then(|nested| number(nested, IFLA_XDP_PROG_ID)).unwrap_or(0);
    let xdp =
        match hook.and_then(|nested| attribute(nested, IFLA_XDP_ATTACHED)).and_then(|value| value.first()) {
            Some(1) => XdpAttached::Native,
            Some(2) => XdpAttached::Generic,
            Some(3) => XdpAttached::Offloaded,
            Some(4) => XdpAttached::Several,
            _ => XdpAttached::None,
        };
    Some(Link { mtu, xdp, xdp_program, sees_all })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_mtu_and_nested_xdp_state() {
        let mut nested = Vec::new();
        push_attribute(&mut nested, 1, &[9; 3]);
        push_attribute(&mut nested, IFLA_XDP_ATTACHED, &[2]);
        push_attribute(&mut nested, IFLA_XDP_PROG_ID, &77u32.to_ne_bytes());
        let mut attributes = Vec::new();
        push_attribute(&mut attributes, 3, b"eth0\0");
        push_attribute(&mut attributes, IFLA_MTU, &1500u32.to_ne_bytes());
        push_attribute(&mut attributes, IFLA_XDP | 0x8000, &nested);
        let link = Link { mtu: 1500, xdp: XdpAttached::Generic, xdp_program: 77, sees_all: false };
        assert_eq!(parse_link(&attributes), Some(link));
        for (kind, value, sees_all) in
            [(IFLA_PROMISCUITY, 0, false), (IFLA_PROMISCUITY, 2, true), (IFLA_MASTER, 4, true)]
        {
            let mut more = attributes.clone();
            push_attribute(&mut more, kind, &u32::to_ne_bytes(value));
            assert_eq!(parse_link(&more), Some(Link { sees_all, ..link }), "{kind} {value}");
        }
    }

    #[test]
    fn tells_vlans_on_an_interface_from_other_devices() {
        let link = |below: u32, kind: &[u8]| {
            let mut info = Vec::new();
            push_attribute(&mut info, IFLA_INFO_KIND, kind);
            let mut link = vec![0; IFINFOMSG_LENGTH];
            push_attribute(&mut link, IFLA_LINK, &below.to_ne_bytes());
            push_attribute(&mut link, IFLA_LINKINFO, &info);
            link
        };
        assert_eq!(below_vlan(&link(7, b"vlan\0")), Some(7));
        assert_eq!(below_vlan(&link(7, b"macvlan\0")), None);
        assert_eq!(below_vlan(&[0; IFINFOMSG_LENGTH]), None);
    }

    #[test]
    fn asks_the_kernel_about_loopback() {
        let index = nix::net::if_::if_nametoindex("lo").unwrap();
        let link = link(index).unwrap();
        assert!(link.mtu >= 1500, "{link:?}");
        assert_eq!(super::link(u32::MAX / 2), None);
    }
}
