//! The TCP header (RFC 9293 section 3.1).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The control bits of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number is valid.
    pub const ACK: u8 = 0x10;

    /// Whether the segment asks for a new connection: SYN without ACK, and without RST or FIN, which no stack sends with it.
    #[inline(always)]
    pub const fn opens_connection(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }
}

/// The fixed part of the TCP header: 20 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TcpHeader {
    /// Port of the sender, network order.
    pub source_port: [u8; 2],
    /// Port of the receiver, network order.
    pub destination_port: [u8; 2],
    /// Sequence number of the first byte (of the SYN, if set), network order.
    pub sequence: [u8; 4],
    /// Next sequence number expected, network order.
    pub acknowledgement: [u8; 4],
    /// Header length in words of 4 bytes (4 bits), reserved (4 bits).
    pub data_offset: u8,
    /// Control bits.
    pub flags: u8,
    /// Receive window before scaling, network order.
    pub window: [u8; 2],
    /// Checksum over pseudo-header, header and data.
    pub checksum: [u8; 2],
    /// Urgent pointer.
    pub urgent: [u8; 2],
}
const _: () = assert!(size_of::<TcpHeader>() == 20 && align_of::<TcpHeader>() == 1);

impl TcpHeader {
    /// The control bits.
    #[inline(always)]
    pub const fn flags(&self) -> TcpFlags {
        TcpFlags(self.flags)
    }

    /// Length of the header with its options, in bytes: 0 to 60, valid from 20.
    #[inline(always)]
    pub const fn length(&self) -> u8 {
        (self.data_offset >> 4) << 2
    }
}
