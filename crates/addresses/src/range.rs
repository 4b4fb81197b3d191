use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

/// Addresses from one to another, both included, of one family.
///
/// Written as `10.0.0.0/24`, `10.0.0.10-10.0.0.20` or `10.0.0.7`. Of a network, the addresses are left out that hosts do not have:
/// the first and the last of IPv4 (network and broadcast, RFC 919), the first of IPv6 (Subnet-Router anycast, RFC 4291 section
/// 2.6.1). A network of two addresses has neither (RFC 3021, RFC 6164); whoever wants them elsewhere writes a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

/// Why a text names no addresses of a pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Neither a network nor a range nor an address.
    #[error(
        "{0:?} names no addresses: write a network (10.0.0.0/24), a range (10.0.0.10-10.0.0.20) or an address"
    )]
    Unreadable(String),
    /// An address with a length: a network was meant, or the one address.
    #[error(
        "{written} has bits behind its prefix: write {network} for the network or {address} for the one address"
    )]
    HostBits {
        /// As it was written.
        written: IpNet,
        /// The network that it is in.
        network: IpNet,
        /// Its address.
        address: IpAddr,
    },
    /// The ends are of two families.
    #[error("{first}-{last} begins in one IP family and ends in the other: write a range for each")]
    Mixed {
        /// The first address.
        first: IpAddr,
        /// The last one.
        last: IpAddr,
    },
    /// The last address is before the first.
    #[error("{first}-{last} ends before it begins: write {last}-{first}")]
    Backwards {
        /// The first address.
        first: IpAddr,
        /// The last one.
        last: IpAddr,
    },
    /// Some of the addresses can be no Gateway's.
    #[error("{range} has addresses of {network} ({what}), which no Gateway can have: leave them out")]
    Special {
        /// The range.
        range: AddressRange,
        /// The network of special addresses.
        network: IpNet,
        /// What they are.
        what: &'static str,
    },
}

/// Addresses that a Gateway cannot have. Source: IANA special-purpose address registries (RFC 6890).
const SPECIAL: &[(&str, &str)] = &[
    ("0.0.0.0/8", "this network"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("::/128", "no address"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "IPv4 in IPv6: write it as IPv4"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
];

impl AddressRange {
    /// The first address.
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// The last address.
    pub fn last(self) -> IpAddr {
        self.last
    }
}

impl FromStr for AddressRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let unreadable = || RangeError::Unreadable(text.to_owned());
        let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| unreadable());
        let range = if let Some((first, last)) = text.split_once('-') {
            between(address(first)?, address(last)?)?
        } else if text.contains('/') {
            of_network(text.trim().parse().map_err(|_| unreadable())?)?
        } else {
            let only = address(text)?;
            Self { first: only, last: only }
        };
        for (network, what) in SPECIAL {
            let network: IpNet = network.parse().map_err(|_| unreadable())?;
            let is_apart = range.last < network.network() || range.first > network.broadcast();
            if !is_apart && network.addr().is_ipv4() == range.first.is_ipv4() {
                return Err(RangeError::Special { range, network, what });
            }
        }
        Ok(range)
    }
}

fn between(first: IpAddr, last: IpAddr) -> Result<AddressRange, RangeError> {
    if first.is_ipv4() != last.is_ipv4() {
        return Err(RangeError::Mixed { first, last });
    }
    if first > last {
        return Err(RangeError::Backwards { first, last });
    }
    Ok(AddressRange { first, last })
}

fn of_network(written: IpNet) -> Result<AddressRange, RangeError> {
    let network = written.trunc();
    if network != written {
        return Err(RangeError::HostBits { written, network, address: written.addr() });
    }
    // Networks of one or two addresses have neither.
    let has_others = network.max_prefix_len() - network.prefix_len() >= 2;
    Ok(match (network.network(), network.broadcast()) {
        (IpAddr::V4(first), IpAddr::V4(last)) if has_others => AddressRange {
            first: Ipv4Addr::from_bits(first.to_bits() + 1).into(),
            last: Ipv4Addr::from_bits(last.to_bits() - 1).into(),
        },
        (IpAddr::V6(first), last) if has_others => {
            AddressRange { first: Ipv6Addr::from_bits(first.to_bits() + 1).into(), last }
        }
        (first, last) => AddressRange { first, last },
    })
}

/// As a range, or as the only address.
impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.first == self.last { Ok(()) } else { write!(f, "-{}", self.last) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<AddressRange>().map_or_else(|error| error.to_string(), |range| range.to_string())
    }

    #[test]
    fn networks_ranges_and_addresses() {
        for (text, range) in [
            ("10.0.0.0/24", "10.0.0.1-10.0.0.254"),
            ("10.0.0.8/30", "10.0.0.9-10.0.0.10"),
            ("10.0.0.8/31", "10.0.0.8-10.0.0.9"),
            ("10.0.0.8/32", "10.0.0.8"),
            ("10.0.0.0-10.0.0.255", "10.0.0.0-10.0.0.255"),
            ("10.0.0.7 - 10.0.0.9", "10.0.0.7-10.0.0.9"),
            ("10.0.0.7", "10.0.0.7"),
            ("fd00::/64", "fd00::1-fd00::ffff:ffff:ffff:ffff"),
            ("fd00::2/127", "fd00::2-fd00::3"),
            ("fd00::5-fd00::7", "fd00::5-fd00::7"),
        ] {
            assert_eq!(shown(text), range, "{text}");
            assert_eq!(shown(range), range, "what is shown reads back");
        }
    }

    #[test]
    fn mistakes_are_named_with_what_to_write() {
        for (text, message) in [
            ("", "names no addresses: write a network"),
            ("ten", "\"ten\" names no addresses"),
            ("10.0.0.0/33", "names no addresses"),
            ("10.0.0.1-", "names no addresses"),
            ("10.0.0.1-5", "names no addresses"),
            ("10.0.0.7/24", "write 10.0.0.0/24 for the network or 10.0.0.7 for the one address"),
            ("10.0.0.1-fd00::1", "begins in one IP family and ends in the other"),
            ("10.0.0.9-10.0.0.7", "write 10.0.0.7-10.0.0.9"),
            ("0.0.0.0/0", "has addresses of 0.0.0.0/8 (this network)"),
            ("127.0.0.1", "(loopback), which no Gateway can have: leave them out"),
            ("126.0.0.0-128.0.0.0", "127.0.0.0/8 (loopback)"),
            ("169.254.10.0/24", "(link-local)"),
            ("239.0.0.1", "(multicast)"),
            ("255.255.255.255", "(broadcast)"),
            ("::", "(no address)"),
            ("::1", "(loopback)"),
            ("::ffff:10.0.0.1", "write it as IPv4"),
            ("fe80::1", "(link-local)"),
            ("ff02::1", "(multicast)"),
        ] {
            let shown = shown(text);
            assert!(shown.contains(message), "{text:?}: {shown}");
        }
    }
}
