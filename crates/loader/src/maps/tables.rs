//! What the agent decides and the programs read.

use std::{collections::BTreeSet, net::IpAddr};

use wire::Settings;
use zerocopy::{Immutable, IntoBytes};

use super::{Maps, SETTINGS, TRUSTED_PROXIES};
use crate::MapError;

/// One change of a map, by bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write<'w> {
    /// Name of the map.
    pub map: &'w str,
    /// The key, as long as the map's keys are.
    pub key: &'w [u8],
    /// The new value; `None` removes the key. An array always has all its keys: there the value becomes zero.
    pub value: Option<&'w [u8]>,
}

/// A key of a map and its value, by bytes.
pub type Entry = (Vec<u8>, Vec<u8>);

/// A network: the addresses that begin with the first `length` bits of `address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// Any address of the network.
    pub address: IpAddr,
    /// Bits: 0 to 32, or 0 to 128 for IPv6.
    pub length: u8,
}

/// Key of `TRUSTED_PROXIES`: `struct bpf_lpm_trie_key_u8`, IPv4 mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoBytes, Immutable)]
#[repr(C)]
struct PrefixKey {
    length: u32,
    address: [u8; 16],
}
const _: () = assert!(size_of::<PrefixKey>() == 20);

/// The programs look at whether there is a value, not at what it is.
const TRUSTED: u32 = 1;

impl Maps {
    /// Makes the changes in their order; the first that fails ends it.
    pub(crate) fn apply<'w>(&self, writes: impl IntoIterator<Item = Write<'w>>) -> Result<(), MapError> {
        writes.into_iter().try_for_each(|write| {
            let map = self.raw(write.map)?;
            match write.value {
                Some(value) => map.put(write.key, value, 0),
                None => map.remove(write.key).map(|_| ()),
            }
        })
    }

    /// Every entry of a map, keys ascending by their bytes.
    pub(crate) fn dump(&self, map: &str) -> Result<Vec<Entry>, MapError> {
        let mut entries = Vec::new();
        self.raw(map)?.each(0, |key, value| entries.push((key.to_vec(), value.to_vec())))?;
        entries.sort_unstable();
        Ok(entries)
    }

    /// What the agent told the programs last, possibly in an earlier run.
    pub(crate) fn settings(&self) -> Result<Settings, MapError> {
        Ok(self.raw(SETTINGS)?.get(&0u32, 0)?.unwrap_or_default())
    }

    pub(crate) fn set_settings(&self, settings: &Settings) -> Result<(), MapError> {
        self.raw(SETTINGS)?.put(0u32.as_bytes(), settings.as_bytes(), 0)
    }

    /// Makes the map hold exactly `networks`: adds first, so that one that stays is never out of it.
    pub(crate) fn set_trusted_proxies(&self, networks: &[Prefix]) -> Result<(), MapError> {
        let map = self.raw(TRUSTED_PROXIES)?;
        map.check::<PrefixKey, u32>()?;
        let wanted: BTreeSet<PrefixKey> = networks.iter().map(PrefixKey::from).collect();
        let mut gone = Vec::new();
        map.each(0, |key, _| {
            if !wanted.iter().any(|wanted| wanted.as_bytes() == key) {
                gone.push(key.to_vec());
            }
        })?;
        for key in &wanted {
            map.put(key.as_bytes(), TRUSTED.as_bytes(), 0)?;
        }
        gone.iter().try_for_each(|key| map.remove(key).map(|_| ()))
    }
}

impl From<&Prefix> for PrefixKey {
    fn from(prefix: &Prefix) -> Self {
        let (address, length) = match prefix.address {
            IpAddr::V4(address) => (address.to_ipv6_mapped().octets(), u32::from(prefix.length).min(32) + 96),
            IpAddr::V6(address) => (address.octets(), u32::from(prefix.length).min(128)),
        };
        // Bits behind the length would make two keys of one network.
        let bits = u128::from_be_bytes(address) & u128::MAX.checked_shl(128 - length).unwrap_or(0);
        Self { length, address: bits.to_be_bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_become_trie_keys_without_what_is_behind_their_length() {
        let key =
            |address: &str, length| PrefixKey::from(&Prefix { address: address.parse().unwrap(), length });
        let ten = key("10.1.2.3", 8);
        assert_eq!((ten.length, ten.address[12..].to_vec()), (104, vec![10, 0, 0, 0]));
        assert_eq!(ten.address[10..12], [0xff, 0xff]);
        assert_eq!(key("2001:db8::1", 33).address[..6], [0x20, 1, 0xd, 0xb8, 0, 0]);
        assert_eq!(key("::", 0), PrefixKey { length: 0, address: [0; 16] });
        assert_eq!(key("192.0.2.1", 32).length, 128);
    }
}
