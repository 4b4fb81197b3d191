//! The chains of nftables, those that iptables makes there among them (include/uapi/linux/netfilter/nf_tables.h).

use std::{fmt, io};

use nix::sys::socket::SockProtocol;

use netlink::{Socket, attribute};

/// `NFNL_SUBSYS_NFTABLES`, and `NFT_MSG_GETCHAIN` in it.
const GET_CHAINS: u16 = 10 << 8 | 4;
/// `NFT_MSG_GETGEN` there.
const GET_GENERATION: u16 = 10 << 8 | 16;
/// Length of `struct nfgenmsg`: family, version, resource.
const GENERIC_HEADER: usize = 4;
const NFTA_GEN_ID: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_USE: u16 = 6;
const NFTA_HOOK_HOOKNUM: u16 = 1;
/// `NF_INET_FORWARD`, of the families below.
const FORWARD: u32 = 2;
const NF_DROP: u32 = 0;

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) family: &'static str,
    pub(crate) table: String,
    pub(crate) name: String,
    /// Whether forwarded packets enter by it.
    pub(crate) forwards: bool,
    /// Whether it drops what none of its rules decides.
    pub(crate) drops: bool,
    /// How many rules it has; of a chain that others jump to, with these jumps.
    pub(crate) rules: u32,
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.name)
    }
}

/// All chains of this network namespace that forwarded IP packets can meet.
///
/// # Errors
///
/// EPERM without CAP_NET_ADMIN; EINVAL from a kernel without nftables.
pub(crate) fn chains() -> io::Result<Vec<Chain>> {
    let entries = Socket::open(SockProtocol::NetlinkNetFilter)?.dump(GET_CHAINS, &[0; GENERIC_HEADER])?;
    Ok(entries.iter().filter_map(|entry| parse(entry)).collect())
}

/// The number of the ruleset of this network namespace: another one after every change of it.
///
/// # Errors
///
/// As [`chains`].
pub(crate) fn generation() -> io::Result<u32> {
    let answer = Socket::open(SockProtocol::NetlinkNetFilter)?.ask(GET_GENERATION, &[0; GENERIC_HEADER])?;
    let number = answer.get(GENERIC_HEADER..).and_then(|attributes| attribute(attributes, NFTA_GEN_ID));
    let number = number.and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    number.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse(entry: &[u8]) -> Option<Chain> {
    let family = match entry.first()? {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => return None,
    };
    let attributes = entry.get(GENERIC_HEADER..)?;
    let number = |of: &[u8], kind| Some(u32::from_be_bytes(attribute(of, kind)?.try_into().ok()?));
    let text = |kind| {
        let bytes = attribute(attributes, kind)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    };
    let hook = attribute(attributes, NFTA_CHAIN_HOOK).and_then(|hook| number(hook, NFTA_HOOK_HOOKNUM));
    Some(Chain {
        family,
        table: text(NFTA_CHAIN_TABLE)?,
        name: text(NFTA_CHAIN_NAME)?,
        forwards: hook == Some(FORWARD),
        drops: number(attributes, NFTA_CHAIN_POLICY) == Some(NF_DROP),
        rules: number(attributes, NFTA_CHAIN_USE).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink::push_attribute;

    #[test]
    fn a_chain_is_read_with_its_hook_and_policy() {
        let mut hook = Vec::new();
        push_attribute(&mut hook, NFTA_HOOK_HOOKNUM, &FORWARD.to_be_bytes());
        let mut entry = vec![1, 0, 0, 0];
        push_attribute(&mut entry, NFTA_CHAIN_TABLE, b"filter\0");
        push_attribute(&mut entry, NFTA_CHAIN_NAME, b"forward\0");
        push_attribute(&mut entry, NFTA_CHAIN_HOOK | 0x8000, &hook);
        push_attribute(&mut entry, NFTA_CHAIN_POLICY, &NF_DROP.to_be_bytes());
        push_attribute(&mut entry, NFTA_CHAIN_USE, &3_u32.to_be_bytes());
        let chain = parse(&entry).unwrap();
        assert_eq!(chain.to_string(), "inet filter forward");
        assert!(chain.forwards && chain.drops && chain.rules == 3, "{chain:?}");
        // Bridges and devices have other hooks.
        entry[0] = 7;
        assert_eq!(parse(&entry), None);
        assert_eq!(parse(&[1, 0, 0]), None);
    }
}
