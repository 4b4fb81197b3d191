//! From a frame to the TCP segment that the decisions look at.

use crate::{
    Cursor, DropReason, EtherType, IpAddress, Ipv4Header, Ipv6Header, ListenerKey, NetworkHeader, TcpFlags,
    TcpHeader, link_header,
};

/// Addresses, ports and flags of a TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

impl Segment {
    /// Reads the segment out of an Ethernet frame.
    ///
    /// # Errors
    ///
    /// The reason why the frame holds no TCP segment that may be matched.
    #[inline(always)]
    pub fn parse(frame: Cursor<'_>) -> Result<Self, DropReason> {
        let (ether_type, cursor) = link_header(frame)?;
        match ether_type {
            EtherType::IPV4 => Self::over::<Ipv4Header>(cursor),
            EtherType::IPV6 => Self::over::<Ipv6Header>(cursor),
            _ => Err(DropReason::NotIp),
        }
    }

    #[inline(always)]
    fn over<H: NetworkHeader>(cursor: Cursor<'_>) -> Result<Self, DropReason> {
        let (network, cursor) = cursor.read::<H>()?;
        let (tcp, _) = network.transport(cursor)?.read::<TcpHeader>()?;
        if tcp.length() < 20 {
            return Err(DropReason::BadHeader);
        }
        Ok(Self {
            source: network.source(),
            destination: network.destination(),
            source_port: tcp.source_port,
            destination_port: tcp.destination_port,
            flags: tcp.flags(),
        })
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
