//! Packet headers, and the map keys and values shared with the kernel.
//!
//! Everything here compiles unchanged for the host and for the kernel (`bpfel-unknown-none`): no allocation, no
//! panics, no slices. A [`Cursor`] walks the packet with the one form of bounds check that the verifier follows;
//! [`Segment::parse`] turns a frame into what the programs decide on. Addresses and ports in shared records are
//! byte arrays in network order; a `u16` port is always in host order.

#![cfg_attr(not(test), no_std)]

mod cursor;
mod drop_reason;
mod ethernet;
mod ip;
mod maps;
mod segment;
mod tcp;

pub use cursor::Cursor;
pub use drop_reason::DropReason;
pub use ethernet::{EtherType, EthernetHeader, VlanTag, link_header};
pub use ip::{IpAddress, Ipv4Header, Ipv6Header, NetworkHeader, ip_protocol};
pub use maps::{LAYOUT_VERSION, LISTENERS_MAX, ListenerCounters, ListenerKey, Metrics};
pub use segment::{Segment, listener_of};
pub use tcp::{TcpFlags, TcpHeader};
