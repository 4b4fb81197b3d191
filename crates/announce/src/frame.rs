//! Ethernet frames that tell neighbours where an address is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// The Override flag: replaces what the neighbour remembers.
const OVERRIDE: u8 = 0x20;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
/// All nodes of the link, ff02::1, and their group on Ethernet (RFC 2464 section 7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_HARDWARE: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// The frame by which the machine with `hardware` says that `address` is its own.
pub(crate) fn announcement(hardware: [u8; 6], address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp_announcement(hardware, address),
        IpAddr::V6(address) => neighbour_advertisement(hardware, address),
    }
}

/// An ARP request that asks for the sender's own address. Source: RFC 5227 section 2.3 ("ARP Announcement").
fn arp_announcement(hardware: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet([0xff; 6], hardware, ETHERTYPE_ARP);
    frame.extend([0, 1, 8, 0, 6, 4]); // Ethernet, IPv4, lengths of their addresses
    frame.extend([0, 1]); // request
    frame.extend(hardware);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

/// An unsolicited Neighbour Advertisement to all nodes. Source: RFC 4861 sections 4.4 and 7.2.6.
fn neighbour_advertisement(hardware: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
    message.extend(address.octets());
    message.extend([TARGET_LINK_LAYER_ADDRESS, 1]); // in units of eight bytes
    message.extend(hardware);
    let checksum = checksum(address, &message);
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
    let mut frame = ethernet(ALL_NODES_HARDWARE, hardware, ETHERTYPE_IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length(&message).to_be_bytes());
    frame.extend([ICMPV6, 255]); // hop limit: anything else is not believed (RFC 4861 section 7.1.2)
    frame.extend(address.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

fn ethernet(to: [u8; 6], from: [u8; 6], ethertype: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(96);
    frame.extend(to);
    frame.extend(from);
    frame.extend(ethertype.to_be_bytes());
    frame
}

/// Of an ICMPv6 message to all nodes, whose own field for it is zero: with the pseudo-header of RFC 8200 section 8.1.
fn checksum(from: Ipv6Addr, message: &[u8]) -> u16 {
    let pseudo = [0, 0, 0, 0, 0, ICMPV6];
    let all = from.octets().into_iter().chain(ALL_NODES.octets()).chain(length(message).to_be_bytes());
    let bytes: Vec<u8> = all.chain(pseudo).chain(message.iter().copied()).collect();
    let words = bytes.chunks(2).map(|word| match word {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high, ..] => u32::from(*high) << 8,
        [] => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

fn length(message: &[u8]) -> u16 {
    u16::try_from(message.len()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARDWARE: [u8; 6] = [2, 0, 0, 0xaa, 0xbb, 0xcc];

    fn hex(frame: &[u8]) -> String {
        frame.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn arp_asks_everybody_for_the_senders_own_address() {
        let frame = announcement(HARDWARE, "10.1.2.3".parse().unwrap());
        let expected = "ffffffffffff020000aabbcc0806\
                        0001080006040001020000aabbcc0a0102030000000000000a010203";
        assert_eq!(hex(&frame), expected);
    }

    #[test]
    fn neighbours_are_told_to_replace_what_they_remember() {
        let frame = announcement(HARDWARE, "fd00::7".parse().unwrap());
        let expected = "333300000001020000aabbcc86dd\
                        6000000000203affhfromhto8800CCCC20000000htarget0201020000aabbcc"
            .replace("hfrom", "fd000000000000000000000000000007")
            .replace("hto", "ff020000000000000000000000000001")
            .replace("htarget", "fd000000000000000000000000000007")
            .replace("CCCC", &hex(&frame[56..58]));
        assert_eq!(hex(&frame), expected);
        // With the checksum in place the sum of all is all ones, so its complement is none.
        assert_eq!(checksum("fd00::7".parse().unwrap(), &frame[54..]), 0);
        assert_ne!(frame[56..58], [0, 0]);
    }
}
