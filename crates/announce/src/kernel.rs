//! Addresses of an interface, as the kernel has them (rtnetlink(7)).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink::{Socket, attribute, push_attribute};

/// include/uapi/linux/rtnetlink.h, netlink.h.
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;

/// include/uapi/linux/if_addr.h. `struct ifaddrmsg`: family, prefix, flags, scope, interface.
const ADDRESS_HEADER: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
/// Linux 5.18 (47f0bd503210); older kernels pass over it.
const IFA_PROTO: u16 = 11;
/// No duplicate address detection: who held it before may still be there. No route to a prefix: there is none.
const FLAGS: u32 = IFA_F_NODAD | IFA_F_NOPREFIXROUTE;
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;

/// How an address of ours is known; below 16 are the kernel's own numbers, and no other program is known to use this one.
const PROTOCOL: u8 = 82;
/// What an address that stays has for a lifetime.
const FOREVER: u32 = u32::MAX;

/// How long an address lives unless it is renewed, in seconds.
pub(crate) const LIFETIME_S: u32 = 10;

/// An address of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) address: IpAddr,
    pub(crate) is_ours: bool,
}

/// Makes an address the interface's for [`LIFETIME_S`], from now on.
pub(crate) fn add(socket: &Socket, interface: u32, address: IpAddr) -> io::Result<()> {
    let mut request = request(interface, address);
    // Preferred for no time: deprecated (RFC 4862 section 5.5.4), which is never chosen as a source by itself.
    let cache: Vec<u8> = [0, LIFETIME_S, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    push_attribute(&mut request, IFA_CACHEINFO, &cache);
    push_attribute(&mut request, IFA_FLAGS, &FLAGS.to_ne_bytes());
    push_attribute(&mut request, IFA_PROTO, &[PROTOCOL]);
    socket.act(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &request)
}

/// Takes an address from the interface. That it is gone already is no error.
pub(crate) fn remove(socket: &Socket, interface: u32, address: IpAddr) -> io::Result<()> {
    match socket.act(RTM_DELADDR, 0, &request(interface, address)) {
        Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(()),
        done => done,
    }
}

/// The addresses of the interface, of both families.
pub(crate) fn list(socket: &Socket, interface: u32) -> io::Result<Vec<Found>> {
    let mut all = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut request = [0; ADDRESS_HEADER];
        request[0] = u8::try_from(family).unwrap_or(0);
        let entries = socket.dump(RTM_GETADDR, &request)?;
        all.extend(entries.iter().filter_map(|entry| parse(entry, interface)));
    }
    Ok(all)
}

/// What names an address in a request.
fn request(interface: u32, address: IpAddr) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let mut request =
        vec![u8::try_from(family).unwrap_or(0), u8::try_from(octets.len() * 8).unwrap_or(0), 0, 0];
    request.extend(interface.to_ne_bytes());
    push_attribute(&mut request, IFA_LOCAL, &octets);
    push_attribute(&mut request, IFA_ADDRESS, &octets);
    request
}

/// An entry of the list, if it is of that interface.
fn parse(entry: &[u8], interface: u32) -> Option<Found> {
    let [family, prefix, ..] = *entry.first_chunk::<ADDRESS_HEADER>()?;
    if entry.get(4..8)? != interface.to_ne_bytes() {
        return None;
    }
    let attributes = entry.get(ADDRESS_HEADER..)?;
    // IPv4 has the machine's own one in IFA_LOCAL.
    let octets = attribute(attributes, IFA_LOCAL).or_else(|| attribute(attributes, IFA_ADDRESS))?;
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = <[u8; 16]>::try_from(octets).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    let address = v4.or(v6).ok()?;
    let is_whole =
        usize::from(prefix) == octets.len() * 8 && (i32::from(family) == libc::AF_INET) == address.is_ipv4();
    let is_ours = match attribute(attributes, IFA_PROTO) {
        Some(protocol) => protocol == [PROTOCOL],
        // A kernel that does not tell: deprecated with a short life is what no administrator writes.
        None => attribute(attributes, IFA_CACHEINFO).and_then(lifetimes).is_some_and(is_short),
    };
    Some(Found { address, is_ours: is_whole && is_ours })
}

/// For how long the address is preferred and valid, in seconds.
fn lifetimes(cache: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| cache.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    Some((number(0)?, number(4)?))
}

fn is_short((preferred, valid): (u32, u32)) -> bool {
    preferred == 0 && valid <= LIFETIME_S && valid != FOREVER
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(address: &str, prefix: u8, extra: &[(u16, &[u8])]) -> Vec<u8> {
        let mut entry = request(3, address.parse().unwrap());
        entry[1] = prefix;
        for (kind, value) in extra {
            push_attribute(&mut entry, *kind, value);
        }
        entry
    }

    fn is_ours(entry: &[u8]) -> bool {
        parse(entry, 3).unwrap().is_ours
    }

    #[test]
    fn ours_are_known_by_their_protocol_or_their_short_life() {
        let ours = (IFA_PROTO, &[PROTOCOL][..]);
        assert!(is_ours(&entry("10.0.0.1", 32, &[ours])));
        assert!(is_ours(&entry("fd00::1", 128, &[ours])));
        assert!(!is_ours(&entry("10.0.0.1", 24, &[ours])), "a network is no Gateway's");
        assert!(!is_ours(&entry("10.0.0.1", 32, &[(IFA_PROTO, &[2])])), "of a router's advertisement");
        assert!(!is_ours(&entry("10.0.0.1", 32, &[])));
        let cache = |preferred: u32, valid: u32| {
            [preferred.to_ne_bytes(), valid.to_ne_bytes(), [0; 4], [0; 4]].concat()
        };
        assert!(is_ours(&entry("10.0.0.1", 32, &[(IFA_CACHEINFO, &cache(0, 7))])));
        for (preferred, valid) in [(FOREVER, FOREVER), (0, FOREVER), (5, 7), (0, 3600)] {
            let entry = entry("10.0.0.1", 32, &[(IFA_CACHEINFO, &cache(preferred, valid))]);
            assert!(!is_ours(&entry), "{preferred} {valid}");
        }
        assert_eq!(parse(&entry("10.0.0.1", 32, &[ours]), 4), None, "of another interface");
        assert_eq!(parse(&[2, 32], 3), None);
    }
}
