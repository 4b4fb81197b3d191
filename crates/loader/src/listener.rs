//! Listener addresses, as the agent writes them and as the maps hold them.

use std::net::{IpAddr, Ipv6Addr};

use wire::ListenerKey;

/// Where a listener is reached over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerAddress {
    /// The address; `None` for any.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

impl ListenerAddress {
    /// The key in the kernel's map. An unspecified address (`0.0.0.0`, `::`) is any.
    pub(crate) fn key(self) -> ListenerKey {
        let address = match self.address {
            Some(IpAddr::V4(address)) if !address.is_unspecified() => address.to_ipv6_mapped().octets(),
            Some(IpAddr::V6(address)) if !address.is_unspecified() => address.octets(),
            _ => ListenerKey::ANY,
        };
        ListenerKey::tcp(address, self.port.to_be_bytes())
    }

    /// The address that a key stands for.
    pub(crate) fn from_key(key: &ListenerKey) -> Self {
        let address = (key.address != ListenerKey::ANY).then(|| Ipv6Addr::from(key.address).to_canonical());
        Self { address, port: u16::from_be_bytes(key.port) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back() {
        for address in ["192.0.2.1", "2001:db8::1", "::1"] {
            let listener = ListenerAddress { address: Some(address.parse().unwrap()), port: 8443 };
            assert_eq!(ListenerAddress::from_key(&listener.key()), listener);
        }
        let any = ListenerAddress { address: None, port: 80 };
        assert_eq!(ListenerAddress::from_key(&any.key()), any);
    }

    #[test]
    fn unspecified_addresses_are_any() {
        let any = ListenerAddress { address: None, port: 80 };
        for address in ["0.0.0.0", "::"] {
            assert_eq!(
                ListenerAddress { address: Some(address.parse().unwrap()), port: 80 }.key(),
                any.key()
            );
        }
    }
}
