//! From a frame to the TCP segment that the decisions look at.

use crate::{
    Cursor, EtherType, IpAddress, Ipv4Header, Ipv6Header, ListenerKey, NetworkHeader, SegmentError, TcpFlags,
    TcpHeader, link_header,
};

/// Addresses, ports and flags of a TCP segment. Aligned to words, for programs to copy it by words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(4))]
pub struct Segment {
    /// Sender.
    pub source: IpAddress,
    /// Receiver.
    pub destination: IpAddress,
    /// Port of the sender, network order.
    pub source_port: [u8; 2],
    /// Port of the receiver, network order.
    pub destination_port: [u8; 2],
    /// Control bits.
    pub flags: TcpFlags,
    /// Offset of the IP header in the frame.
    pub network_at: u8,
    /// Length of the IP header with its options.
    pub network_len: u8,
    /// Whether it is IPv6.
    pub is_v6: bool,
}

impl Segment {
    /// Reads the segment out of an Ethernet frame.
    ///
    /// # Errors
    ///
    /// The reason why the frame holds no TCP segment that may be matched.
    #[inline(always)]
    pub fn parse(frame: Cursor<'_>) -> Result<Self, SegmentError> {
        let mut segment = Self {
            source: [0; 16],
            destination: [0; 16],
            source_port: [0; 2],
            destination_port: [0; 2],
            flags: TcpFlags(0),
            network_at: 0,
            network_len: 0,
            is_v6: false,
        };
        segment.read(frame)?;
        Ok(segment)
    }

    /// The same in place: a program that returns its findings by value carries them through its branches byte by byte.
    ///
    /// # Errors
    ///
    /// As [`Segment::parse`]; then what is in here means nothing.
    #[inline(always)]
    pub fn read(&mut self, frame: Cursor<'_>) -> Result<(), SegmentError> {
        let (ether_type, network_at, cursor) = link_header(frame)?;
        match ether_type {
            EtherType::IPV4 => self.over::<Ipv4Header>(cursor, network_at),
            EtherType::IPV6 => self.over::<Ipv6Header>(cursor, network_at),
            _ => Err(SegmentError::NotIp),
        }
    }

    #[inline(always)]
    fn over<H: NetworkHeader>(&mut self, cursor: Cursor<'_>, network_at: u8) -> Result<(), SegmentError> {
        let (network, cursor) = cursor.read::<H>()?;
        let (tcp, _) = network.transport(cursor)?.read::<TcpHeader>()?;
        if tcp.length() < 20 {
            return Err(SegmentError::BadHeader);
        }
        self.source = network.source();
        self.destination = network.destination();
        self.source_port = tcp.source_port;
        self.destination_port = tcp.destination_port;
        self.flags = tcp.flags();
        self.network_at = network_at;
        self.network_len = network.length();
        self.is_v6 = H::IS_V6;
        Ok(())
    }
}

/// The listener that a segment is for: the entry of its exact address, else the entry of any address on its port.
///
/// `find` looks a key up: a kernel map there, a table in tests.
#[inline(always)]
pub fn listener_of<T>(segment: &Segment, find: impl Fn(&ListenerKey) -> Option<T>) -> Option<T> {
    let mut key = ListenerKey::tcp(segment.destination, segment.destination_port);
    if let Some(found) = find(&key) {
        return Some(found);
    }
    key.address = ListenerKey::ANY;
    find(&key)
}
