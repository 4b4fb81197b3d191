//! The interface that the clients are on.

use std::io;

use netlink::{Socket, attribute};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, SockProtocol};

use crate::AnnounceError;

/// include/uapi/linux/rtnetlink.h.
const RTM_GETROUTE: u16 = 26;
const ROUTE_HEADER: usize = 12;
const RTA_OIF: u16 = 4;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RT_TABLE_MAIN: u8 = 254;
const RTN_UNICAST: u8 = 1;

/// An Ethernet interface.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) hardware: [u8; 6],
    /// Where frames go out.
    pub(crate) link: LinkAddr,
}

impl Interface {
    /// The one called `name`, or the one with the default route: of IPv4, else of IPv6.
    pub(crate) fn find(name: Option<&str>) -> Result<Self, AnnounceError> {
        let default = match name {
            Some(_) => None,
            None => {
                Some(default_route().map_err(AnnounceError::Netlink)?.ok_or(AnnounceError::NoDefaultRoute)?)
            }
        };
        let all = getifaddrs().map_err(|error| AnnounceError::Netlink(error.into()))?;
        for entry in all {
            let Some(link) = entry.address.as_ref().and_then(|address| address.as_link_addr().copied())
            else {
                continue;
            };
            let index = u32::try_from(link.ifindex()).unwrap_or(0);
            if Some(entry.interface_name.as_str()) != name && Some(index) != default {
                continue;
            }
            return match link.addr() {
                Some(hardware) if link.hatype() == libc::ARPHRD_ETHER => {
                    Ok(Self { name: entry.interface_name, index, hardware, link })
                }
                _ => Err(AnnounceError::NotEthernet(entry.interface_name)),
            };
        }
        match name {
            Some(name) => Err(AnnounceError::UnknownInterface(name.to_owned())),
            None => Err(AnnounceError::NoDefaultRoute),
        }
    }
}

/// The interface of the best default route.
fn default_route() -> io::Result<Option<u32>> {
    let socket = Socket::open(SockProtocol::NetlinkRoute)?;
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut request = [0; ROUTE_HEADER];
        request[0] = u8::try_from(family).unwrap_or(0);
        let routes = socket.dump(RTM_GETROUTE, &request)?;
        let best = routes.iter().filter_map(|route| parse(route)).min();
        if let Some((_, device)) = best {
            return Ok(Some(device));
        }
    }
    Ok(None)
}

/// Metric and interface of a default route of the main table; nothing if it is another route.
fn parse(route: &[u8]) -> Option<(u32, u32)> {
    // struct rtmsg: family, length of the destination, of the source, TOS, table, protocol, scope, type, flags.
    let [_, 0, _, _, RT_TABLE_MAIN, _, _, RTN_UNICAST] = *route.first_chunk::<8>()? else { return None };
    let attributes = route.get(ROUTE_HEADER..)?;
    let number = |bytes: &[u8]| bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    // struct rtnexthop: length, flags, hops, interface.
    let first_hop = || attribute(attributes, RTA_MULTIPATH).and_then(|hops| hops.get(4..)).and_then(number);
    let device = attribute(attributes, RTA_OIF).and_then(number).or_else(first_hop)?;
    Some((attribute(attributes, RTA_PRIORITY).and_then(number).unwrap_or(0), device))
}

#[cfg(test)]
mod tests {
    use netlink::push_attribute;

    use super::*;

    fn route(length: u8, table: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut route = vec![0; ROUTE_HEADER];
        route[1] = length;
        route[4] = table;
        route[7] = RTN_UNICAST;
        for (kind, value) in attributes {
            push_attribute(&mut route, *kind, value);
        }
        route
    }

    #[test]
    fn a_default_route_names_its_interface() {
        let (seven, metric) = (7u32.to_ne_bytes(), 100u32.to_ne_bytes());
        assert_eq!(parse(&route(0, RT_TABLE_MAIN, &[(RTA_OIF, &seven)])), Some((0, 7)));
        let with_metric = route(0, RT_TABLE_MAIN, &[(RTA_PRIORITY, &metric), (RTA_OIF, &seven)]);
        assert_eq!(parse(&with_metric), Some((100, 7)));
        let hops = [&[16, 0, 0, 0][..], &seven, &[8, 0, 5, 0, 10, 0, 0, 1]].concat();
        assert_eq!(parse(&route(0, RT_TABLE_MAIN, &[(RTA_MULTIPATH, &hops)])), Some((0, 7)));
        assert_eq!(parse(&route(24, RT_TABLE_MAIN, &[(RTA_OIF, &seven)])), None, "no default route");
        assert_eq!(parse(&route(0, 42, &[(RTA_OIF, &seven)])), None, "of another table");
        assert_eq!(parse(&route(0, RT_TABLE_MAIN, &[])), None, "to nowhere");
        assert_eq!(parse(&[]), None);
    }

    #[test]
    fn an_interface_that_is_not_there_or_no_ethernet_is_refused() {
        let error = Interface::find(Some("none-such")).unwrap_err().to_string();
        assert!(error.contains("no interface none-such") && error.contains("addresses.interface"), "{error}");
        assert!(matches!(Interface::find(Some("lo")), Err(AnnounceError::NotEthernet(_))));
    }
}
