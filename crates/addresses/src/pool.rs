use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::AddressRange;

/// The addresses that Gateways are given: of either family, or of both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Apart from each other, in ascending order; for each the first and the last address as a number.
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, in the order in which addresses are given.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn address(self, bits: u128) -> IpAddr {
        match (self, u32::try_from(bits)) {
            (Self::V4, Ok(bits)) => Ipv4Addr::from_bits(bits).into(),
            _ => Ipv6Addr::from_bits(bits).into(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::V4 { "IPv4" } else { "IPv6" })
    }
}

impl Pool {
    /// Whether the pool has this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (ranges, bits) = (self.of(Family::of(address)), bits(address));
        let behind = ranges.partition_point(|(first, _)| *first <= bits);
        behind > 0 && bits <= ranges[behind - 1].1
    }

    /// Whether it has addresses of a family.
    pub fn has(&self, family: Family) -> bool {
        !self.of(family).is_empty()
    }

    /// Whether it has no address at all.
    pub fn is_empty(&self) -> bool {
        !Family::BOTH.iter().any(|family| self.has(*family))
    }

    /// How many addresses of a family it has.
    pub fn len(&self, family: Family) -> u128 {
        self.of(family)
            .iter()
            .fold(0, |sum: u128, (first, last)| sum.saturating_add((last - first).saturating_add(1)))
    }

    /// All addresses of a family, in ascending order.
    pub(crate) fn addresses(&self, family: Family) -> impl Iterator<Item = IpAddr> {
        let ranges = self.of(family).iter();
        ranges.flat_map(|(first, last)| *first..=*last).map(move |bits| family.address(bits))
    }

    fn of(&self, family: Family) -> &[(u128, u128)] {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

/// Ranges may overlap and come in any order.
impl FromIterator<AddressRange> for Pool {
    fn from_iter<I: IntoIterator<Item = AddressRange>>(ranges: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges {
            let numbers = (bits(range.first()), bits(range.last()));
            if range.first().is_ipv4() { v4.push(numbers) } else { v6.push(numbers) }
        }
        Self { v4: merged(v4), v6: merged(v6) }
    }
}

fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Ranges with a comma between them: `10.0.0.1-10.0.0.9, fd00::1`.
impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for family in Family::BOTH {
            for (first, last) in self.of(family) {
                write!(f, "{comma}{}", family.address(*first))?;
                if first != last {
                    write!(f, "-{}", family.address(*last))?;
                }
                comma = ", ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(ranges: &[&str]) -> Pool {
        ranges.iter().map(|range| range.parse::<AddressRange>().unwrap()).collect()
    }

    #[test]
    fn ranges_are_merged_and_looked_up() {
        let pool =
            pool(&["fd00::5", "10.0.0.20-10.0.0.29", "10.0.0.0/28", "10.0.0.15-10.0.0.20", "10.0.1.1"]);
        assert_eq!(pool.to_string(), "10.0.0.1-10.0.0.29, 10.0.1.1, fd00::5");
        for (address, is_in) in [
            ("10.0.0.0", false),
            ("10.0.0.1", true),
            ("10.0.0.29", true),
            ("10.0.0.30", false),
            ("10.0.1.1", true),
            ("10.0.1.2", false),
            ("fd00::5", true),
            ("fd00::6", false),
            // The same number in the other family.
            ("::a00:1", false),
        ] {
            assert_eq!(pool.contains(address.parse().unwrap()), is_in, "{address}");
        }
        assert_eq!((pool.len(Family::V4), pool.len(Family::V6)), (30, 1));
        assert_eq!(pool.addresses(Family::V4).count(), 30);
    }

    #[test]
    fn an_empty_pool_and_a_huge_one() {
        let empty = Pool::default();
        assert!(empty.is_empty() && !empty.contains("10.0.0.1".parse().unwrap()));
        let huge = pool(&["fd00::/8"]);
        assert!(!huge.is_empty() && huge.has(Family::V6) && !huge.has(Family::V4));
        assert_eq!(huge.len(Family::V6), (1 << 120) - 1);
        assert_eq!(
            huge.addresses(Family::V6).nth(1).map(|address| address.to_string()).as_deref(),
            Some("fd00::2")
        );
    }
}
