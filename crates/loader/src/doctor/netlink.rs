//! The two questions to the kernel that sysfs does not answer for our network namespace: an interface's link record
//! (rtnetlink(7)) and what XDP its driver can do (family `netdev`, Documentation/netlink/specs/netdev.yaml).

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

const HEADER_LENGTH: usize = 16;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// Flags in an attribute's type: nested, byte order.
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;

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
    let reply = ask(SockProtocol::NetlinkRoute, RTM_GETLINK, &body)?;
    parse_link(reply.get(IFINFOMSG_LENGTH..)?)
}

/// Whether the driver of the interface runs XDP programs itself; `None` where the kernel cannot say (before Linux 6.3).
pub(super) fn has_native_xdp(index: u32) -> Option<bool> {
    let mut request = vec![CTRL_CMD_GETFAMILY, 1, 0, 0];
    push_attribute(&mut request, CTRL_ATTR_FAMILY_NAME, b"netdev\0");
    let reply = ask(SockProtocol::NetlinkGeneric, GENERIC_CONTROL, &request)?;
    let family = attribute(reply.get(GENERIC_HEADER..)?, CTRL_ATTR_FAMILY_ID)?;

    let mut request = vec![NETDEV_CMD_DEV_GET, 1, 0, 0];
    push_attribute(&mut request, NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes());
    let family = u16::from_ne_bytes(family.try_into().ok()?);
    let reply = ask(SockProtocol::NetlinkGeneric, family, &request)?;
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

/// Sends one request and returns the body of its answer; `None` on any error.
fn ask(protocol: SockProtocol, kind: u16, body: &[u8]) -> Option<Vec<u8>> {
    let socket: OwnedFd =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, Some(protocol)).ok()?;
    let length = u32::try_from(HEADER_LENGTH + body.len()).ok()?;
    let mut request = Vec::with_capacity(HEADER_LENGTH + body.len());
    request.extend(length.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    request.extend([0; 8]); // sequence and port: one request per socket
    request.extend(body);
    send(socket.as_raw_fd(), &request, MsgFlags::empty()).ok()?;

    let mut answer = vec![0; 32 * 1024];
    let received = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).ok()?;
    let length = usize::try_from(u32::from_ne_bytes(answer.get(..4)?.try_into().ok()?)).ok()?;
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    if kind == NLMSG_ERROR || length > received {
        return None;
    }
    answer.get(HEADER_LENGTH..length).map(<[u8]>::to_vec)
}

fn push_attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// The value of the first attribute of that type.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?) & ATTRIBUTE_TYPE_MASK;
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
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
    fn broken_attributes_are_nothing() {
        for broken in [&[][..], &[0; 8], &[255, 255, 4, 0], &[4, 0, 9], &[3, 0, 4, 0]] {
            assert_eq!(attribute(broken, IFLA_MTU), None, "{broken:?}");
        }
    }

    #[test]
    fn asks_the_kernel_about_loopback() {
        let index = nix::net::if_::if_nametoindex("lo").unwrap();
        let link = link(index).unwrap();
        assert!(link.mtu >= 1500, "{link:?}");
        assert_eq!(super::link(u32::MAX / 2), None);
    }
}
