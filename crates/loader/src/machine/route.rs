//! The way to an address, as the kernel's routing tables have it (`RTM_GETROUTE`).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use nix::sys::socket::SockProtocol;

use netlink::{Socket, attribute, push_attribute};

/// include/uapi/linux/rtnetlink.h.
const RTM_GETROUTE: u16 = 26;
const RTM_GETLINK: u16 = 18;
const ROUTE_HEADER: usize = 12;
const LINK_HEADER: usize = 16;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTAX_MTU: u16 = 2;
const IFLA_MTU: u16 = 4;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
/// Where `struct rtmsg` has the type of the route.
const TYPE_AT: usize = 7;

/// Where packets to an address go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To another machine.
    Out(Way),
    /// The address is this machine's own.
    Local,
    /// Nowhere.
    None,
}

/// How packets to an address leave this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Index of the device.
    pub device: u32,
    /// Our address on packets to it, unless something else is chosen.
    pub source: IpAddr,
    /// The largest packet that goes that way, in bytes.
    pub mtu: u32,
}

/// Asks for ways.
pub struct Routes(Socket);

impl Routes {
    /// Opens the socket that is asked.
    ///
    /// # Errors
    ///
    /// The kernel's answer; no capability is needed.
    pub fn open() -> io::Result<Self> {
        Socket::open(SockProtocol::NetlinkRoute).map(Self)
    }

    /// Where packets to `address` go.
    ///
    /// # Errors
    ///
    /// The kernel's answer, other than that there is no way.
    pub fn to(&self, address: IpAddr) -> io::Result<Route> {
        let (family, octets) = match address {
            IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
        };
        let mut request = vec![0; ROUTE_HEADER];
        if let [to_family, to_bits, ..] = request.as_mut_slice() {
            *to_family = u8::try_from(family).unwrap_or(0);
            *to_bits = u8::try_from(octets.len() * 8).unwrap_or(0);
        }
        push_attribute(&mut request, RTA_DST, &octets);
        let reply = match self.0.ask(RTM_GETROUTE, &request) {
            Ok(reply) => reply,
            Err(error) if is_no_way(&error) => return Ok(Route::None),
            Err(error) => return Err(error),
        };
        if reply.get(TYPE_AT) == Some(&RTN_LOCAL) {
            return Ok(Route::Local);
        }
        let Some(found) = parse(&reply) else { return Ok(Route::None) };
        let mtu = match found.mtu {
            Some(mtu) => mtu,
            None => self.device_mtu(found.device)?,
        };
        Ok(Route::Out(Way { device: found.device, source: found.source, mtu }))
    }

    fn device_mtu(&self, device: u32) -> io::Result<u32> {
        let mut request = [0; LINK_HEADER];
        if let Some(index) = request.get_mut(4..8) {
            index.copy_from_slice(&device.to_ne_bytes());
        }
        let reply = self.0.ask(RTM_GETLINK, &request)?;
        reply
            .get(LINK_HEADER..)
            .and_then(|attributes| number(attributes, IFLA_MTU))
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// Unreachable, prohibited and blackhole routes answer so as well (`RTN_*`, net/ipv4/route.c).
fn is_no_way(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL | libc::EADDRNOTAVAIL)
    )
}

/// What a route says by itself.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    device: u32,
    source: IpAddr,
    mtu: Option<u32>,
}

/// `None` unless the route leads to another machine.
fn parse(reply: &[u8]) -> Option<Found> {
    if *reply.get(TYPE_AT)? != RTN_UNICAST {
        return None;
    }
    let attributes = reply.get(ROUTE_HEADER..)?;
    let source = attribute(attributes, RTA_PREFSRC)?;
    let v4 = <[u8; 4]>::try_from(source).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = <[u8; 16]>::try_from(source).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    Some(Found {
        device: number(attributes, RTA_OIF)?,
        source: v4.or(v6).ok()?,
        mtu: attribute(attributes, RTA_METRICS)
            .and_then(|metrics| number(metrics, RTAX_MTU))
            .filter(|mtu| *mtu > 0),
    })
}

fn number(attributes: &[u8], kind: u16) -> Option<u32> {
    attribute(attributes, kind)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(kind: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut reply = vec![0; ROUTE_HEADER];
        reply[TYPE_AT] = kind;
        for (kind, value) in attributes {
            push_attribute(&mut reply, *kind, value);
        }
        reply
    }

    #[test]
    fn a_route_says_device_source_and_perhaps_an_mtu() {
        let device = 7u32.to_ne_bytes();
        let mut metrics = Vec::new();
        push_attribute(&mut metrics, RTAX_MTU, &1400u32.to_ne_bytes());
        let with = [(RTA_OIF, &device[..]), (RTA_PREFSRC, &[10, 0, 0, 1]), (RTA_METRICS, &metrics)];
        let source = "10.0.0.1".parse().unwrap();
        assert_eq!(parse(&reply(RTN_UNICAST, &with)), Some(Found { device: 7, source, mtu: Some(1400) }));
        assert_eq!(parse(&reply(RTN_UNICAST, &with[..2])).unwrap().mtu, None);
        assert_eq!(parse(&reply(RTN_LOCAL, &with)), None, "an address of this machine");
        assert_eq!(parse(&reply(RTN_UNICAST, &with[..1])), None, "no source");
        assert_eq!(parse(&[]), None);
    }

    #[test]
    fn an_address_of_this_machine_is_no_way_out() {
        assert_eq!(Routes::open().unwrap().to("127.0.0.1".parse().unwrap()).unwrap(), Route::Local);
    }
}
