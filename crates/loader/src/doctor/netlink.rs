//! The two questions to the kernel that sysfs does not answer for our network namespace: an interface's link record
//! (rtnetlink(7)) and what XDP its driver can do (family `netdev`, Documentation/netlink/specs/netdev.yaml).

use nix::sys::socket::SockProtocol;

use netlink::{Socket, attribute, push_attribute};

const RTM_GETLINK: u16 = 18;
const IFINFOMSG_LENGTH: usize = 16;
const IFLA_MTU: u16 = 4;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;

const GENERIC_HEADER: usize = 4;
const GENERIC_CONTROL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NETDEV_XDP_ACT_BASIC: u64 = 1;

/// An interface's link record, as far as the doctor cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) mtu: u32,
    pub(super) xdp: XdpAttached,
}

/// Whose programs sit on an interface's XDP hook (`IFLA_XDP_ATTACHED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum XdpAttached {
    None,
    Native,
    Generic,
    Offloaded,
    Several,
}

/// The link record of the interface with that index.
pub(super) fn link(index: u32) -> Option<Link> {
    let mut body = [0; IFINFOMSG_LENGTH];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    let reply = Socket::open(SockProtocol::NetlinkRoute).ok()?.ask(RTM_GETLINK, &body).ok()?;
    parse_link(reply.get(IFINFOMSG_LENGTH..)?)
}

/// Whether the driver of the interface runs XDP programs itself; `None` where the kernel cannot say (before Linux 6.3).
pub(super) fn has_native_xdp(index: u32) -> Option<bool> {
    let socket = Socket::open(SockProtocol::NetlinkGeneric).ok()?;
    let mut request = vec![CTRL_CMD_GETFAMILY, 1, 0, 0];
    push_attribute(&mut request, CTRL_ATTR_FAMILY_NAME, b"netdev\0");
    let reply = socket.ask(GENERIC_CONTROL, &request).ok()?;
    let family = attribute(reply.get(GENERIC_HEADER..)?, CTRL_ATTR_FAMILY_ID)?;

    let mut request = vec![NETDEV_CMD_DEV_GET, 1, 0, 0];
    push_attribute(&mut request, NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes());
    let family = u16::from_ne_bytes(family.try_into().ok()?);
    let reply = socket.ask(family, &request).ok()?;
    let features = attribute(reply.get(GENERIC_HEADER..)?, NETDEV_A_DEV_XDP_FEATURES)?;
    Some(u64::from_ne_bytes(features.try_into().ok()?) & NETDEV_XDP_ACT_BASIC != 0)
}

fn parse_link(attributes: &[u8]) -> Option<Link> {
    let mtu = u32::from_ne_bytes(attribute(attributes, IFLA_MTU)?.try_into().ok()?);
    let attached = attribute(attributes, IFLA_XDP).and_then(|nested| attribute(nested, IFLA_XDP_ATTACHED));
    let xdp = match attached.and_then(|value| value.first()) {
        Some(1) => XdpAttached::Native,
        Some(2) => XdpAttached::Generic,
        Some(3) => XdpAttached::Offloaded,
        Some(4) => XdpAttached::Several,
        _ => XdpAttached::None,
    };
    Some(Link { mtu, xdp })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_mtu_and_nested_xdp_state() {
        let mut nested = Vec::new();
        push_attribute(&mut nested, 1, &[9; 3]);
        push_attribute(&mut nested, IFLA_XDP_ATTACHED, &[2]);
        let mut attributes = Vec::new();
        push_attribute(&mut attributes, 3, b"eth0\0");
        push_attribute(&mut attributes, IFLA_MTU, &1500u32.to_ne_bytes());
        push_attribute(&mut attributes, IFLA_XDP | 0x8000, &nested);
        assert_eq!(parse_link(&attributes), Some(Link { mtu: 1500, xdp: XdpAttached::Generic }));
    }

    #[test]
    fn asks_the_kernel_about_loopback() {
        let index = nix::net::if_::if_nametoindex("lo").unwrap();
        let link = link(index).unwrap();
        assert!(link.mtu >= 1500, "{link:?}");
        assert_eq!(super::link(u32::MAX / 2), None);
    }
}
