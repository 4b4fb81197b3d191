//! What the machine's network looks like, and that it changed: addresses, links, routes (rtnetlink(7)).
//!
//! All of it in the network namespace of the calling thread.

mod route;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use nix::{
    ifaddrs::getifaddrs,
    net::if_::InterfaceFlags,
    sys::socket::{MsgFlags, SockProtocol, SockaddrStorage, recv},
};

use netlink::Socket;

pub use route::{Route, Routes, Way};

/// `RTMGRP_*`, include/uapi/linux/rtnetlink.h: links; addresses and routes of both families.
const LINK: u32 = 0x1;
const IPV4_ADDRESS: u32 = 0x10;
const IPV4_ROUTE: u32 = 0x40;
const IPV6_ADDRESS: u32 = 0x100;
const IPV6_ROUTE: u32 = 0x400;

/// News of links, addresses and routes.
///
/// Its descriptor becomes readable when something changed; [`Changes::take`] then empties it.
#[derive(Debug)]
pub struct Changes(OwnedFd);

impl Changes {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// The kernel's answer to opening the socket; no capability is needed.
    pub fn listen() -> io::Result<Self> {
        let groups = LINK | IPV4_ADDRESS | IPV4_ROUTE | IPV6_ADDRESS | IPV6_ROUTE;
        Socket::listen(SockProtocol::NetlinkRoute, groups).map(Self)
    }

    /// Reads all news; whether there were any. They do not say more than that: whoever wants to know looks at the whole.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading, but for news that were lost because there were too many: those are news too.
    pub fn take(&self) -> io::Result<bool> {
        let mut buffer = [0; 32 * 1024];
        let mut any = false;
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(_) | Err(nix::Error::ENOBUFS) => any = true,
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) => return Ok(any),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Changes {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// The addresses at which others reach this machine, ascending: of every interface that is up, without loopback,
/// link-local and multicast ones. An address on `lo` that is not 127.0.0.0/8 or ::1 is one: announced VIPs stand there.
///
/// # Errors
///
/// The kernel's answer to listing them.
pub fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let mut found: Vec<IpAddr> = getifaddrs()?
        .filter(|entry| entry.flags.contains(InterfaceFlags::IFF_UP))
        .filter_map(|entry| entry.address.as_ref().and_then(address))
        .filter(is_reachable)
        .collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn address(storage: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = || storage.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4().or_else(|| storage.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

fn is_reachable(address: &IpAddr) -> bool {
    let others = match address {
        IpAddr::V4(address) => address.is_link_local() || *address == Ipv4Addr::BROADCAST,
        IpAddr::V6(address) => address.is_unicast_link_local() || *address == Ipv6Addr::UNSPECIFIED,
    };
    !(others || address.is_loopback() || address.is_multicast() || address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_link_local_are_not_where_others_dial() {
        let reachable = |text: &str| is_reachable(&text.parse().unwrap());
        for good in ["10.0.0.1", "192.0.2.1", "fd00::1", "2001:db8::1"] {
            assert!(reachable(good), "{good}");
        }
        for bad in
            ["127.0.0.1", "127.1.2.3", "::1", "fe80::1", "169.254.1.1", "224.0.0.1", "ff02::1", "0.0.0.0"]
        {
            assert!(!reachable(bad), "{bad}");
        }
    }
}
