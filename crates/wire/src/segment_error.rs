//! Why the headers of a packet are not those of a TCP segment.

/// Why a packet is no TCP segment that can be read. What becomes of it is counted as a [`crate::Reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SegmentError {
    /// A header reaches past the end of the packet.
    Truncated = 0,
    /// Neither IPv4 nor IPv6, or behind more than two VLAN tags.
    NotIp = 1,
    /// An IP protocol other than TCP.
    NotTcp = 2,
    /// A fragment: only the first carries ports, so none is matched.
    Fragment = 3,
    /// IPv6 extension headers other than a fragment header.
    Ipv6Extension = 4,
    /// A header that contradicts itself: wrong IP version, header length below its minimum or past the datagram.
    BadHeader = 5,
}

impl SegmentError {
    /// Whether the packet is simply not for us, so that it passes untouched and uncounted.
    #[inline(always)]
    pub const fn is_not_ours(self) -> bool {
        matches!(self, Self::NotIp | Self::NotTcp | Self::Fragment | Self::Ipv6Extension)
    }
}
