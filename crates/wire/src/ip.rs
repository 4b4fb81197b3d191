//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers behind one trait.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Cursor, SegmentError};

/// IP protocol numbers (IANA "Assigned Internet Protocol Numbers").
pub mod ip_protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// ICMP over IPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// An address of either family: IPv6 as it is, IPv4 mapped (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2).
pub type IpAddress = [u8; 16];

/// What the decisions need of a network header, whichever its family.
pub trait NetworkHeader: FromBytes + Unaligned + Immutable {
    /// Checks the header and steps over what follows it up to the TCP header. `after` is behind the fixed part.
    ///
    /// # Errors
    ///
    /// The reason why the packet holds no TCP header that may be read.
    fn transport<'p>(&self, after: Cursor<'p>) -> Result<Cursor<'p>, SegmentError>;

    /// Whether the family is IPv6.
    const IS_V6: bool;

    /// Length of the header with its options, in bytes, once [`NetworkHeader::transport`] has accepted it.
    fn length(&self) -> u8;

    /// Where the packet goes.
    fn destination(&self) -> IpAddress;

    /// Where the packet comes from.
    fn source(&self) -> IpAddress;
}

/// The fixed part of the IPv4 header: 20 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ipv4Header {
    /// Version (4 bits) and header length in words of 4 bytes (4 bits).
    pub version_length: u8,
    /// DSCP (6 bits) and ECN (2 bits).
    pub traffic_class: u8,
    /// Length of header and data in bytes, network order.
    pub total_length: [u8; 2],
    /// Groups the fragments of a datagram.
    pub identification: [u8; 2],
    /// Reserved, don't fragment, more fragments (3 bits); fragment offset in units of 8 bytes (13 bits).
    pub flags_offset: [u8; 2],
    /// Hops left.
    pub time_to_live: u8,
    /// What follows.
    pub protocol: u8,
    /// Header checksum (RFC 1071).
    pub checksum: [u8; 2],
    /// Sender.
    pub source: [u8; 4],
    /// Receiver.
    pub destination: [u8; 4],
}
const _: () = assert!(size_of::<Ipv4Header>() == 20 && align_of::<Ipv4Header>() == 1);

impl NetworkHeader for Ipv4Header {
    const IS_V6: bool = false;

    #[inline(always)]
    fn length(&self) -> u8 {
        (self.version_length & 0x0f) << 2
    }

    #[inline(always)]
    fn transport<'p>(&self, after: Cursor<'p>) -> Result<Cursor<'p>, SegmentError> {
        let header_length = (self.version_length & 0x0f) << 2;
        if self.version_length >> 4 != 4 || header_length < 20 {
            return Err(SegmentError::BadHeader);
        }
        if u16::from_be_bytes(self.total_length) < u16::from(header_length) {
            return Err(SegmentError::BadHeader);
        }
        // More fragments, or an offset: everything but reserved and don't-fragment.
        if u16::from_be_bytes(self.flags_offset) & 0x3fff != 0 {
            return Err(SegmentError::Fragment);
        }
        if self.protocol != ip_protocol::TCP {
            return Err(SegmentError::NotTcp);
        }
        after.skip(header_length.wrapping_sub(20))
    }

    #[inline(always)]
    fn destination(&self) -> IpAddress {
        mapped(self.destination)
    }

    #[inline(always)]
    fn source(&self) -> IpAddress {
        mapped(self.source)
    }
}

/// The IPv6 header: 40 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ipv6Header {
    /// Version (4 bits), traffic class (8), flow label (20).
    pub version_class_flow: [u8; 4],
    /// Length of everything after this header in bytes, network order; 0 for jumbograms.
    pub payload_length: [u8; 2],
    /// What follows.
    pub next_header: u8,
    /// Hops left.
    pub hop_limit: u8,
    /// Sender.
    pub source: [u8; 16],
    /// Receiver.
    pub destination: [u8; 16],
}
const _: () = assert!(size_of::<Ipv6Header>() == 40 && align_of::<Ipv6Header>() == 1);

impl NetworkHeader for Ipv6Header {
    const IS_V6: bool = true;

    #[inline(always)]
    fn length(&self) -> u8 {
        40
    }

    #[inline(always)]
    fn transport<'p>(&self, after: Cursor<'p>) -> Result<Cursor<'p>, SegmentError> {
        if self.version_class_flow[0] >> 4 != 6 {
            return Err(SegmentError::BadHeader);
        }
        match self.next_header {
            ip_protocol::TCP => Ok(after),
            ip_protocol::FRAGMENT => Err(SegmentError::Fragment),
            ip_protocol::HOP_BY_HOP | ip_protocol::ROUTING | ip_protocol::DESTINATION_OPTIONS => {
                Err(SegmentError::Ipv6Extension)
            }
            _ => Err(SegmentError::NotTcp),
        }
    }

    #[inline(always)]
    fn destination(&self) -> IpAddress {
        self.destination
    }

    #[inline(always)]
    fn source(&self) -> IpAddress {
        self.source
    }
}

#[inline(always)]
const fn mapped(address: [u8; 4]) -> IpAddress {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}
