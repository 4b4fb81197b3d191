//! ICMP errors that say "packet too big" (RFC 1191, RFC 8201), and the TCP segment that they quote.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{
    Cursor, EtherType, Ipv4Header, Ipv6Header, NetworkHeader, SegmentError, Tuple, ip_protocol, link_header,
};

/// The first eight bytes of an ICMP error of either family.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct IcmpHeader {
    kind: u8,
    code: u8,
    checksum: [u8; 2],
    /// IPv4: unused (2), next-hop MTU (2). IPv6: MTU (4).
    rest: [u8; 4],
}

/// The part of a quoted TCP header that every router returns (RFC 792: eight bytes).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct QuotedTcp {
    source_port: [u8; 2],
    destination_port: [u8; 2],
    sequence: [u8; 4],
}

/// A segment that was too big for a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooBig {
    /// The segment as it was sent.
    pub quoted: Tuple,
    /// Its sequence number.
    pub seq: u32,
    /// The hop's MTU in bytes; 0 from routers older than RFC 1191.
    pub mtu: u32,
    /// Whether it is IPv6.
    pub is_v6: bool,
}

impl TooBig {
    /// Reads the error out of an untagged Ethernet frame; headers with options are nobody's here.
    ///
    /// # Errors
    ///
    /// The frame holds no such error.
    #[inline(always)]
    pub fn parse(frame: Cursor<'_>) -> Result<Self, SegmentError> {
        let (ether_type, _, cursor) = link_header(frame)?;
        match ether_type {
            EtherType::IPV4 => {
                let (outer, cursor) = cursor.read::<Ipv4Header>()?;
                if outer.version_length != 0x45 || outer.protocol != ip_protocol::ICMP {
                    return Err(SegmentError::NotTcp);
                }
                let (icmp, cursor) = cursor.read::<IcmpHeader>()?;
                // Destination unreachable, fragmentation needed.
                if icmp.kind != 3 || icmp.code != 4 {
                    return Err(SegmentError::NotTcp);
                }
                let [_, _, high, low] = icmp.rest;
                Self::over::<Ipv4Header>(cursor, u32::from(u16::from_be_bytes([high, low])))
            }
            EtherType::IPV6 => {
                let (outer, cursor) = cursor.read::<Ipv6Header>()?;
                if outer.next_header != ip_protocol::ICMPV6 {
                    return Err(SegmentError::NotTcp);
                }
                let (icmp, cursor) = cursor.read::<IcmpHeader>()?;
                // Packet too big.
                if icmp.kind != 2 {
                    return Err(SegmentError::NotTcp);
                }
                Self::over::<Ipv6Header>(cursor, u32::from_be_bytes(icmp.rest))
            }
            _ => Err(SegmentError::NotIp),
        }
    }

    #[inline(always)]
    fn over<H: NetworkHeader>(cursor: Cursor<'_>, mtu: u32) -> Result<Self, SegmentError> {
        let (network, cursor) = cursor.read::<H>()?;
        let (tcp, _) = network.transport(cursor)?.read::<QuotedTcp>()?;
        Ok(Self {
            quoted: Tuple {
                source: network.source(),
                destination: network.destination(),
                source_port: tcp.source_port,
                destination_port: tcp.destination_port,
            },
            seq: u32::from_be_bytes(tcp.sequence),
            mtu,
            is_v6: H::IS_V6,
        })
    }
}
