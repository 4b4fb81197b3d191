//! Ethernet II with up to two VLAN tags (IEEE 802.1Q and 802.1ad).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Cursor, SegmentError};

/// The protocol after the link header, in host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: Self = Self(0x0800);
    /// IPv6 (RFC 2464).
    pub const IPV6: Self = Self(0x86dd);
    /// Customer VLAN tag (IEEE 802.1Q).
    pub const VLAN: Self = Self(0x8100);
    /// Service VLAN tag (IEEE 802.1ad).
    pub const SERVICE_VLAN: Self = Self(0x88a8);

    const fn is_tag(self) -> bool {
        self.0 == Self::VLAN.0 || self.0 == Self::SERVICE_VLAN.0
    }
}

/// The Ethernet II header: 14 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct EthernetHeader {
    /// Receiver.
    pub destination: [u8; 6],
    /// Sender.
    pub source: [u8; 6],
    /// What follows, in network order.
    pub ether_type: [u8; 2],
}
const _: () = assert!(size_of::<EthernetHeader>() == 14 && align_of::<EthernetHeader>() == 1);

/// A VLAN tag as it follows the Ethernet addresses: 4 bytes, of which the type announcing it was read before.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct VlanTag {
    /// Priority (3 bits), drop eligibility (1), VLAN (12); network order.
    pub control: [u8; 2],
    /// What follows, in network order.
    pub ether_type: [u8; 2],
}
const _: () = assert!(size_of::<VlanTag>() == 4 && align_of::<VlanTag>() == 1);

/// Reads the Ethernet header and up to two VLAN tags: the type of the network header, its offset, and the cursor there.
///
/// At TC ingress the kernel has usually moved the outer tag into the socket buffer already; in XDP it is still there.
///
/// # Errors
///
/// [`SegmentError::Truncated`]. A third tag is returned as its type and matches no network protocol.
#[inline(always)]
pub fn link_header(packet: Cursor<'_>) -> Result<(EtherType, u8, Cursor<'_>), SegmentError> {
    let (header, mut cursor) = packet.read::<EthernetHeader>()?;
    let mut ether_type = EtherType(u16::from_be_bytes(header.ether_type));
    let mut at = 14;
    // Written out rather than looped: the verifier then sees two known offsets.
    if ether_type.is_tag() {
        let (tag, next) = cursor.read::<VlanTag>()?;
        (ether_type, at, cursor) = (EtherType(u16::from_be_bytes(tag.ether_type)), 18, next);
        if ether_type.is_tag() {
            let (tag, next) = cursor.read::<VlanTag>()?;
            (ether_type, at, cursor) = (EtherType(u16::from_be_bytes(tag.ether_type)), 22, next);
        }
    }
    Ok((ether_type, at, cursor))
}
